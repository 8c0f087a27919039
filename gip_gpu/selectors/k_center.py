"""KCenter: greedy k-center by cosine distance."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gip_gpu.data.user_arrays import as_indices
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.selectors.base import CandidatePool, Floats, Ints, UncertifiedSelector
from gip_gpu.validation.settings import as_whole


def cosine_error(d: int) -> float:
    """Bounds the error of a float64 cosine of two rows of length d.

    Normalising a row has a relative error of (d / 2 + 2) u, for each of the two, and the product one of d u.
    """
    return (2 * d + 8) * U64


@dataclass(frozen=True)
class KCenter(UncertifiedSelector):
    """Chooses the row that is farthest from its nearest pick, step by step (Gonzalez 1985; core-set, arXiv 1708.00489).

    The distance is 1 - cosine, in float64; it orders rows as the angle does, and the largest angle of a row to its
    nearest pick is at most twice that of the best k centers. Distances that differ by less than float64 rounding tie,
    and the lowest row wins. Gains are the distances of the picks; that of the first is 2, the largest possible. Costs k
    products of the rows and a vector.

    Args:
        seed: seed of the first pick, which is drawn from all rows that take part.
        first: the first pick itself; None to draw it.

    Raises:
        TypeError, ValueError: another seed or first.

    >>> KCenter(first=1).select([[1, 0], [0.8, 0.6], [0, 1], [1, 0]], None, 3).tolist()
    [1, 2, 0]
    """

    seed: int = 0
    first: int | None = None

    name: ClassVar[str] = "k-center"
    embedded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", as_whole(self.seed, "seed", 0))

        if self.first is not None:
            object.__setattr__(self, "first", as_whole(self.first, "first", 0))

    def __repr__(self) -> str:
        return f"KCenter(seed={self.seed})" if self.first is None else f"KCenter(first={int(self.first)})"

    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        assert k is not None
        rows = pool.embeddings
        tie = 2 * cosine_error(rows.shape[1])
        picks, gains = np.empty(k, np.int64), np.full(k, 2.0)
        picks[0] = self._first(pool)
        # Distance of each candidate from its nearest pick.
        nearest = np.where(pool.free, np.inf, -np.inf)
        nearest[picks[0]] = -np.inf
        for t in range(1, k):
            center = rows.take(picks[t - 1 : t])[0]
            for start, stop in rows.bounds():
                part = nearest[start:stop]
                np.minimum(part, 1 - rows.read(start, stop) @ center, out=part)
            farthest = nearest.max()
            picks[t] = np.flatnonzero(nearest >= farthest - tie)[0]
            gains[t] = max(0.0, farthest)
            nearest[picks[t]] = -np.inf
        return picks, gains

    def _first(self, pool: CandidatePool) -> int:
        if self.first is None:
            return int(np.random.default_rng(self.seed).choice(pool.candidates))
        row = int(as_indices([self.first], pool.m, "first")[0])
        if not pool.free[row]:
            raise ValueError(f"first is {row}, and exclude has it; it must be a row that takes part")
        return row
