"""The metric of the mutual information: the inverse of Q' P Q, the part of the query that the picks leave."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Length that is left of a direction of unit length when only rounding is left.
TINY = 2.0**-104


@dataclass(frozen=True)
class Parts:
    """Rows phi, split by the span of the part of the query that the picks leave.

    Attributes:
        inside, rest: (c,) squared lengths of the parts within the span and outside it.
        reach: (c,) bound on how far the two parts move per unit by which the span's vectors move.
    """

    inside: Floats
    rest: Floats
    reach: Floats


class QueryMetric:
    """B with B B' = (Q' P Q)^-1, stored as a frame that seldom changes times a relative part that every pick changes.

    Residuals are stored in the frame, `W frame`, so that float32 is as exact in nearly explained directions as in the
    others. The relative part starts at I and never shrinks a vector. B is the inverse of the R factor of `left = S'Q`:
    a downdate of Q'PQ itself would lose the small remainder to cancellation.

    Args:
        Q: (d, n) with Q'Q = I.

    Attributes:
        frame, relative, whole: (n, n) float64; whole = frame relative = B.
        norm, relative_norm: Frobenius norms of B and of the relative part.
    """

    def __init__(self, Q: Floats) -> None:
        self.Q = Q
        self.restart()

    def restart(self) -> None:
        """Resets the metric: nothing is explained."""
        self.left = self.Q.copy()
        self.basis: Floats = self.Q
        self.triangle: Floats = np.eye(self.Q.shape[1])
        self.whole: Floats = self.triangle
        self.renew()

    def restore(self, left: Floats, triangle: Floats) -> None:
        """Resumes from the part of the query that picks leave, and its R factor."""
        self.left, self.triangle = left, triangle
        self.basis = np.linalg.qr(left)[0]
        self._invert()
        self.renew()

    def renew(self) -> None:
        """Makes the current metric the frame."""
        self.frame, self.base = self.whole, self.triangle
        self._relate()

    def _relate(self) -> None:
        self.relative = self.base @ self.whole
        self.norm, self.relative_norm = float(np.linalg.norm(self.whole)), float(np.linalg.norm(self.relative))

    def explain(self, phi: Floats, q: float, ridge: float) -> None:
        """Projects a pick out of the query: `S -= S phi phi' / (q + sqrt(ridge q))`, and `left` by the same factor."""
        self.left -= np.outer(phi / (q + np.sqrt(ridge * q)), phi @ self.left)
        self.basis, self.triangle = np.linalg.qr(self.left)
        # A query direction that is explained to the last bit leaves nothing, and the metric is singular.
        sizes = np.abs(np.diagonal(self.triangle))
        self.triangle[np.diag_indices(len(sizes))] += np.where(sizes < TINY, TINY, 0.0)
        self._invert()
        self._relate()

    def split(self, phi: Floats) -> Parts:
        """Splits rows phi = S'x, (c, d): the part in the span of `left` is informative about the query."""
        coordinates = phi @ self.basis
        rest = phi - coordinates @ self.basis.T
        # Repeated, so that a small rest is orthogonal up to rounding.
        rest -= (rest @ self.basis) @ self.basis.T
        squares = np.einsum("cd,cd->c", rest, rest)
        # A rest is no smaller than its rounding.
        squares = np.maximum(squares, (2.0**-53) ** 2 * np.einsum("cd,cd->c", phi, phi) + np.finfo(float).tiny)
        reach = np.linalg.norm(coordinates @ self.whole.T, axis=1) + self.norm * np.sqrt(squares)
        return Parts(np.einsum("cn,cn->c", coordinates, coordinates), squares, reach)

    def _invert(self) -> None:
        self.whole = np.asarray(np.linalg.solve(self.triangle, np.eye(len(self.triangle))))
