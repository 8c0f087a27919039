"""A process's own rows: what rank 0 asks of them. Items have the numbers of the whole pool in all that is sent."""

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
from gip_gpu.system.deferred_signals import Deferred

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# A window of more items than this is rescored only when rank 0 asks: the best item may be on another rank.
PROMPT = 32


@dataclass(frozen=True)
class Found:
    """The exact best of a shard.

    Attributes:
        indices: (c,) ascending, the items that tie for the shard's best: no other can tie with the best of all.
        residuals: (c, n) float64, exact.
        outside: what the score of no other item of the shard exceeds.
        rescored: items in the shard's window.
    """

    indices: Indices
    residuals: Floats
    outside: float
    rescored: int


@dataclass(frozen=True)
class Report:
    """A shard after a step.

    Attributes:
        best: the largest ||W~_j||.
        error: e, the bound on ||W~_j - W_j||.
        energy: ||W~||^2 over the round's items.
        found: None where the window is wide.
    """

    best: float
    error: float
    energy: float
    found: Found | None


class Shard:
    """Rows of one process.

    Args:
        rows: the exact ones.
        state: of these items; it records no picks. Where no item is left in it, none is of the pool.
        offset: of the first item in the pool.

    Attributes:
        size: items of the pool.
        picks: made so far, on all ranks.
        signals: to this process, where they wait for rank 0.
    """

    def __init__(self, rows: Rows, state: State, offset: int) -> None:
        self.rows_of, self.state, self.offset = rows, state, offset
        self.size = self.remaining = int(state.left.sum())
        self.picks = 0
        self.signals = Deferred(math.inf)

    def rows(self, indices: Indices) -> Floats:
        """Exact rows (c, d) of some of its items."""
        return self.rows_of.take(indices - self.offset)

    def norms(self) -> Floats:
        """(size,) norms of the rows as given."""
        return self.rows_of.norms[: self.size]

    def scores(self, indices: Indices) -> Floats:
        """Scores (c, n), as given, of some of its items."""
        return self.state.scores_of(indices - self.offset)

    def measures(self, indices: Indices) -> Floats:
        """What the rounding of some of its items is measured by, squared, (c,)."""
        return self.state.measures_of(indices - self.offset)

    def take_again(self, before: Indices, chosen: Indices) -> None:
        """Items of the pool that are chosen without a step, and those that were before the round."""
        self.state.take_again(self._local(before), self._local(chosen))
        self.remaining = int(self.state.left.sum())
        self.picks = len(chosen)

    def arrived(self) -> int | None:
        """The signal that came to this process and waits."""
        return self.signals.arrived

    def open_round(self) -> tuple[float, float]:
        return self.state.open_round()

    def first_left(self, count: int) -> Indices:
        return self.state.first_left(count) + self.offset

    def finish(self, selection: Selection) -> Selection:
        """The result, the same on all ranks."""
        return selection

    def release(self) -> None:
        """Rank 0 has done with the result what it had to."""

    def _local(self, indices: Indices) -> Indices:
        """The own ones among items of the pool, by their places here."""
        own: Indices = indices[(indices >= self.offset) & (indices < self.offset + self.size)]
        return own - self.offset

    def _own(self, index: int) -> int | None:
        """A pick among the own items, None where it is another's; it is taken."""
        self.picks += 1
        if not 0 <= index - self.offset < self.size:
            return None
        self.state.take(index - self.offset)
        self.remaining -= 1
        return index - self.offset


class ColumnShard(Shard):
    """For matching pursuit with Gram columns: the steps of `gip_gpu.greedy.matching_pursuit`, up to the decision.

    Args:
        slots: columns that are kept, as many on all ranks.
    """

    def __init__(self, backend: Backend, state: State, offset: int, slots: int) -> None:
        super().__init__(backend.rows_of, state, offset)
        self.backend, self.arrays = backend, LocalPursuit(backend, state.n)
        self.ring = backend.empty_columns(slots)
        self.ring_rows = np.empty((slots, state.d))
        self.slot_of: dict[int, int] = {}
        self.nominated = np.zeros(state.m, dtype=bool)

    def refresh(self, unit: float, scale: float, A: Floats, drift: float) -> Report:
        """Recomputes the residual, in the round's unit, from what was projected out so far."""
        state = self.state
        state.unit, state.scale, state.drift = unit, scale, drift
        state.A[:] = A
        state.error = self.arrays.refresh(state)
        return self._report(0.0)

    def update(self, index: int, residual: Floats, gain: float) -> Report:
        """Projects a pick out whose column is in the ring."""
        own = self._own(index)
        slot = self.slot_of[index]
        pick = Pick(index, self.ring_rows[slot], residual, gain, 0.0, 0, 0)
        return self._report(project_out(self.arrays, self.state, pick, own, self.ring[slot]))

    def rescore(self, reached: float) -> Found:
        """What `Report` left out; an item of the pool, here or elsewhere, has at least the exact norm `reached`."""
        # An approximate norm of this size would say as much.
        best = max(self.arrays.best(), reached + self.state.error)
        floor = decision.window_floor(self.state, best, self._noise())
        return self._found(self.arrays.residual.window(floor), floor)

    def columns(self, indices: list[int], first: int, rows: Floats) -> None:
        """Computes the columns of these items of the pool, with their exact rows, into the slots from `first` on."""
        claimed = range(first, first + len(indices))
        self.slot_of = {item: slot for item, slot in self.slot_of.items() if slot not in claimed}
        self.ring_rows[first : first + len(indices)] = rows
        self.backend.columns_of(rows, self.ring[first : first + len(indices)])
        self.slot_of.update(zip(indices, claimed, strict=True))

    def nominate(self, count: int, forget: bool) -> tuple[Indices, NDArray[Any], Indices, NDArray[Any]]:
        """Items that may be picked soon.

        Args:
            count: about how many.
            forget: rank 0 has forgotten the rows it got.

        Returns:
            Items (c,), their residuals (n, c) in float32, and of those not nominated before the places in the pool and
            the rows (f, d) in float32, stored divided by a power of two.
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
    """For what `gip_gpu.greedy.projecting` runs: its `Items`, one process's part of them."""

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
        """As bits."""
        return np.packbits(self.items.eligible_items())

    def restore(self, A: Floats, S: Floats | None, bits: NDArray[np.uint8] | None) -> None:
        eligible = None
        if bits is not None:
            # A process without rows gets no bits, and `np.unpackbits(bits, count=1)` of none is not cleared.
            eligible = np.zeros(self.state.m, bool)
            found = np.unpackbits(bits)[: self.state.m]
            eligible[: len(found)] = found
        self.items.restore(A, S, eligible)
