"""Stepper for matching pursuit with picks decided on the host: objective "mp" with sign "any"."""

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.base import Backend
from gip_gpu.backends.residual import Residual
from gip_gpu.data.rows import Rows
from gip_gpu.gram.columns import Columns, Forecast
from gip_gpu.greedy import decision
from gip_gpu.greedy.state import Pick, Reason, State, Stored
from gip_gpu.numerics import error_bounds
from gip_gpu.numerics.error_bounds import DIVERGED
from gip_gpu.problem.objectives import energies

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Rescored(Protocol):
    """Candidates with exact values.

    Attributes:
        indices: (c,) ascending.
        residuals: (c, n) float64.
        outside: the score that no other item exceeds.
        count: candidates that were rescored; at least c.
    """

    indices: Indices
    residuals: Floats
    outside: float
    count: int

    def row(self, position: int) -> Floats:
        """Returns the exact row (d,) of one candidate."""


class PursuitWindow(Protocol):
    """The items that the bounds leave in doubt."""

    @property
    def count(self) -> int:
        """Number of items in doubt, in the process that has most of them."""

    @property
    def items(self) -> int:
        """Number of items in a refresh of that process."""

    def rescored(self) -> Rescored:
        """Returns the items that may be the argmax, with exact values."""


class PursuitArrays(Forecast, Protocol):
    """Arrays of matching pursuit, of one process (`LocalPursuit`) or of many (`gip_gpu.distributed`).

    Attributes:
        name: for messages.
        gamma: bound on the error of one Gram entry.
    """

    @property
    def name(self) -> str: ...
    @property
    def gamma(self) -> float: ...

    @property
    def square(self) -> float:
        """Factor from a stored Gram entry to a true one."""

    @property
    def rows_of(self) -> Rows:
        """The exact rows."""

    def rows(self, indices: Any) -> Floats:
        """Returns exact rows (len(indices), d), float64."""

    def refresh(self, state: State) -> float:
        """Recomputes W~ from the scores and A; returns the bound on its error."""

    def best(self) -> float:
        """Returns the largest ||W~_j|| over the items left."""

    def window(self, state: State, best: float, noise: float) -> PursuitWindow:
        """Returns the items in doubt, if the largest norm is `best` and float64 rounds a norm by up to `noise`."""

    def block(self, indices: Indices) -> None:
        """Makes these items ineligible."""

    def update(self, state: State, pick: Pick, index: int | None, column: Any) -> float:
        """Projects a pick out of W~, after A and the bounds are updated; returns ||W~||^2 over the round's pool.

        Args:
            index: the pick among these items; None if another process has it.
            column: its Gram column.
        """


class LocalRescored:
    """`Rescored` of one process."""

    def __init__(self, arrays: "LocalPursuit", state: State, window: Indices, floor: float) -> None:
        self.arrays, self.indices, self.count = arrays, window, len(window)
        self.rows, self.residuals = decision.rescore(arrays, state, window)
        self.outside = decision.beyond(state, floor) if len(window) < state.remaining else 0.0

    def row(self, position: int) -> Floats:
        # If the candidates fill several blocks, only the rows of the last block are stored.
        row: Floats = (
            self.rows[position]
            if len(self.rows) == self.count
            else self.arrays.rows(self.indices[position : position + 1])[0]
        )
        return row


class LocalWindow:
    """`PursuitWindow` of one process."""

    def __init__(self, arrays: "LocalPursuit", state: State, best: float, noise: float) -> None:
        self.arrays, self.state = arrays, state
        self.floor = decision.window_floor(state, best, noise)
        self.indices = arrays.residual.window(self.floor)
        self.count, self.items = len(self.indices), state.m

    def rescored(self) -> LocalRescored:
        return LocalRescored(self.arrays, self.state, self.indices, self.floor)


