"""Parsers of option values: counts, shares, sizes, intervals."""

import contextlib
from decimal import Decimal

import click

from gip_gpu.validation.settings import is_percentage, percentage


def number(text: str) -> int | float:
    """Parses an int, also written as 1e6, or else a float: a count or a share."""
    for kind in (int, whole_power, float):
        with contextlib.suppress(ValueError, ArithmeticError):
            return kind(text)
    raise click.BadParameter(f"{text!r} is no number")


def count(text: str) -> int | float | str:
    """Parses as `number` does, but a percentage such as 5% stays text."""
    if is_percentage(text):
        return text
    try:
        return number(text)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message}; give a count such as 500, or a share: 0.05 or 5%") from None


def share(text: str) -> float:
    """Parses a float, or a percentage such as 5%."""
    with contextlib.suppress(ValueError):
        return percentage(text) if is_percentage(text) else float(text)
    raise click.BadParameter(f"{text!r} is no number; give a share such as 0.05 or 5%")


def size(text: str) -> int | float | str:
    """Parses as `number` does, but text such as 2GB stays text."""
    try:
        return number(text)
    except click.BadParameter:
        return text


def interval(text: str) -> int | float:
    """Parses picks, an int, or seconds: 60.0 or 60s.

    >>> interval("500"), interval("60.0"), interval(" 60 s ")
    (500, 60.0, 60.0)
    """
    with contextlib.suppress(click.BadParameter, ValueError):
        return float(text.rstrip()[:-1]) if text.rstrip().endswith("s") else number(text)
    raise click.BadParameter(f"{text!r} is neither picks, such as 500, nor seconds, such as 60.0 or 60s")


def whole_power(text: str) -> int:
    """Parses an int with an exponent, such as 1e9 or 2.5e6; ValueError without an exponent, or for no int.

    >>> whole_power("2.5e6")
    2500000
    """
    value = Decimal(text) if "e" in text.lower() else Decimal("nan")
    # Building an int of a billion digits would take minutes.
    if not value.is_finite() or value.adjusted() > 18 or value != int(value):
        raise ValueError(f"{text!r} is no whole number with an exponent")
    return int(value)


def whole(text: str) -> int:
    """Parses a count of at least 1, also written as 1e9."""
    for kind in (int, whole_power):
        with contextlib.suppress(ValueError, ArithmeticError):
            if (count := kind(text)) >= 1:
                return count
    raise click.BadParameter(f"{text!r} is no count of at least 1")
