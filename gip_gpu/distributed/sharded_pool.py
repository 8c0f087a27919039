"""Pool of all ranks on rank 0: its exact rows, and the state of a selection from them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.distributed.exchange import Call, Communicator
from gip_gpu.greedy.state import State

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class ShardedRows(Rows):
    """Exact rows of all ranks.

    Args:
        communicator: of rank 0.
        sizes: number of rows of each rank.
        d: length of a row.
        largest: largest norm of a row that `take` returns.
    """

    def __init__(
        self, communicator: Communicator, sizes: list[int], d: int, *, normalize: bool, largest: float
    ) -> None:
        self.communicator = communicator
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.shape = (int(self.offsets[-1]), d)
        self.normalize, self.largest = normalize, largest
        # Norms are needed only for rows that are not normalised.
        self.norms = np.empty(0) if normalize else np.concatenate(communicator.ask("norms"))

    def split(self, indices: Any) -> list[NDArray[np.int64]]:
        """Returns for each rank the positions of its own items in `indices`."""
        owner = np.searchsorted(self.offsets, indices, side="right") - 1
        return [np.flatnonzero(owner == rank) for rank in range(len(self.offsets) - 1)]

    def take(self, indices: Any) -> Floats:
        return self.collect("rows", indices, self.shape[1])

    def collect(self, name: str, indices: Any, *width: int) -> Floats:
        """Calls a method of `Shard` for these items, each on its own rank; returns values (len(indices), *width)."""
        items = np.asarray(indices, dtype=np.int64)
        values = np.empty((len(items), *width))
        places = self.split(items)
        calls: list[Call | None] = [(name, (items[own],)) if len(own) else None for own in places]
        for own, found in zip(places, self.communicator.ask_each(calls), strict=True):
            if len(own):
                values[own] = found
        return values


@dataclass(kw_only=True)
class ShardedState(State):
    """State of a selection from the items of all ranks; the arrays over items are stored on their ranks.

    Attributes:
        rows: rows of all ranks.
    """

    rows: ShardedRows

    def __post_init__(self) -> None:
        super().__post_init__()
        self.m = self.rows.shape[0]

    def scores_of(self, indices: Indices) -> Floats:
        return self.rows.collect("scores", indices, self.n)

    def measures_of(self, indices: Indices) -> Floats:
        return self.rows.collect("measures", indices)

    def open_round(self) -> tuple[float, float]:
        found = self.rows.communicator.ask("open_round")
        return max(largest for largest, _ in found), math.fsum(energy for _, energy in found)

    def first_left(self, count: int) -> Indices:
        return np.concatenate(self.rows.communicator.ask("first_left", count))[:count]

    def skip(self, indices: Indices) -> None:
        super().skip(indices)
        self.rows.communicator.ask("take_again", indices[:0], indices)

    def take_again(self, before: Indices, chosen: Indices) -> None:
        self.rows.communicator.ask("take_again", before, chosen)

    def take(self, items: Any) -> None:
        """Does nothing: each rank takes its own item when it projects a pick out."""
