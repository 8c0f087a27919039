"""TopK: the rows with the largest scores."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gip_gpu.selectors.base import CandidatePool, Floats, Ints, UncertifiedSelector


def by_score(pool: CandidatePool) -> Ints:
    """Returns the candidates with a finite score, the largest first and the lowest row first among equal ones."""
    assert pool.scores is not None
    scores, rows = pool.scores[:, 0], pool.candidates
    rows = rows[np.isfinite(scores[rows])]
    ordered: Ints = rows[np.argsort(-scores[rows], kind="stable")]
    return ordered


@dataclass(frozen=True)
class TopK(UncertifiedSelector):
    """Chooses the k rows with the largest scores; among equal scores the lowest row is first.

    Rows whose score is NaN or infinite are never chosen. Gains are the scores.

    >>> TopK().select(None, [1.0, 3.0, float("nan"), 3.0], 3).tolist()
    [1, 3, 0]
    """

    name: ClassVar[str] = "top-k"
    scored: ClassVar[bool] = True

    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        assert pool.scores is not None
        assert k is not None
        ordered = by_score(pool)
        if len(ordered) < k:
            raise ValueError(f"k is {k}; {len(ordered)} of {len(pool.candidates)} rows of G have a finite score")
        return ordered[:k], pool.scores[ordered[:k], 0]
