"""Columns of Arrow IPC files: the file format (.arrow and .feather) and the stream format that `datasets` saves."""

import mmap
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from gip_gpu.sources.base import Pieces
from gip_gpu.sources.columns import Chosen, choose, load, values
from gip_gpu.sources.decoded import DecodedSource
from gip_gpu.sources.names import MatrixRequest
from gip_gpu.system.files import File, NoRows, reading

MAGIC = b"ARROW1"
DAMAGED = "; it may be cut off, or no Arrow file"


class ArrowSource(DecodedSource):
    """Columns of an Arrow file, read through a memory map whose pages are released, or decoded batch by batch if they
    are compressed."""

    def __init__(self, file: File, request: MatrixRequest) -> None:
        self.file, self.request = file, request
        count = self._map()
        lengths, width = [], None
        for number in range(count):
            with reading(file.name, DAMAGED):
                batch = self._batch(number)
            lengths.append(batch.num_rows)
            if width is None and batch.num_rows:
                with reading(file.name):
                    width = values(self.chosen, batch.slice(0, 1), 0, None).shape[1]
            # Reading the length of a batch of a compressed file decodes the batch.
            self._drop()
        if width is None:
            raise NoRows(f"cannot read {file.name}: it has no rows")
        super().__init__(file, lengths, width, self.chosen.dtype)
        self.origin = self.chosen.origin

    def _map(self) -> int:
        """Maps the file, chooses the columns and returns the number of batches."""
        pa = load()
        with self.file.opened(DAMAGED) as opened:
            self._mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            buffer = pa.py_buffer(self._mapping)
            stream = self._mapping[: len(MAGIC)] != MAGIC
            open_it = pa.ipc.open_stream if stream else pa.ipc.open_file
            schema = open_it(buffer).schema
        try:
            self.chosen: Chosen = choose(self.file.name, schema, self.request)
        except ValueError as error:
            # Columns of a file written without rows may have no type.
            with reading(self.file.name, DAMAGED):
                rows = open_it(buffer).read_all().num_rows
            if rows:
                raise
            raise NoRows(f"cannot read {self.file.name}: it has no rows") from error
        names = list(self.chosen.names)
        with reading(self.file.name, DAMAGED):
            reader = open_it(buffer)
            if not stream:
                count = int(reader.num_record_batches)
                if count and not _inside(reader.get_batch(0).select(names), buffer):
                    # Compressed: these options decompress only the chosen columns. They would copy uncompressed ones.
                    fields = [schema.get_field_index(name) for name in names]
                    reader = open_it(buffer, options=pa.ipc.IpcReadOptions(included_fields=fields))
                self._batch: Callable[[int], Any] = reader.get_batch
                return count
            # Batches of a stream can only be read in order; keeping all of them takes no memory, as they are views of
            # the map.
            batches = []
            for batch in reader:
                if not _inside(batch, buffer):
                    break
                batches.append(batch.select(names))
            else:
                self._batch = batches.__getitem__
                return len(batches)
        raise ValueError(
            f"cannot read {self.file.name}: it is a compressed stream; write it in Arrow's file format, or as .parquet"
        )

    def _decode(self, number: int) -> NDArray[Any]:
        rows = values(self.chosen, self._batch(number), int(self.starts[number]), self.shape[1])
        self._drop()
        return rows

    def _fill(self, pieces: Pieces) -> None:
        # Touching a page can load 2 MiB around it.
        for at in range(0, len(pieces), 16):
            super()._fill(pieces[at : at + 16])
            self._drop()

    def _drop(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_mapping", "_batch")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._map()


def _inside(batch: Any, buffer: Any) -> bool:
    """Returns whether the values of a batch are views of the mapped file, not decompressed copies."""
    last = buffer.address + buffer.size
    parts = [part for column in batch.columns for part in column.buffers() if part is not None and part.size]
    return all(buffer.address <= part.address < last for part in parts)
