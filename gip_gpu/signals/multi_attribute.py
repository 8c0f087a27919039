"""Multi-attribute scores: ratings of each item by judges, summed or one column per attribute."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.user_arrays import as_columns
from gip_gpu.validation.settings import LARGEST, one_of


def multi_attribute(
    scores: ArrayLike | Mapping[Any, ArrayLike],
    *,
    combine: str = "sum",
    low: float | None = 0.0,
    high: float | None = 5.0,
) -> NDArray[np.float64]:
    """Checks and combines ratings of several attributes, such as coherence and difficulty, each from 0 to 5.

    Args:
        scores: (m, a) ratings of a attributes, any float or integer type; (m,) for one attribute; or a mapping from
            names to (m,) columns. Higher is better: reverse a rating (`5 - rating`) where it is not.
        combine: "sum" adds the attributes up, as the paper does; "columns" keeps each as a separate signal.
        low, high: the range of the ratings, both ends included, which catches a missing rating coded as -1 or a column
            of another scale; None for no bound.

    Returns:
        (m,) float64 for "sum", (m, a) for "columns", in the order of the mapping.

    Raises:
        TypeError: scores are no real numbers, or `combine`, `low` or `high` is of another type.
        ValueError: a rating outside the range or not finite (the first such row and its column are named), columns of
            different lengths, `combine` not known, or `low` not below `high`.

    Source: Greedy Information Projection, arXiv 2603.13790: the multi-attribute scores of its experiments.

    >>> multi_attribute([[5, 4, 5, 2], [1, 0, 2, 5]])
    array([16.,  8.])
    >>> multi_attribute({"helpfulness": [4.5, 3], "difficulty": [2, 5]}, combine="columns")
    array([[4.5, 2. ],
           [3. , 5. ]])
    """
    one_of("combine", combine, ("sum", "columns"))
    lowest, highest = _bound("low", low, -LARGEST), _bound("high", high, LARGEST)
    if not lowest < highest:
        raise ValueError(f"low is {lowest:g} and high is {highest:g}; low must be below high")
    names, ratings = _ratings(scores)
    # NaN fails every comparison.
    wrong = ~((ratings >= lowest) & (ratings <= highest))
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise ValueError(
            f"scores has {ratings[row, column]:g} in row {row}, column {names[column]!r}, {int(wrong.sum())} such in "
            f"all; ratings must be from {lowest:g} to {highest:g}; low and high set other bounds, None for none"
        )
    return ratings if combine == "columns" else ratings.sum(axis=1)


def _ratings(scores: Any) -> tuple[list[Any], NDArray[np.float64]]:
    """Returns the names of the columns, and the ratings (m, a)."""
    if not isinstance(scores, Mapping):
        ratings = as_columns(scores, "scores", scores=True)
        return list(range(ratings.shape[1])), ratings
    if not scores:
        raise ValueError("scores is an empty mapping; it must have at least one column")
    names, columns = (
        list(scores),
        [as_columns(column, f"scores[{name!r}]", scores=True) for name, column in scores.items()],
    )
    for name, column in zip(names, columns, strict=True):
        if column.shape[1] != 1:
            raise ValueError(f"scores[{name!r}] has shape {column.shape}; it must be one column, (m,)")
        if len(column) != len(columns[0]):
            raise ValueError(
                f"scores[{name!r}] has {len(column)} rows and scores[{names[0]!r}] has {len(columns[0])}; "
                "row i of each belongs to item i"
            )
    return names, np.column_stack(columns)


def _bound(name: str, value: Any, none: float) -> float:
    """Returns a checked end of the range of ratings; `none` for None."""
    wanted = f"{name} must be a number within {LARGEST:g} of 0, or None for no bound"
    if value is None:
        return none
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; {wanted}")
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is {value!r}; {wanted}")
    return float(value)
