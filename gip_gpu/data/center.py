"""Centring: the mean row of a pool, exact, and rows with the mean subtracted in float64.

Sentence embeddings lie in a narrow cone: a large share of each is common to all. The mean row is that common part.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.user_arrays import bad_rows
from gip_gpu.numerics import exact_sums
from gip_gpu.sources import Source, places
from gip_gpu.sources.base import Pieces
from gip_gpu.validation.settings import LARGEST

CENTER = (True, False, "auto")

# Share of the energy in the mean row above which center="auto" centres. Embeddings of texts on one topic (GSM8K, by
# MiniLM) have 0.39; those of texts on many topics (Alpaca) have 0.06, which is next to no cone.
CONE = 0.25

# Largest centred matrix in memory, in bytes, that is copied; rows of a larger one are centred when they are read.
SMALL = 1 << 26

Floats = NDArray[np.float64]
# Called with a block of rows as given, and the index of its first row.
Watch = Callable[[NDArray[Any], int], None]


@dataclass(frozen=True, eq=False)
class Center:
    """The mean row of a pool.

    Attributes:
        mean: (d,) float64, the exact mean of the rows, rounded once.
        cone: share of the energy in the mean row, `||mean||^2 / mean of ||f_j||^2`, less what m independent rows have
            by chance, 1 / m: `(share - 1 / m) / (1 - 1 / m)`, in [0, 1].
        subtracted: whether the mean is subtracted from the rows.
    """

    mean: Floats
    cone: float
    subtracted: bool = True

    @property
    def said(self) -> str:
        """Description for reports and logs."""
        what = "centred" if self.subtracted else "not centred"
        return f"{what}: the mean row has {self.cone:.1%} of their energy"


def as_center(value: Any) -> bool | str:
    """Returns a checked `center`; raises TypeError or ValueError for anything but True, False and "auto"."""
    wanted = 'center must be True, False or "auto"'
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if not isinstance(value, str):
        raise TypeError(f"center is {value!r}, a {type(value).__name__}; {wanted}")
    if value != "auto":
        raise ValueError(f"center is {value!r}; {wanted}")
    return value


def measure(matrix: Any, center: Any, bounds: Iterable[tuple[int, int]], watch: Watch | None = None) -> Center | None:
    """Returns the center of a matrix, None for False; "auto" subtracts it if its cone has a share above `CONE`.

    The mean is computed from exact sums of integers and rounded once, so it depends neither on the blocks nor on where
    the rows are stored.

    Args:
        matrix: (m, d) array, source or `DeviceMatrix`.
        center: as in `gip_gpu.select`.
        bounds: (start, stop) of consecutive blocks.
        watch: called with each block.

    Raises:
        TypeError, ValueError: another `center`; a row that is not finite or too large.

    >>> found = measure(np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]]), "auto", [(0, 2), (2, 3)])
    >>> found.mean.tolist(), round(found.cone, 3), found.subtracted
    ([2.0, 1.0], 0.478, True)
    """
    if (center := as_center(center)) is False:
        return None
    return joined([part_sums(matrix, bounds, watch)], center)


@dataclass(frozen=True)
class PartSums:
    """Exact sums of some rows, as integers times 2**-`exact_sums.UNIT`.

    Attributes:
        m: number of rows.
        columns: sums of the columns.
        energy: sum of the squared norms.
    """

    m: int
    columns: list[int]
    energy: int


def part_sums(matrix: Any, bounds: Iterable[tuple[int, int]], watch: Watch | None = None) -> PartSums:
    """Returns the exact sums of a part of the rows of a pool; arguments and errors as of `measure`."""
    m, d = matrix.shape
    norms = np.ones(m)
    sums, squares = list[Floats](), list[Floats]()
    for start, stop in bounds:
        given = matrix[start:stop]
        if watch is not None:
            watch(given, start)
        block = given.astype(np.float64, order="C")
        largest = np.abs(block).max(axis=1)
        norms[start:stop] = largest
        if not (largest <= LARGEST).all():
            continue
        sums += exact_sums.folded(block)
        squares += exact_sums.folded(np.einsum("jd,jd->j", block, block)[:, None])
    bad_rows("F", matrix, norms, zero_allowed=True)
    columns = exact_sums.column_sums(np.array(sums)) if sums else [0] * d
    return PartSums(m, columns, exact_sums.column_sums(np.array(squares))[0] if squares else 0)


def joined(parts: Sequence[PartSums], center: bool | str) -> Center:
    """Returns the center of a pool from the sums of its parts; "auto" decides whether it is subtracted."""
    m = sum(part.m for part in parts)
    mean = np.array([exact_sums.mean(sums, m) for sums in zip(*(part.columns for part in parts), strict=True)])
    energy = exact_sums.mean([part.energy for part in parts], m)
    share = float(mean @ mean) / energy if energy else 0.0
    cone = min(1.0, max(0.0, (share - 1 / m) / (1 - 1 / m))) if m > 1 else 0.0
    return Center(mean, cone, center is True or cone > CONE)


class CentredRows(Source):
    """Rows of a matrix less a center, in float64, computed when they are read.

    Args:
        matrix: array, source or `DeviceMatrix`.
        mean: (d,) float64.

    >>> CentredRows(np.array([[1, 2], [3, 4]], np.int8), np.array([0.5, 1.0])).read(1, 2).tolist()
    [[2.5, 3.0]]
    """

    def __init__(self, matrix: Any, mean: Floats) -> None:
        m, d = matrix.shape
        super().__init__(matrix.name if isinstance(matrix, Source) else "rows in memory", (m, d), np.dtype(np.float64))
        self.matrix, self.mean = matrix, mean

    def places(self) -> list[str]:
        return [] if isinstance(self.matrix, DeviceMatrix) else places(self.matrix)

    def _fill(self, pieces: Pieces) -> None:
        for first, out in pieces:
            np.subtract(self.matrix[first : first + len(out)], self.mean, out=out, dtype=np.float64)

    def _gather(self, wanted: NDArray[np.int64], out: NDArray[Any]) -> None:
        # The matrix knows best how to read scattered rows.
        np.subtract(self.matrix[wanted], self.mean, out=out, dtype=np.float64)


def centred(matrix: Any, mean: Floats) -> Any:
    """Returns the centred rows of a matrix: a copy of a small array, else `CentredRows` of the same bits."""
    if isinstance(matrix, np.ndarray) and matrix.size * 8 <= SMALL:
        return np.subtract(matrix, mean, dtype=np.float64, order="C")
    return CentredRows(matrix, mean)
