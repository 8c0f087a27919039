"""Matching pursuit over all ranks, on rank 0: arrays, windows and rescored items."""

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.residual import Pending
from gip_gpu.distributed.exchange import Call, Communicator
from gip_gpu.distributed.foresight import Foresight
from gip_gpu.distributed.shard import ColumnShard, Found, Report
from gip_gpu.distributed.sharded_pool import ShardedRows
from gip_gpu.greedy.state import Pick, State
from gip_gpu.numerics import error_bounds, ties

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class ShardedRescored:
    """`gip_gpu.greedy.matching_pursuit.Rescored` of all ranks."""

    def __init__(self, arrays: "ShardedPursuit", found: list[Found], outside: float) -> None:
        self.arrays = arrays
        self.indices = np.concatenate([part.indices for part in found])
        self.residuals = np.concatenate([part.residuals for part in found])
        self.outside = max([outside, *(part.outside for part in found)])
        self.count = sum(part.rescored for part in found)

    def row(self, position: int) -> Floats:
        return self.arrays.row(int(self.indices[position]))


@dataclass(frozen=True)
class ShardedWindow:
    """`gip_gpu.greedy.matching_pursuit.PursuitWindow` of all ranks, from the best items that each answered."""

    arrays: "ShardedPursuit"
    found: list[Found]
    outside: float
    items: int

    @property
    def count(self) -> int:
        return max(part.rescored for part in self.found)

    def rescored(self) -> ShardedRescored:
        return ShardedRescored(self.arrays, self.found, self.outside)


class ShardedPursuit:
    """Arrays of matching pursuit of all ranks, with one exchange of messages per pick.

    Args:
        communicator: of rank 0, whose target is a `ColumnShard`.
        rows: rows of all ranks.
        gamma: largest bound of all ranks on the error of one Gram entry.
        square: as in `gip_gpu.backends.base.Backend`.
    """

    name: ClassVar[str] = "distributed"

    def __init__(self, communicator: Communicator, rows: ShardedRows, gamma: float, square: float) -> None:
        assert isinstance(communicator.target, ColumnShard)
        self.communicator, self.rows_of, self.gamma, self.square = communicator, rows, gamma, square
        self.own = communicator.target
        self.reports: list[Report] = []
        self.foresight = Foresight(communicator, rows, square, self.own)

    def rows(self, indices: Any) -> Floats:
        return self.rows_of.take(indices)

    def row(self, index: int) -> Floats:
        """Returns the exact row (d,) of an item; its rank is asked only if its column is not cached."""
        slot = self.own.slot_of.get(index)
        row: Floats = self.rows([index])[0] if slot is None else self.own.stored_rows[slot]
        return row

    def refresh(self, state: State) -> float:
        self.reports = self.communicator.ask("refresh", state.unit, state.scale, state.A, state.drift)
        return max(report.error for report in self.reports)

    def best(self) -> float:
        return float(np.max([report.best for report in self.reports]))

    def block(self, indices: Indices) -> None:
        raise ValueError("a selection among processes takes no constraints on the picks")

    def update(self, state: State, pick: Pick, index: int | None, column: Any) -> float:
        self.reports = self.communicator.ask("update", index, pick.residual, pick.gain)
        return math.fsum(report.energy for report in self.reports)

    def window(self, state: State, best: float, noise: float) -> ShardedWindow:
        """Collects the best items of the ranks; asks a rank with a wide window again if it can have the best of all."""
        off = (state.n + 2) * error_bounds.U32
        # Some item has at least this exact norm.
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
        again = self.communicator.ask_each(calls) if any(calls) else [None] * len(calls)
        found = [late or report.found for late, report in zip(again, self.reports, strict=True)]
        largest = int(np.diff(self.rows_of.offsets).max())
        return ShardedWindow(self, [part for part in found if part is not None], outside, largest)

    def prepare(self, count: int) -> None:
        """Does nothing: rank 0 gathers nominees with each batch."""

    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        return self.foresight.picks(pick, known, count, most)
