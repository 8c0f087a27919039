"""Source: a matrix in files that is read in blocks of rows, never whole."""

import operator
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.sources.names import Origin
from gip_gpu.system.files import NoRows

# NumPy kinds of real numbers: bool, unsigned, signed, float. All are converted to float64; wider ones are rounded.
NUMERIC_KINDS = "buif"
# Bytes read at a time in a pass over a whole matrix.
STEP = 1 << 23

Pieces = Sequence[tuple[int, NDArray[Any]]]


class Source(ABC):
    """Rows of a matrix in files, usable like an array: `len`, `shape`, `dtype`, and rows by index.

    Several threads may call `read` and `take` at once. Memory use is the requested rows, plus the piece that a format
    must decode at a time. A source can be pickled; the copy opens the same files.

    Attributes:
        name: the path passed in, for messages.
        shape: (m, d).
        dtype: type of the returned rows.
        nbytes: size of the stored matrix, uncompressed.
        gap: largest gap between two rows, in bytes, that is faster to read than to skip.
        origin: the columns or array of the file that the matrix is; None for a file with a single unnamed array.
    """

    ndim = 2
    gap = 0
    origin: Origin | None = None

    def __init__(self, name: str, shape: tuple[int, int], dtype: np.dtype[Any], nbytes: int | None = None) -> None:
        if 0 in shape:
            kind = ValueError if shape[0] else NoRows
            raise kind(f"{name} holds {dtype} {shape}; it must have at least one row and one column")
        self.name, self.shape, self.dtype = name, shape, dtype
        self.nbytes = shape[0] * shape[1] * dtype.itemsize if nbytes is None else nbytes
        self.closed = False

    @abstractmethod
    def _fill(self, pieces: Pieces) -> None:
        """Fills each piece, (first row, C-contiguous array), with the rows from `first` on.

        First rows ascend, and no array is empty.
        """

    def read(self, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Reads rows start to stop, (stop - start, d), into a new array or `out`.

        Args:
            start, stop: 0 <= start <= stop <= m.
            out: C-contiguous (stop - start, d) array of the source's dtype to read into.

        Raises:
            IndexError: start or stop is out of range.
            ValueError: `out` does not fit; the file cannot be read, has changed since it was opened, or holds a null
                where no NaN can replace it; the source is closed.
        """
        m, d = self.shape
        if not 0 <= start <= stop <= m:
            raise IndexError(f"rows {start} to {stop} are asked for, and {self.name} has rows 0 to {m}")
        if out is None:
            out = np.empty((stop - start, d), self.dtype)
        elif not (
            isinstance(out, np.ndarray)
            and (out.shape, out.dtype) == ((stop - start, d), self.dtype)
            and out.flags.c_contiguous
            and out.flags.writeable
        ):
            raise ValueError(f"out must be a writeable C-contiguous array, {self.dtype} {(stop - start, d)}")
        self._check_open()
        if stop > start:
            self._fill([(start, out)])
        return out

    def take(self, indices: Any) -> NDArray[Any]:
        """Reads the rows with these indices, (len(indices), d), in their order; indices may repeat and be negative.

        Raises:
            TypeError: `indices` is not a one-dimensional array of integers.
            IndexError: an index is out of range.
            ValueError: as `read`.
        """
        m, d = self.shape
        given = np.asarray(indices)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise TypeError(f"indices must be a one-dimensional array of integers, got {given.dtype} {given.shape}")
        if given.size and not (-m <= int(given.min()) and int(given.max()) < m):
            raise IndexError(f"indices reach from {given.min()} to {given.max()}, and {self.name} has {m} rows")
        self._check_open()
        out = np.empty((len(given), d), self.dtype)
        if len(given):
            wanted = given.astype(np.int64)
            wanted[wanted < 0] += m
            self._gather(wanted, out)
        return out

    def _gather(self, wanted: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Reads rows in file order; rows at most `gap` bytes apart are read together with the rows between them."""
        order = np.argsort(wanted, kind="stable")
        rows, width = wanted[order], out[0].nbytes
        most = max(1, STEP // width)
        buffer = np.empty((min(most, int(rows[-1] - rows[0]) + 1), out.shape[1]), self.dtype)
        pieces: list[tuple[int, NDArray[Any]]] = []
        taken: list[tuple[int, int]] = []
        used = 0

        def flush() -> None:
            self._fill(pieces)
            for (begin, end), (first, part) in zip(taken, pieces, strict=True):
                out[order[begin:end]] = part[rows[begin:end] - first]

        cuts = [0, *(np.flatnonzero(np.diff(rows) > max(1, self.gap // width)) + 1).tolist(), len(rows)]
        for begin, end in pairwise(cuts):
            while begin < end:
                first = int(rows[begin])
                stop = begin + int(np.searchsorted(rows[begin:end], first + most))
                count = int(rows[stop - 1]) - first + 1
                if used + count > len(buffer):
                    flush()
                    pieces, taken, used = [], [], 0
                pieces.append((first, buffer[used : used + count]))
                taken.append((begin, stop))
                begin, used = stop, used + count
        flush()

    def as_float64(self) -> NDArray[np.float64]:
        """Reads the whole matrix, (m, d) float64, in blocks; for scores and other small matrices."""
        m, d = self.shape
        whole = np.empty(self.shape)
        step = max(1, STEP // (d * self.dtype.itemsize))
        for start in range(0, m, step):
            stop = min(start + step, m)
            whole[start:stop] = self.read(start, stop)
        return whole

    def places(self) -> list[str]:
        """Returns the real paths of the files that rows are read from, and of the folder if they are its shards."""
        return [os.path.realpath(self.name)]

    def close(self) -> None:
        """Releases memory; later reads raise ValueError. Calling it is optional, as no file stays open."""
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name} is closed")

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self.read(start, max(start, stop)) if step == 1 else self.take(np.arange(start, stop, step))
        if np.ndim(key):
            chosen = np.asarray(key)
            if chosen.dtype == bool:
                if chosen.shape != (len(self),):
                    raise IndexError(f"a mask must have shape ({len(self)},), got {chosen.shape}")
                chosen = np.flatnonzero(chosen)
            return self.take(chosen)
        row: NDArray[Any] = self.take(np.array([operator.index(key)]))[0]
        return row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError(f"{self.name} is read in blocks; as an array in memory it is source[:]")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.dtype} {self.shape})"


# Types that a user may pass as a matrix.
Matrix: TypeAlias = ArrayLike | os.PathLike[str] | Source