class LocalPursuit:
    """The arrays of one process: a backend's rows and residual.

    Args:
        backend: the backend that stores the rows.
        n: signals.
    """

    def __init__(self, backend: Backend, n: int) -> None:
        self.backend = backend
        self.name, self.gamma, self.square = backend.name, backend.gamma, backend.square
        self.rows_of = backend.rows_of
        self.residual: Residual = backend.residual(n)
        self.prepare, self.speculate = self.residual.prepare, self.residual.speculate

    def rows(self, indices: Any) -> Floats:
        return self.backend.rows(indices)

    def refresh(self, state: State) -> float:
        largest = self.residual.refresh(state.scores, state.unit, state.A, state.pool, state.weights_left())
        state.reach = largest
        return error_bounds.cast_error(largest) + state.noise(self.square)

    def best(self) -> float:
        return self.residual.best()

    def window(self, state: State, best: float, noise: float) -> LocalWindow:
        return LocalWindow(self, state, best, noise)

    def block(self, indices: Indices) -> None:
        self.residual.block(indices)

    def update(self, state: State, pick: Pick, index: int | None, column: Any) -> float:
        return self.residual.update(index, column, pick.residual)


class MatchingPursuit:
    """Stepper for matching pursuit with picks decided on the host.

    Args:
        arrays: the residual and its passes.
        columns: Gram columns, of the same rows.
    """

    empty_rounds: ClassVar[bool] = False
    stride: ClassVar[int] = 1

    def __init__(self, arrays: PursuitArrays, columns: Columns) -> None:
        self.arrays, self.columns, self.name = arrays, columns, arrays.name
        self.rows_of = arrays.rows_of

    @property
    def column_seconds(self) -> float:
        return self.columns.seconds

    def rows(self, indices: Any) -> Floats:
        return self.arrays.rows(indices)

    def begin(self, state: State) -> None:
        self.columns.begin()

    def refresh(self, state: State) -> None:
        state.error = self.arrays.refresh(state)

    def block(self, state: State, indices: Indices) -> None:
        self.arrays.block(indices)

    def take(self, state: State, indices: Indices) -> None:
        self.replay(state, indices)
        state.skip(indices)

    def replay(self, state: State, indices: Indices) -> None:
        decision.replay(self.arrays, state, indices)

    def carry(self, state: State) -> Stored:
        return {"A": state.A}

    def snapshot(self, state: State) -> Stored:
        return self.carry(state)

    def restore(self, state: State, stored: Stored) -> None:
        state.A[:] = stored["A"]

    def advance(self, state: State, until: int) -> Reason:
        """Takes certified steps until `until` picks are made or something is needed; returns the reason."""
        while state.t < until:
            if state.pending is None:
                reason = self._choose(state)
                if reason is not None:
                    return reason
            pick = state.pending
            assert pick is not None
            column = self.columns.get(pick.index)
            if column is None:
                self.columns.provide(pick, state.t, state.k - state.t, self.arrays)
                return Reason.COLUMNS
            state.record(pick, project_out(self.arrays, state, pick, pick.index, column))
            state.pending = None
        return Reason.DONE

    def _choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax and returns None, or returns the reason why it cannot."""
        best = self.arrays.best()
        if not best < DIVERGED:
            raise decision.diverged(state.t, self.rows_of.largest)
        noise = state.noise(self.arrays.square)
        window = self.arrays.window(state, best, noise)
        if not window.count:
            floor = decision.window_floor(state, best, noise)
            return decision.empty_window(state, best, floor, f"error {state.error!r}, noise {noise!r}")
        if decision.refresh_pays(state, window.count, window.items, best, noise):
            return Reason.NEED_REFRESH
        found = window.rescored()
        gains = energies(found.residuals)
        decided = decision.decide(state, state.weighted(gains.copy(), found.indices), found.outside, noise)
        if decided is None:
            return Reason.EXHAUSTED
        position, margin, tied = decided
        state.pending = Pick(
            index=int(found.indices[position]),
            row=found.row(position),
            residual=found.residuals[position],
            gain=float(gains[position]),
            margin=margin,
            candidates=found.count,
            ties=tied,
        )
        return None


def project_out(arrays: PursuitArrays, state: State, pick: Pick, index: int | None, column: Any) -> float:
    """Updates A, the bounds and the residual for a pick; arguments and result as of `PursuitArrays.update`."""
    norm, moved = decision.add_to_projection(state, pick.row, pick.residual, pick.gain, arrays.square)
    # No residual that may be picked is longer than the pick's, unless weights have decided.
    reach = norm if state.item_weights is None else state.reach
    # The bound first: processes answer `update` with their candidates.
    state.error = error_bounds.step_error(state.error, arrays.gamma, reach, moved)
    state.reach += moved * (1 + arrays.gamma)
    return arrays.update(state, pick, index, column)
