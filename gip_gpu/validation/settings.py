"""User settings (k, epsilon, times, flags, memory limits): conversion and validation, with errors in user terms."""

import math
import operator
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

# Largest norm, and the inverse of the smallest: beyond it, squares and products could overflow or underflow float64.
LARGEST = 1e150


def as_whole(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Returns an int within limits.

    Args:
        value: an int, or an object that Python takes as an index.
        name: of the argument, for messages.
        least, most: limits; None for no upper one.

    Raises:
        TypeError: the value is a bool or no int.
        ValueError: it is out of range.

    >>> as_whole(np.int64(3), "seed", 0)
    3
    """
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    wanted = f"{name} must be an int {limits}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, a bool; {wanted}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}") from None
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {number}; {wanted}")
    return number


def as_count(k: Any, m: int) -> int:
    """Returns the number of picks for `k`: an int from 1 to m, or a share of m, rounded, at least 1.

    A share is a float in (0, 1), or text such as "5%", which is 0.05, up to "100%"; blanks and _ are allowed as in
    Python's numbers.

    Raises:
        TypeError: k is a bool, or neither a number nor text that ends in %.
        ValueError: k is out of range.

    >>> as_count(7, 200), as_count(0.05, 200), as_count("5%", 200), as_count("100%", 200)
    (7, 10, 10, 200)
    """
    wanted = f"k must be an int from 1 to m = {m}, or for a share of m a float in (0, 1) or text such as '5%'"
    if isinstance(k, (bool, np.bool_)):
        raise TypeError(f"k is {k!r}, a bool; {wanted}")
    if isinstance(k, str) and is_percentage(k):
        share = percentage(k)
        if not 0 < share <= 1:
            raise ValueError(f"k is {k!r}; {wanted}, above '0%' and up to '100%'")
        return max(1, round(share * m))
    if isinstance(k, (float, np.floating)):
        if not 0 < k < 1:
            raise ValueError(f"k is {k!r}; {wanted}")
        return max(1, round(float(k) * m))
    try:
        count = operator.index(k)
    except TypeError:
        raise TypeError(f"k is {k!r}, a {type(k).__name__}; {wanted}") from None
    if not 1 <= count <= m:
        raise ValueError(f"k is {count}; {wanted}")
    return count


def is_percentage(text: str) -> bool:
    """Returns whether `percentage` should read this text; trailing blanks are ignored, as in Python's numbers."""
    return text.rstrip().endswith("%")


def percentage(text: str) -> float:
    """Converts text such as "5%" to the float nearest to its decimal value, 0.05; nan if it holds no number.

    >>> percentage("5%"), percentage(" 5 % "), percentage("1_0%")
    (0.05, 0.05, 0.1)
    """
    try:
        return float(Decimal(text.rstrip()[:-1].strip()).scaleb(-2))
    except (ArithmeticError, ValueError):  # ValueError: a signaling NaN
        return math.nan


def as_epsilon(value: Any) -> float:
    """Converts `value` to a regularisation: a float from 0 to 1e150.

    Raises:
        TypeError: the value is a bool or not a real number.
        ValueError: the value is out of range.
    """
    wanted = f"epsilon must be a number from 0 to {LARGEST:g}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"epsilon is {value!r}, a bool; {wanted}")
    if not isinstance(value, Real):
        raise TypeError(f"epsilon is {value!r}, a {type(value).__name__}; {wanted}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond float64
        number = math.inf
    if not 0 <= number <= LARGEST:
        raise ValueError(f"epsilon is {value!r}; {wanted}")
    return number


def as_seconds(value: Any, name: str) -> float:
    """Converts `value` to a time in seconds: above 0, at most a year.

    Raises:
        TypeError: the value is a bool or not a real number.
        ValueError: the value is out of range.
    """
    wanted = f"{name} must be a number of seconds above 0, at most a year"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}")
    seconds = float(value)
    if not 0 < seconds <= 366 * 86400:
        raise ValueError(f"{name} is {value!r}; {wanted}")
    return seconds


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """Returns `value` if it is one of the known strings.

    Raises:
        TypeError: the value is not a string.
        ValueError: the string is not known.
    """
    wanted = f"{name} must be one of {', '.join(map(repr, known))}"
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}")
    if value not in known:
        raise ValueError(f"{name} is {value!r}; {wanted}")
    return value


def flag(name: str, value: Any) -> bool:
    """Returns `value` if it is a bool; raises TypeError otherwise, so that a misplaced argument never means True."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be True or False")
    return bool(value)


def as_bytes(limit: Any, free: int) -> int | None:
    """Converts `memory_limit` to bytes.

    Args:
        limit: None for no limit, an int of bytes, a float in (0, 1) for a share of free memory, or text such as "2GB".
        free: bytes of free memory.

    Raises:
        TypeError, ValueError: the limit is anything else.

    >>> as_bytes("2GB", 0), as_bytes("1.5 GiB", 0), as_bytes(0.25, 4000)
    (2000000000, 1610612736, 1000)
    """
    wanted = (
        "memory_limit must be bytes (an int), text such as '2GB' or '500 MiB', or a share in (0, 1) of what is free"
    )
    if limit is None:
        return None
    if isinstance(limit, (bool, np.bool_)):
        raise TypeError(f"memory_limit is {limit!r}, a bool; {wanted}")
    if isinstance(limit, str):
        return _parse_size(limit, wanted)
    if isinstance(limit, (float, np.floating)):
        if not 0 < limit < 1:
            raise ValueError(f"memory_limit is {limit!r}; {wanted}")
        return int(limit * free)
    try:
        count = operator.index(limit)
    except TypeError:
        raise TypeError(f"memory_limit is {limit!r}, a {type(limit).__name__}; {wanted}") from None
    if count <= 0:
        raise ValueError(f"memory_limit is {count}; {wanted}")
    return count


def _parse_size(text: str, wanted: str) -> int:
    compact = text.replace(" ", "").upper()
    digits = compact.rstrip("BKMGTI")
    powers = {"": 0, "B": 0, **{p + tail: i for i, p in enumerate("KMGT", 1) for tail in ("", "B", "IB")}}
    unit = compact[len(digits) :]
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if unit not in powers or not 0 < number < math.inf:
        raise ValueError(f"memory_limit is {text!r}; {wanted}")
    return int(number * (1024 if "I" in unit else 1000) ** powers[unit])
