"""Random: rows drawn without replacement."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gip_gpu.selectors.base import CandidatePool, Floats, Ints, UncertifiedSelector
from gip_gpu.validation.settings import as_whole


@dataclass(frozen=True)
class Random(UncertifiedSelector):
    """Draws rows without replacement, all equally likely: the baseline of every comparison.

    The rows are the first k of one permutation, so that a smaller k gives the beginning of a larger one. F or G only
    tell the number of rows; gains are NaN.

    Args:
        seed: int of at least 0.

    Raises:
        TypeError, ValueError: another seed.

    >>> Random(seed=0).select([[1.0], [2.0], [3.0], [4.0]], None, 2).tolist()
    [2, 0]
    >>> Random(seed=0).select(None, [1, 5, 2, 2], "50%", exclude=[0]).tolist()
    [3, 1]
    """

    seed: int = 0

    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", as_whole(self.seed, "seed", 0))

    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        indices = np.random.default_rng(self.seed).permutation(pool.candidates)[:k]
        return indices, np.full(len(indices), np.nan)
