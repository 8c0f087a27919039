"""Small pools that a selector is checked on; float16 holds their values exactly."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class CheckPool:
    """Embeddings F, (m, d), and positive scores G, (m,); G None for a selector that takes no scores."""

    F: Any
    G: Any

    @property
    def m(self) -> int:
        """Number of rows."""
        return len(self.F)

    def copied(self) -> "CheckPool":
        """Returns the pool with copies of F and G."""
        return CheckPool(self.F.copy(), None if self.G is None else self.G.copy())

    def reordered(self, order: Any) -> "CheckPool":
        """Returns the pool with its rows in this order; rows may repeat."""
        return CheckPool(self.F[order], None if self.G is None else self.G[order])

    def with_row(self, row: int, value: float) -> "CheckPool":
        """Returns the pool with a row of F of this value."""
        F = self.F.copy()
        F[row] = value
        return replace(self, F=F)


def general_pool(m: int, d: int, scored: bool, seed: int = 0) -> CheckPool:
    """Returns a pool without equal rows or scores, if m is at most 1,000."""
    generator = np.random.default_rng(seed)
    F = generator.standard_normal((m, d)).astype(np.float16).astype(np.float64)
    # Steps of 1/256 from 1 to 5, which float16 holds.
    G = 1 + generator.permutation(m) % 1024 / 256
    return CheckPool(F, G if scored else None)
