"""What differs between the members of the GIP family: the exact residual, its gain, and what a pick projects out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Objective(Protocol):
    """The three formulas that the certified step needs of an objective, in float64."""

    def residual(self, scores: Float, rows: Float, A: Float) -> Float:
        """Exact residual scores (c, n) of c items from their scores (c, n), rows (c, d) and A (n, d)."""

    def gain(self, residual: Float) -> Float:
        """What choosing each item adds, (c,), from its residual (c, n)."""

    def project(self, A: Float, row: Float, residual: Float) -> None:
        """Adds to A (n, d) what the pick with this row (d,) and residual (n,) projects out."""


class MatchingPursuit:
    """mp: greedy matching pursuit, algorithm 1 of the paper: argmax ||W_j||^2, W_j -= (f_j . f_s) W_s."""

    def residual(self, scores: Float, rows: Float, A: Float) -> Float:
        # einsum, not BLAS: identical rows get identical products wherever they stand, so ties stay ties.
        exact: Float = scores - np.einsum("cd,nd->cn", rows, A)
        return exact

    def gain(self, residual: Float) -> Float:
        gains: Float = np.einsum("cn,cn->c", residual, residual)
        return gains

    def project(self, A: Float, row: Float, residual: Float) -> None:
        A += residual[:, None] * row


OBJECTIVES: dict[str, Objective] = {"mp": MatchingPursuit()}
