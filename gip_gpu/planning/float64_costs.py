"""Cost model of the plain float64 loop of small pools, and the sizes of its arrays, which depend on it."""

import math
from dataclasses import dataclass

from gip_gpu.planning.cpu_costs import CACHED, NEAR, START, Rates, Steps

# Seconds of a value of a row of the factor in a pick. Seconds of recomputed arrays: m d^2 times OF_ROWS, d^3 times
# OF_MATRICES, and OF_ALL. Measured on one machine and fixed, so that no plan depends on measured times.
OF_FACTOR, OF_ROWS, OF_MATRICES, OF_ALL = 1e-10, 3e-11, 4e-10, 3e-4
# Fewest picks before the arrays are recomputed; additional rows of the factor, for picks that are decided one by one.
FEWEST, ROOM = 16, 64
# With fewer values, a product with one vector finds the rows in a cache, and a batch gains less than the choice of its
# items costs.
FEW = 1 << 21
# Rate of products with float64 vectors beyond the caches, relative to that with float32 vectors.
WIDE = 0.75
# Time of a used column in a batch, relative to that of its flops alone; and the share of picks that batches foresee.
TOGETHER, FORESEEN_SHARE = 5.0, 0.8


def many_rows(m: int, d: int) -> int:
    """Returns the rows of the factor from which on reading them has taken as long as recomputed arrays would."""
    anew = OF_ROWS * m * d**2 + OF_MATRICES * d**3 + OF_ALL
    return max(FEWEST, math.ceil(math.sqrt(anew / (OF_FACTOR * m))))


def factor_rows(k: int, m: int, d: int) -> int:
    """Returns the number of rows to allocate for the factor, for k picks from m rows of length d."""
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
        """Returns the bytes by part, without those of the stepper that may take over."""
        rows = factor_rows(k, self.m, self.d)
        factor = {"Cholesky factor in float64": 8 * rows * (self.m + rows)} if projects else {}
        return {
            "embeddings in float64": 8 * self.m * self.d * (2 if projects else 1),
            "residual and scores in float64": 8 * self.m * (self.n + 8),
            **factor,
        }

    def seconds(self, k: int, steps: Steps, rates: Rates | None) -> float:
        """Predicts the seconds of k picks."""
        rates = rates or Rates()
        product = _wide_seconds(8 * self.m * self.d, rates)
        # From some rows on the arrays are recomputed, which takes as long as reading half of the rows each time.
        rows = min(k / 2, many_rows(self.m, self.d))
        factor = _wide_seconds(int(8 * self.m * rows), rates) if steps.project else 0.0
        if steps.by_distance and self.m * self.d >= FEW:
            together = min(product, TOGETHER * 4 * self.m * self.d / rates.gemm)
            product, factor = FORESEEN_SHARE * together + (1 - FORESEEN_SHARE) * product, factor / 2
        passes = self.m * (self.n + 6) * 8 / rates.gemv
        calls = (140 if steps.metric else 16 if steps.project else 10) * rates.call
        return START / 4 + 15 * self.m * self.d / rates.copy + k * (product + factor + passes + calls)


def _wide_seconds(size: int, rates: Rates) -> float:
    """Predicts the seconds of a repeated product of `size` bytes of float64 values with a vector."""
    return (min(size, CACHED) / NEAR + max(0, size - CACHED) / WIDE) / rates.gemv
