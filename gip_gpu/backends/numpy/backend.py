"""The NumPy backend: BLAS for the products, fused array operations on blocks that stay in cache for the steps."""

import math
from collections.abc import Container, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.base import HostBackend
from gip_gpu.backends.items import Items, Rules
from gip_gpu.backends.numpy.items import NumpyItems
from gip_gpu.backends.numpy.lookahead import Lookahead
from gip_gpu.backends.numpy.products import Resident, Streamed
from gip_gpu.backends.numpy.simulation import highest
from gip_gpu.data.rows import Rows
from gip_gpu.data.single_rows import SingleRows
from gip_gpu.greedy.state import State
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.plan import Plan

Array = NDArray[Any]

# Items whose largest score is kept, so that finding the window reads a few cells and not the whole residual.
CELL = 512
# Items that one pass of the step covers: residual, score, mask and work array fit a core's L2 cache together.
BLOCK = 128 * CELL


class NumpyBackend(HostBackend):
    """Products in float32 by BLAS, Gram columns kept in float32 or float16."""

    name: ClassVar[str] = "numpy"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")

    def __init__(self, rows: Rows, plan: Plan) -> None:
        super().__init__(rows, plan)
        single = SingleRows(rows, self.exponent)
        self.gamma = error_bounds.gram_entry_error(self.d, plan.precision, roundings=single.roundings)
        self.dtype = np.dtype(np.float16 if plan.precision == "fp16" else np.float32)
        self.products: Resident | Streamed = Resident(single) if plan.resident else Streamed(single)
        self.single, self.size = single, plan.lookahead
        # Made when the first batch is: not every selection comes to one.
        self.lookahead: Lookahead | None = None

    def begin(self, state: State) -> None:
        n = state.scores.shape[1]
        cells = -(-self.m // CELL)
        self.residual = np.empty((n, self.m), np.float32)
        self.buffer = np.empty(min(BLOCK, self.m), np.float32)
        # Padded to whole cells; the padding stays zero and `window` drops it.
        self.score = np.zeros(cells * CELL, np.float32)
        self.cells = np.zeros(cells, np.float32)
        self.eligible = np.ones(self.m, np.float32)
        self.counted: Array | None = None

    def refresh(self, state: State) -> None:
        # Scores of another selection or round say nothing about these.
        self.settled = False
        norms = np.zeros(self.m)
        projected = state.A.any()
        for start, stop in self.rows_of.bounds(len(self.residual)):
            # Items of earlier rounds may have scores beyond float32 in this round's unit; nothing reads them any more.
            exact = np.where(state.pool[start:stop, None], state.scores[start:stop] / state.unit, 0.0)
            if projected:
                exact -= self.rows_of.block(start, stop) @ state.A.T
            self.residual[:, start:stop] = exact.T
            norms[start:stop] = np.einsum("jn,jn->j", exact, exact)
        self.eligible[:] = state.left
        self.counted = None if state.pool.all() else state.pool.astype(np.float32)
        for start in range(0, self.m, BLOCK):
            self._rescore(start, min(start + BLOCK, self.m))
        largest = float(np.sqrt(norms[state.left].max(initial=0.0)))
        state.error = error_bounds.cast_error(largest) + state.noise(self.square)

    def best(self, state: State) -> float:
        return math.sqrt(self.cells.max())

    def window(self, state: State, floor: float) -> NDArray[np.int64]:
        threshold = np.float32(floor)
        if threshold <= 0:
            return np.flatnonzero(state.left)
        cells = (self.cells >= threshold).nonzero()[0]
        if len(cells) == 1:
            start = int(cells[0]) * CELL
            return (self.score[start : start + CELL] >= threshold).nonzero()[0] + start
        found = (self.score.reshape(-1, CELL)[cells] >= threshold).nonzero()
        return cells[found[0]] * CELL + found[1]

    def update(self, state: State, index: int | None, column: Array, residual: NDArray[np.float64]) -> float:
        weights = (residual * self.square).astype(np.float32)
        if index is not None:
            self.eligible[index] = 0
        energy = 0.0
        for start in range(0, self.m, BLOCK):
            stop = min(start + BLOCK, self.m)
            product = self.buffer[: stop - start]
            for i, weight in enumerate(weights):
                part = self.residual[i, start:stop]
                np.multiply(column[start:stop], weight, out=product, dtype=np.float32)
                np.subtract(part, product, out=part)
            energy += self._rescore(start, stop)
        return energy

    def _rescore(self, start: int, stop: int) -> float:
        """Squared norms of a block and the largest of each cell; returns ||W~||^2 over the round's items in it."""
        score, buffer = self.score[start:stop], self.buffer[: stop - start]
        energy = 0.0
        for i, residual in enumerate(self.residual):
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

    def columns(self, indices: Sequence[int], out: Array) -> None:
        self.columns_of(self.rows(indices), out)

    def columns_of(self, rows: NDArray[np.float64], out: Array) -> None:
        """Writes the Gram columns of exact rows (c, d), be they of this pool or not, into `out` (c, m)."""
        self.products.multiply((rows * 2.0**-self.exponent).astype(np.float32), out)

    def empty_columns(self, count: int) -> Array:
        return np.empty((count, self.m), self.dtype)

    def ready(self, columns: Array, count: int) -> None:
        columns.fill(0)
        if count > 1 and self.size and not self.settled:
            if self.lookahead is None:
                self.lookahead = Lookahead(self.single, self.products, self.size)
            self.lookahead.settle(self.score[: self.m])
            self.settled = True

    def gram(self) -> Array:
        assert isinstance(self.products, Resident)
        return self.products.gram(self.dtype)

    def items(self, rules: Rules, n: int) -> Items:
        return NumpyItems(rules, self.rows_of, self.products, self.exponent, n)

    def nominees(self, count: int) -> tuple[NDArray[np.int64], Array]:
        """About `count` items of the highest scores, ascending, and their residuals (n, c) in float32."""
        members = highest(self.score[: self.m], count)
        return members, self.residual[:, members]

    def speculate(self, state: State, known: Container[int], count: int) -> list[int]:
        assert state.pending is not None
        if count == 1 or self.lookahead is None:
            return [state.pending.index]
        return self.lookahead.picks(state, known, self.residual, self.score[: self.m], self.square, count)
