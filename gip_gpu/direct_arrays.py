"""The arrays of `gip_gpu.direct`: residuals, distances and scores of all items in float64, and a pick's step on them."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.direct_columns import DirectColumns
from gip_gpu.direct_metric import Downdated

Floats = NDArray[np.float64]


# A rival of this share of the best score or more is not left to bounds that are seen later.
NEXT = 1 - 1e-12


class Best(NamedTuple):
    """An item of the largest score, its score, and the largest score of any other."""

    index: int
    score: float
    rival: float


@dataclass
class Path:
    """Picks that were made one after the other, with what was read off the arrays before each.

    Attributes:
        indices, scores, rivals: (b,) the picks, and as in `Best`.
        residuals: (b, n), W of each.
        divisors: (b,), q of each.
        least: (b,), the smallest q_j of an eligible item.
        norms: (b,), of the metric.
        energies: (b,), what `Arrays.energy` was after each.
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
    def empty(cls, count: int, n: int) -> "Path":
        """Room for `count` picks of n signals."""
        return cls(np.empty(count, np.int64), *(np.empty(shape) for shape in (count, count, (count, n), *[count] * 4)))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def sane(self) -> bool:
        """Whether the first of these can be made at all."""
        return bool(0 < self.scores[0] < math.inf and 0 < self.divisors[0] < math.inf and self.norms[0] < math.inf)

    def __getitem__(self, span: slice) -> "Path":
        return Path(**{name: array[span] for name, array in vars(self).items()})


class Arrays:
    """Arrays of a round.

    Args:
        X: (m, d) rows of norm 1 at most.
        squares: (m,) their squared norms.
        rules: how scores are made.
        n: signals.
        picks: most in a round.

    Attributes:
        W: (n, m) residuals.
        q: (m,) eta + d2_j; d2_j alone where that is the score, -inf where the item is not eligible, else inf there. Not
            kept where rows are not projected out.
        score: (m,) of the eligible items, -inf or 0 for others; q where that is the score.
        C: (picks, m) rows of the Cholesky factor.
        picks: made so far.
        energy: ||W||^2, or the sum of d2, over the pool of the round; a metric's is not kept.
        metric: of the residuals, None for the identity.
    """

    def __init__(self, X: Floats, squares: Floats, rules: Rules, n: int, picks: int) -> None:
        m = len(X)
        self.X, self.squares, self.rules = X, squares, rules
        self.W, self.q = np.empty((n, m)), np.empty(m if rules.projects else 0)
        self.rows_of_W = list(self.W)
        self.C = np.empty((picks if rules.projects else 0, m))
        self.spare = np.empty(m)
        self.score = self.q if rules.measure == "distance" else np.empty(m)
        # Infinite for items that are not eligible.
        self.blocked = np.empty(m if rules.measure == "norm" else 0)
        self.columns = DirectColumns(X, self.C if rules.projects else None)
        self.metric: Downdated | None = None
        self.parts = self.W
        self.shift = rules.ridge if rules.measure == "distance" else 0.0
        self.picks, self.energy = 0, 0.0

    def begin(self, eligible: NDArray[np.bool_], W: Floats, metric: bool) -> None:
        """A round begins with these eligible items (m,) and residuals (m, n)."""
        self.picks = 0
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
        self.columns.begin()
        self.energy = self._total()
        self.rate()

    def block(self, items: NDArray[np.bool_] | NDArray[np.int64] | int) -> None:
        """These items are no longer eligible."""
        if len(self.blocked):
            self.blocked[items] = math.inf
        if self.rules.projects:
            self.q[items] = -math.inf if self.rules.measure == "distance" else math.inf

    def rate(self) -> None:
        """Scores of all items."""
        measure, score = self.rules.measure, self.score
        if measure == "distance":
            return
        parts: Any = self.rows_of_W
        if self.metric is not None:
            # Where the metric has lost its digits nobody reads the scores.
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
        """The first item of the largest score."""
        score = self.score
        index = int(score.argmax())
        top = float(score[index])
        score[index] = -math.inf
        # Faster than the maximum.
        rival = float(score[score.argmax()])
        score[index] = top
        return Best(index, top, rival)

    def divisor(self, index: int) -> float:
        """What the square of this item's part in the others is divided by."""
        return float(self.q[index]) + self.shift if self.rules.projects else 1.0

    def least(self) -> float:
        """The smallest q_j of an eligible item, where scores depend on it."""
        return math.inf if not len(self.q) or self.rules.measure == "distance" else float(self.q.min())

    def project_out(self, index: int, wanted: int) -> None:
        """Takes this item out of the others.

        Args:
            index: the pick.
            wanted: picks to come, with this one.
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
        if self.metric is None:
            self.energy = self._left(column)
        self.rate()

    def _total(self) -> float:
        """`energy` when the round begins."""
        if self.rules.measure == "distance":
            return float(self.squares.sum(where=True if self.outside is None else ~self.outside))
        return float(np.vdot(self.W, self.W))

    def _left(self, column: Floats) -> float:
        """`energy` after a pick whose row of the factor this is."""
        if self.outside is not None:
            # What is taken out of them counts for nothing.
            if self.rules.measure == "distance":
                column = np.where(self.outside, 0.0, column)
            else:
                self.W[:, self.outside] = 0
        if self.rules.measure == "distance":
            return self.energy - float(np.vdot(column, column))
        return float(np.vdot(self.W, self.W))

    def run(self, count: int, wanted: int) -> Path:
        """Makes up to `count` picks as if nothing were in doubt; fewer where there is none to make.

        Args:
            count: at most.
            wanted: picks to come in all.
        """
        path = Path.empty(count, len(self.W))
        for i in range(count):
            index, score, rival = self.best()
            q = self.divisor(index)
            # The last: others seem to tie with it.
            if not (0 < score < math.inf and 0 < q < math.inf and self.norm < math.inf and rival < score * NEXT):
                return path[:i]
            self._note(path, i, index, score, rival)
            self.project_out(index, wanted - i)
            path.energies[i] = self.energy
        return path

    def state_of(self, index: int, score: float, rival: float) -> Path:
        """What is read off the arrays before this pick."""
        path = Path.empty(1, len(self.W))
        self._note(path, 0, index, score, rival)
        return path

    def _note(self, path: Path, i: int, index: int, score: float, rival: float) -> None:
        path.indices[i], path.scores[i], path.rivals[i] = index, score, rival
        path.divisors[i], path.least[i], path.norms[i] = self.divisor(index), self.least(), self.norm
        path.residuals[i] = self.W[:, index]

    @property
    def norm(self) -> float:
        """Of the metric; infinite where it has lost its digits."""
        return 1.0 if self.metric is None else self.metric.norm

    def save(self) -> tuple[Floats, ...]:
        """What `restore` needs."""
        kept = (self.W, self.q, self.score, self.blocked, *(() if self.metric is None else (self.metric.M,)))
        return (np.array([self.picks, self.energy]), *(array.copy() for array in kept))

    def restore(self, saved: tuple[Floats, ...], again: NDArray[np.int64], wanted: int) -> None:
        """Goes back to what `save` returned and makes these picks again.

        Args:
            saved: as `save` returned it.
            again: the picks to make, the first of those that were made since.
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
