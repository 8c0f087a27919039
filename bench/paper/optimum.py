"""Value of a set of rows for one query, and the optimum over all sets of each size by brute force."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def projections(F: Float, q: Float, subsets: NDArray[np.int64]) -> Float:
    """Computes `q' P_S q`, (N,), for N sets S of k <= d rows; P_S projects onto their span by a QR decomposition.

    Args:
        F: (m, d) rows, any k of them independent.
        q: (d,) query.
        subsets: (N, k) indices.
    """
    bases = np.linalg.qr(F[subsets].transpose(0, 2, 1))[0]
    return np.asarray(((q @ bases) ** 2).sum(axis=1))


def optima(F: Float, q: Float) -> Float:
    """Computes the largest `q' P_S q` over all sets S of 1, 2, ... m rows, (m,): 2^m sets, so m is small; m at most d.

    >>> optima(np.array([[2.0, 0, 0], [0, 1.0, 0], [0, 0.6, 0.8]]), np.array([1.0, 2.0, 0.0]))
    array([4., 5., 5.])
    """
    m = len(F)
    return np.array([projections(F, q, np.array(list(combinations(range(m), k)))).max() for k in range(1, m + 1)])


def reached(F: Float, q: Float, indices: NDArray[np.int64]) -> Float:
    """Computes `q' P_S q` of the first, the first two, ... of the selected rows, (k,).

    >>> reached(np.eye(3), np.array([1.0, 2.0, 3.0]), np.array([2, 0]))
    array([ 9., 10.])
    """
    return np.cumsum((q @ np.linalg.qr(F[indices].T)[0]) ** 2)
