"""The compared variants: algorithm 1 of arXiv 2603.13790 in plain float32 NumPy, in two versions, and `gip_gpu.select`.

All start from the loaded embeddings and scores; their own preparation is part of the time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.runner import child, pools

# A product of a matrix with its own transpose whose result has 2**31 entries or more can crash in one call.
ROWS_IN_ONE_CALL = 46_340
BLOCK = 2048

Array = NDArray[Any]


def as_written(F: Array, G: Array, k: int) -> NDArray[np.int64]:
    """Algorithm 1 with the Gram matrix as the plain expression X @ X.T."""
    X = pools.unit_rows(F, np.float32)
    if len(X) <= ROWS_IN_ONE_CALL:
        return greedy(X @ X.T, G, k)
    Phi = np.empty((len(X), len(X)), np.float32)
    for start in range(0, len(X), BLOCK):
        Phi[start : start + BLOCK] = X[start : start + BLOCK] @ X.T
    return greedy(Phi, G, k)


def in_place(F: Array, G: Array, k: int) -> NDArray[np.int64]:
    """Algorithm 1 with BLAS writing straight into the Gram matrix."""
    X = pools.unit_rows(F, np.float32)
    Phi = np.empty((len(X), len(X)), np.float32)
    block = len(X) if len(X) <= ROWS_IN_ONE_CALL else BLOCK
    for start in range(0, len(X), block):
        np.matmul(X[start : start + block], X.T, out=Phi[start : start + block])
    return greedy(Phi, G, k)


def greedy(Phi: Array, G: Array, k: int, store: Callable[[Array], Array] = np.asarray) -> NDArray[np.int64]:
    """Greedy loop in the type of `Phi`: picks the largest ||W_j||^2 of the remaining items, then applies its rank-one
    update to W.

    `store` rounds the residual after each step.
    """
    W = store(G.astype(Phi.dtype).reshape(len(Phi), -1))
    left = np.ones(len(Phi), dtype=bool)
    picks = np.empty(k, dtype=np.int64)
    for t in range(k):
        picks[t] = s = np.where(left, np.einsum("jn,jn->j", W, W), -np.inf).argmax()
        left[s] = False
        W -= np.outer(Phi[s], W[s])
        W = store(W)
    return picks


def plain_bytes(m: int, d: int) -> int:
    """Returns the memory of the plain variants: the Gram matrix, one block of it, the rows and their squares."""
    return 4 * (m * m + m * min(m, BLOCK) + 2 * m * d)


OURS = "gip_gpu"
VARIANTS: dict[str, Callable[[Array, Array, int], dict[str, Any]]] = {
    "plain NumPy float32, as written": lambda F, G, k: child.timed(lambda: as_written(F, G, k)),
    "plain NumPy float32, BLAS into place": lambda F, G, k: child.timed(lambda: in_place(F, G, k)),
    OURS: child.selection,
}


def run(case: str, variant: str, quick: bool) -> dict[str, Any]:
    """Runs a variant once, in its own process."""
    chosen = pools.find(case, quick)
    return VARIANTS[variant](*pools.load(chosen), chosen.k)
