"""Orthogonal decompositions that the measures and the query share. None of them forms normal equations."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# A vector with no more than this share of its length outside the span of others is taken to lie in it.
DEPENDENT = 1e-12


class Basis:
    """Orthonormal basis of the span of vectors that come one by one, by Gram-Schmidt.

    Args:
        dimension: length of the vectors.
        most: how many will come at most.

    >>> basis = Basis(2, 3)
    >>> [basis.extend(np.array(v))[1] for v in ([3.0, 0.0], [4.0, 2.0], [1.0, 1.0])]
    [3.0, 2.0, 0.0]
    """

    def __init__(self, dimension: int, most: int) -> None:
        self._units = np.zeros((min(dimension, most), dimension))
        self._rank = 0

    def extend(self, vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """The unit direction in which a vector leaves the span so far, and how far; both zero if it lies in it."""
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
    """The R factor of a QR decomposition."""
    return np.asarray(np.linalg.qr(rows, mode="r"), dtype=np.float64)


def folded_triangle(blocks: Iterable[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    """The R factor of blocks of rows of this width stacked, holding one of them at a time."""
    factor = np.zeros((0, width))
    for block in blocks:
        factor = triangle(np.vstack([factor, block]))
    return factor


def singular_values(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Singular values, falling."""
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)


def numerical_rank(singular: NDArray[np.float64], shape: tuple[int, ...]) -> int:
    """How many singular values of a matrix of this shape stand out of the rounding of the largest."""
    cut = max(shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    return int((singular > cut).sum())


def row_space(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The singular values that are not zero, (rank,), of (k, d) rows, and their right singular vectors, (d, rank)."""
    _, singular, right = np.linalg.svd(triangle(rows), full_matrices=False)
    rank = numerical_rank(singular, rows.shape)
    return singular[:rank], right[:rank].T


def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms; -inf of zero."""
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(values)
    return logs
