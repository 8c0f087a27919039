"""The items of the GIP family on the CPU: a matrix-vector product a pick, and passes over blocks that stay in cache."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import ties
from gip_gpu.backends.items import Doubt, Fresh, Items, Move, Projector, Rules
from gip_gpu.backends.numpy_products import Products
from gip_gpu.rows import Rows

Array = NDArray[Any]
Floats = NDArray[np.float64]

# Items whose largest bound is kept, so that finding the window reads a few cells and not all items.
CELL = 512
# Items that one pass covers: their arrays fit a core's L2 cache together.
BLOCK = 64 * CELL
# Candidates are rescored in blocks of this many float64 values, however many there are.
RESCORE_VALUES = 1 << 20


class NumpyItems(Items):
    """Float32 arrays by item, S and A in float64.

    Args:
        rows: the exact rows.
        products: the rows x as they are multiplied.
        exponent: x is f divided by 2**exponent.
    """

    def __init__(self, rules: Rules, rows: Rows, products: Products, exponent: int, n: int) -> None:
        self.rules, self.rows, self.products = rules, rows, products
        self.factor = 2.0**-exponent
        self.m, self.d = rows.shape
        self.gamma = products.gamma
        cells = -(-self.m // CELL)
        self.W = np.empty((n, self.m), np.float32)
        self.distance = np.empty(self.m if rules.measure != "norm" else 0, np.float32)
        self.column = np.empty(self.m, np.float32)
        # Padded to whole cells, which no candidate comes from.
        self.upper = np.full(cells * CELL, -1, np.float32)
        self.cells = np.empty(cells, np.float32)
        self.buffers = np.empty((3 + n, min(BLOCK, self.m)), np.float32)

    def restart(self, scores: Floats, pool: NDArray[np.bool_]) -> None:
        self.scores = scores
        self.eligible = pool.copy()
        self.counted = None if pool.all() else pool.astype(np.float32)
        self.projector = Projector(self.rules, scores.shape[1], self.d)
        self.untouched = True

    def _rows(self, indices: Any) -> Floats:
        return self.rows.take(indices) * self.factor

    def _squares(self, indices: Any) -> Floats:
        """Squared norms of the rows x."""
        norms: Floats = self.rows.norms[indices]
        return np.ones(len(norms)) if self.rows.normalize else np.square(norms * self.factor)

    def _exact(self, indices: Any, x: Floats) -> tuple[Floats, Floats]:
        """Residuals (c, n) and distances (c,) of the items with these rows (c, d), by BLAS where it does not matter."""
        return self.projector.exact(self.scores[indices], x)

    def carry(self) -> tuple[Floats, Floats | None]:
        S = self.projector.S
        return self.projector.A.copy(), None if S is None else S.copy()

    def eligible_items(self) -> NDArray[np.bool_]:
        return self.eligible

    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        self.projector.A, self.projector.S = A, S
        if eligible is not None:
            self.eligible = eligible.copy()
        self.untouched = False

    def refresh(self, frame: Floats | None) -> Fresh:
        largest = farthest = 0.0
        for start, stop in self.rows.bounds(max(len(self.W), self.d)):
            items = slice(start, stop)
            squares = self._squares(items)
            if self.untouched:
                exact, distances = self.scores[items], squares
            else:
                exact, distances = self._exact(items, self.rows.block(start, stop) * self.factor)
            exact = exact if frame is None else exact @ frame
            self.W[:, items] = exact.T
            eligible = self.eligible[items]
            if self.rules.projects:
                eligible &= self.rules.ridge + distances > ties.DEPENDENT * squares
            if len(self.distance):
                self.distance[items] = distances
            largest = max(largest, float(np.einsum("jn,jn->j", exact, exact).max(where=eligible, initial=0.0)))
            farthest = max(farthest, float(distances.max(where=eligible, initial=0.0)))
        return Fresh(float(np.sqrt(largest)), farthest, float(np.linalg.norm(self.projector.A)))

    def rate(self, doubt: Doubt) -> float:
        best = -1.0
        for start in range(0, self.m, BLOCK):
            best = max(best, self._rate(start, min(start + BLOCK, self.m), doubt))
        return best

    def _rate(self, start: int, stop: int, doubt: Doubt) -> float:
        """Upper bounds of a block's items, the largest of each cell; returns the largest lower bound."""
        upper = self.upper[start:stop]
        lower, spare = self.buffers[0, : stop - start], self.buffers[1, : stop - start]
        if self.rules.measure == "distance":
            np.add(self.distance[start:stop], np.float32(doubt.distance), out=upper)
            np.subtract(upper, np.float32(2 * doubt.distance), out=lower)
        else:
            norms = self._norms(start, stop, doubt.metric)
            np.add(norms, np.float32(doubt.residual), out=upper)
            np.subtract(norms, np.float32(doubt.residual), out=lower)
        np.maximum(lower, 0, out=lower)
        if self.rules.measure == "ratio":
            a, b = (np.float32(value) for value in self.rules.share)
            distances = self.distance[start:stop]
            for sign, bound in ((1, lower), (-1, upper)):
                np.add(distances, np.float32(sign * doubt.distance), out=spare)
                np.maximum(spare, 0, out=spare)
                np.multiply(spare, b, out=spare)
                np.add(spare, a, out=spare)
                np.sqrt(spare, out=spare)
                # Over zero the upper bound is infinite; a lower one may stay undivided, as no divisor exceeds 1.
                np.divide(bound, spare, out=bound, where=True if sign < 0 else spare > 0)
        out = ~self.eligible[start:stop]
        upper[out] = -1
        lower[out] = -1
        first, last = start // CELL, -(-stop // CELL)
        np.max(self.upper[first * CELL : last * CELL].reshape(-1, CELL), axis=1, out=self.cells[first:last])
        return float(lower.max())

    def _norms(self, start: int, stop: int, metric: Floats | None) -> Array:
        """||W~_j metric|| of a block, or of its positive part."""
        spare, total = self.buffers[1, : stop - start], self.buffers[2, : stop - start]
        parts: Array = self.W[:, start:stop]
        if metric is not None:
            parts = np.matmul(metric.T.astype(np.float32), parts, out=self.buffers[3:, : stop - start])
        total[:] = 0
        for part in parts:
            if self.rules.positive:
                part = np.maximum(part, 0, out=spare)
            np.multiply(part, part, out=spare)
            np.add(total, spare, out=total)
        return np.sqrt(total, out=total)

    def project(self, move: Move, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        self.untouched = False
        phi, g = self.projector.project(row, residual, q)
        self.products.column((g / unit).astype(np.float32), self.column)
        return phi

    def update(self, move: Move, doubt: Doubt) -> tuple[float, float]:
        if move.index is not None:
            self.eligible[move.index] = False
        weights, shrink = move.weights.astype(np.float32), np.float32(move.shrink)
        best, energy = -1.0, 0.0
        for start in range(0, self.m, BLOCK):
            stop = min(start + BLOCK, self.m)
            column, spare = self.column[start:stop], self.buffers[1, : stop - start]
            for weight, part in zip(weights, self.W[:, start:stop], strict=True):
                np.multiply(column, weight, out=spare)
                np.subtract(part, spare, out=part)
                energy += self._sum_of_products(start, part, part, spare)
            if len(self.distance):
                np.multiply(column, column, out=spare)
                np.multiply(spare, shrink, out=spare)
                distances = self.distance[start:stop]
                np.subtract(distances, spare, out=distances)
            best = max(best, self._rate(start, stop, doubt))
        if self.rules.measure == "distance":
            counted = self.distance if self.counted is None else self.distance * self.counted
            energy = float(counted.sum(dtype=np.float64))
        return best, energy

    def _sum_of_products(self, start: int, left: Array, right: Array, spare: Array) -> float:
        """left . right over the items of the round's pool."""
        if self.counted is not None:
            right = np.multiply(right, self.counted[start : start + len(right)], out=spare)
        return float(np.dot(left, right))

    def candidates(self, floor: float) -> tuple[NDArray[np.int64], Floats, Floats]:
        threshold = np.float32(max(floor, 0.0))
        cells = (self.cells >= threshold).nonzero()[0]
        found = (self.upper.reshape(-1, CELL)[cells] >= threshold).nonzero()
        indices = cells[found[0]] * CELL + found[1]
        if self.untouched:
            return indices, self.scores[indices], self._squares(indices)
        W, distances = np.empty((len(indices), len(self.W))), np.empty(len(indices))
        step = max(1, RESCORE_VALUES // self.d)
        for start in range(0, len(indices), step):
            part = slice(start, start + step)
            W[part], distances[part] = self._exact(indices[part], self._rows(indices[part]))
        return indices, W, distances

    def settle(self, indices: NDArray[np.int64], residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        # BLAS gives identical rows last-bit-different products, depending on where they stand in a block: one by one,
        # in the same place, they get the same.
        S = self.projector.S
        if S is None:
            return residuals, distances
        row, settled = np.empty(self.d), distances.copy()
        for place, x in enumerate(self._rows(indices)):
            row[:] = x
            phi = row @ S
            settled[place] = phi @ phi
        return residuals, settled

    def remaining(self, x: Floats) -> Floats:
        return self.projector.remaining(x)

    def drop(self, indices: NDArray[np.int64]) -> None:
        self.eligible[indices] = False
