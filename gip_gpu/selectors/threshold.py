"""Threshold: the rows whose score is large enough."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from gip_gpu.exceptions import ConstraintWarning, warn
from gip_gpu.selectors.base import CandidatePool, Floats, Ints, UncertifiedSelector
from gip_gpu.selectors.top_k import by_score


@dataclass(frozen=True)
class Threshold(UncertifiedSelector):
    """Chooses the rows whose score is at least a threshold, as AlpaGasus does with ratings (arXiv 2307.08701).

    k None keeps all of them, a k the k best. They are in the order of `TopK`; rows whose score is NaN or infinite are
    never chosen. Gains are the scores. `parse_rating` reads ratings from the replies of a judge.

    Args:
        at_least: the threshold, a finite number; AlpaGasus keeps ratings of 4.5 or more of 5.

    Raises:
        TypeError, ValueError: another threshold.

    Warns:
        gip_gpu.exceptions.ConstraintWarning: fewer than k rows reach the threshold; those are chosen.

    >>> ratings = [4.5, 3.0, 5.0, 4.5]
    >>> Threshold(at_least=4.5).select(None, ratings, None).tolist()
    [2, 0, 3]
    >>> Threshold(at_least=4.5).select(None, ratings, 1).tolist()
    [2]
    """

    at_least: float = 4.5

    name: ClassVar[str] = "threshold"
    scored: ClassVar[bool] = True

    def __post_init__(self) -> None:
        value: Any = self.at_least
        wanted = "at_least must be a finite number"
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            raise TypeError(f"at_least is {value!r}, a {type(value).__name__}; {wanted}")
        if not math.isfinite(value):
            raise ValueError(f"at_least is {value!r}; {wanted}")
        # The name of the method shows a number as Python does.
        object.__setattr__(self, "at_least", float(value))

    def _count(self, k: Any, m: int) -> int | None:
        return None if k is None else super()._count(k, m)

    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        assert pool.scores is not None
        ordered = by_score(pool)
        scores = pool.scores[ordered, 0]
        kept = int((scores >= self.at_least).sum())
        if not kept:
            largest = f"the largest score is {scores[0]:g}" if len(scores) else "no row has a finite score"
            raise ValueError(f"at_least is {self.at_least:g}, which no row of G reaches; {largest}")
        if k is not None and kept < k:
            warn(f"k is {k}; {kept} rows have a score of at least {self.at_least:g}", ConstraintWarning)
        return ordered[:kept][:k], scores[:kept][:k]
