"""Simulation of the greedy loop inside a working set of items, in float32: the probable next picks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.residual import Pending

Array = NDArray[Any]


def simulate(rows: Array, ahead: Array, open_: Array, pick: Pending, square: float, steps: int) -> Iterator[int]:
    """Yields the positions of the next picks inside a working set, in float32; projects each out before the next.

    Args:
        rows: (p, d) float32 rows, stored divided by a power of two.
        ahead: (n, p) float32 residual before `pick` is projected out; changed.
        open_: (p,) float32, the weights of the items that can be picked and 0 for the others; changed.
        pick: the first pick, in the working set or not.
        square: factor from products of stored rows to true ones.
        steps: largest number of picks.
    """
    weights = pick.residual.astype(np.float32)
    row = (pick.row / np.sqrt(square)).astype(np.float32)
    column, product = np.empty(len(rows), np.float32), np.empty_like(ahead)
    gains = np.empty(len(rows), np.float32)
    for _ in range(steps):
        np.matmul(rows, row, out=column)
        np.multiply((weights * square).astype(np.float32)[:, None], column, out=product)
        np.subtract(ahead, product, out=ahead)
        np.einsum("np,np->p", ahead, ahead, out=gains)
        np.multiply(gains, open_, out=gains)
        best = int(gains.argmax())
        if not gains[best] > 0:
            return
        open_[best] = 0
        row, weights = rows[best], ahead[:, best].copy()
        yield best


def highest(score: Array, size: int) -> NDArray[np.int64]:
    """Returns about `size` items with the highest positive scores, ascending; the threshold is read off a sample."""
    stride = max(1, min(16, len(score) // (4 * size)))
    sample = score[::stride]
    rank = len(sample) - 1 - min(len(sample) - 1, size // stride)
    threshold = max(np.partition(sample, rank)[rank], np.finfo(np.float32).tiny)
    # Ties may give too many items; the lowest indices are as good as any.
    return np.flatnonzero(score >= threshold)[: 2 * size]
