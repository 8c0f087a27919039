"""The metric of the mutual information: the inverse of what the picks leave of the query, Q' P Q."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What is left of a direction of unit length when rounding is all that is left.
TINY = 2.0**-104


@dataclass(frozen=True)
class Parts:
    """Rows phi split by the span of what the picks leave of the query.

    Attributes:
        inside, rest: (c,) squared lengths of the parts within the span and outside it.
        reach: (c,) how far the two parts move, at most, for each unit by which that span's vectors do.
    """

    inside: Floats
    rest: Floats
    reach: Floats


class QueryMetric:
    """B with B B' = (Q' P Q)^-1, as a frame that changes seldom times a relative part that every pick changes.

    Residuals are kept in the frame, `W frame`, so that in float32 they are as exact in the directions that are nearly
    explained as in the others; the relative part starts at I and never shrinks a vector. B is the inverse of the R
    factor of `left = S'Q`: a downdate of Q'PQ itself would lose what little is left to cancellation.

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
        """Nothing is explained."""
        self.left = self.Q.copy()
        self.basis: Floats = self.Q
        self.triangle: Floats = np.eye(self.Q.shape[1])
        self.whole: Floats = self.triangle
        self.renew()

    def restore(self, left: Floats, triangle: Floats) -> None:
        """Goes on from what picks have left of the query, and its R factor."""
        self.left, self.triangle = left, triangle
        self.basis = np.linalg.qr(left)[0]
        self._invert()
        self.renew()

    def renew(self) -> None:
        """What is the metric now becomes the frame."""
        self.frame, self.base = self.whole, self.triangle
        self._relate()

    def _relate(self) -> None:
        self.relative = self.base @ self.whole
        self.norm, self.relative_norm = float(np.linalg.norm(self.whole)), float(np.linalg.norm(self.relative))

    def explain(self, phi: Floats, q: float, ridge: float) -> None:
        """Takes a pick out of the query: `S -= S phi phi' / (q + sqrt(ridge q))`, and so `left` by the same factor."""
        self.left -= np.outer(phi / (q + np.sqrt(ridge * q)), phi @ self.left)
        self.basis, self.triangle = np.linalg.qr(self.left)
        # A direction of the query that is explained to the last bit leaves nothing; the metric is singular then.
        sizes = np.abs(np.diagonal(self.triangle))
        self.triangle[np.diag_indices(len(sizes))] += np.where(sizes < TINY, TINY, 0.0)
        self._invert()
        self._relate()

    def split(self, phi: Floats) -> Parts:
        """The parts of rows phi = S'x, (c, d): within the span of `left` an item tells of the query, outside not."""
        coordinates = phi @ self.basis
        rest = phi - coordinates @ self.basis.T
        # Once more, so that a small rest is orthogonal to rounding.
        rest -= (rest @ self.basis) @ self.basis.T
        squares = np.einsum("cd,cd->c", rest, rest)
        # A rest is no smaller than its rounding.
        squares = np.maximum(squares, (2.0**-53) ** 2 * np.einsum("cd,cd->c", phi, phi) + np.finfo(float).tiny)
        reach = np.linalg.norm(coordinates @ self.whole.T, axis=1) + self.norm * np.sqrt(squares)
        return Parts(np.einsum("cn,cn->c", coordinates, coordinates), squares, reach)

    def _invert(self) -> None:
        self.whole = np.asarray(np.linalg.solve(self.triangle, np.eye(len(self.triangle))))
