"""Rows of one process, with the methods that rank 0 calls. Messages number items by position in the whole pool."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.backends.base import Backend
from gip_gpu.backends.items import ErrorBounds, RankOneUpdate, RefreshStatistics, Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import decision
from gip_gpu.greedy.matching_pursuit import LocalPursuit, project_out
from gip_gpu.greedy.state import Pick, State
from gip_gpu.numerics import ties
from gip_gpu.numerics.error_bounds import DIVERGED
from gip_gpu.problem.objectives import energies
from gip_gpu.system.deferred_signals import DeferredSignals

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Largest window that is rescored at once. A larger one waits for rank 0's call: the best item may be on another rank.
PROMPT = 32


@dataclass(frozen=True)
class Found:
    """Exact best items of a shard.

    Attributes:
        indices: (c,) ascending, the items that tie for the shard's best; no other can tie with the best of all.
        residuals: (c, n) float64, exact.
        outside: upper bound on the score of every other item of the shard.
        rescored: number of items in the shard's window.
    """

    indices: Indices
    residuals: Floats
    outside: float
    rescored: int


@dataclass(frozen=True)
class Report:
    """Answer of a shard after a step.

    Attributes:
        best: the largest ||W~_j||.
        error: e, the bound on ||W~_j - W_j||.
        energy: ||W~||^2 over the round's items.
        found: the shard's best items; None if its window has more than `PROMPT` items.
    """

    best: float
    error: float
    energy: float
    found: Found | None


class Shard:
    """Rows of one process.

    Args:
        rows: the exact rows.
        state: state of these items; it records no picks. A state with no item left is that of a placeholder row.
        offset: position of the first item in the pool.

    Attributes:
        size: number of this process's items in the pool.
        picks: number of picks made so far, on all ranks.
        signals: deferred signals to this process, which wait for rank 0.
    """

    def __init__(self, rows: Rows, state: State, offset: int) -> None:
        self.rows_of, self.state, self.offset = rows, state, offset
        self.size = self.remaining = int(state.left.sum())
        self.picks = 0
        self.signals = DeferredSignals(math.inf)

    def rows(self, indices: Indices) -> Floats:
        """Returns the exact rows (c, d) of some of its items."""
        return self.rows_of.take(indices - self.offset)

    def norms(self) -> Floats:
        """Returns the norms (size,) of the rows as given."""
        return self.rows_of.norms[: self.size]

    def scores(self, indices: Indices) -> Floats:
        """Returns the scores (c, n), as given, of some of its items."""
        return self.state.scores_of(indices - self.offset)

    def measures(self, indices: Indices) -> Floats:
        """Returns the squared scales (c,) of the float64 rounding of some of its items."""
        return self.state.measures_of(indices - self.offset)

    def take_again(self, before: Indices, chosen: Indices) -> None:
        """Marks items of the pool as chosen without a step: `before` in earlier rounds, `chosen` in all."""
        self.state.take_again(self._local(before), self._local(chosen))
        self.remaining = int(self.state.left.sum())
        self.picks = len(chosen)

    def arrived(self) -> int | None:
        """Returns the signal that this process has deferred, or None."""
        return self.signals.arrived

    def open_round(self) -> tuple[float, float]:
        return self.state.open_round()

    def first_left(self, count: int) -> Indices:
        return self.state.first_left(count) + self.offset

    def finish(self, selection: Selection) -> Selection:
        """Returns the result, the same on all ranks."""
        return selection

    def release(self) -> None:
        """Does nothing; rank 0 calls it once it has handled the result."""

    def _local(self, indices: Indices) -> Indices:
        """Returns the positions in this shard of those items of the pool that belong to it."""
        own: Indices = indices[(indices >= self.offset) & (indices < self.offset + self.size)]
        return own - self.offset

    def _own(self, index: int) -> int | None:
        """Takes a pick; returns its position in this shard, None if it belongs to another."""
        self.picks += 1
        if not 0 <= index - self.offset < self.size:
            return None
        self.state.take(index - self.offset)
        self.remaining -= 1
        return index - self.offset


class ColumnShard(Shard):
    """Shard for matching pursuit with Gram columns: the steps of `gip_gpu.greedy.matching_pursuit` up to the decision.

    Args:
        slots: number of columns to keep, the same on all ranks.
    """

    def __init__(self, backend: Backend, state: State, offset: int, slots: int) -> None:
        super().__init__(backend.rows_of, state, offset)
        self.backend, self.arrays = backend, LocalPursuit(backend, state.n)
        self.stored = backend.empty_columns(slots)
        self.stored_rows = np.empty((slots, state.d))
        self.slot_of: dict[int, int] = {}
        self.nominated = np.zeros(state.m, dtype=bool)

    def refresh(self, unit: float, scale: float, A: Floats, drift: float) -> Report:
        """Recomputes the residual, in the round's unit, from the projection A of the picks so far."""
        state = self.state
        state.unit, state.scale, state.drift = unit, scale, drift
        state.A[:] = A
        state.error = self.arrays.refresh(state)
        return self._report(0.0)

    def update(self, index: int, residual: Floats, gain: float) -> Report:
        """Projects out a pick whose column is in the column cache."""
        own = self._own(index)
        slot = self.slot_of[index]
        pick = Pick(index, self.stored_rows[slot], residual, gain, 0.0, 0, 0)
        return self._report(project_out(self.arrays, self.state, pick, own, self.stored[slot]))

    def rescore(self, reached: float) -> Found:
        """Returns the best items that `Report` left out; some item of the pool has an exact norm >= `reached`."""
        # An approximate norm of `reached` + error implies an exact norm of at least `reached`.
        best = max(self.arrays.best(), reached + self.state.error)
        floor = decision.window_floor(self.state, best, self._noise())
        return self._found(self.arrays.residual.window(floor), floor)

    def columns(self, indices: list[int], first: int, rows: Floats) -> None:
        """Computes the columns of these items of the pool, with their exact rows, into the slots from `first` on."""
        claimed = range(first, first + len(indices))
        self.slot_of = {item: slot for item, slot in self.slot_of.items() if slot not in claimed}
        self.stored_rows[first : first + len(indices)] = rows
        self.backend.columns_of(rows, self.stored[first : first + len(indices)])
        self.slot_of.update(zip(indices, claimed, strict=True))

    def nominate(self, count: int, forget: bool) -> tuple[Indices, NDArray[Any], Indices, NDArray[Any]]:
        """Returns items that may be picked soon.

        Args:
            count: approximate number of items.
            forget: whether rank 0 has discarded the rows it received.

        Returns:
            Items (c,), their residuals (n, c) in float32, and for those not nominated before their positions (f,) in
            the pool and their rows (f, d) in float32, divided by a power of two.
        """
        if forget:
            self.nominated[:] = False
        members, residual = self.arrays.residual.nominees(count)
        fresh = members[~self.nominated[members]]
        self.nominated[fresh] = True
        rows = (self.backend.rows(fresh) * 2.0**-self.backend.exponent).astype(np.float32)
        return members + self.offset, residual, fresh + self.offset, rows

    def _noise(self) -> float:
        return self.state.noise(self.backend.square)

    def _report(self, energy: float) -> Report:
        best, found = self.arrays.best(), None
        if best < DIVERGED:
            floor = decision.window_floor(self.state, best, self._noise())
            window = self.arrays.residual.window(floor)
            if len(window) <= PROMPT:
                found = self._found(window, floor)
        return Report(best, self.state.error, energy, found)

    def _found(self, window: Indices, floor: float) -> Found:
        state = self.state
        if not len(window):
            return Found(window, np.empty((0, state.n)), decision.beyond(state, floor) if self.remaining else 0.0, 0)
        _, residuals = decision.rescore(self.arrays, state, window)
        gains = energies(residuals)
        tied = gains >= ties.lowest_tied(float(gains.max()), state.scale)
        outside = float(gains.max(where=~tied, initial=0.0))
        if len(window) < self.remaining:
            outside = max(outside, decision.beyond(state, floor))
        return Found(window[tied] + self.offset, residuals[tied], outside, len(window))


