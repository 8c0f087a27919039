"""The pool of all ranks as rank 0 sees it: its rows, what is left of it, and the steps of matching pursuit on it."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.distributed.exchange import Call, Star
from gip_gpu.distributed.shard import ColumnShard, Found, Report
from gip_gpu.gram.columns import Columns
from gip_gpu.greedy import matching_pursuit
from gip_gpu.greedy.state import Pick, Reason, State, Stored
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.problem.objectives import energies

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


class ShardedRows(Rows):
    """The exact rows of all ranks.

    Args:
        star: rank 0's.
        sizes: rows of each rank.
        d: length of a row.
        largest: norm of a row, of those that `take` returns.
    """

    def __init__(self, star: Star, sizes: list[int], d: int, *, normalize: bool, largest: float) -> None:
        self.star = star
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.shape = (int(self.offsets[-1]), d)
        self.normalize, self.largest = normalize, largest
        # Only rows that keep their lengths have norms that anybody asks for.
        self.norms = np.empty(0) if normalize else np.concatenate(star.ask("norms"))

    def split(self, indices: Any) -> list[NDArray[np.int64]]:
        """For each rank the places of its own among these items."""
        owner = np.searchsorted(self.offsets, indices, side="right") - 1
        return [np.flatnonzero(owner == rank) for rank in range(len(self.offsets) - 1)]

    def take(self, indices: Any) -> Floats:
        return self.collect("rows", indices, self.shape[1])

    def collect(self, name: str, indices: Any, *width: int) -> Floats:
        """What a method of `Shard` says of these items, (len(indices), *width), each asked of its own rank."""
        items = np.asarray(indices, dtype=np.int64)
        values = np.empty((len(items), *width))
        places = self.split(items)
        calls: list[Call | None] = [(name, (items[own],)) if len(own) else None for own in places]
        for own, found in zip(places, self.star.ask_each(calls), strict=True):
            if len(own):
                values[own] = found
        return values


@dataclass(kw_only=True)
class ShardedState(State):
    """A selection from the items of all ranks; what it knows of items lies on their ranks.

    Attributes:
        rows: of all ranks.
    """

    rows: ShardedRows

    def __post_init__(self) -> None:
        super().__post_init__()
        self.m = self.rows.shape[0]

    def scores_of(self, indices: Whole) -> Floats:
        return self.rows.collect("scores", indices, self.n)

    def measures_of(self, indices: Whole) -> Floats:
        return self.rows.collect("measures", indices)

    def open_round(self) -> tuple[float, float]:
        found = self.rows.star.ask("open_round")
        return max(largest for largest, _ in found), math.fsum(energy for _, energy in found)

    def first_left(self, count: int) -> Whole:
        return np.concatenate(self.rows.star.ask("first_left", count))[:count]

    def skip(self, indices: Whole) -> None:
        super().skip(indices)
        self.rows.star.ask("take_again", indices[:0], indices)

    def take_again(self, before: Whole, chosen: Whole) -> None:
        self.rows.star.ask("take_again", before, chosen)

    def take(self, items: Any) -> None:
        """Each rank knows by the pick which of its own is chosen."""


class ShardedSteps:
    """What `gip_gpu.greedy.loop.run` drives for matching pursuit: one exchange a pick, after it is projected out.

    Args:
        star: rank 0's, whose target is a `ColumnShard`.
        rows: of all ranks.
        gamma: the largest of the ranks.
        square: as in `gip_gpu.backends.base.Backend`.
    """

    name: ClassVar[str] = "distributed"
    empty_rounds: ClassVar[bool] = False
    stride: ClassVar[int] = 1

    def __init__(self, star: Star, rows: ShardedRows, gamma: float, square: float) -> None:
        self.star, self.rows_of, self.gamma, self._square = star, rows, gamma, square
        self.reports: list[Report] = []

    @property
    def square(self) -> float:
        return self._square

    def rows(self, indices: Any) -> Floats:
        return self.rows_of.take(indices)

    def begin(self, state: State) -> None:
        """Each rank has allocated its arrays."""

    def refresh(self, state: State) -> None:
        self.reports = self.star.ask("refresh", state.unit, state.scale, state.A, state.drift)
        state.error = max(report.error for report in self.reports)

    def take(self, state: State, indices: Whole) -> None:
        matching_pursuit.take(self, state, indices)

    def carry(self, state: State) -> Stored:
        return {"A": state.A}

    def snapshot(self, state: State) -> Stored:
        return self.carry(state)

    def restore(self, state: State, stored: Stored) -> None:
        # The ranks get it to refresh by.
        state.A[:] = stored["A"]

    def advance(self, state: State, columns: Columns, until: int) -> Reason:
        return matching_pursuit.advance(self, state, columns, until)

    def update(self, state: State, index: int | None, column: Any, residual: Floats) -> float:
        assert state.pending is not None
        self.reports = self.star.ask("update", index, residual, state.pending.gain)
        return math.fsum(report.energy for report in self.reports)

    def choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax of all ranks, or says why it cannot."""
        best = float(np.max([report.best for report in self.reports]))
        if not best < matching_pursuit.DIVERGED:
            raise matching_pursuit.diverged(state.t, self.rows_of.largest)
        noise = state.noise(self.square)
        found, outside = self._complete(state, noise)
        widest = max(part.rescored for part in found)
        if matching_pursuit.refresh_pays(state, widest, int(np.diff(self.rows_of.offsets).max()), best, noise):
            return Reason.NEED_REFRESH
        indices = np.concatenate([part.indices for part in found])
        if not len(indices):
            floor = matching_pursuit.window_floor(state, best, noise)
            return matching_pursuit.empty_window(
                state, best, floor, f"error {state.error!r}, noise {noise!r}, of all ranks"
            )
        residuals = np.concatenate([part.residuals for part in found])
        outside = max([outside, *(part.outside for part in found)])
        decided = matching_pursuit.decide(state, energies(residuals), outside, noise)
        if decided is None:
            return Reason.EXHAUSTED
        position, gain, margin, tied = decided
        index = int(indices[position])
        state.pending = Pick(
            index=index,
            row=self._row(index),
            residual=residuals[position],
            gain=gain,
            margin=margin,
            candidates=sum(part.rescored for part in found),
            ties=tied,
        )
        return None

    def _row(self, index: int) -> Floats:
        """At hand where the column is."""
        own = self.star.target
        assert isinstance(own, ColumnShard)
        slot = own.slot_of.get(index)
        row: Floats = self.rows([index])[0] if slot is None else own.ring_rows[slot]
        return row

    def _complete(self, state: State, noise: float) -> tuple[list[Found], float]:
        """What the ranks found, those with a wide window asked again if their best can be the best of all.

        Returns:
            What was found; and what no score of the ranks left out exceeds.
        """
        off = (state.n + 2) * error_bounds.U32
        # An exact norm that is reached somewhere.
        reached = max(report.best * (1 - off) - report.error for report in self.reports)
        tie = ties.RELATIVE * reached + ties.ABSOLUTE * state.scale + 2 * noise
        outside = 0.0
        calls: list[Call | None] = []
        for report in self.reports:
            most = report.best * (1 + off) + report.error
            asked = report.found is None and most >= reached - 2 * tie
            calls.append(("rescore", (reached,)) if asked else None)
            if report.found is None and not asked:
                outside = max(outside, most * most)
        again = self.star.ask_each(calls) if any(calls) else [None] * len(calls)
        found = [late or report.found for late, report in zip(again, self.reports, strict=True)]
        return [part for part in found if part is not None], outside
