"""Time budget of a run: the remaining seconds, and each part's share of them."""

import time
from collections.abc import Callable

Clock = Callable[[], float]

# Largest share of all seconds for one part, even if earlier parts left some over: under a minute of 280 seconds.
LARGEST_SHARE = 0.2


class LeftOut(Exception):
    """A measurement was left out; the message is the reason."""


class Budget:
    """Seconds after which no new measurement begins; `end` is their end on the clock."""

    def __init__(self, seconds: float, clock: Clock = time.perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.end = clock() + seconds

    def left(self) -> float:
        return self.end - self.clock()

    def part(self, share: float, coming: float, chosen: float) -> "Budget":
        """Returns the budget of the next part; if few parts run, it may take more than `LARGEST_SHARE`.

        Args:
            share: share of this part.
            coming: sum of the shares of this part and the parts after it, which divide the remaining seconds.
            chosen: sum of the shares of all parts that run.

        >>> whole = Budget(100.0, clock=lambda: 0.0)
        >>> whole.part(0.1, coming=0.5, chosen=1.0).seconds
        20.0
        """
        most = max(LARGEST_SHARE, share / chosen) * self.seconds
        return Budget(min(self.left() * share / coming, most), self.clock)

    def watch(self, who: str) -> Callable[[int, int], None]:
        """Returns a progress function for a selection by `who`; it raises LeftOut once the budget is used up."""

        def progress(done: int, total: int) -> None:
            if self.left() < 0:
                raise LeftOut(f"{who} had made {done:,} of {total:,} picks when its time was up")

        return progress
