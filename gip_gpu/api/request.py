"""What a call asks of a pool, checked: scores, how many, options, rows to leave out, where to save."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.result import Input
from gip_gpu.checkpoint.settings import Saving, as_saving
from gip_gpu.data.missing_values import Kept, keep_finite
from gip_gpu.data.standardize import Standardization, standardized
from gip_gpu.data.user_arrays import as_initial, as_scores
from gip_gpu.sources import places
from gip_gpu.validation.settings import LARGEST, as_count


@dataclass(frozen=True, eq=False)
class Request:
    """A selection that is asked for, of the rows that take part in it.

    Attributes:
        scores: (m, n) float64, standardised if that was asked for; None without scores.
        k: picks.
        options: checked against the scores.
        initial: (c,) int64, rows chosen already.
        saving: where to write checkpoints, None for nowhere.
        view: the rows that take part among those of the pool, None for all.
        input: what became of the rows and scores that were given.
    """

    scores: NDArray[np.float64] | None
    k: int
    options: SelectOptions
    initial: NDArray[np.int64]
    saving: Saving | None
    view: Kept | None
    input: Input


def ask(
    matrix: Any,
    G: Any,
    k: Any,
    options: SelectOptions,
    *,
    reads: Iterable[str],
    known: Kept | None = None,
    looked: bool = False,
    names: tuple[str, str] = ("F", "G"),
    width: int | None = None,
    before: Standardization | None = None,
) -> Request:
    """Checks what a call asks for.

    Args:
        matrix: rows of the pool: array, source or `DeviceMatrix`.
        G, k: as in `gip_gpu.select`.
        options: of the call.
        reads: `gip_gpu.sources.places` of F.
        known: the rows of the input that the pool has, None for all.
        looked: the rows of the pool are known to be finite.
        names: of F and G, for messages.
        width: columns that G must have, where a selection is extended.
        before: what was done to the scores of a selection that this one extends.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.
    """
    how, drops = options.how, options.drops
    m, d = len(matrix) if known is None else known.m, matrix.shape[1]
    reads = list(reads)
    scores = None if G is None else as_scores(G, (m, d), names, missing=drops, reads=reads)
    how.choose(scores is not None)
    if scores is not None and width not in (None, scores.shape[1]):
        raise ValueError(f"{names[1]} has {scores.shape[1]} columns; the selection was made with {width}")
    if scores is not None and known is not None:
        scores = scores[known.indices]
    view = keep_finite(matrix, scores, names, looked=looked) if drops else None
    kept = known if view is None else view.among(known)
    if scores is not None and view is not None:
        scores = scores[view.indices]
    count, first = counted(k, options.initial, m, kept)
    saving = as_saving(options.checkpoint, options.checkpoint_every, [*reads, *places(G)])
    done = before
    if scores is not None and before is not None:
        scores = before.apply(scores)
        reach = float(np.abs(scores).max(initial=0.0))
        if not reach <= LARGEST:
            raise ValueError(
                f"{names[1]} reaches {reach:g} standard deviations of the selection's pool from its mean, and at most "
                f"{LARGEST:g} is possible; select from all rows with initial= instead"
            )
    elif scores is not None and how.standardize is not None:
        scores, done = standardized(scores, how.standardize)
    return Request(scores, count, options, first, saving, view, Input(m, kept, done))


def counted(k: Any, initial: Any, m: int, kept: Kept | None) -> tuple[int, NDArray[np.int64]]:
    """Picks, and the places of the rows chosen already among those that take part."""
    if kept is None:
        count = as_count(k, m)
        return count, as_initial(initial, m, count)
    left = len(kept)
    try:
        count = as_count(k, left)
        first = kept.places_of(as_initial(initial, m, 0))
        if count + len(first) > left:
            raise ValueError(f"k is {count} and initial has {len(first)}; together they must be at most m = {left}")
    except ValueError as error:
        raise ValueError(f"{error}; on_nan='drop' leaves {left} of {m} rows") from error
    return count, first
