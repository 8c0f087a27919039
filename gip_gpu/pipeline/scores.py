"""Stage score: the scores of a data set, from its columns, a file, or a signal."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.missing_values import as_on_nan, keep_finite
from gip_gpu.data.user_arrays import check_rows_of_scores
from gip_gpu.records import Records
from gip_gpu.signals import self_compression
from gip_gpu.sources import Source, open_matrix

SELF_COMPRESSION = "self-compression"
Scores = NDArray[Any] | Source | None


def compressed_scores(
    F: Any, *, normalize: bool = True, center: bool | str = False, on_nan: str = "error"
) -> NDArray[np.float64]:
    """Returns self-compression scores (m,) of the rows that take part, NaN for the others."""
    kept = keep_finite(F, None) if as_on_nan(on_nan) else None
    if kept is None:
        return self_compression(F, normalize=normalize, center=center)
    scores = np.full(kept.m, np.nan)
    scores[kept.indices] = self_compression(kept.view(F), normalize=normalize, center=center)
    return scores


# Scores by the name of a signal, from the data set, its vectors and the options of the selection. Signals computed from
# texts are in `gip_gpu.pipeline.signals`.
SIGNALS: dict[str, Callable[[Records, Any, dict[str, Any]], Scores]] = {
    SELF_COMPRESSION: lambda _, F, options: compressed_scores(
        F, **{name: options[name] for name in ("normalize", "center", "on_nan") if name in options}
    ),
}


def scores_of(
    records: Records,
    F: Any,
    *,
    scores: Any = None,
    columns: Sequence[str] = (),
    key: str | None = None,
    options: dict[str, Any] | None = None,
) -> Scores:
    """Returns the scores of a data set.

    Args:
        records: the data set.
        F: its vectors.
        scores: a name in `SIGNALS`; the path of a file with m rows; an array (m,) or (m, n); or None.
        columns: names of columns of numbers in the data set, each a signal; null becomes NaN.
        key: name of the scores in their file.
        options: options of `gip_gpu.select`.

    Returns:
        (m,) or (m, n), or None without scores.

    Raises:
        ValueError: both scores and columns are given; a column is missing or no number; not m rows.
    """
    if columns:
        if scores is not None:
            raise ValueError("scores and score columns are given; it must be one of them")
        return records.numbers(list(columns))
    if isinstance(scores, (str, os.PathLike)):
        if isinstance(scores, str) and scores in SIGNALS:
            return SIGNALS[scores](records, F, options or {})
        scores = open_matrix(scores, key)
        check_rows_of_scores(scores.shape, F.shape)
    return scores  # type: ignore[no-any-return]
