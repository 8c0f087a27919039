"""Rows of the pool's .jsonl file, found and copied byte for byte."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.file import AnyPath, File
from gip_gpu.sources.lines import MARK
from gip_gpu.writing import check_suffix


@dataclass(frozen=True)
class JsonlRows:
    """Rows of a .jsonl file by number: only where each begins is held in memory.

    Attributes:
        file: where they are; it must stay as it was when it was scanned.
        offsets: (rows + 1,) int64, byte where each row begins, and where the last one ends.
    """

    file: File
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def copy(self, indices: Iterable[int], target: BinaryIO) -> None:
        """Write the rows with these indices to an open file, byte for byte, in this order.

        Raises:
            ValueError: the file has changed since it was scanned.
        """
        self.file.check()
        with open(self.file.path, "rb") as source:
            for i in indices:
                source.seek(self.offsets[i])
                row = source.read(self.offsets[i + 1] - self.offsets[i])
                target.write(row if row.endswith(b"\n") else row + b"\n")


def read_jsonl_rows(path: AnyPath, count: int | None = None) -> JsonlRows:
    """Find the rows of a .jsonl (or .ndjson) file, one an item; what is inside a row is not looked at.

    Args:
        path: the file, UTF-8; empty lines at its end do not count.
        count: how many rows there must be: those of the embeddings.

    Raises:
        ValueError: unreadable, no regular file, no row, an empty line inside (it is named), or not `count` rows.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data.jsonl").write_text('{"a": 1}\\n{"a": 2}\\n')
    ...     len(read_jsonl_rows(folder + "/data.jsonl"))
    2
    """
    path = Path(path)
    check_suffix(path, (".jsonl", ".ndjson"))
    offsets, empty = array("q"), 0
    file = File(path)
    with file.opened() as opened, BufferedReader(opened) as source:
        start = end = len(MARK) if source.read(len(MARK)) == MARK else 0
        source.seek(start)
        for number, line in enumerate(source, 1):
            if line.isspace():
                empty = empty or number
            elif empty:
                raise ValueError(f"line {empty} is empty; it must have one row a line")
            else:
                offsets.append(start)
                end = start + len(line)
            start += len(line)
        rows = len(offsets)
        if count is not None and rows != count:
            raise ValueError(f"it has {rows} rows and the embeddings have {count}; row i belongs to row i")
        if not rows:
            raise ValueError("it has no rows")
    offsets.append(end)
    return JsonlRows(file, np.array(offsets, dtype=np.int64))
