"""Rows of F in float64: the exact values that define the problem, whatever format a device stores."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.center import Center, Watch, centred, measure
from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.user_arrays import as_matrix, bad_rows
from gip_gpu.sources.mapped import mapped_file
from gip_gpu.validation.settings import flag

# Float64 values in one block: 2 MiB stay in a core's cache while a block is converted, normalised and multiplied.
BLOCK_VALUES = 1 << 18
# Largest number of values that are kept in float64 for a possible later call of `exact`.
WIDENED = 1 << 22


class Rows:
    """Rows of an embedding matrix, cast to float64, centred if requested, and then normalised in float64.

    Args:
        F: (m, d) embeddings, any float or integer type and any strides; kept by reference, never modified.
        normalize: divide each row by its l2 norm.
        center: subtract the mean row first: True, False, "auto" (`gip_gpu.data.center`), or the center to subtract.
        widen: keep at most `WIDENED` values in float64 for `exact`.
        watch: called with each block of rows as given, in order, and the index of its first row.

    Attributes:
        shape: (m, d).
        given: F as an array, source or `DeviceMatrix`.
        values: the rows that are normalised: `given`, or its centred rows in float64.
        center: the center that was subtracted, or None.
        measured: the center that was measured, subtracted or not; None with center False.
        norms: (m,) float64, the l2 norms of the input rows.
        file: the file that F maps, which must not change, or None.
        largest: the largest norm of the rows that `take` and `block` return.

    Raises:
        TypeError, ValueError: F is not a finite real (m, d) matrix, or it has a zero row, perhaps after centring, and
            `normalize` is true.

    >>> Rows([[3, 4], [0, 2]]).take([0])
    array([[0.6, 0.8]])
    """

    center: Center | None = None

    def __init__(
        self,
        F: Any,
        *,
        normalize: bool = True,
        center: bool | str | Center = False,
        widen: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self.given: Any = F if isinstance(F, DeviceMatrix) else as_matrix(F, "F")
        self.shape: tuple[int, int] = self.given.shape
        found = center if isinstance(center, Center) else measure(self.given, center, self.bounds(), watch)
        if found is not None and not isinstance(center, Center):
            # `measure` has shown it all rows.
            watch = None
        self.measured = found
        self.center = found if found is not None and found.subtracted else None
        self.values: Any = self.given if self.center is None else centred(self.given, self.center.mean)
        self.file = mapped_file(self.values)
        self.normalize = flag("normalize", normalize)
        self.norms = np.empty(len(self.values))
        few = widen and isinstance(self.values, np.ndarray) and self.values.size <= WIDENED
        self.widened = np.empty(self.shape) if few else None
        self.kept: NDArray[np.float64] | None = None
        for start, stop in self.bounds():
            given = self.values[start:stop]
            if watch is not None:
                watch(given if self.center is None else self.given[start:stop], start)
            if self.widened is None:
                block = given.astype(np.float64, order="C")
            else:
                block = self.widened[start:stop]
                block[:] = given
            self.norms[start:stop] = row_norms(block)
        bad_rows("F", self.values, self.norms, zero_allowed=not normalize, centred=self.center is not None)
        self.largest = 1.0 if normalize else float(self.norms.max())

    @property
    def exponent(self) -> int:
        """Exponent such that rows divided by 2**exponent have norms of at most 1; 0 for unit rows."""
        return 0 if self.normalize else max(int(np.frexp(self.largest)[1]), -400)

    def bounds(self, width: int = 1) -> Iterator[tuple[int, int]]:
        """Yields (start, stop) of consecutive blocks of at most `BLOCK_VALUES` values, of d or `width` in each row."""
        m, d = self.shape
        step = max(1, BLOCK_VALUES // max(d, width))
        return ((start, min(start + step, m)) for start in range(0, m, step))

    def exact(self) -> NDArray[np.float64]:
        """Returns all rows divided by 2**exponent, (m, d) float64, read-only; `read` reuses them if exponent is 0."""
        self._check()
        rows = np.empty(self.shape) if self.widened is None else self.widened
        for start, stop in self.bounds():
            block = rows[start:stop]
            if self.widened is None:
                block[:] = self.values[start:stop]
            if self.normalize:
                block /= self.norms[start:stop, None]
        self.widened = None
        if self.exponent:
            rows *= 2.0**-self.exponent
        rows.flags.writeable = False
        if not self.exponent:
            self.kept = rows
        return rows

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Returns rows as `block` does, for reading only: a view of the rows that `exact` kept, if it kept any."""
        return self.block(start, stop) if self.kept is None else self.kept[start:stop]

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """Returns rows start to stop, (stop - start, d) float64, a C-contiguous copy."""
        self._check()
        rows: NDArray[np.float64] = self.values[start:stop].astype(np.float64, order="C")
        if self.normalize:
            rows /= self.norms[start:stop, None]
        return rows

    def take(self, indices: Any) -> NDArray[np.float64]:
        """Returns the rows with these indices, (len(indices), d) float64, a C-contiguous copy."""
        self._check()
        rows: NDArray[np.float64] = self.values[indices].astype(np.float64, order="C")
        if self.normalize:
            rows /= self.norms[indices, None]
        return rows

    def _check(self) -> None:
        # Reading a map beyond the end of a truncated file would kill the process.
        if self.file is not None:
            self.file.check()

    def __getstate__(self) -> dict[str, Any]:
        # A memory map is pickled as an array in memory.
        return {**self.__dict__, "file": None, "widened": None, "kept": None}


def row_norms(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes l2 norms of float64 rows, even where squares overflow or underflow; non-finite for a non-finite row."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("jd,jd->j", block, block)
        norms: NDArray[np.float64] = np.sqrt(squares)
        extreme = np.flatnonzero(~((squares > 1e-280) & (squares < 1e280)))
        if len(extreme):
            rows = block[extreme]
            largest = np.abs(rows).max(axis=1)
            # A power of two scales without rounding; zero and non-finite rows stay as they are.
            scale = np.ldexp(1.0, np.frexp(np.where(np.isfinite(largest), largest, 1.0))[1] - 1)
            scaled = rows / scale[:, None]
            exact = np.sqrt(np.einsum("jd,jd->j", scaled, scaled)) * scale
            # A finite row whose norm overflows gets the largest float64: infinity would mean an infinite value.
            norms[extreme] = np.where(np.isfinite(largest), np.minimum(exact, np.finfo(np.float64).max), exact)
    return norms
