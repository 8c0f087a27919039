"""Regularised least squares on a few rows, computed from its definition."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class RegularisedFit:
    """Ridge regression of scores (t, n) on rows S (t, d) from an orthogonal decomposition.

    With epsilon it decomposes [S; sqrt(epsilon) I]; without, S', whose columns must be independent.

    Attributes:
        log_det: log det(S S' + epsilon I).
        explained: tr(G_S' (S S' + epsilon I)^-1 G_S).
        solution: (d, n) S' (S S' + epsilon I)^-1 G_S.
    """

    def __init__(self, S: Floats, G_S: Floats, epsilon: float) -> None:
        t, d = S.shape
        self.epsilon = epsilon
        if epsilon:
            self.basis, self.triangle = np.linalg.qr(np.vstack([S, np.sqrt(epsilon) * np.eye(d)]))
            target = np.vstack([G_S, np.zeros((d, G_S.shape[1]))])
            along = self.basis.T @ target
            self.solution = np.linalg.solve(self.triangle, along)
            left = target - self.basis @ along
            self.explained = float(np.vdot(left, left)) / epsilon
            self.log_det = log_det(self.triangle) + (t - d) * np.log(epsilon)
        else:
            self.basis, self.triangle = np.linalg.qr(S.T)
            along = np.linalg.solve(self.triangle.T, G_S)
            self.solution = self.basis @ along
            self.explained = float(np.vdot(along, along))
            self.log_det = log_det(self.triangle)

    def unexplained(self, Q: Floats) -> Floats:
        """Returns L with L'L = Q'PQ, with P = epsilon (epsilon I + S'S)^-1, or I less the projector on the rows."""
        if self.epsilon:
            return np.asarray(np.sqrt(self.epsilon) * np.linalg.solve(self.triangle.T, Q))
        left: Floats = Q - self.basis @ (self.basis.T @ Q)
        left -= self.basis @ (self.basis.T @ left)
        return left


def log_det(factor: Floats) -> float:
    """Computes log det(L'L)."""
    with np.errstate(divide="ignore"):
        return 2 * float(np.log(np.abs(np.diagonal(np.linalg.qr(factor)[1]))).sum())
