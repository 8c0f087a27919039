"""Embeddings rounded to a narrower format, computed when they are read."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.device_arrays import DeviceMatrix
from gip_gpu.data.rows import Rows
from gip_gpu.sources import Source, places
from gip_gpu.sources.base import Pieces
from gip_gpu.validation.settings import one_of

FORMATS = ("bf16", "fp16", "fp32")


def rounded(values: NDArray[Any], kind: str) -> NDArray[np.float32]:
    """Rounds values to a format, to nearest and ties to even; returns them as float32, which represents all.

    >>> rounded(np.array([1.0, 1.01, 3.14159]), "bf16").tolist()
    [1.0, 1.0078125, 3.140625]
    """
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, np.float32)
        if kind == "fp16":
            return np.asarray(single.astype(np.float16).astype(np.float32))
    if kind == "fp32":
        return single
    bits = single.view(np.uint32)
    # Half of the last kept place, less one unless that place is odd.
    rest = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.asarray(((bits + rest) & np.uint32(0xFFFF0000)).view(np.float32))


class RoundedRows(Source):
    """Rows of a matrix rounded to a format.

    Args:
        matrix: array, source or `DeviceMatrix`.
        kind: of `FORMATS`.

    Raises:
        TypeError, ValueError: another format.
    """

    def __init__(self, matrix: Any, kind: str) -> None:
        m, d = matrix.shape
        self.kind = one_of("embeddings", kind, FORMATS)
        super().__init__(matrix.name if isinstance(matrix, Source) else "rows in memory", (m, d), np.dtype(np.float32))
        self.matrix = matrix

    def places(self) -> list[str]:
        return [] if isinstance(self.matrix, DeviceMatrix) else places(self.matrix)

    def _fill(self, pieces: Pieces) -> None:
        for first, out in pieces:
            out[:] = rounded(self.matrix[first : first + len(out)], self.kind)

    def _gather(self, wanted: NDArray[np.int64], out: NDArray[Any]) -> None:
        out[:] = rounded(self.matrix[wanted], self.kind)


def largest_move(rows: Rows, others: Rows) -> float:
    """Returns the largest distance between a row and the same row of another matrix, both as they are used."""
    largest = 0.0
    for start, stop in rows.bounds():
        moved = rows.read(start, stop) - others.read(start, stop)
        largest = max(largest, float(np.einsum("jd,jd->j", moved, moved).max()))
    return math.sqrt(largest)
