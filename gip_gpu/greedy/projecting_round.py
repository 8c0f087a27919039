"""Bookkeeping of the projecting stepper: rounds, refreshes, bounds, and the projection by its picks."""

import math
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import ErrorBounds, Items, Projector, Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import decision
from gip_gpu.greedy.judging import Judge, Rounding
from gip_gpu.greedy.query_metric import QueryMetric
from gip_gpu.greedy.state import State, Stored
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import TINY32, U32, U64
from gip_gpu.problem.objectives import MEASURES

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class ItemsSource(Protocol):
    """The part of a backend that `Projecting` needs; `gip_gpu.backends.base.Backend` documents it."""

    @property
    def exponent(self) -> int: ...
    @property
    def rows_of(self) -> Rows: ...
    @property
    def square(self) -> float: ...
    @property
    def largest_norm(self) -> float: ...
    def rows(self, indices: Any) -> Floats: ...
    def items(self, rules: Rules, n: int) -> Items: ...


class ProjectingRound:
    """State of the projecting stepper within a round: arrays, bounds, the projection by the picks.

    Args:
        backend: supplies the items.
        state: of the selection; with a metric, its scores are the whitened ones.
        Q: (d, n) the whitened query, Q'Q = I, for an objective with a metric.
    """

    name: ClassVar[str] = "projecting"
    # A round is empty if no score is positive or all rows are zero.
    empty_rounds: ClassVar[bool] = True
    stride: ClassVar[int] = 1
    # Each column is computed in the step of its pick.
    column_seconds: ClassVar[float] = 0.0

    def __init__(self, backend: ItemsSource, state: State, epsilon: float, sign: str, Q: Floats | None = None) -> None:
        objective = state.objective
        self.rows, self.rows_of = backend.rows, backend.rows_of
        self.rules = Rules(objective.measure, objective.projects, sign == "positive", epsilon / backend.square)
        self.sign = sign
        self.scale_down = 2.0**-backend.exponent
        self.square, self.largest_norm = backend.square, backend.largest_norm
        # A metric has no unit.
        self.gain_unit = 1.0 if Q is not None else MEASURES[objective.measure].gain_unit(self.square)
        self.items: Items = backend.items(self.rules, state.scores.shape[1])
        self.items.item_weights = state.item_weights
        self.metric = None if Q is None else QueryMetric(Q)
        self.judge = Judge(self.items, self.rules, sign, self.rows_of, self.scale_down, self.square, self.metric)

    def begin(self, state: State) -> None:
        """Resets the round; `__init__` has allocated everything."""
        self.round, self.largest = -1, 1.0

    def refresh(self, state: State) -> None:
        if self.round != len(state.rounds):
            self._begin_round(state)
        elif self.metric is not None:
            self.metric.renew()
        fresh = self.items.refresh(None if self.metric is None else self.metric.frame)
        self.projected, self.largest_residual, self.largest = fresh.projected, fresh.residual, fresh.distance
        self.dropped, self.always = 0, state.m
        self.unsettled = False
        state.error = error_bounds.cast_error(fresh.residual)
        # A sum of d squares in float64, cast to float32; the rounding of S is part of the noise.
        self.distance_error = (
            error_bounds.cast_error(fresh.distance) + 2 * error_bounds.dot_error(state.d, U64) * fresh.distance
        )
        self.best = self.items.rate(self._doubt(state))

    def _begin_round(self, state: State) -> None:
        self.round = len(state.rounds)
        # Roots of the largest score before any pick, and of the largest one since.
        self.first = self.largest_root = state.scale / (
            math.sqrt(self.rules.ridge + 1) if self.rules.measure == "ratio" else 1.0
        )
        # With weights, the largest root of a pick's own score.
        self.grown_root = 0.0
        self.projected = 0.0
        self.picks, self.least, self.looked = 0, 1.0, math.inf
        self.explained = 0.0
        if self.metric is not None:
            self.metric.restart()
        self.items.restart(np.where(state.pool[:, None], state.scores / state.unit, 0.0), state.pool)

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects these items out, one after the other and on the host, before the first refresh of a round.

        Skips a row in the span of those before it: nothing is left to project out.
        """
        self.replay(state, indices)
        state.skip(indices)

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects out items that are already recorded as picks; else as `take`."""
        self._begin_round(state)
        projector = Projector(self.rules, state.scores.shape[1], state.d)
        for index, given, scores in decision.given(self.rows, state, indices):
            row = given[0] * self.scale_down
            W, distances = projector.exact(scores / state.unit, row[None])
            square = float(self.judge.squares(np.array([index]))[0])
            if not self.picks:
                distances[0] = square
            q = float(self.judge.q(distances)[0])
            if self.rules.projects and q <= ties.DEPENDENT * square:
                continue
            self.largest_root = max(self.largest_root, float(self.judge.roots(W, distances)[0]))
            phi, _ = projector.project(row, W[0], q)
            self._count(state, index, W[0], phi, q, self._length(float(distances[0])))
        self.items.restore(projector.A, projector.S, None)
        # With constraints, items are out that are not among the picks.
        self.items.drop(np.union1d(indices, np.flatnonzero(state.pool & ~state.left)) if state.blocked else indices)

    def carry(self, state: State) -> Stored:
        """Returns what this round has projected out, in the units of the rows and of the gains as given."""
        A, S = self.items.carry()
        root = math.sqrt(self.gain_unit)
        stored = {"A": A * self.scale_down, "crest": self.largest_root * root}
        return {**stored, "picks": self.picks, "least": self.least, **({} if S is None else {"S": S})}

    def snapshot(self, state: State) -> Stored:
        """Returns the state that `restore` needs to resume from here, for a file."""
        stored = {**self.carry(state), "explained_query": self.explained, **self.items.projector_parts()}
        if self.metric is not None:
            stored.update(query_left=self.metric.left, query_triangle=self.metric.triangle)
        return {**stored, "eligible": np.packbits(self.items.eligible_items())}

    def restore(self, state: State, stored: Stored) -> None:
        """Resumes from a snapshot, or from the projection of another pool, before the first refresh."""
        self._begin_round(state)
        root = math.sqrt(self.gain_unit)
        self.largest_root = max(self.first, stored["crest"] / root)
        self.picks, self.least = stored["picks"], stored["least"]
        self.explained = stored.get("explained_query", 0.0)
        if self.metric is not None:
            self.metric.restore(stored["query_left"], stored["query_triangle"])
        eligible = None
        if "eligible" in stored:
            eligible = np.unpackbits(stored["eligible"], count=state.m).astype(bool)
        self.items.restore(stored["A"] / self.scale_down, stored.get("S"), eligible)
        self.items.compose(stored)

    def _noise(self, state: State) -> tuple[float, float]:
        """Estimates the float64 rounding of an exact residual, and of the root of a distance."""
        root = error_bounds.root_error(state.d, self.picks, self.least) if self.rules.projects else 0.0
        spread = 1 + math.sqrt(self.picks) / self.least if self.rules.projects else 1.0
        return spread * (state.drift + error_bounds.float64_error(state.d, self.projected, state.scale)), root

    def _rounding(self, state: State) -> Rounding:
        residual, root = self._noise(state)
        largest = max(self.largest_root, self.grown_root)
        grown = 4 * U64 * math.sqrt(state.d) * largest**2 / self.first if self.first else 0.0
        return Rounding(residual, root, grown)

    def _doubt(self, state: State) -> ErrorBounds:
        """Returns the bounds for the window: errors of the arrays, ties, rounding of the exact values."""
        residual, root = self._noise(state)
        n = state.scores.shape[1]
        metric = self.metric
        length = 1.0 if metric is None else metric.relative_norm
        reach = length * (self.largest_residual + state.error)
        # The norm of n products with the metric, each a sum of n terms, in float32.
        error = length * state.error + (2 * n + 8) * U32 * reach
        frame = 1.0 if metric is None else metric.norm
        error += 2 * frame * residual + 2 * ties.TIE * (reach + frame * state.scale)
        # Squares of short rows' residuals that float32 flushes.
        error += math.sqrt(n * TINY32)
        noise = 4 * root * (math.sqrt(self.largest) + root)
        # A tie moves a ratio as far as a relative change of 2 TIE in its denominator does. Kernels take both bounds in
        # float32.
        distance = error_bounds.float32_above(self.distance_error + noise + 4 * ties.TIE)
        return ErrorBounds(error_bounds.float32_above(error), distance, None if metric is None else metric.relative)

    def _length(self, distance: float) -> float:
        """Returns an upper bound on ||g|| of a pick: ||phi||, as ||S|| <= 1."""
        return math.sqrt(distance) * (1 + 1e-9) if self.rules.projects else 1.0

    def _count(self, state: State, index: int, residual: Floats, phi: Floats, q: float, length: float) -> None:
        """Updates drift, counters and metric on the host for the projection of a pick."""
        moved = math.sqrt(float(residual @ residual)) * length / q
        self.projected += moved
        # Each entry of A is rounded once, and so is the product added to it.
        state.drift += U64 * (self.projected + 2 * moved)
        self.picks += 1
        # The rounding of the pick's phi moves the phi of another item by the ratio of their lengths.
        square = min(1.0, self.largest) if self.rows_of.normalize else float(self.judge.squares(np.array([index]))[0])
        if square:
            self.least = min(self.least, math.sqrt(q / square))
        if self.metric is not None:
            self.metric.explain(phi, q, self.rules.ridge)
            self.explained += float(np.vdot(residual, residual)) / q
