"""VectorFile: rows of float16 that are written to a .npy file in any order, by several processes, and after a kill."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.system.atomic_write import atomic_write
from gip_gpu.system.files import AnyPath, reading

DTYPE = np.dtype(np.float16)
# Rows that are verified at a time.
STEP = 4096


class VectorFile:
    """A (m, d) float16 .npy file under a temporary name, `path`.part, until all rows are written.

    Beside it, `path`.rows has the CRC-32 of each row that was written, 0 for the others. It is written after the row.
    So a row counts as written only if its values are those that were written, whatever ended the process or the
    machine.

    Args:
        path: the file to make.
        shape: (m, d).
        fingerprint: fingerprint of what the rows are made from; rows with another one are not kept.

    Attributes:
        done: (m,) bool, rows that were written before this object was opened.
    """

    def __init__(self, path: AnyPath, shape: tuple[int, int], fingerprint: str) -> None:
        self.path, self.shape, self.fingerprint = Path(path), shape, fingerprint
        self.part, self.sums, self.facts = (
            self.path.with_name(self.path.name + suffix) for suffix in (".part", ".rows", ".json")
        )
        self.done = np.zeros(shape[0], dtype=bool)
        self._width = shape[1] * DTYPE.itemsize

    def create(self) -> None:
        """Makes the temporary files, unless those of an earlier run with the same fingerprint are there."""
        if self._begun():
            return
        for path in (self.part, self.sums):
            path.unlink(missing_ok=True)
        # The file of the checksums ends with the fingerprint, so that the two cannot be of different runs.
        np.lib.format.open_memmap(self.part, mode="w+", dtype=DTYPE, shape=self.shape).flush()
        with open(self.sums, "xb") as file:
            file.truncate(4 * self.shape[0])
            file.seek(0, os.SEEK_END)
            file.write(self.fingerprint.encode())

    def open(self) -> None:
        """Opens the temporary files that `create` made, and verifies the rows in them.

        Raises:
            ValueError: they are not those of this fingerprint.
        """
        if not self._begun():
            raise ValueError(f"{self.part} is missing or belongs to other texts")
        with reading(self.part):
            stored = np.load(self.part, mmap_mode="r")
            sums = np.fromfile(self.sums, dtype="<u4", count=self.shape[0])
            for start in range(0, self.shape[0], STEP):
                stop = min(start + STEP, self.shape[0])
                if sums[start:stop].any():
                    self.done[start:stop] = sums[start:stop] == _sums(np.asarray(stored[start:stop]))
            self._offset = int(stored.offset)
        self._rows = open(self.part, "r+b", buffering=0)  # noqa: SIM115
        self._sums = open(self.sums, "r+b", buffering=0)  # noqa: SIM115

    def write(self, rows: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Writes the rows with these numbers, ascending; vectors is (rows, d).

        Raises:
            OSError: the disk is full.
        """
        sums = _sums(vectors)
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        runs = list(zip([0, *ends.tolist()], [*ends.tolist(), len(rows)], strict=True))
        for file, values, offset, width in ((self._rows, vectors, self._offset, self._width), (self._sums, sums, 0, 4)):
            for begin, end in runs:
                file.seek(offset + int(rows[begin]) * width)
                _write_all(file, values[begin:end].tobytes())

    def close(self) -> None:
        """Flushes the rows to disk."""
        for file in (self._rows, self._sums):
            os.fsync(file.fileno())
            file.close()

    def finish(self, facts: dict[str, Any]) -> None:
        """Gives the complete file its name, and writes `path`.json with facts about it.

        Raises:
            ValueError: a row is missing.
        """
        self.open()
        self.close()
        if not self.done.all():
            raise ValueError(f"{self.part}: row {int(np.argmin(self.done))} is not written")
        # In this order, so that no old rows ever stand beside new facts.
        self.path.unlink(missing_ok=True)
        with atomic_write(self.facts) as file:
            shown = {**facts, "shape": list(self.shape), "fingerprint": self.fingerprint}
            file.write((json.dumps(shown, indent=1) + "\n").encode())
        os.replace(self.part, self.path)
        self.sums.unlink(missing_ok=True)

    def complete(self) -> bool:
        """Returns whether `path` already holds the rows of this fingerprint."""
        try:
            facts = json.loads(self.facts.read_bytes())
            stored = np.load(self.path, mmap_mode="r")
        except (OSError, ValueError):
            return False
        same = isinstance(facts, dict) and facts.get("fingerprint") == self.fingerprint
        return same and (stored.shape, stored.dtype) == (self.shape, DTYPE)

    def _begun(self) -> bool:
        try:
            size = 4 * self.shape[0]
            with open(self.sums, "rb") as file:
                file.seek(size)
                if file.read() != self.fingerprint.encode():
                    return False
            stored = np.load(self.part, mmap_mode="r")
        except (OSError, ValueError):
            return False
        return (stored.shape, stored.dtype) == (self.shape, DTYPE)


def _sums(vectors: NDArray[np.float16]) -> NDArray[np.uint32]:
    """Returns the CRC-32 of each row, never 0."""
    return np.array([zlib.crc32(row.tobytes()) or 1 for row in vectors], dtype="<u4")


def _write_all(file: Any, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
