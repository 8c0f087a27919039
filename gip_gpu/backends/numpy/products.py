"""Products of all rows with a few vectors on the CPU: from a copy in memory, or streamed from the input."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.single_rows import CHUNK, READERS, Single, SingleRows
from gip_gpu.numerics import error_bounds

# Fewest values of a row that are summed at a time in a product with a single vector. A term then passes through the
# additions of its part and one for each part, not through d of them, and fewer items are in doubt.
PART = 48
# Fewest values of the matrix in a part: starting a smaller product on all cores takes longer than it saves.
PART_VALUES = 1 << 19
# Rows of the Gram matrix computed by one product: enough for BLAS to reach its full rate, few compared with the matrix.
GRAM_ROWS = 512
# Side of the squares in which the upper triangle is mirrored: source and destination fit in the L2 cache together.
MIRROR = 256


class Products(Protocol):
    """Products with all m rows x_j.

    Attributes:
        gamma: bound on the error of one entry of `column`, for a vector of norm at most 1.
    """

    gamma: float

    def multiply(self, left: Single, out: NDArray[Any]) -> None:
        """Computes out = left @ X', (b, m) for `left` (b, d); float32 sums, rounded to the type of `out`."""

    def column(self, vector: Single, out: Single) -> None:
        """Computes out = X @ vector, (m,) for a vector (d,)."""


class Resident:
    """Float32 copy of the rows, stored transposed, (d, m).

    For a batch of few columns BLAS reads it in place, which takes less time than repacking (m, d) rows.
    """

    def __init__(self, single: SingleRows) -> None:
        m, d = single.shape
        self.matrix: Single = np.empty((d, m), np.float32)
        step = max(1, CHUNK // 8 // d)

        def copy(first: int) -> None:
            block = np.empty((step, d), np.float32)
            for start in range(first, min(first + 8 * step, m), step):
                rows = block[: min(step, m - start)]
                single.block(start, start + len(rows), rows)
                self.matrix[:, start : start + len(rows)] = rows.T

        # On all cores: the system takes longer to find memory than to convert and copy.
        with ThreadPoolExecutor(READERS) as readers:
            for _ in readers.map(copy, range(0, m, 8 * step)):
                pass
        parts = max(1, min(-(-d // PART), m * d // PART_VALUES))
        self.stretch = -(-d // parts)
        self.gamma = error_bounds.gram_entry_error(d, terms=self.stretch + 1 + parts, roundings=single.roundings)
        self.part: Single = np.empty(0, np.float32)
        self.work: Single = np.empty((0, m), np.float32)

    def multiply(self, left: Single, out: NDArray[Any]) -> None:
        count = len(left)
        if out.dtype == np.float32:
            # One row uses the matrix-vector product, which reads the pool once and packs nothing.
            np.matmul(left[0] if count == 1 else left, self.matrix, out=out[0] if count == 1 else out)
            return
        work = self._work(count)
        np.matmul(left, self.matrix, out=work)
        out[:] = work

    def _work(self, count: int) -> Single:
        """Returns (count, m) scratch memory, kept for the next batch."""
        if len(self.work) < count:
            self.work = np.empty((count, self.matrix.shape[1]), np.float32)
        return self.work[:count]

    def column(self, vector: Single, out: Single) -> None:
        if not len(self.part):
            self.part = np.empty_like(out)
        np.matmul(vector[: self.stretch], self.matrix[: self.stretch], out=out)
        for start in range(self.stretch, len(vector), self.stretch):
            stretch = slice(start, start + self.stretch)
            np.matmul(vector[stretch], self.matrix[stretch], out=self.part)
            np.add(out, self.part, out=out)

    def gram(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Computes the whole Gram matrix, (m, m): blocks of the upper triangle, mirrored."""
        m = self.matrix.shape[1]
        gram = np.empty((m, m), dtype)
        for start in range(0, m, GRAM_ROWS):
            stop = min(start + GRAM_ROWS, m)
            left = np.ascontiguousarray(self.matrix[:, start:stop].T)
            upper = gram[start:stop, start:]
            if dtype == np.float32:
                np.matmul(left, self.matrix[:, start:], out=upper)
            else:
                work = self._work(stop - start).reshape(-1)[: (stop - start) * (m - start)]
                product = work.reshape(stop - start, -1)
                np.matmul(left, self.matrix[:, start:], out=product)
                upper[:] = product
            for at in range(stop, m, MIRROR):
                gram[at : at + MIRROR, start:stop] = gram[start:stop, at : at + MIRROR].T
        return gram


class Streamed:
    """Rows streamed from the input, in memory or in a file: the next chunks are read while one is multiplied."""

    def __init__(self, single: SingleRows) -> None:
        self.single = single
        self.m, self.d = single.shape
        self.step = min(self.m, max(1, CHUNK // self.d))
        self.gamma = error_bounds.gram_entry_error(self.d, roundings=single.roundings)

    def multiply(self, left: Single, out: NDArray[Any]) -> None:
        for start, stop, rows in self._chunks():
            if len(left) == 1:
                out[0, start:stop] = rows @ left[0]
            elif out.dtype == np.float32:
                np.matmul(left, rows.T, out=out[:, start:stop])
            else:
                # The product passes through float32, at most a chunk of it at a time.
                step = max(1, CHUNK // len(left))
                for first in range(start, stop, step):
                    part = slice(first, min(first + step, stop))
                    out[:, part] = np.matmul(left, rows[first - start : part.stop - start].T)

    def column(self, vector: Single, out: Single) -> None:
        for start, stop, rows in self._chunks():
            np.matmul(rows, vector, out=out[start:stop])

    def _chunks(self) -> Iterator[tuple[int, int, Single]]:
        """Yields (start, stop, rows) of consecutive chunks."""
        spans = ((start, min(start + self.step, self.m)) for start in range(0, self.m, self.step))
        buffers = [np.empty((self.step, self.d), np.float32) for _ in range(READERS + 1)]
        with ThreadPoolExecutor(READERS) as readers:

            def read(span: tuple[int, int]) -> tuple[int, int, Future[None], Single]:
                buffer = buffers.pop()
                return *span, readers.submit(self.single.block, *span, buffer[: span[1] - span[0]]), buffer

            pending = [read(span) for span in islice(spans, READERS)]
            while pending:
                start, stop, done, buffer = pending.pop(0)
                done.result()
                pending.extend(read(span) for span in islice(spans, 1))
                yield start, stop, buffer[: stop - start]
                buffers.append(buffer)
