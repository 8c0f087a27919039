"""Seeds of random selectors."""

import operator
from typing import Any

import numpy as np


def as_seed(seed: Any) -> int:
    """Returns a seed as an int.

    Raises:
        TypeError, ValueError: not an int of at least 0. None is refused: each call would give other rows.
    """
    wanted = "seed must be an int of at least 0"
    if isinstance(seed, (bool, np.bool_)):
        raise TypeError(f"seed is {seed!r}, a bool; {wanted}")
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed is {seed!r}, a {type(seed).__name__}; {wanted}") from None
    if number < 0:
        raise ValueError(f"seed is {number}; {wanted}")
    return number
