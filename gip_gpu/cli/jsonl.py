"""Rows of a .jsonl file: located, parsed once, and copied byte for byte."""

import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gip_gpu.cli import compressed
from gip_gpu.cli.id_checks import Id, Ids, Take
from gip_gpu.sources.lines import MARK
from gip_gpu.system.atomic_write import check_suffix
from gip_gpu.system.files import AnyPath, File, reading, suffix_of

SUFFIXES = tuple(name + codec for codec in ("", *compressed.SUFFIXES) for name in (".jsonl", ".ndjson"))
# Bytes of chosen rows of a compressed file that are sorted in memory; more go to a temporary file.
SPOOL = 1 << 26


@dataclass(frozen=True)
class Lines:
    """Lines of a text file by number, one per item; only their offsets are in memory.

    Attributes:
        file: the file, compressed if its name ends in .gz or .zst; it must not change after the scan.
        offsets: (lines + 1,) int64, offset of each line's first byte in the decompressed text, and of the last's end.
    """

    file: File
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, indices: Iterable[int]) -> Iterator[bytes]:
        """Yields the lines with these numbers in this order, byte for byte, each with a newline at its end.

        Raises:
            ValueError: the file has changed since it was scanned.
        """
        self.file.check()
        packed = suffix_of(self.file.path) in compressed.SUFFIXES
        found = self._gather(list(indices)) if packed else self._seek(indices)
        for line in found:
            yield line if line.endswith(b"\n") else line + b"\n"

    def copy(self, indices: Iterable[int], target: BinaryIO) -> None:
        """Writes the lines with these numbers to an open file, in this order; raises as `take`."""
        for line in self.take(indices):
            target.write(line)

    def field(self, name: str) -> Take:
        """Returns a function from item numbers to the ids in a field of their rows."""
        return lambda chosen: [field_of(line, name, i + 1) for i, line in zip(chosen, self.take(chosen), strict=True)]

    def _seek(self, indices: Iterable[int]) -> Iterator[bytes]:
        with open(self.file.path, "rb") as source:
            for i in indices:
                source.seek(self.offsets[i])
                yield source.read(self.offsets[i + 1] - self.offsets[i])

    def _gather(self, indices: list[int]) -> Iterator[bytes]:
        """Reads the lines in one pass, because a compressed file has no random access."""
        wanted, places = set(indices), dict[int, int]()
        with tempfile.SpooledTemporaryFile(SPOOL) as kept:
            with reading(self.file.name), compressed.open_plain(self.file.path) as source:
                for number, line in enumerate(source):
                    if number in wanted:
                        places[number] = kept.tell()
                        kept.write(line.removeprefix(MARK) if number == 0 else line)
            for i in indices:
                kept.seek(places[i])
                yield kept.read(self.offsets[i + 1] - self.offsets[i])


def read_jsonl_rows(
    path: AnyPath, count: int | None = None, *, check: bool = True, field: str | None = None, ids: Ids | None = None
) -> Lines:
    """Finds the rows of a .jsonl (or .ndjson) file, one per item, also compressed: .jsonl.gz, .jsonl.zst.

    Args:
        path: the file, UTF-8; empty lines at its end do not count.
        count: required number of rows: that of the embeddings.
        check: whether to parse each row.
        field: field that each row must have: an id, text or an integer.
        ids: collects the ids in that field.

    Raises:
        ValueError: an unreadable file, no row, an empty line between rows, a row that is no JSON or lacks the field
            (the first such line is named), or not `count` rows.
        ImportError: .zst, and no library for it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data.jsonl").write_text('{"a": 1}\\n{"a": 2}\\n')
    ...     len(read_jsonl_rows(folder + "/data.jsonl"))
    2
    """
    check_suffix(Path(path), SUFFIXES)

    def parse(line: bytes, number: int) -> None:
        if field is not None:
            found = field_of(line, field, number)
            if ids is not None:
                ids.add(found)
        elif check:
            _parse(line, number, "; --no-check-rows takes rows as they are")

    return _scan(Path(path), count, parse)


def read_lines(path: AnyPath, count: int, see: Callable[[str, int], object]) -> Lines:
    """Finds the lines of a UTF-8 file, one per item, and calls `see(line, number)`; raises as `read_jsonl_rows`."""
    return _scan(Path(path), count, lambda line, number: see(_text(line, number), number))


def field_of(line: bytes, field: str, number: int) -> Id:
    """Returns the id in a row; ValueError with the line number if it is missing or neither text nor an integer."""
    row = _parse(line, number)
    if not isinstance(row, dict) or field not in row:
        raise ValueError(f"line {number} has no field {field!r}, which --ids names")
    found = row[field]
    if not isinstance(found, (str, int)) or isinstance(found, bool):
        raise ValueError(f"line {number} has {found!r} in field {field!r}; an id is text or an integer")
    return found


def _parse(line: bytes, number: int, hint: str = "") -> object:
    try:
        return json.loads(_text(line, number))
    except json.JSONDecodeError as error:
        why = f"line {number} is no JSON: {error.msg} at column {error.colno}"
    except RecursionError as error:
        why = f"line {number} is no JSON: {error}"
    except ValueError as error:
        why = str(error)
    raise ValueError(f"{why}{hint}")


def _text(line: bytes, number: int) -> str:
    try:
        return str(line, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number} is no text in UTF-8: {error.reason} {line[error.start]:#04x}") from None


def _scan(path: Path, count: int | None, parse: Callable[[bytes, int], object]) -> Lines:
    offsets, empty, start, end = array("q"), 0, 0, 0
    file = File(path)
    with reading(file.name):
        with compressed.open_plain(file.path) as source:
            for number, line in enumerate(source, 1):
                if number == 1 and line.startswith(MARK):
                    start, line = len(MARK), line[len(MARK) :]
                if not line or line.isspace():
                    empty = empty or number
                elif empty:
                    raise ValueError(f"line {empty} is empty; it must have one row a line")
                else:
                    parse(line, number)
                    offsets.append(start)
                    end = start + len(line)
                start += len(line)
        rows = len(offsets)
        if count is not None and rows != count:
            raise ValueError(f"it has {rows} rows and the embeddings have {count}; row i belongs to row i")
        if not rows:
            raise ValueError("it has no rows")
    offsets.append(end)
    file.check()
    return Lines(file, np.array(offsets, dtype=np.int64))
