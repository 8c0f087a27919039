"""Inputs of a report: the rows that it shows, their scores, groups and texts, checked against the selection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.user_arrays import as_matrix, as_scores
from gip_gpu.exceptions import DataWarning, warn
from gip_gpu.sources import Source, places
from gip_gpu.system import memory

# Rows that the map shows at most: browsers draw as many without delay.
POINTS = 100_000
# Largest share of the free memory that the shown rows may take in float32; the measures need as much again.
ROOM = 0.2
# Values converted at a time.
BLOCK = 1 << 22
# Score columns that a report shows.
COLUMNS = 8

Texts = Sequence[Any] | Callable[[NDArray[np.int64]], Sequence[Any]]


@dataclass(frozen=True)
class Shown:
    """The part of a pool that a report shows: all rows, or the picks and a random sample of the others.

    Attributes:
        indices: (p,) int64, row numbers in the pool, ascending.
        picks: (k,) int64, places of the picks among `indices`, in order of choice.
        rows: (p, d) float32, unit rows; a zero row stays zero.
        scores: (p, n) float64 scores, NaN where missing; n is 0 without scores.
        score_names: n names.
        m: rows of the pool.
        unusable: rows with a value that is not finite, left out of the report.
    """

    indices: NDArray[np.int64]
    picks: NDArray[np.int64]
    rows: NDArray[np.float32]
    scores: NDArray[np.float64]
    score_names: tuple[str, ...]
    m: int
    unusable: int

    @property
    def sampled(self) -> bool:
        """Whether rows of the pool are missing among those shown."""
        return len(self.indices) + self.unusable < self.m

    @property
    def others(self) -> NDArray[np.int64]:
        """(p - k,) places of the rows that were not chosen."""
        free = np.ones(len(self.indices), bool)
        free[self.picks] = False
        return np.flatnonzero(free)

    def taken(self, values: Any) -> list[Any]:
        """Returns the values of the shown rows, of a sequence with one value a row or a function of row numbers."""
        if callable(values):
            return list(values(self.indices))
        return [values[i] for i in self.indices.tolist()]


def _check_fingerprint(selection: Selection, matrix: Any) -> None:
    """Warns if the embeddings are not those that the selection was made from."""
    recorded, done = selection.provenance, selection.preparation
    # The fingerprint is that of the rows that took part.
    if recorded is None or (done is not None and done.dropped):
        return
    if fingerprint.of_matrix(matrix) != recorded.F:
        warn(
            "F is not what the selection was made from: its fingerprint differs (other values, another order of rows "
            "or another type), and the report may be wrong",
            DataWarning,
        )


def shown(
    selection: Selection, F: Any, G: Any = None, *, score_names: Sequence[str] | None = None, points: int = POINTS
) -> Shown:
    """Reads the rows that a report shows.

    Args:
        selection: the picks.
        F: (m, d) embeddings as in `gip_gpu.select`.
        G: (m,) or (m, n) scores, or None.
        score_names: n names; by default the columns of a data frame, else "score 1" and so on.
        points: most rows to show; the picks are among them. Fewer if memory is short.

    Raises:
        TypeError, ValueError: F is no matrix, its rows are not those that the selection was made from, or G or its
            names do not fit.
    """
    matrix = as_matrix(F, "F")
    m, d = matrix.shape
    pool = selection.plan.m if selection.preparation is None else selection.preparation.rows
    if m != pool:
        raise ValueError(
            f"F has {m:,} rows and the selection was made from {pool:,}; give the embeddings that select() was given"
        )
    if d != selection.plan.d:
        raise ValueError(
            f"F has rows of length {d} and the selection was made from rows of length {selection.plan.d}; give the "
            "embeddings that select() was given"
        )
    _check_fingerprint(selection, matrix)
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ValueError(f"points is {points!r}; it must be an int of at least 1, such as points={POINTS}")
    most = max(len(selection), min(points, int(ROOM * memory.available() / (4 * d))))
    indices = _sample(m, selection.indices, most)
    names = list(score_names) if score_names is not None else [str(name) for name in getattr(G, "columns", ())]
    scores = np.empty((m, 0)) if G is None else as_scores(G, matrix.shape, missing=True, reads=places(F))
    if names and len(names) != scores.shape[1]:
        raise ValueError(f"score_names has {len(names)} names and G has {scores.shape[1]} columns; give one name each")
    names = names or (["score"] if scores.shape[1] == 1 else [f"score {i + 1}" for i in range(scores.shape[1])])
    rows, usable = _unit_rows(matrix, indices)
    unusable = int((~usable).sum())
    indices, rows = indices[usable], rows if usable.all() else rows[usable]
    found = np.minimum(np.searchsorted(indices, selection.indices), max(0, len(indices) - 1))
    if len(selection) and (not len(indices) or (indices[found] != selection.indices).any()):
        raise ValueError(
            "F has a value that is not finite in a chosen row; give the embeddings that select() was given"
        )
    return Shown(indices, found, rows, scores[indices, :COLUMNS], tuple(names[:COLUMNS]), m, unusable)


def _sample(m: int, picks: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Returns the row numbers to show, ascending: all, or the picks and a random sample of the others."""
    if m <= most:
        return np.arange(m)
    others = np.random.default_rng(0).choice(m, most, replace=False)
    others = others[~np.isin(others, picks)][: most - len(picks)]
    return np.sort(np.concatenate([picks, others]))


def _unit_rows(
    matrix: NDArray[Any] | Source, indices: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Returns the rows with these numbers divided by their lengths, and which of them are finite."""
    d = matrix.shape[1]
    rows = np.empty((len(indices), d), np.float32)
    usable = np.empty(len(indices), bool)
    step = max(1, BLOCK // d)
    for start in range(0, len(indices), step):
        wanted = indices[start : start + step]
        block = np.asarray(matrix[wanted], np.float64)
        usable[start : start + step] = np.isfinite(block).all(axis=1)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # Scaled first, so that squares of huge or tiny values stay in range.
            block /= np.abs(block).max(axis=1, keepdims=True)
            block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        rows[start : start + step] = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
    return rows, usable
