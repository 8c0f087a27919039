"""Stepper for matching pursuit on a GPU: each launch takes many certified steps and returns a reason."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.gpu.backend import GpuBackend
from gip_gpu.backends.gpu.layout import Code, HeaderF64, HeaderI64, Record
from gip_gpu.gram.columns import Columns
from gip_gpu.gram.ring import RingColumns
from gip_gpu.greedy import decision
from gip_gpu.greedy.state import Pick, Reason, State, Stored
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.gpu_costs import STEPS
from gip_gpu.problem.objectives import energies

Indices = NDArray[np.int64]

REASONS = {
    Code.DONE: Reason.DONE,
    Code.NEED_REFRESH: Reason.NEED_REFRESH,
    Code.EXHAUSTED: Reason.EXHAUSTED,
    # The Gram matrix has replaced columns on demand.
    Code.RUNNING: Reason.COLUMNS,
    Code.LISTED: Reason.COLUMNS,
}


class DeviceMatchingPursuit:
    """Host's side of matching pursuit with picks decided on the device, by the same rule as `MatchingPursuit`.

    The header of each launch carries the bounds; the device returns its picks in records.

    Args:
        backend: arrays on the device and launches.
        columns: Gram columns, of the same rows.
    """

    empty_rounds: ClassVar[bool] = False
    stride: ClassVar[int] = 1

    def __init__(self, backend: GpuBackend, columns: Columns) -> None:
        self.backend, self.columns = backend, columns
        self.name, self.square = backend.name, backend.square
        self.rows_of = backend.rows_of

    def rows(self, indices: Any) -> NDArray[np.float64]:
        return self.backend.rows(indices)

    @property
    def column_seconds(self) -> float:
        return self.columns.seconds

    def begin(self, state: State) -> None:
        self.backend.begin_pursuit(state.scores.shape[1])
        self.columns.begin()
        self.round = -1

    def block(self, state: State, indices: Indices) -> None:
        self.backend.block(indices)

    def take(self, state: State, indices: Indices) -> None:
        self.replay(state, indices)
        state.skip(indices)

    def replay(self, state: State, indices: Indices) -> None:
        decision.replay(self, state, indices)

    def carry(self, state: State) -> Stored:
        state.A[:] = self.backend.projection()
        return {"A": state.A}

    def snapshot(self, state: State) -> Stored:
        return self.carry(state)

    def restore(self, state: State, stored: Stored) -> None:
        state.A[:] = stored["A"]

    def refresh(self, state: State) -> None:
        backend = self.backend
        if self.round == len(state.rounds):
            state.A[:] = backend.projection()
        else:
            self.round = len(state.rounds)
            scores = np.where(state.pool[:, None], state.scores / state.unit, 0.0)
            backend.open_round(scores, np.where(state.pool, state.weights_left(), np.float32(-1)), state.A)
        largest = backend.recompute()
        projected = state.projected(self.square)
        # The device divides a sum by the row's norm; the reference divides its terms: one more rounding each.
        state.error = error_bounds.cast_error(largest) + state.noise(self.square) + 2 * error_bounds.U64 * projected
        squared = float(np.vdot(state.A, state.A))
        head = backend.head
        head[:] = 0
        head[HeaderF64.ERROR], head[HeaderF64.DRIFT] = state.error, state.drift
        # The square of a norm summed in float64, rounded up.
        head[HeaderF64.ENERGY_A] = squared * (1 + 4 * state.A.size * error_bounds.U64)
        head[HeaderF64.GAMMA], head[HeaderF64.SQUARE], head[HeaderF64.SCALE] = backend.gamma, self.square, state.scale
        head[HeaderF64.PROJECTED] = projected
        head[HeaderF64.REACH] = -1.0 if state.item_weights is None else largest
        # Each term of a product may have two more roundings of the row.
        head[HeaderF64.ROUNDING] = error_bounds.dot_error(backend.d + 2, error_bounds.U64)
        backend.places[:] = 0
        backend.places[[HeaderI64.PENDING, HeaderI64.SLOT]] = -1
        state.pending = None

    def advance(self, state: State, until: int) -> Reason:
        backend = self.backend
        until = min(until, state.t + STEPS)
        places = backend.places
        places[[HeaderI64.REASON, HeaderI64.ARRIVED, HeaderI64.COUNT]] = 0
        places[[HeaderI64.PICKS, HeaderI64.BASE]] = state.t
        places[HeaderI64.UNTIL], places[HeaderI64.EXCESS] = until, state.excess
        if isinstance(self.columns, RingColumns):
            self.columns.run(state.k - state.t)
        else:
            backend.run(self.columns.table())
        self._report(state)
        code = backend.code()
        if code is Code.DIVERGED:
            raise decision.diverged(state.t, backend.largest_norm)
        if code is Code.EMPTY_WINDOW:
            best, floor = float(backend.head[HeaderF64.LARGEST]), float(backend.head[HeaderF64.FLOOR])
            return decision.empty_window(state, best, floor, f"error {state.error!r}")
        if code is Code.NEED_COLUMN:
            assert state.pending is not None
            self.columns.provide(state.pending, state.t, state.k - state.t, backend)
            return Reason.COLUMNS
        return REASONS[code]

    def _report(self, state: State) -> None:
        """Records the device's picks, bounds and pending pick in the state."""
        head, places = self.backend.head, self.backend.places
        made = int(places[HeaderI64.PICKS]) - state.t
        if made:
            record = self.backend.records(made)
            counted = record[:, [Record.INDEX, Record.CANDIDATES, Record.TIES]].astype(np.int64)
            residuals = record[:, Record.WEIGHTS :]
            state.record_all(
                counted[:, 0],
                record[:, Record.GAIN] if state.item_weights is None else energies(residuals),
                residuals,
                record[:, Record.ENERGY],
                _margin(record[:, Record.RIVAL], record[:, Record.GAIN]),
                counted[:, 1],
                counted[:, 2],
            )
        state.error, state.drift = float(head[HeaderF64.ERROR]), float(head[HeaderF64.DRIFT])
        state.excess = int(places[HeaderI64.EXCESS])
        pending = int(places[HeaderI64.PENDING])
        state.pending = None
        if pending >= 0:
            state.pending = Pick(
                index=pending,
                row=np.empty(0),
                residual=head[HeaderF64.RESIDUAL :],
                gain=float(head[HeaderF64.GAIN]),
                margin=float(_margin(head[HeaderF64.RIVAL], head[HeaderF64.GAIN])),
                candidates=int(places[HeaderI64.CANDIDATES]),
                ties=int(places[HeaderI64.TIES]),
            )


def _margin(rival: Any, gain: Any) -> Any:
    """Returns the share of its gain by which a pick beats every other item."""
    return np.maximum(0.0, 1 - rival / gain)
