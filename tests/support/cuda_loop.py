"""Host for the CUDA loop, on NumPy arrays: the work of a GPU backend around its launches."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np

from gip_gpu.backends.gpu import layout
from gip_gpu.backends.gpu.layout import Code, HeaderF64, HeaderI64, Record
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import decision, loop
from gip_gpu.greedy.state import Reason, State
from gip_gpu.numerics import error_bounds
from gip_gpu.problem.objectives import OBJECTIVES
from tests.support.cuda_on_cpu.emulator import KERNELS, build

# Number of blocks of `refresh`, and items per chunk of its rows.
REFRESH_BLOCKS, CHUNK = 3, 700


def store(values, kind):
    """Returns values rounded to "fp16", "bf16", "fp32" or "fp64", as the kernels read them, and the same in float64."""
    if kind == "bf16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return bits.astype(np.uint16), (bits << 16).astype(np.uint32).view(np.float32).astype(np.float64)
    stored = np.ascontiguousarray(values, {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}[kind])
    return stored, stored.astype(np.float64)


def compiled(op, n, threads, *, rows="fp32", columns="fp32", sanitize=None, folder=KERNELS):
    kinds = {f"ROWS_{rows.upper()}": ""}
    if op != "refresh":
        kinds[f"COLUMN_{columns.upper()}"] = ""
    macros = {**layout.macros(), **kinds, "SIGNALS": n, "THREADS": threads}
    return build(op, macros, sanitize=sanitize, threads=sanitize == "thread", folder=folder)


def pool(m, d, n, seed=0):
    """Returns rows in a cone, as embeddings are, and scores that they explain nearly completely."""
    rng = np.random.default_rng(seed)
    F = rng.standard_normal((m, d)) + 0.7
    return F, F @ rng.standard_normal((d, n)) / np.sqrt(d) + 0.1 * rng.standard_normal((m, n))


class Slots:
    """Gram columns in a few slots: missing ones are computed for the pending pick and the most promising items."""

    def __init__(self, host, count, batch):
        self.host, self.batch, self.next = host, min(batch, count), 0
        self.held = np.full(count, -1)
        # A slot that is read too early gives NaN.
        self.table = store(np.full((count, host.m), np.nan), host.kind)[0]

    def provide(self, pick):
        ranked = np.argsort(-self.host.score, kind="stable")
        wanted = [pick.index, *ranked[self.host.slots[ranked] < 0].tolist()]
        for item in list(dict.fromkeys(wanted))[: self.batch]:
            slot = self.next % len(self.held)
            if self.held[slot] >= 0:
                self.host.slots[self.held[slot]] = -1
            self.held[slot] = item
            self.host.slots[item] = slot
            self.table[slot] = self.host.column(item)
            self.next += 1


class Host:
    """Selection whose steps are launches of loop.cu. `values` is `F` rounded to the format `rows`."""

    stride, empty_rounds, column_seconds = 1, False, 0.0

    def __init__(
        self,
        F,
        *,
        rows="fp32",
        columns="fp32",
        normalize=True,
        blocks=3,
        threads=64,
        in_shared=False,
        slots=64,
        batch=8,
        steps=50,
        seed=0,
        **how,
    ):
        self.stored, self.values = store(F, rows)
        self.exact = Rows(self.values, normalize=normalize)
        self.m, self.d = self.exact.shape
        self.norms = self.exact.norms.copy() if normalize else np.ones(self.m)
        self.rows, self.kind, self.normalize = rows, columns, normalize
        exponent = 0 if normalize else int(np.frexp(self.exact.largest)[1])
        self.square = 4.0**exponent
        self.scaled = (self.exact.block(0, self.m) * 2.0**-exponent).astype(np.float32)
        self.gamma = error_bounds.gram_entry_error(self.d, columns)
        self.blocks, self.threads, self.in_shared = blocks, threads, in_shared
        self.steps, self.seed, self.how = steps, seed, how
        self.columns = Slots(self, slots, batch)
        self.reasons = Counter()

    def column(self, item):
        return store(self.scaled @ self.scaled[item], self.kind)[0]

    def select(self, G, k, on_exhausted="restart"):
        """Returns the filled State of a selection."""
        G = np.asarray(G, np.float64).reshape(self.m, -1)
        state = State(scores=G, k=k, d=self.d, objective=OBJECTIVES["mp"])
        loop.run(self, state, on_exhausted)
        return state

    def begin(self, state):
        n = state.scores.shape[1]
        self.slots = np.full(self.m, -1, np.int32)
        self.scores, self.A, self.W = np.empty((self.m, n)), np.empty((n, self.d)), np.empty((n, self.m), np.float32)
        self.score, self.weight = np.empty(self.m, np.float32), np.empty(self.m, np.float32)
        self.candidate_index, self.candidate_value = np.full(self.m, -1 << 60), np.empty((self.m, 1 + n))
        self.best, self.energy = np.empty(self.blocks, np.float32), np.empty(self.blocks)
        self.header_f64, self.header_i64 = np.empty(HeaderF64.RESIDUAL + n), np.full(layout.PLACES, -1 << 60)
        self.record = np.empty((self.steps, Record.WEIGHTS + n))
        self.round = -1
        self.loop = compiled("loop", n, self.threads, rows=self.rows, columns=self.kind, **self.how)
        self.refreshing = compiled("refresh", n, self.threads, rows=self.rows, columns=self.kind, **self.how)

    def refresh(self, state):
        self.refreshed = state.t
        if self.round != len(state.rounds):
            self.round = len(state.rounds)
            self.scores[:] = np.where(state.pool[:, None], state.scores / state.unit, 0.0)
            self.weight[:] = np.where(state.pool, state.left, -1.0)
            self.A[:] = 0
        state.A[:] = self.A
        largest = np.zeros(REFRESH_BLOCKS)
        for first in range(0, self.m, CHUNK):
            rows = self.stored[first : first + CHUNK]
            arrays = [rows, self.norms, self.scores, self.A, self.W, self.weight, largest]
            args = [self.m, self.d, *arrays, first, len(rows)]
            self.refreshing.launch("refresh", REFRESH_BLOCKS, self.threads, args, seed=self.seed)
        state.error = error_bounds.cast_error(largest.max()) + state.noise(self.square)
        self.header_f64[HeaderF64.ERROR], self.header_f64[HeaderF64.DRIFT] = state.error, state.drift
        self.header_f64[HeaderF64.ENERGY_A] = np.vdot(self.A, self.A) * (1 + 1e-12)
        self.header_f64[HeaderF64.GAMMA], self.header_f64[HeaderF64.SQUARE] = self.gamma, self.square
        self.header_f64[HeaderF64.SCALE], self.header_f64[HeaderF64.REACH] = state.scale, -1.0
        self.header_i64[[HeaderI64.PENDING, HeaderI64.SLOT]] = -1
        state.pending = None

    def advance(self, state, until):
        header_i64, n = self.header_i64, len(self.A)
        header_i64[[HeaderI64.REASON, HeaderI64.ARRIVED, HeaderI64.COUNT]] = Code.RUNNING, 0, 0
        header_i64[[HeaderI64.PICKS, HeaderI64.BASE]] = state.t
        header_i64[HeaderI64.UNTIL], header_i64[HeaderI64.EXCESS] = min(until, state.t + self.steps), state.excess
        shared = -(-self.m // self.blocks) * (n + 2) * 4 if self.in_shared else 0
        arrays = [self.stored, self.norms, self.scores, self.A, self.W, self.score, self.weight, self.slots]
        arrays += [
            self.columns.table,
            self.best,
            self.energy,
            self.candidate_index,
            self.candidate_value,
            self.header_f64,
            header_i64,
            self.record,
        ]
        args = [self.m, self.d, *arrays, int(self.in_shared)]
        self.seed += 1
        self.loop.launch("loop", self.blocks, self.threads, args, shared_bytes=shared, seed=self.seed)
        reason = Code(int(header_i64[HeaderI64.REASON]))
        self.reasons[reason.name] += 1
        assert reason is not Code.NEED_REFRESH or header_i64[HeaderI64.PICKS] > self.refreshed, "it does not help"
        made = self.record[: header_i64[HeaderI64.PICKS] - state.t]
        counted = made[:, [Record.INDEX, Record.CANDIDATES, Record.TIES]].astype(np.int64)
        weights, energy = made[:, Record.WEIGHTS :], made[:, Record.ENERGY]
        gain = made[:, Record.GAIN]
        margin = np.maximum(0.0, 1 - made[:, Record.RIVAL] / gain)
        state.record_all(counted[:, 0], gain, weights, energy, margin, counted[:, 1], counted[:, 2])
        self.record[:] = np.nan
        state.A[:], state.excess = self.A, int(header_i64[HeaderI64.EXCESS])
        state.error, state.drift = float(self.header_f64[HeaderF64.ERROR]), float(self.header_f64[HeaderF64.DRIFT])
        state.pending = (
            SimpleNamespace(index=int(header_i64[HeaderI64.PENDING])) if header_i64[HeaderI64.PENDING] >= 0 else None
        )
        if reason is Code.DIVERGED:
            raise OverflowError("the residual diverges")
        if reason is Code.EMPTY_WINDOW:
            return decision.empty_window(
                state, float(self.header_f64[HeaderF64.LARGEST]), float(self.header_f64[HeaderF64.FLOOR]), ""
            )
        if reason is Code.NEED_COLUMN:
            self.columns.provide(state.pending)
            return Reason.COLUMNS
        return Reason[reason.name]
