"""The members of the GIP family: what each maximises, and what a pick projects out."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """How the score of an item is made of its residual W_j and its distance d2_j, in the unit of the scaled rows.

    Attributes:
        gain_unit: returns the factor from a score to that of the rows as given, from the square of their common scale.
        longest: returns what no ||W_j|| exceeds where no root of a score exceeds `top`: from top, the ridge and the
            largest d2_j.
        small: whether the plain float64 loop of small pools has it (`gip_gpu.greedy.float64`).
        on_gpu: whether the kernels have it (`kernels/family`).
    """

    gain_unit: Callable[[float], float]
    longest: Callable[[float, float, float], float]
    small: bool = True
    on_gpu: bool = True


MEASURES = {
    "norm": Measure(lambda square: 1.0, lambda top, ridge, largest: top),
    "ratio": Measure(lambda square: 1 / square, lambda top, ridge, largest: top * math.sqrt(ridge + largest)),
    "distance": Measure(lambda square: square, lambda top, ridge, largest: math.inf),
}


@dataclass(frozen=True)
class Objective:
    """A greedy objective: at each step the eligible item of the largest score is picked.

    With P the residual projector of the chosen rows, `eps (eps I + F_S'F_S)^-1` or `I - P_S` for eps = 0, the residual
    is `W = G - F A` and the distance `d2_j = f_j' P f_j`.

    Attributes:
        name: as in `gip_gpu.select`.
        measure: of `MEASURES`; the score is ||W_j||^2 ("norm"), ||W_j||^2 / (eps + d2_j) ("ratio") or d2_j
            ("distance").
        projects: a pick's row is projected out of the other rows too: its column is `F P f_s`, not `F f_s`.
        metric: ||W_j|| is measured by the inverse of `Q' P Q`.
        signs: whether `sign="positive"` can be asked for.
        alone: the name of the objective that picks the same from a single column of scores, without a query; "" for
            none.
    """

    name: str
    measure: str
    projects: bool = True
    metric: bool = False
    signs: bool = True
    alone: str = ""

    @property
    def scored(self) -> bool:
        """Whether it takes scores."""
        return self.measure != "distance"

    def keeps_columns(self, sign: str) -> bool:
        """Whether the columns of the Gram matrix serve, with such a `sign`; else each pick changes the columns of all,
        and the column of a pick is multiplied in its step."""
        return not self.projects and sign == "any"

    def fits_query(self, query: str, n: int) -> bool:
        """Whether a query is fitted to n columns of scores, with such a `query`."""
        return query == "ridge" or (self.metric and n > 1)

    @property
    def scaled(self) -> bool:
        """Whether scores may be divided by any factor: a metric has its own unit, and a distance has none."""
        return not self.metric and self.scored


OBJECTIVES = {
    # Algorithm 1 of the paper: W_j -= (f_j . f_s) W_s.
    "mp": Objective("mp", "norm", projects=False),
    # Algorithm 2, corrected.
    "lr": Objective("lr", "ratio"),
    "mi": Objective("mi", "ratio", metric=True, signs=False, alone="lr"),
    "entropy": Objective("entropy", "distance", signs=False),
    "omp": Objective("omp", "norm"),
}


def residual(scores: Float, rows: Float, A: Float) -> Float:
    """Exact residual scores (c, n) of c items from their scores (c, n), rows (c, d) and A (n, d)."""
    if not scores.shape[1]:
        return scores
    # einsum, not BLAS: identical rows get identical products wherever they stand, so ties stay ties.
    exact: Float = scores - np.einsum("cd,nd->cn", rows, A)
    return exact


def energies(W: Float) -> Float:
    """Squared norms (c,) of residuals (c, n)."""
    squares: Float = np.einsum("cn,cn->c", W, W) if W.shape[1] else np.zeros(len(W))
    return squares


def seen(W: Float, sign: str) -> Float:
    """The part of residuals that counts in a score: all of it, or what is positive."""
    return np.maximum(W, 0.0) if sign == "positive" else W
