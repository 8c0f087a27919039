"""Cost model of the plain float64 loop of small pools, and the sizes of its arrays, which follow from it."""

import math
from dataclasses import dataclass

from gip_gpu.planning.cpu_costs import CACHED, NEAR, START, Rates, Steps

# Seconds that a value of a row of the factor takes in a pick, and that new arrays take: a value of a row with each
# other, a value of a matrix of that size, and in all. Of one machine, so that nothing depends on the moment.
OF_FACTOR, OF_ROWS, OF_MATRICES, OF_ALL = 1e-10, 3e-11, 4e-10, 3e-4
# Fewest picks between new arrays; rows of the factor beyond those, for picks that are made one by one.
FEWEST, ROOM = 16, 64
# Of fewer values a product with one vector finds the rows in a cache, and several at a time gain less than it takes to
# choose their items.
FEW = 1 << 21
# Products with float64 vectors of what lies beyond the caches, against the rate of those with float32 ones.
WIDE = 0.75
# How many times longer a column that is used takes where several are made together, against its flops alone; and how
# often these are the right ones at all.
TOGETHER, FORESEEN_SHARE = 5.0, 0.8


def many_rows(m: int, d: int) -> int:
    """Rows of the factor from which on going through them has taken as long as new arrays would, without any."""
    anew = OF_ROWS * m * d**2 + OF_MATRICES * d**3 + OF_ALL
    return max(FEWEST, math.ceil(math.sqrt(anew / (OF_FACTOR * m))))


def factor_rows(k: int, m: int, d: int) -> int:
    """Rows of the factor that there have to be for k picks from m rows of length d."""
    return min(k, 2 * many_rows(m, d) + ROOM)


@dataclass(frozen=True)
class Float64Costs:
    """Bytes and seconds of the plain float64 loop.

    Attributes:
        m, d, n: items, length of a row, signals.
    """

    m: int
    d: int
    n: int

    def parts(self, k: int, projects: bool) -> dict[str, int]:
        """Bytes by part, beside those of the stepper that it may hand over to."""
        rows = factor_rows(k, self.m, self.d)
        factor = {"Cholesky factor in float64": 8 * rows * (self.m + rows)} if projects else {}
        return {
            "embeddings in float64": 8 * self.m * self.d * (2 if projects else 1),
            "residual and scores in float64": 8 * self.m * (self.n + 8),
            **factor,
        }

    def seconds(self, k: int, steps: Steps, rates: Rates | None) -> float:
        """Predicted time of k picks."""
        rates = rates or Rates()
        product = _wide_seconds(8 * self.m * self.d, rates)
        # From some rows on new arrays are made, which takes as long as going through half of them each time.
        rows = min(k / 2, many_rows(self.m, self.d))
        factor = _wide_seconds(int(8 * self.m * rows), rates) if steps.project else 0.0
        if steps.by_distance and self.m * self.d >= FEW:
            together = min(product, TOGETHER * 4 * self.m * self.d / rates.gemm)
            product, factor = FORESEEN_SHARE * together + (1 - FORESEEN_SHARE) * product, factor / 2
        passes = self.m * (self.n + 6) * 8 / rates.gemv
        calls = (140 if steps.metric else 16 if steps.project else 10) * rates.call
        return START / 4 + 15 * self.m * self.d / rates.copy + k * (product + factor + passes + calls)


def _wide_seconds(size: int, rates: Rates) -> float:
    """Seconds of a product of so many bytes of float64 values with a vector, made again and again."""
    return (min(size, CACHED) / NEAR + max(0, size - CACHED) / WIDE) / rates.gemv
