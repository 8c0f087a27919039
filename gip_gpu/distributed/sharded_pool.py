"""The pool of all ranks as rank 0 sees it: its exact rows, and the state of a selection from them."""

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
    """The exact rows of all ranks.

    Args:
        star: rank 0's.
        sizes: rows of each rank.
        d: length of a row.
        largest: norm of a row, of those that `take` returns.
    """

    def __init__(self, star: Communicator, sizes: list[int], d: int, *, normalize: bool, largest: float) -> None:
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

    def scores_of(self, indices: Indices) -> Floats:
        return self.rows.collect("scores", indices, self.n)

    def measures_of(self, indices: Indices) -> Floats:
        return self.rows.collect("measures", indices)

    def open_round(self) -> tuple[float, float]:
        found = self.rows.star.ask("open_round")
        return max(largest for largest, _ in found), math.fsum(energy for _, energy in found)

    def first_left(self, count: int) -> Indices:
        return np.concatenate(self.rows.star.ask("first_left", count))[:count]

    def skip(self, indices: Indices) -> None:
        super().skip(indices)
        self.rows.star.ask("take_again", indices[:0], indices)

    def take_again(self, before: Indices, chosen: Indices) -> None:
        self.rows.star.ask("take_again", before, chosen)

    def take(self, items: Any) -> None:
        """Each rank knows by the pick which of its own is chosen."""
