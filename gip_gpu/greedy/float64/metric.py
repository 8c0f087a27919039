"""The metric of the mutual information in small pools: the inverse of M = Q'PQ, downdated by each pick."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import U64

Floats = NDArray[np.float64]

# From the norm SHARP of B or the score FULL on, downdates have lost too many digits.
SHARP, FULL = 1e4, 0.999


class Downdated:
    """The metric B with B B' = M^-1.

    Args:
        n: columns of the query Q, with Q'Q = I.

    Attributes:
        B: (n, n); None once M has lost its digits.
        norm: Frobenius norm of B; infinite if B is None.
    """

    def __init__(self, n: int) -> None:
        self.M = np.eye(n)
        self.B: Floats | None = np.eye(n)
        self.norm = math.sqrt(n)

    def explain(self, weights: Sequence[float]) -> None:
        """Projects a pick out, M -= w'w; `weights` is w, its residual over the root of its q."""
        self.become(self.M - np.outer(weights, weights))

    def become(self, M: Floats) -> None:
        """Sets M (n, n) and recomputes B."""
        self.M = M
        try:
            self.B = np.asarray(np.linalg.inv(np.linalg.cholesky(self.M)).T)
        except np.linalg.LinAlgError:
            self.B, self.norm = None, math.inf
            return
        self.norm = float(np.linalg.norm(self.B))
        if not self.norm <= SHARP:
            self.B, self.norm = None, math.inf


def share(n: int, d: int, t: Floats, inverse: Floats, explained: Floats, norm: Floats, given: float = 0.0) -> Floats:
    """Bounds the relative error of any ||W_j B|| that comes from the error of M.

    Entries of M are Schur complements of the Gram matrix of picks and query, as d2 and W are: see
    `gip_gpu.numerics.error_bounds.factor_errors`.

    Args:
        n, d: columns of the query, their length.
        t: picks.
        inverse, explained: bounds on the norms of the inverse of the picks' triangle and of W's coefficients.
        norm: Frobenius norm of B.
        given: bound on the initial error of entries of the Gram matrix.
    """
    rounding = (2 * t + 8) * U64 + given
    delta, spread = error_bounds.dot_error(d, U64) + rounding, np.sqrt(t) * inverse * explained
    error: Floats = 2 * n * (delta * (1 + spread) ** 2 + rounding * (1 + explained**2)) * norm**2
    return error


def tie(value: Floats, least: Floats, norm: Floats, ridge: float) -> Floats:
    """Bounds how far the root of a score r, not above `value`, moves within a tie of the information.

    The bound is `ties.information_moves` times the moves of `QueryMetric.split`, for parts with inside = r q and
    ridge + rest = (1 - r) q; r moves by 2 (1 - r) for each unit of the information. It is infinite from `FULL` on.

    Args:
        value: roots of scores.
        least: smallest q.
        norm: Frobenius norm of B.
    """
    score = np.minimum(value * value, FULL)
    moves = value / np.sqrt(least) * (1 + value / np.sqrt(1 - score)) * (1 + 2 * norm * math.sqrt(1 + ridge))
    moved = ties.TIE * (moves - np.log1p(-score) / 2) / value
    return np.where((score > 0) & (score < FULL), moved, math.inf)
