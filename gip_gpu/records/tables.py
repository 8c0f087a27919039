"""Rows of tables: Parquet files, data sets of `datasets`, and tables in memory of pyarrow, pandas and polars."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gip_gpu.records.base import Record, RecordFile
from gip_gpu.sources.columns import load
from gip_gpu.system.files import AnyPath, File, NoRows, reading

# Bytes of a table that are converted to Python objects at a time, and the most rows.
PIECE, STEP = 1 << 22, 1024


class TableFile(RecordFile):
    """Rows that pyarrow reads in batches."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    @abstractmethod
    def table(self, indices: Sequence[int]) -> Any:
        """Returns a pyarrow table of the rows with these numbers, in this order."""

    @abstractmethod
    def _batches(self, columns: list[str]) -> Iterator[Any]:
        """Yields batches or tables of these columns in order."""

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        wanted = [name for name in self.columns if columns is None or name in columns]
        if not wanted:
            yield from ({} for _ in range(len(self)))
            return
        for batch in self._batches(wanted):
            yield from batch.to_pylist()

    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        yield from self.table(indices).to_pylist()


class ParquetFile(TableFile):
    """Rows of a Parquet file, decoded in batches.

    Raises:
        NoRows: the file has no rows.
        ValueError: it cannot be read.
        ImportError: pyarrow is missing.
    """

    format = "parquet"

    def __init__(self, path: AnyPath) -> None:
        load()
        self.file = File(path)
        self.name = self.file.name
        with reading(self.name, "; it may be cut off, or no .parquet file"):
            opened = self._open()
            self.schema, self.metadata = opened.schema_arrow, opened.metadata
            counts = [self.metadata.row_group(group).num_rows for group in range(self.metadata.num_row_groups)]
            self.starts = np.cumsum([0, *counts])
            if not self.starts[-1]:
                raise NoRows("it has no rows")
            size = sum(self.metadata.row_group(group).total_byte_size for group in range(len(counts)))
        self.step = int(np.clip(PIECE * len(self) // max(1, size), 1, STEP))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.schema.names)

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        self.file.check()
        with reading(self.name):
            yield from self._open().iter_batches(self.step, columns=columns, use_threads=False)

    def table(self, indices: Sequence[int]) -> Any:
        pa = load()
        self.file.check()
        wanted = np.asarray(indices, dtype=np.int64)
        ascending = np.unique(wanted)
        groups = np.searchsorted(self.starts, ascending, side="right") - 1
        parts: list[Any] = []
        with reading(self.name):
            opened = self._open()
            for group in np.unique(groups).tolist():
                rows, first = ascending[groups == group], int(self.starts[group])
                for batch in opened.iter_batches(self.step, row_groups=[group], use_threads=False):
                    inside = rows[(rows >= first) & (rows < first + batch.num_rows)] - first
                    if len(inside):
                        parts.append(batch.take(pa.array(inside)))
                    first += batch.num_rows
            found = pa.Table.from_batches(parts, self.schema)
            return found.take(pa.array(np.searchsorted(ascending, wanted)))

    def _open(self) -> Any:
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(self.file.path)


class DatasetTable(TableFile):
    """Rows of a `datasets.Dataset`, read as Arrow tables, so that pictures and sounds are not decoded.

    Args:
        dataset: the data set.
        name: its name, for messages.
    """

    format = "datasets"

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset, name
        if not len(dataset):
            raise NoRows(f"{name} has no rows")

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.dataset.column_names)

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        yield from self.dataset.with_format("arrow", columns=columns).iter(STEP)

    def table(self, indices: Sequence[int]) -> Any:
        return self.dataset.select(list(indices)).with_format("arrow")[:]


class ArrowTable(TableFile):
    """Rows of a pyarrow table in memory."""

    format = "arrow"

    def __init__(self, held: Any, name: str) -> None:
        self.held, self.name = held, name
        if not held.num_rows:
            raise NoRows(f"{name} has no rows")

    def __len__(self) -> int:
        return int(self.held.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.held.column_names)

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        yield from self.held.select(columns).to_batches(STEP)

    def table(self, indices: Sequence[int]) -> Any:
        return self.held.take(load().array(np.asarray(indices, dtype=np.int64)))


class FrameTable(RecordFile):
    """Rows of a pandas or polars frame."""

    def __init__(self, frame: Any, name: str) -> None:
        self.frame, self.name = frame, name
        self.format = type(frame).__module__.split(".")[0]
        if not len(frame):
            raise NoRows(f"{name} has no rows")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.frame.columns)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        frame = self.frame[[name for name in self.columns if columns is None or name in columns]]
        for start in range(0, len(self), STEP):
            yield from self._records(frame[start : start + STEP])

    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        yield from self._records(self.frame.iloc[indices] if self.format == "pandas" else self.frame[list(indices)])

    def _records(self, part: Any) -> Iterator[Record]:
        yield from part.to_dict("records") if self.format == "pandas" else part.iter_rows(named=True)
