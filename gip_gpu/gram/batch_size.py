"""Batch size: how many Gram columns to compute at once, for the least measured time per column that is used."""

import math

from gip_gpu.planning.batches import LADDER, UNFORESEEN

FIRST = 16
# Weight of the past against one more observation: the estimates forget over some twenty batches.
KEEP = 0.95
# The measured time of a size decays by this factor at each batch of another size.
OPTIMISM = 0.998
# The prior `UNFORESEEN` has the weight of this many picks.
PRIOR = 4.0
# After ALONE picks without speculation, the measured hazard counts half and the times of batches count FORGIVEN.
ALONE, FORGIVEN = 128, 0.8


class BatchSize:
    """Choice of the batch size during a run, from the measured times of batches and how long their columns last.

    The greedy sequence is chaotic: once the lookahead has missed one pick, most of its later predictions are wrong. So
    a batch lasts until the first unforeseen pick. The hazard of such a pick grows with the distance, and is measured
    separately for each stretch between two sizes. The time of a batch is measured for each size; for untried sizes it
    is read off a line through the measured times. The size with the least time per pick served is chosen. It may be 1,
    a matrix-vector product.

    Args:
        largest: the largest size allowed.
    """

    def __init__(self, largest: int) -> None:
        self.sizes = [size for size in LADDER if size <= largest]
        self.seconds: dict[int, float] = {}
        # Decayed sums of 1, B, B^2, seconds, B * seconds over the batches.
        self.sums = [0.0] * 5
        # For the stretch up to each size: picks that a batch covered, foreseen or not, and those not foreseen.
        self.passed = [0.0] * len(self.sizes)
        self.missed = [0.0] * len(self.sizes)
        self.begin()

    def begin(self) -> None:
        """Begins a new selection: picks count from zero, measurements stay."""
        self.open: tuple[int, int] | None = None
        self.alone = 0

    def choose(self, t: int, remaining: int) -> int:
        """Returns how many columns to compute at pick t, which lacks its column, with `remaining` picks to come."""
        untried = 0
        if self.open is not None:
            begun, size = self.open
            self._observe(t - begun, size)
            self.open = None
            if t - begun >= size and size < self.sizes[-1]:
                # The whole batch was used: the next size is worth a trial, if it had none.
                following = self.sizes[self.sizes.index(size) + 1]
                untried = 0 if following in self.seconds else following
        allowed = [size for size in self.sizes if size <= remaining]
        if 1 not in self.seconds or len(allowed) < 2:
            size = 1
        elif not self.sums[0]:
            size = min(FIRST, allowed[-1])
        else:
            size = min(allowed, key=lambda size: self.expected(size) / self._served(size))
        if untried in allowed:
            size = untried
        if size > 1:
            self.open = (t, size)
            self.alone = 0
        else:
            self.alone += 1
            if self.alone % ALONE == 0:
                # Discount the measurements until a batch looks worth another trial.
                self.missed = [0.5 * missed for missed in self.missed]
                self.seconds = {
                    size: seconds * (1 if size == 1 else FORGIVEN) for size, seconds in self.seconds.items()
                }
        return size

    def record(self, size: int, seconds: float) -> None:
        """Records the time of computing `size` columns, including the lookahead."""
        if size > 1:
            if self.sums[0]:
                # One batch that was delayed (by another process, for example) must not decide the next twenty.
                seconds = min(seconds, 1.5 * self.expected(size))
            for i, value in enumerate((1.0, size, size * size, seconds, size * seconds)):
                self.sums[i] = KEEP * self.sums[i] + value
            # A size that once looked slow gets another trial in time.
            for other in self.sizes[1:]:
                if other != size and other in self.seconds:
                    self.seconds[other] *= OPTIMISM
        self.seconds[size] = 0.8 * self.seconds.get(size, seconds) + 0.2 * seconds

    def expected(self, size: int) -> float:
        """Returns the expected seconds of a batch of this size."""
        if size in self.seconds:
            return self.seconds[size]
        # Least squares; if sizes hardly varied, a column is assumed to take a tenth of a single one.
        count, sizes, squares, seconds, cross = self.sums
        spread = squares * count - sizes * sizes
        prior, most = self.seconds[1] / 10, seconds / sizes
        if spread < 0.02 * squares * count:
            each = min(prior, most)
        else:
            each = min(max((cross * count - sizes * seconds) / spread, prior / 4), most)
        return (seconds - each * sizes) / count + each * size

    def _observe(self, served: int, size: int) -> None:
        """Records that a batch of this size served `served` picks before one that it did not hold."""
        for i, (start, stop) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), 1):
            if start >= size or start > served:
                break
            missed = float(served < min(stop, size))
            self.passed[i] = KEEP * self.passed[i] + min(stop, size, served) - start + missed
            self.missed[i] = KEEP * self.missed[i] + missed

    def _served(self, size: int) -> float:
        """Returns the expected number of picks that a batch of this size will serve; the first is certain."""
        total, alive, hazard = 1.0, 1.0, UNFORESEEN
        for i, (start, stop) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), 1):
            if start >= size:
                break
            nearer, hazard = hazard, (self.missed[i] + PRIOR * hazard) / (self.passed[i] + PRIOR)
            if i > 1:
                # Farther ahead the hazard is no smaller.
                hazard = max(hazard, nearer)
            length = stop - start
            lasting = math.exp(length * math.log1p(-hazard))
            total += alive * (1 - hazard) * (1 - lasting) / hazard
            alive *= lasting
        return total
