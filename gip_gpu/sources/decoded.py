"""Matrices that a library decodes piece by piece, with a cache of the last pieces."""

import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.base import Pieces, Source
from gip_gpu.system.files import File, reading

# Bytes of decoded pieces that are cached; at least the last two pieces are.
KEPT = 1 << 25


class DecodedSource(Source):
    """A matrix whose rows are decoded in pieces.

    Args:
        file: the file.
        lengths: number of rows of each piece.
        width: d.
        dtype: type of the rows.
    """

    def __init__(self, file: File, lengths: Sequence[int], width: int, dtype: np.dtype[Any]) -> None:
        self.file = file
        self.starts = np.cumsum([0, *lengths])
        super().__init__(file.name, (int(self.starts[-1]), width), dtype)
        self._forget()

    @abstractmethod
    def _decode(self, number: int) -> NDArray[Any]:
        """Decodes all rows of a piece, (rows, d)."""

    def _forget(self) -> None:
        self._turn, self._pieces = threading.Lock(), OrderedDict[int, NDArray[Any]]()

    def _fill(self, pieces: Pieces) -> None:
        with self._turn:
            with self.file.opened():
                pass  # raises if the file has changed
            for first, out in pieces:
                done = 0
                while done < len(out):
                    number = int(np.searchsorted(self.starts, first + done, side="right")) - 1
                    at = first + done - int(self.starts[number])
                    part = self._piece(number)[at : at + len(out) - done]
                    out[done : done + len(part)] = part
                    done += len(part)

    def _piece(self, number: int) -> NDArray[Any]:
        if number in self._pieces:
            self._pieces.move_to_end(number)
            return self._pieces[number]
        with reading(self.name):
            rows = self._decode(number)
        self._pieces[number] = rows
        while len(self._pieces) > 2 and sum(kept.nbytes for kept in self._pieces.values()) > KEPT:
            self._pieces.popitem(last=False)
        return rows

    def close(self) -> None:
        super().close()
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_turn", "_pieces")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
