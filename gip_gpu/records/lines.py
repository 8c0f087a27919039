"""Lines of a text file: found in one pass, read again by number, copied byte for byte."""

import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.lines import MARK
from gip_gpu.system import compressed
from gip_gpu.system.files import File, NoRows, reading, suffix_of

# Bytes of chosen rows of a compressed file that are sorted in memory; more go to a temporary file.
SPOOL = 1 << 26
# The first two bytes of UTF-16 text.
UTF16 = (b"\xff\xfe", b"\xfe\xff")


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

    def __iter__(self) -> Iterator[bytes]:
        """Yields all lines in one pass.

        Raises:
            ValueError: the file has changed since it was scanned.
        """
        self.file.check()
        with reading(self.file.name), compressed.open_plain(self.file.path) as source:
            for number, line in zip(range(len(self)), source, strict=False):
                yield line.removeprefix(MARK) if number == 0 else line

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


def scan(path: Path, count: int | None, parse: Callable[[bytes, int], object]) -> Lines:
    r"""Finds the lines of a UTF-8 file, also compressed; lines end at \n alone, and empty ones at its end do not count.

    Args:
        path: the file.
        count: required number of lines: that of the embeddings.
        parse: called with each line and its number, from 1 on.

    Raises:
        NoRows: the file has no lines.
        ValueError: an unreadable file, an empty line between others, or not `count` lines.
    """
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
            raise NoRows("it has no rows")
    offsets.append(end)
    file.check()
    return Lines(file, np.array(offsets, dtype=np.int64))


def parsed(line: bytes, number: int, hint: str = "") -> Any:
    """Returns the JSON value of a line.

    Raises:
        ValueError: it is no UTF-8 or no JSON; the message names the line and ends with the hint.
    """
    try:
        return json.loads(as_text(line, number))
    except json.JSONDecodeError as error:
        why = f"line {number} is no JSON: {error.msg} at column {error.colno}"
    except RecursionError as error:
        why = f"line {number} is no JSON: {error}"
    except ValueError as error:
        why = str(error)
    raise ValueError(f"{why}{hint}")


def as_text(line: bytes, number: int) -> str:
    """Returns a line as text; ValueError if it is no UTF-8, naming the line."""
    try:
        return str(line, "utf-8")
    except UnicodeDecodeError as error:
        hint = "; the file seems to be UTF-16: convert it to UTF-8" if number == 1 and line.startswith(UTF16) else ""
        raise ValueError(f"line {number} is no text in UTF-8: {error.reason} {line[error.start]:#04x}{hint}") from None
