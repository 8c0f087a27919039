"""np.memmap arrays, read in blocks; the pages of each block are released after it is read."""

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.base import NUMERIC_KINDS, STEP, Pieces, Source
from gip_gpu.system.files import File

# Modes whose maps share the file's own pages. In mode "c", releasing a page would lose what was written to it.
SHARED = ("r", "r+", "w+")
HUGE_PAGE = 1 << 21


def mappable(value: Any, dimensions: tuple[int, ...]) -> bool:
    """Returns whether a value is a memory map of real numbers with contiguous rows."""
    return (
        isinstance(value, np.memmap)
        and getattr(value, "_mmap", None) is not None
        and value.ndim in dimensions
        and value.flags.c_contiguous
        and value.dtype.kind in NUMERIC_KINDS
        and value.size > 0
    )


def mapped_file(value: Any) -> File | None:
    """Returns the file of a read-only memory map, or of a view of one, to detect changes; None for other arrays."""
    while isinstance(value, np.ndarray) and not isinstance(value, np.memmap):
        value = value.base
    name = getattr(value, "filename", None)
    # A deleted file cannot be checked by name; only a process that has it open can still write to it.
    return File(name) if name is not None and value.mode == "r" and os.path.exists(name) else None


class MemmapSource(Source):
    """An np.memmap array, or a view of one, with contiguous rows.

    Pages are released after they are read, except in mode "c" and on systems without `madvise`. Reads see values
    written through the map; the file of a map in mode "r" must not change.

    Args:
        array: (m, d) or (m,), C-contiguous.
    """

    gap = 1 << 15

    def __init__(self, array: Any) -> None:
        self.mapping: mmap.mmap | None = getattr(array, "_mmap", None)
        name = getattr(array, "filename", None)
        values: NDArray[Any] = np.asarray(array).reshape(len(array), -1)
        super().__init__("memory map" if name is None else os.fspath(name), values.shape, values.dtype)
        self.array, self.values = array, values
        self.drops = self.mapping is not None and array.mode in SHARED and hasattr(mmap, "MADV_DONTNEED")
        if self.mapping is not None:
            self.place = values.ctypes.data - np.frombuffer(self.mapping, np.uint8).ctypes.data
            begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
            self.end = begin + len(self.mapping)
        self.file = mapped_file(array)

    def places(self) -> list[str]:
        return [] if getattr(self.array, "filename", None) is None else super().places()

    def _fill(self, pieces: Pieces) -> None:
        # Reading a page beyond the end of a truncated file would kill the process.
        if self.mapping is not None and self.mapping.size() < self.end:
            raise ValueError(f"cannot read {self.name}: it has been cut off since it was opened")
        if self.file is not None:
            self.file.check()
        step = max(1, STEP // self.values[0].nbytes)
        for first, out in pieces:
            for start in range(0, len(out), step):
                rows = self.values[first + start : first + min(start + step, len(out))]
                out[start : start + step] = rows
                if self.drops:
                    self._drop(first + start, rows.nbytes)

    def _drop(self, first: int, nbytes: int) -> None:
        assert self.mapping is not None
        begin = self.place + first * self.values.strides[0]
        # The kernel also maps pages around the touched ones, up to a huge page.
        page = max(0, begin // HUGE_PAGE - 1) * HUGE_PAGE
        self.mapping.madvise(mmap.MADV_DONTNEED, page, min(begin + nbytes + HUGE_PAGE, len(self.mapping)) - page)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.drops and self.array.filename is not None:
            place = self.end - len(self.mapping or b"") + self.place
            return _again, (self.array.filename, self.array.dtype, place, self.array.shape)
        return MemmapSource, (np.array(self.array),)


def _again(path: Any, dtype: Any, offset: int, shape: tuple[int, ...]) -> MemmapSource:
    return MemmapSource(np.memmap(path, dtype, "r", offset, shape))
