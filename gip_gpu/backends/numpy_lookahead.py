"""Lookahead of the NumPy backend: the greedy loop run ahead on the items that matter most, to learn which Gram columns
to compute together. It decides how long a selection takes, never what it selects."""

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.state import State

Array = NDArray[Any]


class Lookahead:
    """Simulates the next picks inside a working set of the highest scores.

    Inside the working set the simulation is the selection itself up to rounding; it errs once an item from outside
    overtakes, and from there on most of what it foresees is wrong, for the greedy sequence is chaotic. On 52,002
    sentence embeddings about 4 of 5 columns computed get used (`bench/results`).

    Args:
        rows: (m, d) float32 rows, stored divided by a power of two.
        size: items in the working set.
    """

    def __init__(self, rows: Array, size: int) -> None:
        self.rows = rows
        self.size = size
        self.work = np.empty((2 * size, rows.shape[1]), np.float32)
        self.work.fill(np.nan)

    def picks(
        self, state: State, known: Container[int], residual: Array, score: Array, square: float, count: int
    ) -> list[int]:
        """The pending pick and up to count - 1 simulated ones that are not `known`, in order.

        Args:
            state: of the selection, with a pending pick.
            known: items that have a column.
            residual, score: (n, m) residual and (m,) squared norms, zero for items that are taken.
            square: what products of stored rows are multiplied by.
            count: columns wanted.
        """
        assert state.pending is not None
        found = [state.pending.index]
        members = self._members(score)
        rows = np.take(self.rows, members, axis=0, out=self.work[: len(members)], mode="clip")
        ahead = residual[:, members]
        open_ = np.ones(len(members), np.float32)
        open_[members == found[0]] = 0
        weights = state.pending.residual.astype(np.float32)
        row = (state.pending.row / np.sqrt(square)).astype(np.float32)
        column, product = np.empty(len(members), np.float32), np.empty_like(ahead)
        gains = np.empty(len(members), np.float32)
        for _ in range(min(state.k - state.t, 4 * count) - 1):
            np.matmul(rows, row, out=column)
            np.multiply((weights * square).astype(np.float32)[:, None], column, out=product)
            np.subtract(ahead, product, out=ahead)
            np.einsum("np,np->p", ahead, ahead, out=gains)
            np.multiply(gains, open_, out=gains)
            best = int(gains.argmax())
            if not gains[best] > 0:
                break
            open_[best] = 0
            row, weights = rows[best], ahead[:, best].copy()
            index = int(members[best])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _members(self, score: Array) -> Array:
        """About `size` items of the highest positive scores, ascending; the threshold is read off a sample."""
        stride = max(1, min(16, len(score) // (4 * self.size)))
        sample = score[::stride]
        rank = len(sample) - 1 - min(len(sample) - 1, self.size // stride)
        threshold = max(np.partition(sample, rank)[rank], np.finfo(np.float32).tiny)
        # Ties can add up; the lowest indices are as good as any.
        return np.flatnonzero(score >= threshold)[: 2 * self.size]
