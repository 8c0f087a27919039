"""Exact values of candidates for the projecting stepper, with their slack within a tie and their rounding."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Items, Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy.query_metric import QueryMetric
from gip_gpu.greedy.state import State
from gip_gpu.greedy.window import Judged, Window
from gip_gpu.numerics import ties
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.problem.objectives import energies, seen

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Row values that are split at a time.
SPLIT_VALUES = 1 << 20


@dataclass(frozen=True)
class Rounding:
    """Estimates of float64 rounding before a pick.

    Attributes:
        residual: rounding of an exact residual.
        root: rounding of the root of a distance.
        grown: rounding of a norm that comes from the growth of scores since the round began.
    """

    residual: float
    root: float
    grown: float


@dataclass(frozen=True)
class Judge:
    """Exact values of candidates, which decide a pick.

    Attributes:
        items: the backend's items, which supply the candidates.
        rules: how a score is computed; with `sign` as in `gip_gpu.select`.
        rows: the exact rows; x is a row times `scale_down`.
        square: the square of the rows' common scale.
        metric: metric of residuals, None for the identity.
    """

    items: Items
    rules: Rules
    sign: str
    rows: Rows
    scale_down: float
    square: float
    metric: QueryMetric | None

    def all(self, candidates: tuple[Indices, Floats, Floats]) -> Window:
        """Returns a window of all of these candidates; drops dependent items."""
        indices, W, distances = candidates
        squares = self.squares(indices)
        window = Window(indices, W, distances, squares, len(indices))
        if self.rules.projects:
            dependent = self.rules.ridge + distances <= ties.DEPENDENT * squares
            if dependent.any():
                self.items.drop(indices[dependent])
                window.dropped = int(dependent.sum())
        return window

    def alike(self, state: State) -> bool:
        """Returns whether all items tie to the last bit before any pick, as unit rows without scores do."""
        if not self.rows.normalize or self.metric is not None or self.rules.positive or state.item_weights is not None:
            return False
        lowest = state.squares.min(where=state.pool, initial=math.inf)
        return bool(lowest == state.squares.max(where=state.pool, initial=0.0))

    def first(self, state: State) -> Window:
        """Returns a window of the first item left; all items tie."""
        first, count = state.first_left(1), state.remaining
        W, ones = state.scores_of(first) / state.unit, np.ones(1)
        value = float(self.roots(W, ones)[0])
        return Window(first, W, ones, ones, count, tied=count, top=value, rival=value)

    def squares(self, indices: NDArray[np.int64]) -> Floats:
        """Returns the squared norms of the rows x."""
        if self.rows.normalize:
            return np.ones(len(indices))
        norms: Floats = self.rows.norms[indices] * self.scale_down
        return norms * norms

    def q(self, distances: Floats) -> Floats:
        """Returns the divisor q of a pick's step, in the unit of the rows x."""
        if self.rules.projects:
            return self.rules.ridge + distances
        return np.full(len(distances), 1 / self.square)

    def roots(self, W: Floats, distances: Floats) -> Floats:
        """Returns the roots of the scores, (c,)."""
        if self.rules.measure == "distance":
            return np.sqrt(distances)
        norms = np.sqrt(energies(seen(W, self.sign) if self.metric is None else W @ self.metric.whole))
        return norms / np.sqrt(self.q(distances)) if self.rules.measure == "ratio" else norms

    def _told(
        self, state: State, indices: Indices, rows_squared: Floats, rounding: Rounding
    ) -> tuple[Floats, Floats, Floats]:
        """Returns, as `_norms`, the information of each item in nats, for an objective with a metric."""
        assert self.metric is not None
        ridge, lengths = self.rules.ridge, np.sqrt(rows_squared)
        found = np.empty((3, len(indices)))
        step = max(1, SPLIT_VALUES // state.d)
        for start in range(0, len(indices), step):
            own = slice(start, start + step)
            parts = self.metric.split(self.items.remaining(self.rows.take(indices[own]) * self.scale_down))
            nats = ties.information(parts.inside, parts.rest, ridge)
            moves = ties.information_moves(parts.inside, parts.rest, ridge) * (lengths[own] + parts.reach)
            found[:, own] = nats, ties.slack(nats, moves), rounding.root * moves + 4 * U64 * nats
        return found[0], found[1], found[2]

    def _norms(
        self, state: State, W: Floats, distances: Floats, rows_squared: Floats, rounding: Rounding
    ) -> tuple[Floats, Floats, Floats]:
        """Returns the roots of the scores (c,), the slack of each within a tie, and an estimate of its rounding."""
        if self.rules.measure == "distance":
            norms = np.sqrt(distances)
            return norms, ties.slack(norms, state.scale), np.full(len(norms), rounding.root)
        norms = self.roots(W, distances)
        if self.rules.measure == "norm":
            return norms, ties.slack(norms, state.scale), np.full(len(norms), rounding.residual + rounding.grown)
        roots, ridge = np.sqrt(self.q(distances)), self.rules.ridge
        own = ties.lengths(rows_squared, ridge)
        noises = (rounding.residual * own + norms * rounding.root * np.sqrt(rows_squared)) / roots + rounding.grown
        terms = ties.ratio_terms(norms, roots, rows_squared, ridge, state.scale)
        return norms, ties.slack(norms, terms), noises

    def judged(self, state: State, window: Window, rounding: Rounding) -> Judged:
        """Returns the compared values (roots of scores, or nats), their slack within a tie, and their rounding.

        Weights of the items multiply scores, and nats.
        """
        if self.metric is not None:
            found = self._told(state, window.indices, window.rows_squared, rounding)
        else:
            found = self._norms(state, window.W, window.distances, window.rows_squared, rounding)
        if state.item_weights is None:
            return found
        values, slacks, noises = found
        factors = self.factors(state, window.indices)
        return values * factors, slacks * factors, noises * factors

    def factors(self, state: State, indices: Indices) -> Floats:
        """Returns the factors (c,) of the compared values by the weights of these items."""
        assert state.item_weights is not None
        weights = state.item_weights[indices]
        return weights if self.metric is not None else np.sqrt(weights)

    def root(self, value: float) -> float:
        """Returns the root of the score that belongs to a value of `judged`."""
        return value if self.metric is None else math.sqrt(-math.expm1(-2 * value))
