"""Standardisation of score columns to one scale; without it the column with the largest spread dominates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.exceptions import TiedScoresWarning, warn
from gip_gpu.numerics import exact_sums

METHODS = ("zscore", "rank")

Floats = NDArray[np.float64]
# Distinct values of a column, ascending, and the number of items with each.
Levels = tuple[Floats, NDArray[np.int64]]


@dataclass(frozen=True)
class Standardization:
    """Standardisation of the scores of a selection.

    Attributes:
        method: "zscore", (x - center) / spread with the mean and the standard deviation of a column, or "rank", the
            average rank of a score among all, from 0 for the lowest to 1 for the highest.
        centers, spreads: mean and standard deviation of each column for "zscore"; empty for "rank". A constant column
            has spread 0.
    """

    method: str
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()

    def apply(self, scores: Floats) -> Floats:
        """Returns z-scores (m, n) of scores (m, n), also of rows added later; a constant column becomes 0."""
        spreads = np.array(self.spreads)
        centred = scores - np.array(self.centers)
        with np.errstate(over="ignore"):
            made: Floats = np.divide(centred, spreads, out=np.zeros(scores.shape), where=spreads > 0)
        return made


def standardized(scores: Floats, method: str) -> tuple[Floats, Standardization]:
    """Standardises the scores (m, n) of a whole pool; returns them and the standardisation.

    Constant columns become 0, with a warning.

    >>> standardized(np.array([[1.0], [5.0], [5.0], [9.0]]), "rank")[0].ravel().tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    m = len(scores)
    if method == "rank":
        places = ranks([[levels(column)] for column in scores.T])
        made, done = by_rank(scores, [of_parts[0] for of_parts in places]), Standardization(method)
        constant = (scores == scores[0]).all(axis=0)
    else:
        centers = [exact_sums.mean([total], m) for total in exact_sums.column_sums(scores)]
        squares = exact_sums.column_sums(deviations(scores, centers))
        done = z_scale(centers, [squares], m)
        made, constant = done.apply(scores), np.array(done.spreads) == 0
    warn_constant(constant)
    return made, done


def deviations(scores: Floats, centers: Sequence[float]) -> Floats:
    """Computes the squared deviations of the scores (m, n) from the centers."""
    squares: Floats = np.square(scores - np.array(centers))
    return squares


def z_scale(centers: Sequence[float], squares: Sequence[Sequence[int]], m: int) -> Standardization:
    """Returns the standardisation to z-scores.

    Args:
        centers: means of the columns. The mean of equal values is exact, so a constant column has spread 0.
        squares: `exact_sums.column_sums` of the `deviations`, for each part of the pool.
        m: number of items in all parts.
    """
    spreads = tuple(math.sqrt(exact_sums.mean(parts, m)) for parts in zip(*squares, strict=True))
    return Standardization("zscore", tuple(centers), spreads)


def levels(column: Floats) -> Levels:
    """Returns the distinct values of a column, ascending, and the number of items with each."""
    values, counts = np.unique(column, return_counts=True)
    return values, counts.astype(np.int64)


def ranks(columns: Sequence[Sequence[Levels]]) -> list[list[Floats]]:
    """Computes, for each column and each part of the pool, the rank in [0, 1] of each of the part's `levels`."""
    found = []
    for parts in columns:
        values, where = np.unique(np.concatenate([values for values, _ in parts]), return_inverse=True)
        counts = np.bincount(where.ravel(), np.concatenate([counts for _, counts in parts])).astype(np.int64)
        above = np.cumsum(counts)
        # Twice the average rank, counted from 0, of the items with each value.
        places = 2 * above - counts - 1
        most = 2 * (int(above[-1]) - 1)
        scale = places / most if len(values) > 1 else np.zeros(1)
        cuts = np.cumsum([len(values) for values, _ in parts])[:-1]
        found.append([scale[own] for own in np.split(where.ravel(), cuts)])
    return found


def by_rank(scores: Floats, places: Sequence[Floats]) -> Floats:
    """Replaces the scores (m, n) by the ranks of their levels; `places` has one array of ranks for each column."""
    columns = [
        rank[np.unique(column, return_inverse=True)[1].ravel()] for column, rank in zip(scores.T, places, strict=True)
    ]
    return np.column_stack(columns)


def warn_constant(constant: NDArray[np.bool_]) -> None:
    """Warns of constant columns if some columns vary; `score_checks` warns if all columns are constant."""
    if constant.any() and not constant.all():
        named = ", ".join(map(str, np.flatnonzero(constant)[:5].tolist())) + (", ..." if constant.sum() > 5 else "")
        warn(
            f"G is constant in column {named}: standardised it is 0 and decides nothing; drop it to be rid of this",
            TiedScoresWarning,
        )
