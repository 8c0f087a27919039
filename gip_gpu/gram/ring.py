"""Gram columns that a GPU computes by itself, many batches between two visits of the host.

A batch has the items with the largest scores. The CPU's lookahead, which runs the greedy loop inside a working set,
would foresee more: on 52,002 items a batch of 16 then serves 4.8 picks instead of 3.5 (measured on a CPU). But its
steps follow one another, some 1.5 us each on a GPU, where by prediction a batch of 64 takes 30 us: it would cost more
than it saves.
"""

import logging
import time
from typing import Any

from gip_gpu.backends.gpu.backend import GpuBackend
from gip_gpu.backends.gpu.layout import LARGEST_BATCH, Code, HeaderI64
from gip_gpu.backends.residual import Pending
from gip_gpu.gram.columns import BATCHES, LEAST, MARGIN, TRIAL_BATCHES, Forecast
from gip_gpu.planning.batches import LADDER
from gip_gpu.planning.gpu_costs import BATCHES_A_VISIT

log = logging.getLogger("gip_gpu")

# Weight of the past against one more measurement of a size's time.
KEEP = 0.7
# The time of a pick with columns on demand includes its step, which a Gram matrix does not save.
STEPS_TOO = 2.0
# The measured time of a size decays by this factor while another size is used, so that it gets another trial.
OPTIMISM = 0.99


class RingSizes:
    """Choice of the batch size, by the measured seconds of a pick.

    A larger batch holds more of the picks to come, and takes longer. The choice begins with a size of the middle and
    moves to a neighbour that was not tried, or that took less time.

    Args:
        largest: the largest size allowed.
    """

    def __init__(self, largest: int) -> None:
        self.sizes = [size for size in LADDER if 16 <= size <= largest] or [largest]
        self.at = min(len(self.sizes) - 1, self.sizes.index(64) if 64 in self.sizes else 0)
        self.seconds: dict[int, float] = {}

    def choose(self) -> int:
        """Returns the size of the next batches."""
        near = range(max(0, self.at - 1), min(len(self.sizes), self.at + 2))
        untried = [place for place in near if self.sizes[place] not in self.seconds]
        if self.sizes[self.at] in self.seconds:
            self.at = untried[-1] if untried else min(near, key=lambda place: self.seconds[self.sizes[place]])
        return self.sizes[self.at]

    def record(self, size: int, picks: int, seconds: float) -> None:
        """Records the time of some picks with batches of this size."""
        if not picks:
            return
        each = seconds / picks
        before = self.seconds.get(size, each)
        self.seconds = {other: value * OPTIMISM for other, value in self.seconds.items()}
        self.seconds[size] = KEEP * before + (1 - KEEP) * each


class RingColumns:
    """Column cache on a GPU, filled by the device while the host is away.

    Args:
        backend: computes the columns.
        slots: largest number of columns.
        keep: whether other selections will follow; a single one uses the slots of a few batches.
        gram_seconds: as of `LazyColumns`.

    Attributes:
        computed: columns computed so far.
        seconds: time spent on the whole matrix; batches are part of the steps.
        whole: whether the whole matrix was computed.
    """

    def __init__(self, backend: GpuBackend, slots: int, keep: bool = False, gram_seconds: float = 0.0) -> None:
        self.backend, self.keep, self.gram_seconds = backend, keep, gram_seconds
        self.ring = backend.ring(slots)
        self.slots = slots
        # A batch leaves room for the columns of the one before.
        self.sizes = RingSizes(max(1, min(LARGEST_BATCH, slots // 2)))
        self.computed, self.seconds, self.whole = 0, 0.0, False
        self.matrix: Any = None
        # The slot after the newest column; whether `slots` on the device is true.
        self.next, self.clean = 0, True
        self.begin()

    def get(self, index: int) -> Any:
        raise AssertionError("the device looks columns up")

    def table(self) -> Any:
        return self.matrix if self.whole else self.ring.columns

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        raise AssertionError("the device provides columns")

    def begin(self) -> None:
        self.batches, self.picks, self.steps = 0, 0, 0.0
        if not self.clean:
            # An interrupt may have left columns listed and not computed.
            self.backend.forget(self.ring)
            self.next, self.clean = 0, True

    def run(self, most: int) -> None:
        """Takes steps until the header holds a reason to stop, or until the Gram matrix has replaced the columns.

        Args:
            most: picks to come.
        """
        backend, places = self.backend, self.backend.places
        if self.whole:
            backend.run(self.matrix)
            return
        self.clean = False
        places[HeaderI64.NEXT] = self.next
        places[[HeaderI64.COMPUTED, HeaderI64.BATCHES, HeaderI64.TICKET]] = 0
        before, ahead, going = self.batches, 1, True
        first = True
        while going and not self._slower(most):
            size = self.sizes.choose()
            room = self.slots if self.keep else min(self.slots, max(LEAST, BATCHES * size))
            backend.prepare_batches(self.ring, size, room)
            made, start = int(places[HeaderI64.PICKS]), time.perf_counter()
            backend.run_batches(self.ring, size, room, ahead, first=first)
            seconds, picks = time.perf_counter() - start, int(places[HeaderI64.PICKS]) - made
            self.sizes.record(size, picks, seconds)
            self.steps, self.picks, most = self.steps + seconds, self.picks + picks, most - picks
            done, self.batches = self.batches, before + int(places[HeaderI64.BATCHES])
            going = backend.code() in (Code.RUNNING, Code.LISTED)
            if going and not picks and self.batches == done:
                raise RuntimeError("the device made neither a pick nor a batch of columns: a fault of the backend")
            first, ahead = False, min(2 * ahead, BATCHES_A_VISIT)
        self.next = int(places[HeaderI64.NEXT])
        self.computed += int(places[HeaderI64.COMPUTED])
        self.clean = True
        if going:
            self._compute_all()

    def _slower(self, most: int) -> bool:
        """Returns whether the picks to come will take longer than the whole matrix."""
        if not self.gram_seconds or self.batches < TRIAL_BATCHES:
            return False
        return self.steps / max(1, self.picks) * most > STEPS_TOO * MARGIN * self.gram_seconds

    def _compute_all(self) -> None:
        began = time.perf_counter()
        log.info("columns: on demand they last for few picks; computing the whole Gram matrix")
        # The matrix may need their memory. Until it is there, no column may be looked up.
        self.backend.forget(self.ring)
        del self.ring
        try:
            self.matrix = self.backend.gram()
        except BaseException:
            self.ring, self.next = self.backend.ring(self.slots), 0
            raise
        m = self.backend.m
        self.backend.place(range(m), range(m))
        self.whole = True
        self.computed += m
        self.seconds += time.perf_counter() - began
