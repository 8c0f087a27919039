"""Orthogonal decompositions shared by the measures and the query. None of them forms normal equations."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# A vector with no more than this share of its length outside the span of others counts as in the span.
DEPENDENT = 1e-12


class Basis:
    """Orthonormal basis of the span of vectors that are added one by one, by Gram-Schmidt.

    Args:
        dimension: length of the vectors.
        most: largest number of vectors.

    >>> basis = Basis(2, 3)
    >>> [basis.extend(np.array(v))[1] for v in ([3.0, 0.0], [4.0, 2.0], [1.0, 1.0])]
    [3.0, 2.0, 0.0]
    """

    def __init__(self, dimension: int, most: int) -> None:
        self._units = np.zeros((min(dimension, most), dimension))
        self._rank = 0

    def extend(self, vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Adds a vector; returns the unit direction in which it leaves the span, and how far; both 0 if inside."""
        known = self._units[: self._rank]
        left = vector
        for _ in range(2):  # twice is enough for orthogonality to rounding
            left = left - (known @ left) @ known
        length = float(np.linalg.norm(left))
        if self._rank == len(self._units) or not length > DEPENDENT * np.linalg.norm(vector):
            return np.zeros_like(vector), 0.0
        unit = left / length
        self._units[self._rank] = unit
        self._rank += 1
        return unit, length


def triangle(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the R factor of a QR decomposition."""
    return np.asarray(np.linalg.qr(rows, mode="r"), dtype=np.float64)


def folded_triangle(blocks: Iterable[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    """Computes the R factor of stacked blocks of rows of this width, with one block in memory at a time."""
    factor = np.zeros((0, width))
    for block in blocks:
        factor = triangle(np.vstack([factor, block]))
    return factor


def singular_values(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the singular values, in descending order."""
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)


def numerical_rank(singular: NDArray[np.float64], shape: tuple[int, ...]) -> int:
    """Counts the singular values of a matrix of this shape above the rounding of the largest."""
    cut = max(shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    return int((singular > cut).sum())


def row_space(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes the nonzero singular values (rank,) of (k, d) rows and their right singular vectors (d, rank)."""
    _, singular, right = np.linalg.svd(triangle(rows), full_matrices=False)
    rank = numerical_rank(singular, rows.shape)
    return singular[:rank], right[:rank].T


def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes natural logarithms; -inf for zero."""
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(values)
    return logs
