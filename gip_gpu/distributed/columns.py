"""Gram columns of all ranks, in batches: rank 0 chooses them, each rank computes its own part."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gip_gpu.backends.residual import Pending
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.distributed.shard import ColumnShard
from gip_gpu.distributed.sharded_pool import ShardedRows
from gip_gpu.gram.columns import ColumnCache


class ShardedStorage:
    """Memory of rank 0 for its part of the columns; each other rank has its own."""

    def __init__(self, own: ColumnShard) -> None:
        self.own = own

    def empty_columns(self, count: int) -> Any:
        return self.own.stored

    def touch(self, columns: Any) -> None:
        """Does nothing: each rank touches its memory when it writes."""

    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:
        """Does nothing: each rank keeps its own table."""


class ShardedColumns(ColumnCache):
    """Columns on demand; each batch sends the exact rows of its items to all ranks.

    Args:
        communicator: of rank 0, whose target is a `ColumnShard`.
        rows: rows of all ranks.
        slots: number of columns that each rank keeps.
    """

    def __init__(self, communicator: Communicator, rows: ShardedRows, slots: int) -> None:
        assert isinstance(communicator.target, ColumnShard)
        self.communicator, self.rows = communicator, rows
        super().__init__(ShardedStorage(communicator.target), slots)

    def _fill(self, indices: list[int], first: int, pick: Pending) -> None:
        rows = pick.row[None]
        if len(indices) > 1:
            rows = np.concatenate([rows, self.rows.take(indices[1:])])
        # `ask` waits for answers, so the time of a batch is that of the slowest rank.
        self.communicator.ask("columns", indices, first, rows)
