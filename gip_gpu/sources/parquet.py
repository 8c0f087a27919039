"""Columns of a Parquet file."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.columns import Chosen, choose, load, values
from gip_gpu.sources.decoded import DecodedSource
from gip_gpu.sources.names import MatrixRequest
from gip_gpu.system.files import File, NoRows, reading

# Bytes of rows that are decoded at a time.
PIECE = 1 << 22
# Bytes of a file that are read at a time; without a buffer size, pyarrow reads a whole column of a row group.
BUFFER = 1 << 20


class ParquetSource(DecodedSource):
    """Columns of a Parquet file, decoded in pieces of about 4 MB.

    A piece in the middle of a row group is reached by decoding the row group up to it. This costs nothing in a pass
    from the first row to the last, and much for single rows of large row groups: for those, row groups should have
    10 to 100 MB, or the matrix should be in a .npy file.
    """

    def __init__(self, file: File, chosen: Chosen, width: int, metadata: Any) -> None:
        self.chosen, self.metadata = chosen, metadata
        self.step = max(1, PIECE // max(1, width * chosen.dtype.itemsize))
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.groups = np.repeat(np.arange(len(counts)), [math.ceil(count / self.step) for count in counts])
        lengths = [min(self.step, count - at) for count in counts for at in range(0, count, self.step)]
        super().__init__(file, lengths, width, chosen.dtype)
        self.origin = chosen.origin

    def _forget(self) -> None:
        super()._forget()
        self._stream: Iterator[Any] = iter(())
        self._group = self._next = -1  # row group that the stream decodes, and its next piece

    def _decode(self, number: int) -> NDArray[Any]:
        group = int(self.groups[number])
        if group != self._group or self._next > number:
            opened = _open(self.file.path, self.metadata)
            # pyarrow's own threads decode far ahead: ten times the memory, for a row group of 80 MB.
            self._stream = opened.iter_batches(
                self.step, row_groups=[group], columns=list(self.chosen.names), use_threads=False
            )
            self._next = int(np.searchsorted(self.groups, group))
        behind, self._group = number - self._next, -1
        batch = next(itertools.islice(self._stream, behind, None), None)
        if batch is None:
            raise ValueError(f"row group {group} ends before its last row")
        self._group, self._next = group, number + 1
        first = int(self.starts[number])
        rows = values(self.chosen, batch, first, self.shape[1])
        if len(rows) != self.starts[number + 1] - first:
            raise ValueError(f"it has {len(rows)} rows where its footer declares {self.starts[number + 1] - first}")
        return rows

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in super().__getstate__().items() if name not in ("_stream", "_group", "_next")
        }


def open_parquet(file: File, request: MatrixRequest) -> ParquetSource:
    """Opens the matrix of a Parquet file."""
    load()
    damaged = "; it may be cut off, or no .parquet file"
    with reading(file.name, damaged):
        opened = _open(file.path, None)
    # Columns of a file written without rows may have no type.
    if not opened.metadata.num_rows:
        raise NoRows(f"cannot read {file.name}: it has no rows")
    chosen = choose(file.name, opened.schema_arrow, request)
    with reading(file.name):
        # All rows must have the length of the first.
        batch = next(opened.iter_batches(1, columns=list(chosen.names)), None)
        if batch is None:
            raise ValueError("its footer declares rows, and it has none")
        return ParquetSource(file, chosen, values(chosen, batch, 0, None).shape[1], opened.metadata)


def _open(path: str, metadata: Any) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path, metadata=metadata, buffer_size=BUFFER)
