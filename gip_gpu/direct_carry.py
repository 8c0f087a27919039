"""What the picks of `gip_gpu.direct` project out, for `gip_gpu.extend`: A and S from the rows, and their rounding."""

import math

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.bounds import U64
from gip_gpu.objectives import energies

Floats = NDArray[np.float64]


def projector(rows: Floats, scores: Floats, ridge: float) -> tuple[Floats, Floats]:
    """A (n, d) and S (d, d) of `gip_gpu.backends.items.Items`, P = S S', by an orthogonal decomposition.

    Args:
        rows, scores: (t, d) and (t, n) of the picks; without a ridge the rows are independent.
        ridge: eta.
    """
    d = rows.shape[1]
    if not ridge:
        basis, triangle = np.linalg.qr(rows.T)
        return np.linalg.solve(triangle.T, scores).T @ basis.T, np.eye(d) - basis @ basis.T
    # R'R = X'X + eta I, so that P = eta (R'R)^-1.
    basis, triangle = np.linalg.qr(np.vstack([rows, math.sqrt(ridge) * np.eye(d)]))
    A: Floats = np.linalg.solve(triangle, basis[: len(rows)].T @ scores).T
    return A, math.sqrt(ridge) * np.linalg.inv(triangle)


def drift(rules: Rules, W: Floats, q: Floats) -> float:
    """Bound on the rounding that A collects where each pick, of residual W (t, n), adds a product to it."""
    moved = np.sqrt(energies(W) * np.maximum(q - rules.ridge, 0)) / q if rules.projects else np.sqrt(energies(W))
    return U64 * float((np.cumsum(moved) + 2 * moved).sum())


def least_left(q: Floats, squares: Floats) -> float:
    """The smallest share of its length that a pick's row had left, at most 1."""
    shares = np.divide(q, squares, out=np.ones(len(q)), where=squares > 0)
    return math.sqrt(min(1.0, float(shares.min(initial=1.0))))
