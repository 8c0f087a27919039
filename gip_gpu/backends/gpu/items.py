"""Items of the projecting objectives on a GPU: the launches of each pick, and their arrays.

A pick that the host decides takes four small products with S by the library and two launches. `step` reads the rows
once for the pick's column and updates all arrays by item; `candidates` lists the window with exact values. The host
reads a few hundred bytes after each of the two, and decides. `gip_gpu.backends.gpu.picks` makes picks on the same
arrays without the host.

The device arrays, in addition to the rows and norms of the backend (n signals, at least one):

    scores           (m, n)  float64, in `State.unit`; zero for items that left the pool in an earlier round
    A                (n, d)  float64
    S                (d, d)  float64
    W                (n, m)  float32, the residual W~ in the metric's frame
    distance         (m,)    float32, d2~
    weight           (m,)    float32: of an eligible item its weight, at most 1; 0 picked or dropped in this round, -1
                             left the pool earlier
    upper            (m,)    float32, the upper bound of an eligible item's score, else -1
    parts            (parts, 2) float64: largest lower bound, and energy over the items with weight >= 0
    h                (d,)    float32
    weights          (n,)    float32
    metric           (n, n)  float32
    candidate_index  (m,)    int64, the candidates in any order
    candidate_value  (m, 1 + n) float64, their exact distances and residuals
    count            (1,)    int64, how many
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.items import ErrorBounds, Items, RankOneUpdate, RefreshStatistics, Rules
from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import error_bounds, ties

Floats = NDArray[np.float64]


class ItemsBackend(Protocol):
    """Rows on a device and launches over them; `gip_gpu.backends.gpu.backend.GpuBackend` documents each."""

    m: int
    d: int
    arrays: Arrays
    rows_of: Rows
    multiply: str
    input_dtype: str
    multiplied_without_cast: bool
    resident: bool
    norms: Any
    factor: float
    stored: Any
    products: Any

    def _upload(self, values: NDArray[Any], kind: str) -> Any: ...
    def _chunks(self) -> list[tuple[int, int]]: ...
    def _cast(self, rows: Any, norms: Any) -> Any: ...
    def _step_terms(self) -> int: ...
    def _step_parts(self, count: int) -> int: ...
    def _family_step(
        self,
        items: "GpuItems",
        rows: Any,
        first: int,
        count: int,
        parts: Any,
        move: RankOneUpdate | None,
        errors: ErrorBounds,
    ) -> None: ...
    def _family_candidates(self, items: "GpuItems", floor: float) -> None: ...


class GpuItems(Items):
    """Arrays by item on a device. The backend supplies the launches of the two kernels."""

    def __init__(self, backend: ItemsBackend, rules: Rules, n: int) -> None:
        self.backend, self.rules, self.arrays = backend, rules, backend.arrays
        # A column is computed in float32 in registers, without tensor cores.
        self.gamma = error_bounds.gram_entry_error(
            backend.d, multiply=backend.multiply, given=backend.multiplied_without_cast, terms=backend._step_terms()
        )
        self.m, self.d, self.given_signals = backend.m, backend.d, n
        self.n = max(n, 1)
        empty = self.arrays.empty
        with self.arrays.device_scope():
            self.scores, self.A = empty((self.m, self.n), "fp64"), empty((self.n, self.d), "fp64")
            self.S = empty((self.d, self.d), "fp64")
            self.W, self.distance = empty((self.n, self.m), "fp32"), empty((self.m,), "fp32")
            self.weight, self.upper = empty((self.m,), "fp32"), empty((self.m,), "fp32")
            self.candidate_index, self.candidate_value = empty((self.m,), "int64"), empty((self.m, 1 + self.n), "fp64")
            self.count = empty((1,), "int64")
            self.x, self.phi, self.g = (empty((self.d,), "fp64") for _ in range(3))
            self.h = empty((self.d,), "fp32")
            self.weights, self.metric = empty((self.n,), "fp32"), empty((self.n, self.n), "fp32")
            # (first item, items, parts before) of each launch of `step`.
            chunks = [(0, self.m)] if backend.resident else backend._chunks()
            self.launches, parts = [], 0
            for start, stop in chunks:
                self.launches.append((start, stop - start, parts))
                parts += backend._step_parts(stop - start)
            self.parts = empty((parts, 2), "fp64")
        self.identity = True

    def restart(self, scores: Floats, pool: NDArray[np.bool_]) -> None:
        with self.arrays.device_scope():
            padded = scores if self.given_signals else np.zeros((self.m, 1))
            self.arrays.put(self.scores, padded)
            weights = 1.0 if self.item_weights is None else self.item_weights
            self.arrays.put(self.weight, np.where(pool, weights, -1.0).astype(np.float32))
            self.A[:] = 0
            self.arrays.put(self.S, np.eye(self.d))
            self.identity = True

    def carry(self) -> tuple[Floats, Floats | None]:
        with self.arrays.device_scope():
            A: Floats = self.arrays.get(self.A)[: self.given_signals]
            return A, None if self.identity else self.arrays.get(self.S)

    def eligible_items(self) -> NDArray[np.bool_]:
        with self.arrays.device_scope():
            eligible: NDArray[np.bool_] = self.arrays.get(self.weight) > 0
            return eligible

    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        with self.arrays.device_scope():
            if self.given_signals:
                self.arrays.put(self.A, A)
            self.identity = S is None
            if S is not None:
                self.arrays.put(self.S, S)
            if eligible is not None:
                weight = self.arrays.get(self.weight)
                self.arrays.put(self.weight, np.where((weight > 0) & ~eligible, 0, weight).astype(np.float32))

    def refresh(self, frame: Floats | None) -> RefreshStatistics:
        """Recomputes by the library's float64 products, chunk by chunk; it is seldom called."""
        largest = farthest = 0.0
        with self.arrays.device_scope():
            metric = None if frame is None else self.backend._upload(frame, "fp64")
            for start, stop in self.backend._chunks():
                x = self.arrays.double(self._given(start, stop), self.backend.input_dtype)
                x /= self.backend.norms[start:stop, None]
                x *= self.backend.factor
                exact = self.scores[start:stop] - x @ self.A.T
                if metric is not None:
                    exact = exact @ metric
                self.W[:, start:stop] = exact.T
                squares = (x * x).sum(axis=1)
                if not self.identity:
                    x = x @ self.S
                distances = (x * x).sum(axis=1)
                self.distance[start:stop] = distances
                weight = self.weight[start:stop]
                if self.rules.projects:
                    gone = (self.rules.ridge + distances <= ties.DEPENDENT * squares) & (weight > 0)
                    weight[gone] = 0
                eligible = weight > 0
                largest = max(largest, float(((exact * exact).sum(axis=1) * eligible).max()))
                farthest = max(farthest, float((distances * eligible).max()))
            projected = float((self.A * self.A).sum()) ** 0.5
        return RefreshStatistics(largest**0.5, farthest, projected)

    def _given(self, start: int, stop: int) -> Any:
        """Returns rows as given, on the device."""
        stored = self.backend.stored
        if self.backend.resident or isinstance(self.backend.rows_of.values, DeviceMatrix):
            return stored[start:stop]
        self.arrays.synchronize()
        rows = self.arrays.load(stored, start, stop)
        self.arrays.synchronize()
        return rows

    def rate(self, errors: ErrorBounds) -> float:
        with self.arrays.device_scope():
            return self._step(None, errors)[0]

    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        with self.arrays.device_scope():
            self.arrays.put(self.x, row)
            phi = g = self.x
            if self.rules.projects:
                if not self.identity:
                    phi = self.S.T @ self.x
                    g = self.S @ phi
                if not self.rules.ridge:
                    phi = g = g * (q**0.5 / (g * g).sum() ** 0.5)
                step = g / (q + (self.rules.ridge * q) ** 0.5)
                self.S -= step[:, None] * phi[None, :]
                self.identity = False
            if self.given_signals:
                self.A += self.backend._upload(residual / q, "fp64")[:, None] * g[None, :]
            self.h[:] = g / unit
            return self.arrays.get(phi) if self.rules.measure == "ratio" else row

    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        with self.arrays.device_scope():
            if move.index is not None:
                self.weight[move.index : move.index + 1] = 0
            return self._step(move, errors)

    def _step(self, move: RankOneUpdate | None, errors: ErrorBounds) -> tuple[float, float]:
        """Launches `step`; returns the largest lower bound, and the energy."""
        weights = np.zeros(self.n) if move is None or not self.given_signals else move.weights
        metric = np.eye(self.n) if errors.metric is None else errors.metric
        self.arrays.put(self.weights, weights.astype(np.float32))
        self.arrays.put(self.metric, metric.astype(np.float32))
        backend = self.backend
        self.arrays.visits += len(self.launches)
        streaming = not backend.resident and move is not None
        if streaming:
            self.arrays.synchronize()
        for turn, (first, count, before) in enumerate(self.launches):
            parts = self.parts[before : before + backend._step_parts(count)]
            if not streaming:
                rows = backend.products[first : first + count] if backend.products is not None else self.candidate_value
                backend._family_step(self, rows, first, count, parts, move, errors)
                continue
            with self.arrays.stream_scope(turn % 2):
                rows = self.arrays.load(backend.stored, first, first + count)
                if not backend.multiplied_without_cast:
                    rows = backend._cast(rows, backend.norms[first : first + count])
                backend._family_step(self, rows, first, count, parts, move, errors)
        if streaming:
            self.arrays.synchronize()
        found = self.arrays.get(self.parts)
        return float(found[:, 0].max()), float(found[:, 1].sum())

    def candidates(self, floor: float) -> tuple[NDArray[np.int64], Floats, Floats]:
        with self.arrays.device_scope():
            self.count[:] = 0
            self.arrays.visits += 1
            self.backend._family_candidates(self, max(floor, 0.0))
            count = int(self.arrays.get(self.count)[0])
            found, value = self.arrays.get(self.candidate_index[:count]), self.arrays.get(self.candidate_value[:count])
        order = np.argsort(found)
        return found[order], value[order, 1 : 1 + self.given_signals], value[order, 0]

    def remaining(self, x: Floats) -> Floats:
        if self.identity:
            return x
        with self.arrays.device_scope():
            found: Floats = self.arrays.get(self.backend._upload(x, "fp64") @ self.S)
        return found

    def drop(self, indices: NDArray[np.int64]) -> None:
        with self.arrays.device_scope():
            self.arrays.scatter(self.weight, indices, np.zeros(len(indices), np.float32))
