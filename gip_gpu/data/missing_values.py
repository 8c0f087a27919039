"""Rows with values that are not finite, left out of a pool: which they are, and what is left under its old numbers."""

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

# Bytes of a matrix in memory that are copied to leave rows out; of a larger one the rows are read where they are.
SMALL = 1 << 26


class KeptRows(Source):
    """Some rows of a matrix, read where they are when they are asked for.

    Args:
        matrix: array or source.
        indices: of the rows, ascending.

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
            # Consecutive rows, as nearly all are, without the detour by their numbers.
            whole = int(wanted[-1]) - int(wanted[0]) + 1 == len(wanted)
            out[:] = self.matrix[int(wanted[0]) : int(wanted[-1]) + 1] if whole else self.matrix[wanted]


@dataclass(frozen=True, eq=False)
class Kept:
    """The rows of a pool that take part in a selection.

    Attributes:
        dropped: (dropped,) int64, ascending, the rows that do not.
        m: rows of the pool.

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
        """(kept,) int64, ascending."""
        return np.delete(np.arange(self.m), self.dropped)

    def view(self, matrix: Any) -> Any:
        """These rows of a matrix: of a small array or one on a GPU a copy, of others read where they are."""
        if isinstance(matrix, DeviceMatrix):
            return matrix.taken(self.indices)
        if isinstance(matrix, np.ndarray) and matrix.nbytes <= SMALL:
            return matrix[self.indices]
        return KeptRows(matrix, self.indices)

    def among(self, pool: "Kept | None") -> "Kept":
        """The same rows by their numbers in the input, where this is of the rows of a pool that were kept of it."""
        if pool is None:
            return self
        return Kept(np.union1d(pool.dropped, pool.rows_of(self.dropped)), pool.m)

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the pool that have these places among those kept."""
        before: NDArray[np.int64] = np.searchsorted(self.dropped - np.arange(len(self.dropped)), places, side="right")
        return places + before

    def places_of(self, rows: NDArray[np.int64], name: str = "initial") -> NDArray[np.int64]:
        """The places of rows of the pool among those kept.

        Raises:
            ValueError: one is left out.
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
    """Whether `on_nan` says that rows are left out; TypeError or ValueError where it is neither "error" nor "drop"."""
    return one_of("on_nan", value, ON_NAN) == "drop"


def keep_finite(
    matrix: Any, scores: NDArray[np.float64] | None, names: Sequence[str] = ("F", "G"), *, looked: bool = False
) -> Kept | None:
    """The rows that are finite in F, and in G where there are scores; None where all are.

    Args:
        matrix: F, array, source or `DeviceMatrix`; read once, in blocks.
        scores: (m, n) G, or None.
        names: of both, for messages.
        looked: F is known to be finite.

    Raises:
        NoRows: there is none.
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
