"""The GIP objectives: the quantity that each maximises, and the projection that a pick makes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """Rule that computes the score of an item from its residual W_j and distance d2_j, for rows scaled to norm 1.

    Attributes:
        gain_unit: returns the factor from a score to the score of the rows as given; takes the square of the rows'
            common scale.
        longest: returns a bound on every ||W_j||, if no root of a score exceeds `top`; takes top, the ridge and the
            largest d2_j.
        small: whether the plain float64 loop of small pools implements it (`gip_gpu.greedy.float64`).
        on_gpu: whether the kernels implement it (`kernels/family`).
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
    """Greedy objective: each step picks the eligible item with the largest score.

    With P the residual projector of the chosen rows, `eps (eps I + F_S'F_S)^-1` or `I - P_S` for eps = 0, the residual
    is `W = G - F A` and the distance `d2_j = f_j' P f_j`.

    Attributes:
        name: as in `gip_gpu.select`.
        measure: key of `MEASURES`; the score is ||W_j||^2 ("norm"), ||W_j||^2 / (eps + d2_j) ("ratio") or d2_j
            ("distance").
        projects: whether a pick's row is also projected out of the other rows: its column is `F P f_s`, not `F f_s`.
        metric: whether ||W_j|| is measured by the inverse of `Q' P Q`.
        signs: whether `sign="positive"` is supported.
        alone: the name of the objective that makes the same picks from a single column of scores, without a query; ""
            for none.
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
        """Returns whether Gram columns can be reused with this `sign`.

        If not, each pick changes the columns of all items, and the column of a pick is computed in its step.
        """
        return not self.projects and sign == "any"

    def fits_query(self, query: str, n: int) -> bool:
        """Returns whether a query is fitted to n columns of scores, with this `query`."""
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
    """Computes exact residuals (c, n) of c items from their scores (c, n), rows (c, d) and A (n, d)."""
    if not scores.shape[1]:
        return scores
    # einsum, not BLAS: identical rows get identical products in every position, so ties stay ties.
    exact: Float = scores - np.einsum("cd,nd->cn", rows, A)
    return exact


def energies(W: Float) -> Float:
    """Computes squared norms (c,) of residuals (c, n)."""
    squares: Float = np.einsum("cn,cn->c", W, W) if W.shape[1] else np.zeros(len(W))
    return squares


def seen(W: Float, sign: str) -> Float:
    """Returns the part of residuals that counts in a score: all, or only the positive part."""
    return np.maximum(W, 0.0) if sign == "positive" else W
