"""How many columns to compute at once: the size with the least measured time per column that gets used."""

import math

# Sizes tried; BLAS gains little beyond the last, and a guess that far ahead is seldom right.
LADDER = (1, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
FIRST = 16
# Weight of the past against one more observation: forgets over some twenty batches.
KEEP = 0.95
# Picks without speculation after which the hazard that was measured counts half.
ALONE = 128


class BatchSize:
    """Chooses the batch size during a run, from what batches cost and how long their columns last.

    The greedy sequence is chaotic: once the lookahead has missed one pick, most of what it foresaw after that is wrong.
    So a batch lasts until the first pick that was not foreseen. With a chance `hazard` of that at each pick, a batch
    of B columns serves (1 - (1 - hazard)^B) / hazard picks on average and takes `fixed + B * each` seconds (a line
    through the measured times; a single column is a matrix-vector product and measured apart). The size with the least
    time per pick is taken, and it may be 1.

    Args:
        largest: the largest size allowed.
    """

    def __init__(self, largest: int) -> None:
        self.sizes = [size for size in LADDER if size <= largest]
        self.single: float | None = None
        # Decayed sums of 1, B, B^2, seconds, B * seconds over the batches.
        self.sums = [0.0] * 5
        # As if one of thirty picks had not been foreseen.
        self.served, self.missed = 30.0, 1.0
        self.begin()

    def begin(self) -> None:
        """A new selection: picks count from zero, what was measured stays."""
        self.open: tuple[int, int] | None = None
        self.alone = 0

    def choose(self, t: int, remaining: int) -> int:
        """How many columns to compute at pick t, whose column is missing, with this many picks to come."""
        if self.open is not None:
            begun, size = self.open
            served = t - begun
            self.served = KEEP * self.served + served
            self.missed = KEEP * self.missed + (served < size)
            self.open = None
        allowed = [size for size in self.sizes if size <= remaining]
        if self.single is None or len(allowed) < 2:
            size = 1
        elif not self.sums[0]:
            size = min(FIRST, allowed[-1])
        else:
            size = min(allowed, key=self._cost)
        if size > 1:
            self.open = (t, size)
            self.alone = 0
        else:
            self.alone += 1
            if self.alone % ALONE == 0:
                # Doubt what was measured, until a batch looks worth another trial.
                self.missed *= 0.5
        return size

    def record(self, size: int, seconds: float) -> None:
        """Notes what computing `size` columns took, the lookahead included."""
        if size == 1:
            self.single = seconds if self.single is None else 0.8 * self.single + 0.2 * seconds
            return
        if self.sums[0]:
            # One batch that was held up (by another process, say) must not decide the next twenty.
            fixed, each = self._line()
            seconds = min(seconds, 2 * (fixed + size * each))
        for i, value in enumerate((1.0, size, size * size, seconds, size * seconds)):
            self.sums[i] = KEEP * self.sums[i] + value

    def _cost(self, size: int) -> float:
        """Predicted seconds per pick."""
        assert self.single is not None
        if size == 1:
            return self.single
        hazard = min(max(self.missed / self.served, 1e-6), 0.99)
        served = -math.expm1(size * math.log1p(-hazard)) / hazard
        fixed, each = self._line()
        return (fixed + size * each) / served

    def _line(self) -> tuple[float, float]:
        """Least squares of seconds over size; where sizes hardly varied, a column counts a tenth of a single one."""
        count, size, square, seconds, cross = self.sums
        spread = square * count - size * size
        assert self.single is not None
        prior = self.single / 10
        if spread < 0.02 * square * count:
            each = min(prior, seconds / size)
        else:
            each = min(max((cross * count - size * seconds) / spread, prior / 4), seconds / size)
        return max(0.0, (seconds - each * size) / count), each
