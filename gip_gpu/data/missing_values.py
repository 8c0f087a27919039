"""Rows with non-finite values: finding them, dropping them from a pool, and mapping indices back to the input."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.rows import BLOCK_VALUES
from gip_gpu.sources import Source, places
from gip_gpu.sources.base import Pieces
from gip_gpu.system.files import NoRows
from gip_gpu.validation.settings import one_of

ON_NAN = ("error", "drop")

# Largest matrix in memory, in bytes, that is copied to drop rows; rows of a larger one are read where they are stored.
SMALL = 1 << 26


class KeptRows(Source):
    """Some rows of a matrix, read on request from where they are stored.

    Args:
        matrix: array or source.
        indices: indices of the rows, ascending.

    >>> KeptRows(np.arange(8.0).reshape(4, 2), np.array([1, 3])).read(1, 2).tolist()
    [[6.0, 7.0]]
    """

    def __init__(self, matrix: NDArray[Any] | Source, indices: NDArray[np.int64]) -> None:
        m, d = matrix.shape
        name = matrix.name if isinstance(matrix, Source) else "rows in memory"
        super().__init__(name, (len(indices), d), matrix.dtype, matrix.nbytes * len(indices) // m)
        self.matrix, self.indices = matrix, indices
        self.gap = matrix.gap if isinstance(matrix, Source) else 0

    def places(self) -> list[str]:
        return places(self.matrix)

    def _fill(self, pieces: Pieces) -> None:
        for first, out in pieces:
            wanted = self.indices[first : first + len(out)]
            # Nearly all rows are consecutive: a slice reads them faster than indices.
            whole = int(wanted[-1]) - int(wanted[0]) + 1 == len(wanted)
            out[:] = self.matrix[int(wanted[0]) : int(wanted[-1]) + 1] if whole else self.matrix[wanted]


@dataclass(frozen=True, eq=False)
class Kept:
    """The rows of a pool that take part in a selection.

    Attributes:
        dropped: (dropped,) int64, ascending, the rows that do not take part.
        m: number of rows in the pool.

    >>> kept = Kept(np.array([0, 3]), 5)
    >>> len(kept), kept.indices, kept.rows_of(np.array([2, 0])), kept.places_of(np.array([4]))
    (3, array([1, 2, 4]), array([4, 1]), array([2]))
    """

    dropped: NDArray[np.int64]
    m: int

    def __len__(self) -> int:
        return self.m - len(self.dropped)

    @cached_property
    def indices(self) -> NDArray[np.int64]:
        """Rows that are kept, (kept,) int64, ascending."""
        return np.delete(np.arange(self.m), self.dropped)

    def view(self, matrix: Any) -> Any:
        """Returns the kept rows of a matrix: a copy of a small array or one on a GPU, otherwise a `KeptRows`."""
        if isinstance(matrix, DeviceMatrix):
            return matrix.taken(self.indices)
        if isinstance(matrix, np.ndarray) and matrix.nbytes <= SMALL:
            return matrix[self.indices]
        return KeptRows(matrix, self.indices)

    def among(self, pool: "Kept | None") -> "Kept":
        """Returns the same rows, numbered as in the input, where `self` numbers rows within `pool`; None: unchanged."""
        if pool is None:
            return self
        return Kept(np.union1d(pool.dropped, pool.rows_of(self.dropped)), pool.m)

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Maps positions among the kept rows to rows of the pool."""
        before: NDArray[np.int64] = np.searchsorted(self.dropped - np.arange(len(self.dropped)), places, side="right")
        return places + before

    def places_of(self, rows: NDArray[np.int64], name: str = "initial") -> NDArray[np.int64]:
        """Maps rows of the pool to positions among the kept rows.

        Raises:
            ValueError: a row is dropped.
        """
        lost = np.isin(rows, self.dropped)
        if lost.any():
            raise ValueError(
                f"{name} has row {rows[lost][0]}, which has a value that is not finite and is left out "
                f"(on_nan='drop'); leave it out of {name} too"
            )
        before: NDArray[np.int64] = np.searchsorted(self.dropped, rows)
        return rows - before


def as_on_nan(value: Any) -> bool:
    """Returns whether `on_nan` is "drop"; raises TypeError or ValueError if it is neither "error" nor "drop"."""
    return one_of("on_nan", value, ON_NAN) == "drop"


def keep_finite(
    matrix: Any, scores: NDArray[np.float64] | None, names: Sequence[str] = ("F", "G"), *, looked: bool = False
) -> Kept | None:
    """Returns the rows that are finite in F and, if there are scores, in G; None if all rows are finite.

    Args:
        matrix: F, an array, source or `DeviceMatrix`; read once, in blocks.
        scores: (m, n) G, or None.
        names: names of both, for messages.
        looked: F is known to be finite.

    Raises:
        NoRows: no row is finite.
    """
    m, d = matrix.shape
    finite = np.ones(m, dtype=bool)
    if scores is not None:
        finite &= np.isfinite(scores).all(axis=1)
    if not looked and (isinstance(matrix, DeviceMatrix) or matrix.dtype.kind == "f"):
        step = max(1, BLOCK_VALUES // d)
        for start in range(0, m, step):
            finite[start : start + step] &= np.isfinite(matrix[start : start + step]).all(axis=1)
    if not finite.any():
        both = names[0] if scores is None else " or ".join(names)
        raise NoRows(f"each of the {m} rows has a value that is not finite in {both}; on_nan='drop' leaves none")
    return None if finite.all() else Kept(np.flatnonzero(~finite), m)
