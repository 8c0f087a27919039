"""Items of all ranks for `gip_gpu.greedy.projecting`: each pass runs on every rank over its own items."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import ErrorBounds, Floats, Indices, Items, RankOneUpdate, RefreshStatistics, Rules
from gip_gpu.distributed.exchange import Call, Communicator
from gip_gpu.distributed.shard import ItemShard
from gip_gpu.distributed.sharded_pool import ShardedRows
from gip_gpu.greedy.state import State


class ShardedItems(Items):
    """`Items` of all ranks; each method calls that of every rank.

    Args:
        communicator: of rank 0, whose target is an `ItemShard`.
        rows: rows of all ranks.
        state: state of the selection, which holds the round's unit.
    """

    def __init__(self, communicator: Communicator, rows: ShardedRows, state: State) -> None:
        self.communicator, self.rows, self.state = communicator, rows, state
        self.gamma = max(communicator.ask("gamma"))

    def restart(self, scores: Floats, pool: Any) -> None:
        self.communicator.tell("restart", self.state.unit)

    def carry(self) -> tuple[Floats, Floats | None]:
        own = self.communicator.target
        assert isinstance(own, ItemShard)
        return own.items.carry()

    def eligible_items(self) -> NDArray[np.bool_]:
        found = zip(self.communicator.ask("eligible_items"), np.diff(self.rows.offsets).tolist(), strict=True)
        return np.concatenate([np.unpackbits(bits, count=size) for bits, size in found]).astype(bool)

    def restore(self, A: Floats, S: Floats | None, eligible: NDArray[np.bool_] | None) -> None:
        parts = [None] * self.communicator.size if eligible is None else np.split(eligible, self.rows.offsets[1:-1])
        bits = [None if part is None else np.packbits(part) for part in parts]
        self.communicator.ask_each([("restore", (A, S, part)) for part in bits])

    def refresh(self, frame: Floats | None) -> RefreshStatistics:
        found = self.communicator.ask("refresh", frame)
        return RefreshStatistics(max(f.residual for f in found), max(f.distance for f in found), found[0].projected)

    def rate(self, errors: ErrorBounds) -> float:
        return float(np.max(self.communicator.ask("rate", errors)))

    def project(self, move: RankOneUpdate, row: Floats, residual: Floats, q: float, unit: float) -> Floats:
        phi: Floats = self.communicator.tell("project", move, row, residual, q, unit)
        return phi

    def update(self, move: RankOneUpdate, errors: ErrorBounds) -> tuple[float, float]:
        found = self.communicator.ask("update", move, errors)
        # np.max propagates a NaN bound; Python's max may drop it.
        return float(np.max([best for best, _ in found])), math.fsum(energy for _, energy in found)

    def candidates(self, floor: float) -> tuple[Indices, Floats, Floats]:
        found = self.communicator.ask("candidates", floor)
        indices, residuals, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return indices, residuals, distances

    def settle(self, indices: Indices, residuals: Floats, distances: Floats) -> tuple[Floats, Floats]:
        places = self.rows.split(indices)
        calls: list[Call | None] = [
            ("settle", (indices[own], residuals[own], distances[own])) if len(own) else None for own in places
        ]
        residuals, distances = residuals.copy(), distances.copy()
        for own, found in zip(places, self.communicator.ask_each(calls), strict=True):
            if len(own):
                residuals[own], distances[own] = found
        return residuals, distances

    def remaining(self, x: Floats) -> Floats:
        own = self.communicator.target
        assert isinstance(own, ItemShard)
        return own.items.remaining(x)

    def drop(self, indices: Indices) -> None:
        self.communicator.tell("drop", indices)


@dataclass(frozen=True)
class ShardedPool:
    """Backend interface of `gip_gpu.greedy.projecting.Projecting` over all ranks."""

    communicator: Communicator
    state: State
    rows_of: ShardedRows
    exponent: int

    @property
    def square(self) -> float:
        return float(4.0**self.exponent)

    @property
    def largest_norm(self) -> float:
        return self.rows_of.largest

    def rows(self, indices: Any) -> Floats:
        return self.rows_of.take(indices)

    def items(self, rules: Rules, n: int) -> Items:
        return ShardedItems(self.communicator, self.rows_of, self.state)
