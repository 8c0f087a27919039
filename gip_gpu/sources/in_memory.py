"""Matrices that must be read whole: compressed arrays and text."""

from typing import Any

from numpy.typing import NDArray

from gip_gpu.sources.base import Pieces, Source
from gip_gpu.sources.names import Origin


class InMemorySource(Source):
    """A source for an array in memory that was read from a file.

    Args:
        name: the path passed in.
        array: (m, d) or (m,).
        origin: its place in the file.
    """

    def __init__(self, name: str, array: NDArray[Any], origin: Origin) -> None:
        self.array: NDArray[Any] = array.reshape(len(array), -1) if array.ndim == 1 else array
        super().__init__(name, (self.array.shape[0], self.array.shape[1]), array.dtype)
        self.origin = origin

    def _fill(self, pieces: Pieces) -> None:
        for first, out in pieces:
            out[:] = self.array[first : first + len(out)]
