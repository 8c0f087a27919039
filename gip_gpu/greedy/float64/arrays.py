"""Float64 arrays of small pools: residuals, distances and scores of all items, and a pick's step on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.greedy.float64.columns import Float64Columns
from gip_gpu.greedy.float64.metric import Downdated
from gip_gpu.numerics import ties

Floats = NDArray[np.float64]


# A rival with this share of the best score or more ends a batch of picks at once, before the bounds are checked.
NEXT = 1 - 1e-12


class Best(NamedTuple):
    """Item with the largest score, its score, and the largest score of any other item."""

    item: int
    score: float
    rival: float


@dataclass
class Path:
    """Picks made one after the other, with the values of the arrays before each.

    Attributes:
        indices, scores, rivals: (b,) the picks, as in `Best`.
        residuals: (b, n) W of each.
        divisors: (b,) q of each.
        least: (b,) values of `Float64Arrays.least`.
        norms: (b,) norms of the metric.
        energies: (b,) `Float64Arrays.energy` after each.
    """

    indices: NDArray[np.int64]
    scores: Floats
    rivals: Floats
    residuals: Floats
    divisors: Floats
    least: Floats
    norms: Floats
    energies: Floats

    @classmethod
    def of(cls, notes: "Sequence[Noted]", energies: Sequence[float], n: int) -> "Path":
        """Returns the path of picks that were noted one by one, for n signals."""
        columns = zip(*notes, strict=True) if notes else [()] * len(Noted._fields)
        indices, scores, rivals, divisors, least, norms, residuals = columns
        arrays = (np.array(values, np.float64) for values in (divisors, least, norms, energies))
        W = np.array(residuals, np.float64).reshape(len(notes), n)
        return cls(np.array(indices, np.int64), np.array(scores), np.array(rivals), W, *arrays)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def sane(self) -> bool:
        """Whether these picks can be made at all."""
        return bool(
            np.all(np.isfinite([self.scores, self.divisors, self.norms]) & (np.minimum(self.scores, self.divisors) > 0))
        )

    def __getitem__(self, span: slice) -> "Path":
        return Path(**{name: array[span] for name, array in vars(self).items()})


class Noted(NamedTuple):
    """One entry of each array of a `Path`, without the energy."""

    item: int
    score: float
    rival: float
    divisor: float
    least: float
    norm: float
    residual: list[float]

    @property
    def sane(self) -> bool:
        """Whether the pick can be made at all."""
        return 0 < self.score < math.inf and 0 < self.divisor < math.inf and self.norm < math.inf


class Float64Arrays:
    """Arrays of a round.

    Args:
        X: (m, d) rows of norm 1 at most.
        squares: (m,) their squared norms.
        rules: how scores are computed.
        n: signals.
        picks: largest number of picks in a round.

    Attributes:
        W: (n, m) residuals.
        q: (m,) eta + d2_j, inf for ineligible items; if the distance is the score, d2_j, -inf for ineligible items. Not
            stored if rows are not projected out.
        score: (m,) scores of the eligible items, -inf or 0 for others; q itself if the distance is the score.
        C: (picks, m) rows of the Cholesky factor.
        X, base: the rows from which columns are computed, and their squared norms: as given, or as `anew` set them.
        picks: number of picks made with these rows.
        energy: ||W||^2, or the sum of d2, over the pool of the round; for a metric the trace of Q'PQ.
        metric: metric of the residuals, None for the identity.
    """

    def __init__(self, X: Floats, squares: Floats, rules: Rules, n: int, picks: int) -> None:
        m = len(X)
        self.rows, self.squares, self.rules = X, squares, rules
        self.X, self.base = X, squares
        self.W, self.q = np.empty((n, m)), np.empty(m if rules.projects else 0)
        self.rows_of_W = list(self.W)
        self.C = np.empty((picks if rules.projects else 0, m))
        self.spare = np.empty(m)
        self.score = self.q if rules.measure == "distance" else np.empty(m)
        # Infinite for items that are not eligible.
        self.blocked = np.empty(m if rules.measure == "norm" else 0)
        self.columns = Float64Columns(X, self.C if rules.projects else None, rules.measure == "distance")
        self.metric: Downdated | None = None
        self.parts = self.W
        self.shift = rules.ridge if rules.measure == "distance" else 0.0
        self.picks, self.energy = 0, 0.0

    def begin(self, eligible: NDArray[np.bool_], W: Floats, metric: bool) -> None:
        """Begins a round with these eligible items (m,) and residuals (m, n)."""
        self.X, self.base, self.picks = self.rows, self.squares, 0
        whole = bool(eligible.all())
        self.outside = None if whole else ~eligible
        self.W[:] = W.T
        if self.rules.projects:
            np.add(self.squares, self.rules.ridge - self.shift, out=self.q)
        if self.outside is not None:
            self.W[:, self.outside] = 0
        if len(self.blocked):
            self.blocked[:] = 0
        if self.outside is not None:
            self.block(self.outside)
        n = len(self.W)
        self.metric = Downdated(n) if metric else None
        if metric:
            self.parts = np.empty_like(self.W)
        self.columns.begin(self.X)
        self.energy = self._total()
        self.rate()

    def anew(self, eligible: NDArray[np.bool_], X: Floats, W: Floats, M: Floats | None) -> None:
        """Continues from rows and residuals out of which the picks so far are projected; the factor is empty again.

        Args:
            eligible: (m,) the items that may be picked.
            X: (m, d) rows.
            W: (m, n) residuals.
            M: (n, n) Q'PQ of a metric: the part of Q'Q that the picks leave.
        """
        self.X, self.base, self.picks = X, np.einsum("jd,jd->j", X, X), 0
        np.add(self.base, self.rules.ridge - self.shift, out=self.q)
        if len(self.blocked):
            self.blocked[:] = 0
        self.block(~eligible)
        self.W[:] = W.T
        if self.outside is not None:
            self.W[:, self.outside] = 0
        if self.metric is not None and M is not None:
            self.metric.become(M)
        self.columns.begin(X)
        self.energy = self._total()
        self.rate()

    def block(self, items: NDArray[np.bool_] | NDArray[np.int64] | int) -> None:
        """Makes these items ineligible."""
        if len(self.blocked):
            self.blocked[items] = math.inf
        if self.rules.projects:
            self.q[items] = -math.inf if self.rules.measure == "distance" else math.inf

    def drop_dependent(self, error: float) -> None:
        """Makes the items ineligible that are dependent beyond this error of a distance."""
        if self.least() > 2 * ties.DEPENDENT:
            return
        dependent = (self.q <= ties.DEPENDENT * self.squares - error).nonzero()[0]
        if len(dependent):
            self.block(dependent)
            self.rate()

    def rate(self) -> None:
        """Computes the scores of all items."""
        measure, score = self.rules.measure, self.score
        if measure == "distance":
            return
        parts: Any = self.rows_of_W
        if self.metric is not None:
            # If the metric has lost its digits, nobody reads the scores.
            parts = self.parts if self.metric.B is None else np.matmul(self.metric.B.T, self.W, out=self.parts)
        into = score
        for part in parts:
            clipped = np.maximum(part, 0, out=self.spare) if self.rules.positive else part
            np.multiply(clipped, clipped, out=into)
            if into is not score:
                np.add(score, into, out=score)
            into = self.spare
        if measure == "ratio":
            np.divide(score, self.q, out=score)
        else:
            np.subtract(score, self.blocked, out=score)

    def best(self) -> Best:
        """Returns the first item with the largest score."""
        score = self.score
        index = int(score.argmax())
        top = score.item(index)
        score[index] = -math.inf
        # argmax is faster than max.
        rival = score.item(score.argmax())
        score[index] = top
        return Best(index, top, rival)

    def divisor(self, index: int) -> float:
        """Returns q of this item, eta + d2; 1 if rows are not projected out."""
        return self.q.item(index) + self.shift if self.rules.projects else 1.0

    def least(self) -> float:
        """Returns the smallest q_j of an eligible item; inf if rows are not projected out, or the largest is picked."""
        if not self.rules.projects or self.rules.measure == "distance":
            return math.inf
        # argmin is faster than min.
        return self.q.item(self.q.argmin())

    def project_out(self, index: int, wanted: int) -> None:
        """Projects this item out of the others.

        Args:
            index: the pick.
            wanted: picks to come, this one included.
        """
        column = self.columns.of(index, self.picks, wanted, self.score)
        weights, spare = self.W[:, index].tolist(), self.spare
        if self.rules.projects:
            root = math.sqrt(self.divisor(index))
            column = np.divide(column, root, out=self.C[self.picks])
            weights = [weight / root for weight in weights]
            np.multiply(column, column, out=spare)
            np.subtract(self.q, spare, out=self.q)
            if self.metric is not None:
                self.metric.explain(weights)
        for weight, part in zip(weights, self.rows_of_W, strict=True):
            np.multiply(column, weight, out=spare)
            np.subtract(part, spare, out=part)
        self.block(index)
        self.picks += 1
        self.energy = self._left(column)
        self.rate()

    def _total(self) -> float:
        """Returns `energy` at the start of the round."""
        if self.rules.measure == "distance":
            return float(self.base.sum(where=True if self.outside is None else ~self.outside))
        return self._residual_energy()

    def _residual_energy(self) -> float:
        # With a metric, the energy is the trace of Q'PQ, which starts at n.
        return float(np.vdot(self.W, self.W) if self.metric is None else np.trace(self.metric.M))

    def _left(self, column: Floats) -> float:
        """Returns `energy` after a pick, from the pick's row of the factor."""
        if self.outside is not None:
            # Items outside the pool do not count.
            if self.rules.measure == "distance":
                column = np.where(self.outside, 0.0, column)
            else:
                self.W[:, self.outside] = 0
        if self.rules.measure == "distance":
            return self.energy - float(np.vdot(column, column))
        return self._residual_energy()

    def run(self, count: int, wanted: int) -> Path:
        """Makes up to `count` picks as if nothing were in doubt; stops early at a near tie or an impossible pick.

        Args:
            count: largest number of picks.
            wanted: picks to come in all.
        """
        notes: list[Noted] = []
        energies: list[float] = []
        while len(notes) < count:
            best = self.best()
            noted = self._noted(best)
            # Others seem to tie with it, or it cannot be made: the batch ends.
            if not (best.rival < best.score * NEXT and noted.sane):
                break
            notes.append(noted)
            self.project_out(best.item, wanted - len(energies))
            energies.append(self.energy)
        return Path.of(notes, energies, len(self.W))

    def before(self, best: Best) -> Path:
        """Returns the path of this pick alone, before it is made; its energy is 0."""
        return Path.of([self._noted(best)], [0.0], len(self.W))

    def _noted(self, best: Best) -> "Noted":
        index = best.item
        residual = [part.item(index) for part in self.rows_of_W]
        return Noted(*best, self.divisor(index), self.least(), self.norm, residual)

    @property
    def norm(self) -> float:
        """Frobenius norm of the metric, 1 without one; infinite once the metric has lost its digits."""
        return 1.0 if self.metric is None else self.metric.norm

    def save(self) -> tuple[Floats, ...]:
        """Copies all that picks change, for `restore`."""
        kept = (self.W, self.q, self.score, self.blocked, *(() if self.metric is None else (self.metric.M,)))
        return (np.array([self.picks, self.energy]), *(array.copy() for array in kept))

    def restore(self, saved: tuple[Floats, ...], again: NDArray[np.int64], wanted: int) -> None:
        """Returns to the state of `save` and makes these picks again.

        Args:
            saved: the result of `save`.
            again: the picks to make, the first of those made since.
            wanted: picks to come in all.
        """
        numbers, *arrays = saved
        self.picks, self.energy = int(numbers[0]), float(numbers[1])
        for array, kept in zip((self.W, self.q, self.score, self.blocked), arrays, strict=False):
            array[:] = kept
        if self.metric is not None:
            self.metric.become(arrays[-1])
        self.columns.forget(self.picks + len(again))
        for i, index in enumerate(again.tolist()):
            self.project_out(index, wanted - i)
