"""Lookahead over many processes: rank 0 simulates the next picks among the items that the ranks nominate."""

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.numpy.simulation import simulate
from gip_gpu.backends.residual import Pending
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.distributed.shard import ColumnShard
from gip_gpu.distributed.sharded_pool import ShardedRows
from gip_gpu.planning.cpu_costs import HostCosts

# Smallest number of items that a rank nominates, however few of the pool's items it has.
NOMINEES = 64
# Rows of nominees that rank 0 keeps, in working sets; most nominees are nominated again for the next batch.
KEPT = 4


def working_set(m: int, d: int, n: int) -> int:
    """Returns about how many items the simulation of the next picks uses."""
    return HostCosts(m, d, n).layouts()[0].lookahead


def kept_bytes(m: int, d: int, n: int) -> int:
    """Returns the bytes that rank 0 allocates for the simulation."""
    return (KEPT + 2) * 4 * d * (working_set(m, d, n) + NOMINEES)


class Foresight:
    """Simulation of the next picks by rank 0, among the items that the ranks nominate."""

    def __init__(self, communicator: Communicator, rows: ShardedRows, square: float, own: ColumnShard) -> None:
        m, d = rows.shape
        self.communicator, self.square, self.own = communicator, square, own
        wanted = working_set(m, d, own.state.n)
        self.counts = [max(NOMINEES, -(-wanted * int(size) // m)) for size in np.diff(rows.offsets)]
        # A rank may nominate twice as many.
        self.most = 2 * sum(self.counts)
        self.kept = np.empty((max(self.most, KEPT * wanted), d), np.float32)
        self.place_of: dict[int, int] = {}

    def picks(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        """As `gip_gpu.backends.residual.Residual.speculate`."""
        found = [pick.index]
        if count == 1:
            return found
        indices, ahead, rows = self._nominees()
        open_ = np.ones(len(indices), np.float32)
        open_[indices == found[0]] = 0
        for place in simulate(rows, ahead, open_, pick, self.square, min(most, 4 * count) - 1):
            index = int(indices[place])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _nominees(self) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """Returns items (p,), their residuals (n, p) and rows (p, d), float32; ranks send only rows that are new."""
        forget = len(self.place_of) + self.most > len(self.kept)
        if forget:
            self.place_of.clear()
        answers = self.communicator.ask_each([("nominate", (count, forget)) for count in self.counts])
        for _, _, fresh, rows in answers:
            start = len(self.place_of)
            self.kept[start : start + len(fresh)] = rows
            self.place_of.update(zip(fresh.tolist(), range(start, start + len(fresh)), strict=True))
        indices = np.concatenate([answer[0] for answer in answers])
        ahead = np.concatenate([answer[1] for answer in answers], axis=1)
        return indices, ahead, self.kept[[self.place_of[index] for index in indices.tolist()]]
