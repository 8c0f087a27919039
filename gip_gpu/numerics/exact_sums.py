"""Sums of float64 values without rounding, as integers: independent of how processes share the values."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

# Every float64 is an integer times 2**-UNIT.
UNIT = 1127
# A mantissa of 53 bits is split in two parts; 2**36 of either fit a sum in int64.
HALF = 26


def column_sums(values: NDArray[np.float64]) -> list[int]:
    """Returns the exact sums of the columns of (m, n) finite values, each as an integer times 2**-UNIT.

    >>> column_sums(np.array([[1e16, 0.5], [1.0, 0.0], [-1e16, 0.0]])) == [2**UNIT, 2 ** (UNIT - 1)]
    True
    """
    return [_sum(np.ascontiguousarray(column)) for column in values.T]


def folded(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Returns a few rows (n,) with the exact sums of the columns of (m, n) finite values, at the speed of array passes.

    Each pass takes from all values their part above a common power of two, so that these parts add up without rounding
    in any order, and leaves an exact rest; the passes end when no rest is left, after one or two for values of similar
    size.

    Source: Rump, Ogita, Oishi, "Accurate floating-point summation", SIAM J. Sci. Comput. 31 (2008), ExtractVector.

    >>> values = np.array([[1e16], [1.0], [-1e16], [2.0**-60]])
    >>> column_sums(np.array(folded(values))) == column_sums(values)
    True
    """
    found = []
    places = int(np.ceil(np.log2(len(values) + 2)))
    while largest := float(np.abs(values).max(initial=0.0)):
        unit = 2.0 ** (np.frexp(largest)[1] + places)
        high = (values + unit) - unit
        found.append(high.sum(axis=0))
        values = values - high
    return found


def mean(sums: Sequence[int], count: int) -> float:
    """Returns the mean of `count` values, rounded once, from the exact sums of their parts.

    >>> mean([2**UNIT, 2 ** (UNIT + 1)], 2)
    1.5
    """
    return float(Fraction(sum(sums), count << UNIT))


def _sum(values: NDArray[np.float64]) -> int:
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    total, lowest = 0, int(exponents.min())
    for exponent in np.unique(exponents).tolist():
        chosen = mantissas[exponents == exponent]
        high, low = int((chosen >> HALF).sum()), int((chosen & ((1 << HALF) - 1)).sum())
        total += ((high << HALF) + low) << (exponent - lowest)
    return total << (lowest - 53 + UNIT)
