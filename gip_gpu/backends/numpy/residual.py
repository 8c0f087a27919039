"""Residual of matching pursuit on the CPU: fused array operations on blocks that stay in cache."""

import math
from collections.abc import Callable, Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.numpy.lookahead import Lookahead
from gip_gpu.backends.numpy.simulation import highest
from gip_gpu.backends.residual import Pending, Residual
from gip_gpu.data.rows import Rows

Array = NDArray[Any]

# Items in a cell. The largest score of each cell is stored, so that the window search reads only a few cells.
CELL = 512
# Items that one pass of the step covers: residual, score, mask and work array fit in a core's L2 cache together.
BLOCK = 128 * CELL


class NumpyResidual(Residual):
    """Float32 arrays by item.

    Args:
        rows: the exact rows.
        square: the factor from a stored Gram entry to a true one.
        n: signals.
        lookahead: returns the lookahead, None without one; called for the first batch, because not every selection
            needs a batch.
    """

    def __init__(self, rows: Rows, square: float, n: int, lookahead: Callable[[], Lookahead | None]) -> None:
        self.rows, self.square, self.lookahead = rows, square, lookahead
        self.m = rows.shape[0]
        cells = -(-self.m // CELL)
        self.W = np.empty((n, self.m), np.float32)
        self.buffer = np.empty(min(BLOCK, self.m), np.float32)
        # Padded to whole cells; the padding stays zero and `window` drops it.
        self.score = np.zeros(cells * CELL, np.float32)
        self.cells = np.zeros(cells, np.float32)
        # The weight of an item that may be picked, else 0.
        self.eligible = np.ones(self.m, np.float32)
        self.counted: Array | None = None
        self.settled = False

    def refresh(
        self,
        scores: NDArray[np.float64],
        unit: float,
        A: NDArray[np.float64],
        pool: NDArray[np.bool_],
        weights: NDArray[np.float32],
    ) -> float:
        # The working set was chosen for the scores of another selection or round.
        self.settled = False
        norms = np.zeros(self.m)
        projected = A.any()
        for start, stop in self.rows.bounds(len(self.W)):
            # Items of earlier rounds may have scores beyond float32 in this round's unit; nothing reads them now.
            exact = np.where(pool[start:stop, None], scores[start:stop] / unit, 0.0)
            if projected:
                exact -= self.rows.block(start, stop) @ A.T
            self.W[:, start:stop] = exact.T
            norms[start:stop] = np.einsum("jn,jn->j", exact, exact)
        self.eligible[:] = weights
        self.counted = None if pool.all() else pool.astype(np.float32)
        for start in range(0, self.m, BLOCK):
            self._rescore(start, min(start + BLOCK, self.m))
        return float(np.sqrt(norms.max(where=weights > 0, initial=0.0)))

    def best(self) -> float:
        return math.sqrt(self.cells.max())

    def window(self, floor: float) -> NDArray[np.int64]:
        threshold = np.float32(floor)
        if threshold <= 0:
            return np.flatnonzero(self.eligible)
        cells = (self.cells >= threshold).nonzero()[0]
        if len(cells) == 1:
            start = int(cells[0]) * CELL
            return (self.score[start : start + CELL] >= threshold).nonzero()[0] + start
        found = (self.score.reshape(-1, CELL)[cells] >= threshold).nonzero()
        return cells[found[0]] * CELL + found[1]

    def block(self, indices: NDArray[np.int64]) -> None:
        self.eligible[indices] = self.score[indices] = 0
        cells = np.unique(indices // CELL)
        self.cells[cells] = self.score.reshape(-1, CELL)[cells].max(axis=1)

    def update(self, index: int | None, column: Array, residual: NDArray[np.float64]) -> float:
        weights = (residual * self.square).astype(np.float32)
        if index is not None:
            self.eligible[index] = 0
        energy = 0.0
        for start in range(0, self.m, BLOCK):
            stop = min(start + BLOCK, self.m)
            product = self.buffer[: stop - start]
            for i, weight in enumerate(weights):
                part = self.W[i, start:stop]
                np.multiply(column[start:stop], weight, out=product, dtype=np.float32)
                np.subtract(part, product, out=part)
            energy += self._rescore(start, stop)
        return energy

    def _rescore(self, start: int, stop: int) -> float:
        """Computes a block's squared norms and cell maxima; returns ||W~||^2 over the round's items in the block."""
        score, buffer = self.score[start:stop], self.buffer[: stop - start]
        energy = 0.0
        for i, residual in enumerate(self.W):
            part = residual[start:stop]
            if self.counted is not None:
                np.multiply(part, self.counted[start:stop], out=buffer)
            seen = part if self.counted is None else buffer
            energy += float(np.dot(seen, seen))
            if i == 0:
                np.multiply(part, part, out=score)
            else:
                np.multiply(part, part, out=buffer)
                np.add(score, buffer, out=score)
        np.multiply(score, self.eligible[start:stop], out=score)
        first, last = start // CELL, -(-stop // CELL)
        np.max(self.score[first * CELL : last * CELL].reshape(-1, CELL), axis=1, out=self.cells[first:last])
        return energy

    def nominees(self, count: int) -> tuple[NDArray[np.int64], Array]:
        """Returns about `count` items with the highest scores, ascending, and their residuals (n, c) in float32."""
        members = highest(self.score[: self.m], count)
        return members, self.W[:, members]

    def prepare(self, count: int) -> None:
        ahead = self.lookahead() if count > 1 and not self.settled else None
        if ahead is not None:
            ahead.settle(self.score[: self.m])
            self.settled = True

    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        if count == 1 or not self.settled:
            return [pick.index]
        ahead = self.lookahead()
        assert ahead is not None
        return ahead.picks(pick, known, self.W, self.score[: self.m], self.square, count, most, self.eligible)
