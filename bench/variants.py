"""What is compared: algorithm 1 of arXiv 2603.13790 in plain float32 NumPy, written in two ways, and `gip_gpu.select`.

All take the embeddings and the scores as they were loaded; what they do to them is part of the time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gip_gpu

# A product of a matrix with its own transpose whose result has 2**31 entries or more can crash in one call.
ROWS_IN_ONE_CALL = 46_340
BLOCK = 2048

Array = NDArray[Any]
# Indices, and what else is worth knowing about the run.
Result = tuple[NDArray[np.int64], dict[str, Any]]


def as_written(F: Array, G: Array, k: int) -> Result:
    """Algorithm 1 with the Gram matrix as one writes it down."""
    X = unit_rows(F)
    if len(X) <= ROWS_IN_ONE_CALL:
        Phi = X @ X.T
    else:
        Phi = np.empty((len(X), len(X)), np.float32)
        for start in range(0, len(X), BLOCK):
            Phi[start : start + BLOCK] = X[start : start + BLOCK] @ X.T
    return greedy(Phi, G, k), {}


def in_place(F: Array, G: Array, k: int) -> Result:
    """Algorithm 1 with BLAS writing straight into the Gram matrix."""
    X = unit_rows(F)
    Phi = np.empty((len(X), len(X)), np.float32)
    block = len(X) if len(X) <= ROWS_IN_ONE_CALL else BLOCK
    for start in range(0, len(X), block):
        np.matmul(X[start : start + block], X.T, out=Phi[start : start + block])
    return greedy(Phi, G, k), {}


def select(F: Array, G: Array, k: int) -> Result:
    """`gip_gpu.select` with its defaults, and how many Gram columns it computed."""
    selection = gip_gpu.select(F, G, k)
    notes = {"computed": selection.computed, "strategy": selection.plan.columns, "rounds": selection.rounds}
    return selection.indices, notes


VARIANTS: dict[str, Callable[[Array, Array, int], Result]] = {
    "plain NumPy float32, as written": as_written,
    "plain NumPy float32, BLAS into place": in_place,
    "gip_gpu": select,
}
OURS = "gip_gpu"


def unit_rows(F: Array) -> NDArray[np.float32]:
    """Rows in float32, divided by their norms."""
    X = F.astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X


def greedy(Phi: NDArray[np.float32], G: Array, k: int) -> NDArray[np.int64]:
    """The loop: the largest ||W_j||^2 of the items left, and its rank-1 update of W."""
    W = G.astype(np.float32).reshape(len(Phi), -1)
    left = np.ones(len(Phi), dtype=bool)
    picks = np.empty(k, dtype=np.int64)
    for t in range(k):
        gains = np.einsum("jn,jn->j", W, W)
        picks[t] = s = np.where(left, gains, -np.inf).argmax()
        left[s] = False
        W -= np.outer(Phi[s], W[s])
    return picks


def plain_bytes(m: int, d: int) -> int:
    """Memory that the plain variants need: the Gram matrix, one block beside it, the rows and their squares."""
    return 4 * (m * m + m * min(m, BLOCK) + 2 * m * d)
