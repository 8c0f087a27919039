"""Checked request of a call: scores, number of picks, options, rows to leave out, checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.options import SelectOptions
from gip_gpu.api.result import Input
from gip_gpu.checkpoint import fingerprint
from gip_gpu.checkpoint.settings import Saving, as_saving
from gip_gpu.data.missing_values import Kept, keep_finite
from gip_gpu.data.standardize import Standardization, standardized
from gip_gpu.data.user_arrays import as_initial, as_scores
from gip_gpu.problem.constraints import Constraints
from gip_gpu.sources import places
from gip_gpu.validation.settings import LARGEST, as_count


@dataclass(frozen=True, eq=False)
class Request:
    """Checked request for a selection among the rows that take part.

    Attributes:
        scores: (m, n) float64, standardised if requested; None without scores.
        k: number of picks.
        options: options of the call, checked against the scores.
        initial: (c,) int64, rows chosen already, and after them those that are included first.
        constraints: constraints on the picks.
        saving: path and interval of the checkpoints, None without.
        view: the rows of the pool that take part, None for all.
        input: record of how the given rows and scores were prepared.
        fingerprint: fingerprint of the scores as given, of the rows that take part; None without scores.
    """

    scores: NDArray[np.float64] | None
    k: int
    options: SelectOptions
    initial: NDArray[np.int64]
    constraints: Constraints
    saving: Saving | None
    view: Kept | None
    input: Input
    fingerprint: str | None = None


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
    """Checks the arguments of a call.

    Args:
        matrix: rows of the pool: array, source or `DeviceMatrix`.
        G, k: as in `gip_gpu.select`.
        options: options of the call.
        reads: `gip_gpu.sources.places` of F.
        known: the rows of the input that the pool holds, None for all.
        looked: whether the rows of the pool are known to be finite.
        names: names of F and G in messages.
        width: number of columns that G must have when a selection is extended.
        before: standardization of the scores of the selection that this one extends.

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
    wanted, first = counted(k, options.initial, m, kept)
    constraints = options.constraints(m, wanted)
    if kept is not None:
        constraints = constraints.among(kept.indices, kept.places_of)
    left = m if kept is None else len(kept)
    count = constraints.most(left, first) if wanted is None else wanted
    constraints.check(count, left, first)
    first = np.concatenate([first, constraints.include])
    saving = as_saving(options.checkpoint, options.checkpoint_every, [*reads, *places(G)])
    printed = None if scores is None else fingerprint.of_matrix(scores)
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
    return Request(scores, count, options, first, constraints, saving, view, Input(m, kept, done), printed)


def counted(k: Any, initial: Any, m: int, kept: Kept | None) -> tuple[int | None, NDArray[np.int64]]:
    """Returns the number of picks, and the positions of the initial rows among the rows that take part.

    The number is None for a k of None: as many as a budget allows.
    """
    if kept is None:
        count = None if k is None else as_count(k, m)
        return count, as_initial(initial, m, count or 0)
    left = len(kept)
    try:
        count = None if k is None else as_count(k, left)
        first = kept.places_of(as_initial(initial, m, 0))
        if (count or 0) + len(first) > left:
            raise ValueError(f"k is {count} and initial has {len(first)}; together they must be at most m = {left}")
    except ValueError as error:
        raise ValueError(f"{error}; on_nan='drop' leaves {left} of {m} rows") from error
    return count, first
