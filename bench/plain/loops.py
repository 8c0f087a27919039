"""Plain loops: each objective in few lines of float64 NumPy with `argmax`, without bounds, ties, rounds or checks.

A pick's Gram column is one product of all rows with its row. Source: Greedy Information Projection, arXiv 2603.13790,
algorithms 1 and 2, corrected (mp, lr).
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


def projecting(F: ArrayLike, G: ArrayLike | None, k: int, objective: str, epsilon: float) -> NDArray[np.int64]:
    """Greedy lr, omp, mi with the ridge query of G (M = Q'PQ in float64), or entropy, without G.

    C (k, m) holds the rows of the Cholesky factor of the chosen Gram columns. Entropy is the greedy MAP of a
    determinantal point process with the kernel F F' + epsilon I of unit rows, by algorithm 1 of Chen, Zhang, Zhou, Fast
    Greedy MAP Inference for Determinantal Point Process, NeurIPS 2018. The first argmax wins. Rounding decides between
    equal gains, except in the first pick of entropy, where the diagonal is exactly equal.

    >>> F, G = [[1, 0], [0.8, 0.6], [0, 1]], [[1], [2], [3]]
    >>> [projecting(F, G, 2, *how).tolist() for how in (("lr", 0.0), ("mi", 0.01), ("entropy", 0.01))]
    [[2, 0], [2, 1], [0, 2]]
    """
    X, M = unit_rows(F), None
    W = None if objective == "entropy" else np.array(G, np.float64)
    if objective == "mi":
        Q = np.linalg.qr(np.linalg.solve(X.T @ X + epsilon * np.eye(X.shape[1]), X.T @ W))[0]
        W, M = X @ Q, np.eye(Q.shape[1])
    picks, C, d2 = np.empty(k, np.int64), np.empty((k, len(X))), np.full(len(X), 1 + epsilon)
    left = np.ones(len(X), bool)
    for t in range(k):
        if W is None:
            gains = d2
        else:
            gains = ((W if M is None else W @ np.linalg.inv(M)) * W).sum(axis=1)
            gains = np.where(left, gains if objective == "omp" else gains / d2, -1)
        picks[t] = s = gains.argmax()
        left[s] = False
        C[t] = (X @ X[s] - C[:t, s] @ C[:t]) / np.sqrt(d2[s])
        if M is not None:
            M -= np.outer(W[s], W[s]) / d2[s]
        if W is not None:
            W -= np.outer(C[t], W[s] / np.sqrt(d2[s]))
        d2 -= C[t] ** 2
        d2[s] = -np.inf
    return picks
