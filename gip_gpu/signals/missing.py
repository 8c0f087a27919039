"""Missing scores, NaN: refused, left for `on_nan="drop"`, or replaced by the mean of their column."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.user_arrays import as_columns
from gip_gpu.validation.settings import one_of

MISSING = ("error", "drop", "mean")


def fill_missing(
    scores: ArrayLike, missing: str = "error", *, names: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Treats missing scores as the caller chooses.

    Args:
        scores: (m, n) or (m,), NaN where a score is missing.
        missing: "error" raises if any is missing; "drop" keeps NaN, for `gip_gpu.select(..., on_nan="drop")`, which
            never chooses such rows; "mean" takes the mean of the column's other scores.
        names: n names of the columns, for messages.

    Returns:
        A new float64 array of the shape of `scores`.

    Raises:
        TypeError: scores are no real numbers.
        ValueError: a score is infinite, or missing and `missing` is "error", or a column has none at all and `missing`
            is "mean"; `missing` is not known.

    >>> fill_missing([[1, 2], [3, np.nan]], "mean")
    array([[1., 2.],
           [3., 2.]])
    """
    one_of("missing", missing, MISSING)
    columns = as_columns(scores, "scores", scores=True)
    labels = [f"column {j}" for j in range(columns.shape[1])] if names is None else [repr(name) for name in names]
    if len(labels) != columns.shape[1]:
        raise ValueError(f"names has {len(labels)} names for {columns.shape[1]} columns")
    if np.isinf(columns).any():
        row, j = (int(index) for index in np.argwhere(np.isinf(columns))[0])
        raise ValueError(
            f"scores has {columns[row, j]} in row {row}, {labels[j]}; scores must be finite, or NaN if missing"
        )
    gaps = np.isnan(columns)
    if missing == "error" and gaps.any():
        counts = ", ".join(f"{int(count):,} of {labels[j]}" for j, count in enumerate(gaps.sum(axis=0)) if count)
        raise ValueError(
            f"{counts} are missing of {len(columns):,} rows, the first in row {int(np.argmax(gaps.any(axis=1)))}; "
            "missing='drop' leaves such rows out, missing='mean' takes the mean of the column"
        )
    if missing == "mean":
        for j in map(int, np.flatnonzero(gaps.any(axis=0))):
            if gaps[:, j].all():
                raise ValueError(f"all scores of {labels[j]} are missing; there is no mean to take")
            columns[gaps[:, j], j] = columns[~gaps[:, j], j].mean()
    return columns[:, 0] if np.ndim(scores) == 1 else columns
