"""Items of the projecting objectives on the CPU: one matrix-vector product a pick, and passes over cached blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import ErrorBounds, Items, Projector, RankOneUpdate, RefreshStatistics, Rules
from gip_gpu.backends.numpy.products import Products
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import ties
from gip_gpu.numerics.error_bounds import OFF
from gip_gpu.problem.objectives import energies

Array = NDArray[Any]
Floats = NDArray[np.float64]

# Items in a cell. The largest bound of each cell is stored, so that the window search reads only a few cells.
CELL = 512
# Items that one pass covers: their arrays fit in a core's L2 cache together.
BLOCK = 64 * CELL
# Cells with candidates that are processed together.
PORTION = 64
# Candidates are rescored in blocks of this many float64 values, however many there are.
RESCORE_VALUES = 1 << 20


class NumpyItems(Items):
    """Float32 arrays by item, S and A in float64.

    Args:
        rows: the exact rows.
        products: products with the rows x.
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
        # Limit of the upper bounds: -1 for ineligible items, so that they are never candidates; else infinity.
        self.most = np.empty(self.m, np.float32)
        # Padded to whole cells.
        self.upper = np.full(cells * CELL, -1, np.float32)
        self.cells = np.empty(cells, np.float32)
        # The only candidate and its row, if there is just one; the pick and the part phi of its row.
        self.sole: tuple[int, Floats] | None = None
        self.pick: tuple[int, Floats] | None = None
        self.buffers = np.empty((3 + n, min(BLOCK, self.m)), np.float32)
        # Factors (2, m) of the lower and upper bounds by the weights of the items; None without weights.
        self.factors: Array | None = None

    def restart(self, scores: Floats, pool: NDArray[np.bool_]) -> None:
        self.scores = scores
        self.eligible = pool.copy()
        self.counted = None if pool.all() else pool.astype(np.float32)
        if self.item_weights is not None and self.factors is None:
            shares = self.item_weights if self.rules.measure == "distance" else np.sqrt(self.item_weights)
            # Covers the rounding of the factor and of its product.
            self.factors = np.stack([shares * (1 - OFF), shares * (1 + OFF)]).astype(np.float32)
        self.projector = Projector(self.rules, scores.shape[1], self.d)
        self.untouched = True

    def _rows(self, indices: Any) -> Floats:
        rows = self.rows.take(indices)
        if self.factor != 1:
            rows *= self.factor
        return rows

    def _squares(self, indices: Any) -> Floats:
        """Returns the squared norms of the rows x."""
        norms: Floats = self.rows.norms[indices]
        return np.ones(len(norms)) if self.rows.normalize else np.square(norms * self.factor)

    def _exact(self, indices: Any, x: Floats) -> tuple[Floats, Floats]:
        """Returns residuals (c, n) and distances (c,) of the items with these rows (c, d); BLAS for the distances."""
        return self.projector.exact(self.scores[indices], x)

    def carry(self) -> tuple[Floats, Floats | None]:
        return self.projector.A.copy(), self.projector.S

    def projector_parts(self) -> dict[str, Floats]:
        return self.projector.parts()

    def compose(self, parts: Mapping[str, Any]) -> None:
        self.projector.compose(parts)

    def eligible_items(self) -> NDArray[np.bool_]:
        return self.eligible

    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        self.projector.A, self.projector.S = A, S
        if eligible is not None:
            self.eligible = eligible.copy()
        self.untouched = False

    def refresh(self, frame: Floats | None) -> RefreshStatistics:
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
            largest = max(largest, float(energies(exact).max(where=eligible, initial=0.0)))
            farthest = max(farthest, float(distances.max(where=eligible, initial=0.0)))
        return RefreshStatistics(float(np.sqrt(largest)), farthest, float(np.linalg.norm(self.projector.A)))

    def rate(self, errors: ErrorBounds) -> float:
        self.most[:] = np.where(self.eligible, np.float32(np.inf), np.float32(-1))
        best = -1.0
        for start in range(0, self.m, BLOCK):
            best = max(best, self._rate(start, min(start + BLOCK, self.m), errors))
        return best

    def _rate(self, start: int, stop: int, errors: ErrorBounds) -> float:
        """Computes a block's upper bounds and their cell maxima; returns the largest lower bound."""
        upper, most = self.upper[start:stop], self.most[start:stop]
        if self.rules.measure == "ratio":
            lower, width = self._ratios(start, stop, errors, upper), np.float32(0)
        else:
            # All bounds have the same width: the largest lower bound belongs to the largest upper bound.
            lower = upper
            if self.rules.measure == "distance":
                values, error = self.distance[start:stop], np.float32(errors.distance)
            else:
                values, error = self._norms(start, stop, errors.metric), np.float32(errors.residual)
            np.add(values, error, out=upper)
            width = 2 * error
        if self.factors is not None:
            lower, width = self._weigh(start, stop, errors, lower, upper, width), np.float32(0)
        np.minimum(upper, most, out=upper)
        if lower is not upper:
            np.minimum(lower, most, out=lower)
        highest = lower.max()
        if np.isnan(highest):
            # Ineligible items may have unbounded values.
            upper[most < 0] = lower[most < 0] = -1
            highest = lower.max()
        best = float(highest) if highest < 0 else max(float(highest - width), 0.0)
        first, last = start // CELL, -(-stop // CELL)
        np.max(self.upper[first * CELL : last * CELL].reshape(-1, CELL), axis=1, out=self.cells[first:last])
        return best

    def _weigh(
        self, start: int, stop: int, errors: ErrorBounds, lower: Array, upper: Array, width: np.float32
    ) -> Array:
        """Multiplies the upper bounds of a block by the weights of its items; returns weighted lower bounds."""
        assert self.factors is not None
        if lower is upper:
            # Less the rounding of the upper bound.
            lower = self.buffers[0, : stop - start]
            np.multiply(upper, np.float32(1 - OFF), out=lower)
            np.subtract(lower, width, out=lower)
            np.maximum(lower, 0, out=lower)
        if errors.metric is not None:
            self._inform(start, stop, lower, upper)
            return lower
        np.multiply(lower, self.factors[0, start:stop], out=lower)
        np.multiply(upper, self.factors[1, start:stop], out=upper)
        return lower

    def _inform(self, start: int, stop: int, lower: Array, upper: Array) -> None:
        """Replaces the bounds of a block's ratios by bounds of its items' information, in nats times their weights."""
        assert self.item_weights is not None
        for bound, way in ((lower, 1 - 2 * OFF), (upper, 1 + 2 * OFF)):
            # A ratio is scaled to a divisor of at most 1, and its root is below 1.
            squares = np.square(bound.astype(np.float64) * way) * self.rules.share[1]
            nats = np.full(len(squares), np.inf)
            np.log1p(-squares, out=nats, where=squares < 1)
            bound[:] = np.abs(nats) / 2 * self.item_weights[start:stop] * way

    def _ratios(self, start: int, stop: int, errors: ErrorBounds, upper: Array) -> Array:
        """Writes upper bounds of a block's ratios; returns the lower ones."""
        lower, spare = self.buffers[0, : stop - start], self.buffers[1, : stop - start]
        norms, distances = self._norms(start, stop, errors.metric), self.distance[start:stop]
        error, distance = np.float32(errors.residual), np.float32(errors.distance)
        a, b = (np.float32(value) for value in self.rules.share)
        np.subtract(norms, error, out=lower)
        np.maximum(lower, 0, out=lower)
        np.add(norms, error, out=upper)
        # The lower bound's divisor is at least its own error, so that it is never zero.
        for way, least, bound in ((distance, distance, lower), (-distance, np.float32(0), upper)):
            np.add(distances, way, out=spare)
            np.maximum(spare, least, out=spare)
            if self.rules.ridge:
                np.multiply(spare, b, out=spare)
                np.add(spare, a, out=spare)
            np.sqrt(spare, out=spare)
            # With a zero divisor the upper bound is infinite.
            np.divide(bound, spare, out=bound)
        return lower

    def _norms(self, start: int, stop: int, metric: Floats | None) -> Array:
        """Computes ||W~_j metric|| of a block, or of its positive part."""
        spare, total = self.buffers[1, : stop - start], self.buffers[2, : stop - start]
        parts: Array = self.W[:, start:stop]
        if metric is not None:
            parts = np.matmul(metric.T.astype(np.float32), parts, out=self.buffers[3:, : stop - start])
        if len(parts) == 1:
            np.abs(parts[0], out=total) if not self.rules.positive else np.maximum(parts[0], 0, out=total)
            return total
        into = total
        for part in parts:
            if self.rules.positive:
                part = np.maximum(part, 0, out=spare)
            np.multiply(part, part, out=into)
            if into is spare:
                np.add(total, spare, out=total)
            into = spare
        return np.sqrt(total, out=total)

    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        self.untouched = False
        known = self.pick[1] if self.pick is not None and self.pick[0] == move.index else None
        self.pick = None
        phi, g = self.projector.project(row, residual, q, known)
        self.products.column((g / unit).astype(np.float32), self.column)
        return phi

    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        if move.index is not None:
            self.eligible[move.index] = False
            self.most[move.index] = -1
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
            best = max(best, self._rate(start, stop, errors))
        if self.rules.measure == "distance":
            counted = self.distance if self.counted is None else self.distance * self.counted
            energy = float(counted.sum(dtype=np.float64))
        return best, energy

    def _sum_of_products(self, start: int, left: Array, right: Array, spare: Array) -> float:
        """Computes left . right over the items of the round's pool."""
        if self.counted is not None:
            right = np.multiply(right, self.counted[start : start + len(right)], out=spare)
        return float(np.dot(left, right))

    def candidates(self, floor: float) -> tuple[NDArray[np.int64], Floats, Floats]:
        return self._candidates(self._cells(floor), floor)

    def spent(self, error: float) -> bool:
        # In a round that is not over, the first cell usually suffices.
        if self.rules.ridge or not len(self.distance) or not self._within(slice(CELL), error):
            return False
        return self._within(slice(None), error)

    def _within(self, items: slice, error: float) -> bool:
        """Returns whether d2~ is at most this error for all eligible items among these."""
        return bool(self.distance[items].max(where=self.eligible[items], initial=0.0) <= error)

    def wide(self, floor: float) -> bool:
        return len(self._cells(floor)) > PORTION

    def portions(self, floor: float) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
        cells = self._cells(floor)
        for start in range(0, len(cells), PORTION):
            yield self._candidates(cells[start : start + PORTION], floor)

    def _cells(self, floor: float) -> NDArray[np.int64]:
        """Returns the cells with candidates."""
        return (self.cells >= np.float32(max(floor, 0.0))).nonzero()[0]

    def _candidates(self, cells: NDArray[np.int64], floor: float) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Returns the candidates in these cells."""
        threshold = np.float32(max(floor, 0.0))
        if len(cells) == 1:
            first = int(cells[0]) * CELL
            indices = (self.upper[first : first + CELL] >= threshold).nonzero()[0] + first
        else:
            found = (self.upper.reshape(-1, CELL)[cells] >= threshold).nonzero()
            indices = cells[found[0]] * CELL + found[1]
        self.sole = None
        if self.untouched:
            return indices, self.scores[indices], self._squares(indices)
        step = max(1, RESCORE_VALUES // self.d)
        if len(indices) <= step:
            x = self._rows(indices)
            self.sole = (int(indices[0]), x[0]) if len(x) == 1 else None
            return indices, *self._exact(indices, x)
        W, distances = np.empty((len(indices), len(self.W))), np.empty(len(indices))
        for start in range(0, len(indices), step):
            part = slice(start, start + step)
            W[part], distances[part] = self._exact(indices[part], self._rows(indices[part]))
        return indices, W, distances

    def alone(self, index: int) -> tuple[Floats, float] | None:
        row = self.sole[1] if self.sole is not None and self.sole[0] == index else self._rows([index])[0]
        phi = self.projector.remaining(row)
        self.pick = index, phi
        return row, float(self._squares([index])[0] if self.untouched else phi @ phi)

    def settle(self, indices: NDArray[np.int64], residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        # BLAS products of identical rows may differ in the last bit by their position in a block. Computed one by one,
        # from the same buffer, they are identical.
        row, settled = np.empty(self.d), distances.copy()
        for place, x in enumerate(self._rows(indices)):
            row[:] = x
            phi = self.projector.remaining(row)
            settled[place] = phi @ phi
        return residuals, settled

    def remaining(self, x: Floats) -> Floats:
        return self.projector.remaining(x)

    def drop(self, indices: NDArray[np.int64]) -> None:
        self.eligible[indices] = False