class ItemShard(Shard):
    """Shard for `gip_gpu.greedy.projecting`: one process's part of its `Items`."""

    def __init__(self, backend: Backend, state: State, offset: int, rules: Rules) -> None:
        super().__init__(backend.rows_of, state, offset)
        self.items = backend.items(rules, state.n)

    def gamma(self) -> float:
        return self.items.gamma

    def restart(self, unit: float) -> None:
        scores = np.where(self.state.pool[:, None], self.state.scores / unit, 0.0)
        self.items.restart(scores, self.state.pool)

    def refresh(self, frame: Floats | None) -> RefreshStatistics:
        return self.items.refresh(frame)

    def rate(self, errors: ErrorBounds) -> float:
        return self.items.rate(errors)

    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        return self.items.project(move, row, residual, q, unit)

    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        assert move.index is not None
        return self.items.update(RankOneUpdate(self._own(move.index), move.weights, move.shrink), errors)

    def candidates(self, floor: float) -> tuple[Indices, Floats, Floats]:
        indices, residuals, distances = self.items.candidates(floor)
        return indices + self.offset, residuals, distances

    def settle(self, indices: Indices, residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        return self.items.settle(indices - self.offset, residuals, distances)

    def drop(self, indices: Indices) -> None:
        self.items.drop(self._local(indices))

    def eligible_items(self) -> NDArray[np.uint8]:
        """Returns the eligible items as packed bits."""
        return np.packbits(self.items.eligible_items())

    def restore(self, A: Floats, S: Floats | None, bits: NDArray[np.uint8] | None) -> None:
        eligible = None
        if bits is not None:
            # A process without rows gets no bits, and `np.unpackbits(bits, count=1)` of none is not cleared.
            eligible = np.zeros(self.state.m, bool)
            found = np.unpackbits(bits)[: self.state.m]
            eligible[: len(found)] = found
        self.items.restore(A, S, eligible)
