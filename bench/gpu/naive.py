"""Plain loops of algorithm 1 of arXiv 2603.13790 on a GPU: a whole float32 Gram matrix, one pick at a time.

Each pick is copied to the host (`.item()`) before the next one.
"""

from collections.abc import Callable
from typing import Any


def torch_loop(F: Any, G: Any, k: int) -> list[int]:
    """Returns k picks from torch tensors F (m, d) and G (m, n)."""
    import torch

    X = F.float()
    X = X / X.norm(dim=1, keepdim=True)
    Phi = X @ X.T
    W = G.to(torch.float32, copy=True)
    left = torch.ones(len(X), dtype=torch.bool, device=X.device)
    picks = []
    for _ in range(k):
        gains = (W * W).sum(dim=1).masked_fill(~left, -1.0)
        s = int(gains.argmax().item())
        picks.append(s)
        left[s] = False
        W -= torch.outer(Phi[s], W[s])
    return picks


def cupy_loop(F: Any, G: Any, k: int) -> list[int]:
    """Returns k picks from CuPy arrays F (m, d) and G (m, n)."""
    import cupy

    X = F.astype(cupy.float32)
    X = X / cupy.linalg.norm(X, axis=1, keepdims=True)
    Phi = X @ X.T
    W = G.astype(cupy.float32)
    left = cupy.ones(len(X), dtype=bool)
    picks = []
    for _ in range(k):
        gains = cupy.where(left, (W * W).sum(axis=1), cupy.float32(-1))
        s = int(gains.argmax().item())
        picks.append(s)
        left[s] = False
        W -= cupy.outer(Phi[s], W[s])
    return picks


LOOPS: dict[str, Callable[[Any, Any, int], list[int]]] = {"torch": torch_loop, "cupy": cupy_loop}


def naive_bytes(m: int, d: int, n: int) -> int:
    """Returns the device memory of a loop: the Gram matrix, two float32 copies of the rows, a few of the scores."""
    return 4 * (m * m + 2 * m * d + m * (4 * n + 4))
