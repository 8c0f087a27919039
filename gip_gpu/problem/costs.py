"""Costs of items under a budget, and the weights of their scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.conversion import as_array

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

# Integers up to here are exact in JSON and in other people's float64.
MOST = 1 << 53
# Weights may differ by this factor: the root of the smallest one stays far above the floor of exhaustion.
SPREAD = 1e10


@dataclass(frozen=True, eq=False)
class BudgetedCosts:
    """Costs of items, and what all picks together may cost.

    Attributes:
        of: (m,) int64, at least 1.
        budget: at least 1.
    """

    of: Indices
    budget: int

    def affordable(self, free: NDArray[np.bool_], spent: int = 0) -> int:
        """Returns the largest number of these items that the budget pays for, after `spent`."""
        # The first sum above the budget is below 2^55, so that it has not overflowed.
        sums = np.cumsum(np.sort(self.of[free]))
        over = sums > self.budget - spent
        return int(over.argmax()) if over.any() else len(sums)


def as_costs(costs: Any, budget: Any, m: int) -> BudgetedCosts | None:
    """Converts `costs` and `budget` of `gip_gpu.select`.

    Raises:
        TypeError, ValueError: one without the other, not m ints, or out of range.
    """
    if costs is None and budget is None:
        return None
    if costs is None:
        raise ValueError("budget is given without costs, the cost of each row")
    if budget is None:
        raise ValueError("costs is given without budget, what all picks together may cost")
    wanted = f"costs must be {m} ints from 1 to 2^53, one for each row"
    array = _column(costs, m, "costs", "iu", lambda values: (values >= 1) & (values <= MOST), wanted)
    if isinstance(budget, (bool, np.bool_)) or not isinstance(budget, (int, np.integer)):
        raise TypeError(f"budget is {budget!r}; it must be an int from 1 to 2^53")
    if not 1 <= budget <= MOST:
        raise ValueError(f"budget is {budget}; it must be an int from 1 to 2^53")
    return BudgetedCosts(array.astype(np.int64), int(budget))


def as_weights(weights: Any, m: int) -> Floats | None:
    """Converts `weights` of `gip_gpu.select`.

    Raises:
        TypeError, ValueError: not m positive finite numbers.
    """
    if weights is None:
        return None
    wanted = f"weights must be {m} positive finite numbers, one for each row"
    array = _column(weights, m, "weights", "iuf", lambda values: (values > 0) & np.isfinite(values), wanted)
    values: Floats = array.astype(np.float64)
    return values


def _column(
    given: Any, m: int, name: str, kinds: str, valid: Callable[[NDArray[Any]], NDArray[np.bool_]], wanted: str
) -> NDArray[Any]:
    """Converts a number for each row to an array (m,) whose dtype is of one of these kinds, all of them valid."""
    array = as_array(given, name)
    if array.shape != (m,):
        raise ValueError(f"{name} has shape {array.shape}; {wanted}")
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} has dtype {array.dtype}; {wanted}")
    bad = np.flatnonzero(~valid(array))
    if len(bad):
        raise ValueError(f"{name} has {array[bad[0]]} in row {bad[0]}; {wanted}")
    return array


def item_weights(weights: Floats | None, costs: BudgetedCosts | None) -> Floats | None:
    """Returns the factors of the items' scores, (m,): weight over cost, as a share of the largest.

    They are rounded to float32, so that every device compares the same numbers.

    Returns:
        None if all are equal.

    Raises:
        ValueError: they differ by more than a factor of 1e10.

    >>> item_weights(np.array([1.0, 2, 4]), BudgetedCosts(np.array([1, 4, 2]), 5)).tolist()
    [0.5, 0.25, 1.0]
    """
    if weights is None and costs is None:
        return None
    # Divided by the largest and the smallest first: the quotients of extreme numbers may be 0.
    found = np.ones(1) if weights is None else weights / weights.max()
    if costs is not None:
        found = found * (costs.of.min() / costs.of)
    found = (found / found.max()).astype(np.float32).astype(np.float64)
    least = int(found.argmin())
    if found[least] < 1 / SPREAD:
        what = "costs" if weights is None else "weights" if costs is None else "weights over costs"
        raise ValueError(
            f"{what} differ by more than a factor of {SPREAD:g} between rows {least} and {int(found.argmax())}"
        )
    return None if found[least] == 1 else found
