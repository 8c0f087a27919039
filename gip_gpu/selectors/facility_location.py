"""FacilityLocation: lazy greedy on cosine similarities, without a matrix of all of them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gip_gpu.data.rows import Rows
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.selectors.base import CandidatePool, Floats, Ints, UncertifiedSelector
from gip_gpu.selectors.k_center import cosine_error

# Candidates whose gains are computed at a time.
CHUNK = 128


def gain_error(m: int, d: int) -> float:
    """Bounds the error of a float64 gain over m rows of length d.

    Each of the m terms, at most 1, has the error of a cosine, and u for the difference. NumPy adds up a block of rows
    pairwise and blocks follow each other: fewer than 64 + m / 1024 additions depend on each other, each u of the sum.
    """
    return m * (cosine_error(d) + (65 + m / 1024) * U64)


@dataclass(frozen=True)
class FacilityLocation(UncertifiedSelector):
    """Maximises the sum over all rows of the cosine with the nearest pick, greedily, where cosines below 0 count as 0.

    The objective is monotone and submodular, so that greedy reaches 1 - 1/e of the best value (Nemhauser et al. 1978),
    and a gain of an earlier step bounds the gain now (lazy greedy, Minoux 1978). Gains that differ by less than float64
    rounding tie, and the lowest row wins; the picks are those of plain greedy by the same rule. Once all gains are
    within rounding of 0, the other rows follow in order.

    The first step costs m^2 products of rows of length d; later ones those of the few candidates whose bound is large
    enough. Cosines are computed in blocks of a few MB and never stored.

    >>> FacilityLocation().select([[1, 0], [0.8, 0.6], [0, 1], [1, 0]], None, 2).tolist()
    [1, 0]
    """

    name: ClassVar[str] = "facility location"
    embedded: ClassVar[bool] = True

    def _choose(self, pool: CandidatePool, k: int | None) -> tuple[Ints, Floats]:
        assert k is not None
        rows = pool.embeddings
        tie = 2 * gain_error(*rows.shape)
        picks, gains = np.empty(k, np.int64), np.zeros(k)
        # Cosine of each row with its nearest pick; a row that takes no part adds to no gain.
        nearest = np.where(pool.free, 0.0, np.inf)
        bounds = np.where(pool.free, np.inf, -np.inf)
        for t in range(k):
            best = self._update(rows, nearest, bounds, tie)
            if best <= tie:
                left = np.flatnonzero(bounds > -np.inf)
                picks[t:] = left[: k - t]
                break
            picks[t], gains[t] = np.flatnonzero(bounds >= best - tie)[0], best
            for start, stop in rows.bounds():
                part = nearest[start:stop]
                np.maximum(part, rows.read(start, stop) @ rows.take(picks[t : t + 1])[0], out=part)
            bounds[picks[t]] = -np.inf
        return picks, gains

    def _update(self, rows: Rows, nearest: Floats, bounds: Floats, tie: float) -> float:
        """Updates bounds until those within a tie of the largest gain are gains; returns that gain."""
        best = -np.inf
        current = np.isneginf(bounds)
        while True:
            # A gain and its bound have an error each, which is half a tie.
            stale = np.flatnonzero(~current & (bounds >= best - 2 * tie))
            if not len(stale):
                return best
            chunk = stale[np.argsort(-bounds[stale], kind="stable")[:CHUNK]]
            bounds[chunk] = _gains(rows, nearest, chunk)
            current[chunk] = True
            best = max(best, float(bounds[chunk].max()))


def _gains(rows: Rows, nearest: Floats, candidates: Ints) -> Floats:
    """Returns the gains of candidates, (c,): sums over all rows of the increase of the cosine with the nearest pick."""
    gains = np.zeros(len(candidates))
    wanted = rows.take(candidates)
    for start, stop in rows.bounds(len(candidates)):
        cosines = wanted @ rows.read(start, stop).T
        cosines -= nearest[start:stop]
        gains += np.maximum(cosines, 0, out=cosines).sum(axis=1)
    return gains
