"""Plain loops: each objective in few lines of float64 NumPy with `argmax`, without bounds, ties, rounds or checks.

A pick's Gram column is one product of all rows with its row. lr, mi and omp store C (k, m), the rows of the Cholesky
factor of the chosen Gram columns, as `bench.family.textbook` does for entropy. Source: Greedy Information Projection,
arXiv 2603.13790, algorithms 1 and 2, corrected (mp, lr).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.runner.pools import unit_rows


def mp(F: ArrayLike, G: ArrayLike, k: int, positive: bool = False) -> NDArray[np.int64]:
    """Matching pursuit; `positive`: by the positive part of the residual, restarted from G if nothing is positive.

    >>> mp([[1, 0], [1, 0], [0, 1]], [[3], [2.5], [1]], 2).tolist()
    [0, 2]
    """
    X, W = unit_rows(F), np.array(G, np.float64)
    picks, left = np.empty(k, np.int64), np.ones(len(X), bool)
    for t in range(k):
        seen = np.maximum(W, 0) if positive else W
        if positive and not seen[left].any():
            W = np.array(G, np.float64)
            seen = np.maximum(W, 0)
        picks[t] = s = np.where(left, (seen * seen).sum(axis=1), -1).argmax()
        left[s] = False
        W -= np.outer(X @ X[s], W[s])
    return picks


def regression(F: ArrayLike, G: ArrayLike, k: int, epsilon: float, ratio: bool) -> NDArray[np.int64]:
    """Greedy LR (`ratio`), or orthogonal matching pursuit.

    >>> regression([[1, 0], [0.8, 0.6], [0, 1]], [[1], [2], [3]], 2, 0.0, True).tolist()
    [2, 0]
    """
    X, W = unit_rows(F), np.array(G, np.float64)
    picks, C, d2 = np.empty(k, np.int64), np.empty((k, len(X))), np.full(len(X), 1 + epsilon)
    left = np.ones(len(X), bool)
    for t in range(k):
        scores = (W * W).sum(axis=1)
        picks[t] = s = np.where(left, scores / d2 if ratio else scores, -1).argmax()
        left[s] = False
        C[t] = (X @ X[s] - C[:t, s] @ C[:t]) / np.sqrt(d2[s])
        W -= np.outer(C[t], W[s] / np.sqrt(d2[s]))
        d2 -= C[t] ** 2
        d2[s] = np.inf
    return picks


def mi(F: ArrayLike, G: ArrayLike, k: int, epsilon: float) -> NDArray[np.int64]:
    """Greedy mutual information with the ridge query of G, M = Q'PQ in float64.

    >>> mi([[1, 0], [0.8, 0.6], [0, 1]], [[1], [2], [3]], 2, 0.01).tolist()
    [2, 1]
    """
    X = unit_rows(F)
    Q = np.linalg.qr(np.linalg.solve(X.T @ X + epsilon * np.eye(X.shape[1]), X.T @ np.asarray(G, np.float64)))[0]
    W, M = X @ Q, np.eye(Q.shape[1])
    picks, C, d2 = np.empty(k, np.int64), np.empty((k, len(X))), np.full(len(X), 1 + epsilon)
    left = np.ones(len(X), bool)
    for t in range(k):
        picks[t] = s = np.where(left, (W @ np.linalg.inv(M) * W).sum(axis=1) / d2, -1).argmax()
        left[s] = False
        C[t] = (X @ X[s] - C[:t, s] @ C[:t]) / np.sqrt(d2[s])
        M -= np.outer(W[s], W[s]) / d2[s]
        W -= np.outer(C[t], W[s] / np.sqrt(d2[s]))
        d2 -= C[t] ** 2
        d2[s] = np.inf
    return picks
