"""Picks of a projecting objective that the device makes by itself, those beyond doubt; the host makes the others."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import PICK_NUMBERS, PICK_PLACES, Code, PickI64, Record
from gip_gpu.planning.gpu_costs import PICKS_A_VISIT, STEPS

Floats = NDArray[np.float64]


class PicksBackend(Protocol):
    """Launches of a pick; `gip_gpu.backends.gpu.backend.GpuBackend` documents them."""

    m: int
    arrays: Arrays

    def _upload(self, values: NDArray[Any], kind: str) -> Any: ...
    def _pick_parts(self) -> int: ...
    def _device_pick(self, picks: "DevicePicks") -> None: ...


class DevicePicks:
    """Arrays and launches of picks that the device makes; arrays as in `gip_gpu.backends.gpu.layout`.

    All launches of a pick are one graph. The host starts it for many picks ahead: once a pick is in doubt, no launch
    does anything.

    Args:
        items: arrays by item, on rows that are on the device.
        squares: (m,) squared norms of the rows x, or (1,) that of all of them.

    Attributes:
        words: (PICK_PLACES + PICK_NUMBERS,) int64, the host's copy of the header.
        places, head: its two parts, integers and numbers, at the places of `PickI64` and `PickF64`.
    """

    def __init__(self, backend: PicksBackend, items: GpuItems, squares: Floats) -> None:
        self.backend, self.items, self.arrays = backend, items, backend.arrays
        self.words = np.zeros(PICK_PLACES + PICK_NUMBERS, np.int64)
        self.places, self.head = self.words[:PICK_PLACES], self.words[PICK_PLACES:].view(np.float64)
        empty = self.arrays.empty
        with self.arrays.device_scope():
            self.header = empty(self.words.shape, "int64")
            self.picks_i64, self.picks_f64 = self.header[:PICK_PLACES], self.arrays.as_fp64(self.header[PICK_PLACES:])
            self.record = empty((min(STEPS, backend.m), Record.WEIGHTS + items.n), "fp64")
            self.g_squares = empty((backend._pick_parts(),), "fp64")
            self.row_squares = backend._upload(squares, "fp64")
        self.replay: Callable[[], None] | None = None
        # Picks for which the graph is started before the header is read.
        self.ahead = 1

    def code(self) -> Code:
        """Returns the reason in the host's copy of the header."""
        return Code(int(self.places[PickI64.REASON]))

    def _made(self) -> int:
        return int(self.places[PickI64.PICKS] - self.places[PickI64.BASE])

    def run(self, most: int) -> int:
        """Makes up to `most` picks, at most STEPS, from the state in `words`, where the items are rated.

        Returns:
            The number of picks made; `words` holds the state after them.

        Raises:
            RuntimeError: launches neither made a pick nor gave a reason.
        """
        with self.arrays.device_scope():
            if self.replay is None:
                self.replay = self._capture()
            self.arrays.put(self.header, self.words)
            self.items.count[:] = 0
            while True:
                expected = min(self._made() + self.ahead, most)
                for _ in range(expected - self._made()):
                    self.replay()
                    # A GPU is ahead of the host; an interpreter would take its time for kernels with nothing to do.
                    if self.arrays.immediate and int(self.picks_i64[PickI64.REASON]) != Code.RUNNING:
                        break
                self.words[:] = self.arrays.get(self.header)
                made = self._made()
                if self.code() is Code.RUNNING and made != expected:
                    raise RuntimeError(f"the device made {made} picks instead of {expected}: a fault of the backend")
                if self.code() is not Code.RUNNING or made == most:
                    break
                # As long as no pick is in doubt, the host reads the header less and less often.
                self.ahead = min(2 * self.ahead, PICKS_A_VISIT)
            if self.code() is not Code.RUNNING:
                self.ahead = max(1, min(made, PICKS_A_VISIT))
            if made and self.items.rules.projects:
                self.items.identity = False
        return made

    def _capture(self) -> Callable[[], None]:
        """Captures the launches of a pick, with a reason to stop in the header."""
        idle = self.words.copy()
        idle[PickI64.REASON] = Code.NEED_HOST
        self.arrays.put(self.header, idle)
        return self.arrays.captured(lambda: self.backend._device_pick(self))

    def records(self, count: int) -> Floats:
        """Returns the records (count, RECORD_WEIGHTS + n) of the picks of the last run.

        The device records the energy after a pick when it decides the next one; that after the last one is of `rated`.
        """
        with self.arrays.device_scope():
            records: Floats = self.arrays.get(self.record[:count])
        return records

    def rated(self) -> tuple[float, float]:
        """Returns the largest lower bound of a score, and the energy, as `Items.update` does."""
        with self.arrays.device_scope():
            found = self.arrays.get(self.items.parts)
        return float(found[:, 0].max()), float(found[:, 1].sum())
