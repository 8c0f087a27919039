"""Gram columns of all ranks, in batches: rank 0 decides which, each rank computes its own part of them."""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.numpy.simulation import simulate
from gip_gpu.distributed.exchange import Star
from gip_gpu.distributed.shard import ColumnShard
from gip_gpu.distributed.sharded import ShardedRows
from gip_gpu.gram.columns import Ring
from gip_gpu.greedy.state import State
from gip_gpu.planning.cpu_costs import HostCosts

# Items that every rank nominates at least, however few of the pool's are its own.
NOMINEES = 64
# Rows of nominees that rank 0 keeps, in working sets; most are nominated again for the next batch.
KEPT = 4


def working_set(m: int, d: int, n: int) -> int:
    """Items, about, among which the next picks of a pool are simulated."""
    return HostCosts(m, d, n).layouts()[0].lookahead


def kept_bytes(m: int, d: int, n: int) -> int:
    """Bytes that rank 0 takes for that."""
    return (KEPT + 2) * 4 * d * (working_set(m, d, n) + NOMINEES)


class ShardedColumns(Ring):
    """As the columns of one process; the picks' exact rows reach all ranks with their batch.

    Args:
        star: rank 0's, whose target is a `ColumnShard`.
        rows: of all ranks.
        slots: columns that each rank keeps.
        square: as in `gip_gpu.backends.base.Backend`.
    """

    def __init__(self, star: Star, rows: ShardedRows, slots: int, square: float) -> None:
        assert isinstance(star.target, ColumnShard)
        self.star, self.rows = star, rows
        super().__init__(Foresight(star, rows, square, star.target), slots)

    def provide(self, state: State) -> None:
        assert state.pending is not None
        self.row = state.pending.row
        super().provide(state)

    def _fill(self, indices: list[int], first: int) -> None:
        # The pending pick is the first.
        rows = self.row[None]
        if len(indices) > 1:
            rows = np.concatenate([rows, self.rows.take(indices[1:])])
        # Answered, so that a batch counts for what it takes on the slowest rank.
        self.star.ask("columns", indices, first, rows)


class Foresight:
    """The next picks, simulated by rank 0 among the items that the ranks nominate."""

    def __init__(self, star: Star, rows: ShardedRows, square: float, own: ColumnShard) -> None:
        m, d = rows.shape
        self.star, self.square, self.own = star, square, own
        wanted = working_set(m, d, own.state.n)
        self.counts = [max(NOMINEES, -(-wanted * int(size) // m)) for size in np.diff(rows.offsets)]
        # A rank may nominate twice as many.
        self.most = 2 * sum(self.counts)
        self.kept = np.empty((max(self.most, KEPT * wanted), d), np.float32)
        self.place_of: dict[int, int] = {}

    def empty_columns(self, slots: int) -> Any:
        return self.own.ring

    def ready(self, columns: Any, count: int) -> None:
        """Each rank's memory is its own affair."""

    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:
        """Each rank keeps its own table."""

    def speculate(self, state: State, known: Container[int], count: int) -> list[int]:
        """As `gip_gpu.backends.base.Backend.speculate`."""
        assert state.pending is not None
        found = [state.pending.index]
        if count == 1:
            return found
        indices, ahead, rows = self._nominees()
        open_ = np.ones(len(indices), np.float32)
        open_[indices == found[0]] = 0
        for place in simulate(rows, ahead, open_, state.pending, self.square, min(state.k - state.t, 4 * count) - 1):
            index = int(indices[place])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _nominees(self) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """Items, their residuals (n, p) and rows (p, d), float32; only rows that are new travel."""
        forget = len(self.place_of) + self.most > len(self.kept)
        if forget:
            self.place_of.clear()
        answers = self.star.ask_each([("nominate", (count, forget)) for count in self.counts])
        for _, _, fresh, rows in answers:
            start = len(self.place_of)
            self.kept[start : start + len(fresh)] = rows
            self.place_of.update(zip(fresh.tolist(), range(start, start + len(fresh)), strict=True))
        indices = np.concatenate([answer[0] for answer in answers])
        ahead = np.concatenate([answer[1] for answer in answers], axis=1)
        return indices, ahead, self.kept[[self.place_of[index] for index in indices.tolist()]]
