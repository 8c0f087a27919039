"""Query Q as orthonormal columns times a small factor, and its part outside of the span of chosen rows."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import row_norms
from gip_gpu.data.user_arrays import as_query
from gip_gpu.metrics._arguments import chosen_rows
from gip_gpu.numerics.orthogonal import DEPENDENT, log, row_space, singular_values
from gip_gpu.validation.settings import as_epsilon


@dataclass(frozen=True)
class FactoredQuery:
    """Q (d, n) = columns @ factor.

    Attributes:
        columns: (d, w) orthonormal, w = min(d, n).
        factor: (w, n).
        log_determinant: log det(Q'Q), -inf if the columns of Q are linearly dependent.
        dependent: the first column of Q that lies in the span of those before it, or None.
    """

    columns: NDArray[np.float64]
    factor: NDArray[np.float64]
    log_determinant: float
    dependent: int | None

    @classmethod
    def of(cls, Q: Any, d: int) -> "FactoredQuery":
        """Checks and factorises Q; the scale of a column does not affect whether it depends on others."""
        query = as_query(Q, d)
        n = query.shape[1]
        lengths = row_norms(query.T)
        columns, factor = np.linalg.qr(query / np.where(lengths > 0, lengths, 1.0))
        outside = np.zeros(n)  # part of each column outside of the span of those before; 0 after d columns
        outside[: len(factor)] = np.abs(np.diagonal(factor))
        outside[outside <= DEPENDENT] = 0.0
        dependent = int(np.argmin(outside > 0)) if not outside.all() else None
        return cls(columns, factor * lengths, 2 * float((log(lengths) + log(outside)).sum()), dependent)

    def independent(self) -> "FactoredQuery":
        """Returns this query; ValueError if its mutual information is not defined."""
        if self.dependent is not None:
            raise ValueError(
                f"Q has linearly dependent columns: column {self.dependent} is zero or lies in the span of those "
                "before it, so det(Q'Q) = 0 and mutual information is not defined; leave it out"
            )
        return self

    def information(self, left: NDArray[np.float64]) -> float:
        """Returns the mutual information in nats from any matrix `left` with left'left = columns'P columns.

        The singular values are the sines of the principal angles between query and span, if epsilon is 0.
        """
        sines = singular_values(left)
        sines[sines <= DEPENDENT] = 0.0
        return max(0.0, -float(log(sines).sum()))

    def trace(self, left: NDArray[np.float64]) -> float:
        """Returns tr(Q'PQ) from any matrix `left` with left'left = columns'P columns."""
        residual = left @ self.factor
        return float(np.vdot(residual, residual))


def left_of_query(
    F: ArrayLike, Q: Any, indices: ArrayLike, epsilon: float, normalize: bool
) -> tuple[FactoredQuery, NDArray[np.float64]]:
    """Returns the query, and a matrix `left` (d + rank, w) with left'left = columns'P columns."""
    directions, lengths = chosen_rows(F, indices, normalize)
    query, epsilon = FactoredQuery.of(Q, directions.shape[1]), as_epsilon(epsilon)
    singular, frame = row_space(seen_rows(directions, lengths, epsilon))
    inside = frame.T @ query.columns
    outside = query.columns - frame @ inside
    root = math.sqrt(epsilon)
    return query, np.vstack([outside, (root / np.hypot(root, singular))[:, None] * inside])


def seen_rows(directions: NDArray[np.float64], lengths: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """Returns the rows that P depends on; without noise the directions, so that rounding does not lose a short row."""
    return directions * lengths[:, None] if epsilon else directions
