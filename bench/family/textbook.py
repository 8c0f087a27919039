"""Greedy MAP of a determinantal point process, by the textbook algorithm.

Source: Chen, Zhang, Zhou, Fast Greedy MAP Inference for Determinantal Point Process, NeurIPS 2018, algorithm 1.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.family.entries import DPP, find
from bench.runner import child
from bench.runner.pools import unit_rows


def greedy_map(F: ArrayLike, k: int, epsilon: float) -> NDArray[np.int64]:
    """Returns k items by falling gain in log det of the kernel F F' + epsilon I of unit rows, in float64.

    C (k, m) holds the rows of the Cholesky factor; a row of the kernel is computed when its item is picked. The first
    argmax wins. Rounding decides between equal gains, except in the first pick, where the diagonal is exactly equal.

    >>> greedy_map([[1, 0], [0.8, 0.6], [0, 1]], 2, 0.01).tolist()
    [0, 2]
    """
    X = unit_rows(F)
    d2, C = np.full(len(X), 1 + epsilon), np.empty((k, len(X)))
    picks = np.empty(k, np.int64)
    for t in range(k):
        picks[t] = s = d2.argmax()
        C[t] = (X @ X[s] - C[:t, s] @ C[:t]) / np.sqrt(d2[s])
        d2 -= C[t] ** 2
        d2[s] = -np.inf
    return picks


def needed_bytes(m: int, d: int, k: int) -> int:
    """Returns the memory of `greedy_map`: C, two copies of the rows during normalisation, and a few vectors."""
    return 8 * (k * m + 2 * m * d + 4 * m)


def run(quick: bool) -> dict[str, Any]:
    """Runs the algorithm once, in its own process."""
    entry = find(DPP, quick)
    F, _ = entry.load()
    return child.timed(lambda: greedy_map(F, entry.case.k, entry.epsilon))
