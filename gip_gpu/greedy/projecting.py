"""Stepper for lr, mi, omp, entropy and sign="positive": the host decides each pick, a backend passes over the items.

As in `gip_gpu.greedy.matching_pursuit`, float32 arrays with bounds on their errors say which items can be the argmax,
and float64 decides among those. Here an item has two of them, the residual W~_j and the distance d2~_j of its row from
the span of the picks, and the score may be a ratio (design: the window in general). Where the metric of a ratio changes
from pick to pick (mi), W~ is kept in the frame that was the metric when it was last recomputed, so that float32 serves
however much of one direction is explained.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Doubt, Items, Move, Projector, Rules
from gip_gpu.backends.residual import USUAL_WINDOW
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import decision
from gip_gpu.greedy.decision import diverged
from gip_gpu.greedy.query_metric import Metric
from gip_gpu.greedy.state import Pick, Reason, State, Stored
from gip_gpu.greedy.window import Judged, Window, narrowed
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import DIVERGED, TINY32, U32, U64
from gip_gpu.problem.objectives import energies, seen

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Bounds are computed in float32, by roots and divisions of 2 units in the last place where a GPU makes them: a lower
# bound and an upper one together are off by less than this share of themselves, or of the largest distance.
OFF = 32 * U32
# Dependent items met one by one before all of them are looked for at once.
DROPPED = 8
# Distances fall by this factor where the picks have come to span the rows; bounds by the largest one are then anew.
STALE = 1e-4
# Values of rows that are split at a time.
SPLIT_VALUES = 1 << 20
# Candidates that may tie and are settled one by one; more are so many that rounding decides among them anyway.
SETTLED = 256


class Source(Protocol):
    """What `Family` needs of a backend; `gip_gpu.backends.base.Backend` says what."""

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


class Projecting:
    """What `gip_gpu.greedy.loop.run` drives for these objectives, as it drives a backend for matching pursuit.

    Args:
        backend: whose items they are.
        state: of the selection; its scores are the whitened ones where there is a metric.
        Q: (d, n) the whitened query, Q'Q = I, for an objective with a metric.
    """

    name: ClassVar[str] = "family"
    # No score may be positive, or all rows zero.
    empty_rounds: ClassVar[bool] = True
    stride: ClassVar[int] = 1
    # Each is made in the step of its pick.
    column_seconds: ClassVar[float] = 0.0

    def __init__(self, backend: Source, state: State, epsilon: float, sign: str, Q: Floats | None = None) -> None:
        objective = state.objective
        self.rows, self.rows_of = backend.rows, backend.rows_of
        self.rules = Rules(objective.measure, objective.projects, sign == "positive", epsilon / backend.square)
        self.sign = sign
        self.scale_down = 2.0**-backend.exponent
        self.square, self.largest_norm = backend.square, backend.largest_norm
        # What the square of a norm here is in the unit of the rows as given; a metric has none.
        units = {"norm": 1.0, "ratio": 1 / self.square, "distance": self.square}
        self.gain_unit = 1.0 if Q is not None else units[objective.measure]
        self.items: Items = backend.items(self.rules, state.scores.shape[1])
        self.metric = None if Q is None else Metric(Q)

    def begin(self, state: State) -> None:
        """Everything is allocated by now."""
        self.round, self.largest = -1, 1.0

    def refresh(self, state: State) -> None:
        if self.round != len(state.rounds):
            self._begin_round(state)
        elif self.metric is not None:
            self.metric.renew()
        fresh = self.items.refresh(None if self.metric is None else self.metric.frame)
        self.projected, self.reach, self.largest = fresh.projected, fresh.residual, fresh.distance
        self.dropped, self.always = 0, state.m
        self.unsettled = False
        state.error = error_bounds.cast_error(fresh.residual)
        # A sum of d squares in float64, cast; the rounding of S is part of the noise.
        self.distance_error = (
            error_bounds.cast_error(fresh.distance) + 2 * error_bounds.dot_error(state.d, U64) * fresh.distance
        )
        self.best = self.items.rate(self._doubt(state))

    def _begin_round(self, state: State) -> None:
        self.round = len(state.rounds)
        # Roots of the largest score before any pick, and of the largest one since.
        self.first = self.crest = state.scale / (
            math.sqrt(self.rules.ridge + 1) if self.rules.measure == "ratio" else 1.0
        )
        self.projected = 0.0
        self.picks, self.least, self.looked = 0, 1.0, math.inf
        self.explained = 0.0
        if self.metric is not None:
            self.metric.restart()
        self.items.restart(np.where(state.pool[:, None], state.scores / state.unit, 0.0), state.pool)

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects these items out, one after the other and on the host, before the first refresh of a round.

        Of a row in the span of those before it nothing is left to project out.
        """
        self.replay(state, indices)
        state.skip(indices)

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """As `take`, of items that are entered as picks already."""
        self._begin_round(state)
        projector = Projector(self.rules, state.scores.shape[1], state.d)
        for index, given, scores in decision.given(self, state, indices):
            row = given[0] * self.scale_down
            W, distances = projector.exact(scores / state.unit, row[None])
            square = float(self._squares(np.array([index]))[0])
            if not self.picks:
                distances[0] = square
            q = float(self._q(distances)[0])
            if self.rules.projects and q <= ties.DEPENDENT * square:
                continue
            self.crest = max(self.crest, float(self._roots(W, distances)[0]))
            phi, _ = projector.project(row, W[0], q)
            self._count(state, index, W[0], phi, q, self._length(float(distances[0])))
        self.items.restore(projector.A, projector.S, None)
        self.items.drop(indices)

    def carry(self, state: State) -> Stored:
        """What is projected out in this round, in the units of the rows and of the gains as given."""
        A, S = self.items.carry()
        root = math.sqrt(self.gain_unit)
        stored = {"A": A * self.scale_down, "crest": self.crest * root}
        return {**stored, "picks": self.picks, "least": self.least, **({} if S is None else {"S": S})}

    def snapshot(self, state: State) -> Stored:
        """What `restore` needs to go on from here, for a file."""
        stored = {**self.carry(state), "explained_query": self.explained, **self.items.projector_parts()}
        if self.metric is not None:
            stored.update(query_left=self.metric.left, query_triangle=self.metric.triangle)
        return {**stored, "eligible": np.packbits(self.items.eligible_items())}

    def restore(self, state: State, stored: Stored) -> None:
        """Goes on from a snapshot, or from what another pool carries, before the first refresh."""
        self._begin_round(state)
        root = math.sqrt(self.gain_unit)
        self.crest = max(self.first, stored["crest"] / root)
        self.picks, self.least = stored["picks"], stored["least"]
        self.explained = stored.get("explained_query", 0.0)
        if self.metric is not None:
            self.metric.restore(stored["query_left"], stored["query_triangle"])
        eligible = None
        if "eligible" in stored:
            eligible = np.unpackbits(stored["eligible"], count=state.m).astype(bool)
        self.items.restore(stored["A"] / self.scale_down, stored.get("S"), eligible)
        self.items.compose(stored)

    def advance(self, state: State, until: int) -> Reason:
        """Takes certified steps until `until` picks are made or something is needed; returns what."""
        while state.t < until:
            if state.pending is None:
                reason = self._choose(state)
                if reason is not None:
                    return reason
            self._project_out(state)
            state.pending = None
        return Reason.DONE

    def _noise(self, state: State) -> tuple[float, float]:
        """What float64 rounding may make of an exact residual, and of the root of a distance: estimates."""
        root = error_bounds.root_error(state.d, self.picks, self.least) if self.rules.projects else 0.0
        spread = 1 + math.sqrt(self.picks) / self.least if self.rules.projects else 1.0
        return spread * (state.drift + error_bounds.float64_error(state.d, self.projected, state.scale)), root

    def _doubt(self, state: State) -> Doubt:
        """The bounds that a window must respect: errors of the arrays, ties, rounding of the exact values."""
        residual, root = self._noise(state)
        n = state.scores.shape[1]
        metric = self.metric
        length = 1.0 if metric is None else metric.relative_norm
        reach = length * (self.reach + state.error)
        # The norm of n products with the metric, each a sum of n terms, in float32.
        error = length * state.error + (2 * n + 8) * U32 * reach
        frame = 1.0 if metric is None else metric.norm
        error += 2 * frame * residual + 2 * ties.TIE * (reach + frame * state.scale)
        # Squares of short rows' residuals that float32 flushes.
        error += math.sqrt(n * TINY32)
        noise = 4 * root * (math.sqrt(self.largest) + root)
        # A tie moves a ratio by as much as its denominator moves by 2 TIE. Kernels take both in float32.
        distance = error_bounds.float32_above(self.distance_error + noise + 4 * ties.TIE)
        return Doubt(error_bounds.float32_above(error), distance, None if metric is None else metric.relative)

    def _choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax, or says why it cannot."""
        while True:
            best = self.best
            if best < 0 or (self.metric is not None and self.metric.norm >= ties.SINGULAR):
                return Reason.EXHAUSTED
            if not best < DIVERGED:
                if self.rules.projects:
                    return Reason.EXHAUSTED
                raise diverged(state.t, self.largest_norm)
            if self.picks and self.unsettled and (not best or self.items.spent(self.distance_error)):
                # No bound tells an item from one of which nothing is left: new arrays tell all of them.
                return Reason.NEED_REFRESH
            # Twice what float32 makes of bounds, so that what stays outside is behind by as much.
            floor = best * (1 - 2 * OFF) - (2 * OFF * self.largest if self.rules.measure == "distance" else 0.0)
            window = self._narrowed(state, floor) if self.items.wide(floor) else self._all(self.items.candidates(floor))
            if not window.count:
                errors = f"error {state.error!r}, of distances {self.distance_error!r}, {self.rules.measure}"
                return decision.empty_window(state, best, floor, errors)
            if not window.dropped:
                if self._stale(float(window.distances.max())):
                    return Reason.NEED_REFRESH
                break
            self.dropped += window.dropped
            if self.dropped >= DROPPED and self.picks:
                return Reason.NEED_REFRESH
            # One of them may have set the floor.
            self.best = self.items.rate(self._doubt(state))
        if self._refresh_pays(state, window.count):
            return Reason.NEED_REFRESH
        return self._decide(state, window, floor)

    def _all(self, candidates: tuple[Indices, Floats, Floats]) -> Window:
        """A window of all of these; dependent ones are dropped."""
        indices, W, distances = candidates
        squares = self._squares(indices)
        window = Window(indices, W, distances, squares, len(indices))
        if self.rules.projects:
            dependent = self.rules.ridge + distances <= ties.DEPENDENT * squares
            if dependent.any():
                self.items.drop(indices[dependent])
                window.dropped = int(dependent.sum())
        return window

    def _narrowed(self, state: State, floor: float) -> Window:
        """A window of those among very many candidates that decide; dependent ones are dropped."""
        if not self.picks and self._alike(state):
            return self._first(state)

        def judged() -> Iterator[tuple[Window, Judged]]:
            for portion in map(self._all, self.items.portions(floor)):
                yield portion, self._judged(state, portion)

        return narrowed(judged, SETTLED)

    def _alike(self, state: State) -> bool:
        """Whether before any pick all items have the same score to the last bit, as unit rows without scores do."""
        if not self.rows_of.normalize or self.metric is not None or self.rules.positive:
            return False
        lowest = state.squares.min(where=state.pool, initial=math.inf)
        return bool(lowest == state.squares.max(where=state.pool, initial=0.0))

    def _first(self, state: State) -> Window:
        """A window of the first of all items, which tie."""
        first, count = state.first_left(1), state.m - state.t
        W, ones = state.scores_of(first) / state.unit, np.ones(1)
        value = float(self._roots(W, ones)[0])
        return Window(first, W, ones, ones, count, tied=count, top=value, rival=value)

    def _squares(self, indices: NDArray[np.int64]) -> Floats:
        """Squared norms of the rows x."""
        if self.rows_of.normalize:
            return np.ones(len(indices))
        norms: Floats = self.rows_of.norms[indices] * self.scale_down
        return norms * norms

    def _q(self, distances: Floats) -> Floats:
        """What a pick's step is divided by, in the unit of the rows x."""
        if self.rules.projects:
            return self.rules.ridge + distances
        return np.full(len(distances), 1 / self.square)

    def _refresh_pays(self, state: State, candidates: int) -> bool:
        """Whether the candidates rescored because of wide bounds have come to cost as much as new arrays.

        Those that stay candidates whatever the arrays, as duplicates do, do not count.
        """
        self.always = min(self.always, candidates)
        state.excess += max(0, candidates - max(USUAL_WINDOW, 2 * self.always))
        if 2 * state.excess < state.m or not self.unsettled:
            return False
        residual, _ = self._noise(state)
        frame = 1.0 if self.metric is None else self.metric.norm
        wide = state.error > 4 * (error_bounds.cast_error(self.reach) + frame * residual)
        return wide or self.distance_error > 4 * error_bounds.cast_error(self.largest)

    def _stale(self, distance: float) -> bool:
        """Whether `largest` would make too much of the rounding of picks with such distances: once for each scale."""
        # Of zero rows nothing is left however often they are looked at.
        if self.metric is None or distance >= STALE * min(self.largest, self.looked):
            return False
        self.looked = distance
        return True

    def _roots(self, W: Floats, distances: Floats) -> Floats:
        """Roots of the scores, (c,)."""
        if self.rules.measure == "distance":
            return np.sqrt(distances)
        norms = np.sqrt(energies(seen(W, self.sign) if self.metric is None else W @ self.metric.whole))
        return norms / np.sqrt(self._q(distances)) if self.rules.measure == "ratio" else norms

    def _told(self, state: State, indices: NDArray[np.int64], rows_squared: Floats) -> tuple[Floats, Floats, Floats]:
        """As `_norms`, for an objective with a metric: the information of each item, in nats."""
        assert self.metric is not None
        _, root = self._noise(state)
        ridge, lengths = self.rules.ridge, np.sqrt(rows_squared)
        found = np.empty((3, len(indices)))
        step = max(1, SPLIT_VALUES // state.d)
        for start in range(0, len(indices), step):
            own = slice(start, start + step)
            parts = self.metric.split(self.items.remaining(self.rows(indices[own]) * self.scale_down))
            nats = ties.information(parts.inside, parts.rest, ridge)
            moves = ties.information_moves(parts.inside, parts.rest, ridge) * (lengths[own] + parts.reach)
            found[:, own] = nats, ties.slack(nats, moves), root * moves + 4 * U64 * nats
        return found[0], found[1], found[2]

    def _norms(self, state: State, W: Floats, distances: Floats, rows_squared: Floats) -> tuple[Floats, Floats, Floats]:
        """Roots of the scores (c,), how far each may move within a tie, and what float64 rounding makes of it."""
        residual, root = self._noise(state)
        if self.rules.measure == "distance":
            norms = np.sqrt(distances)
            return norms, ties.slack(norms, state.scale), np.full(len(norms), root)
        norms = self._roots(W, distances)
        grown = 4 * U64 * math.sqrt(state.d) * self.crest**2 / self.first if self.first else 0.0
        if self.rules.measure == "norm":
            return norms, ties.slack(norms, state.scale), np.full(len(norms), residual + grown)
        roots, ridge = np.sqrt(self._q(distances)), self.rules.ridge
        own = ties.lengths(rows_squared, ridge)
        noises = (residual * own + norms * root * np.sqrt(rows_squared)) / roots + grown
        terms = ties.ratio_terms(norms, roots, rows_squared, ridge, state.scale)
        return norms, ties.slack(norms, terms), noises

    def _judged(self, state: State, window: Window) -> Judged:
        """Values that are compared, roots of scores or nats; how far each may move within a tie; their rounding."""
        if self.metric is not None:
            return self._told(state, window.indices, window.rows_squared)
        return self._norms(state, window.W, window.distances, window.rows_squared)

    def _root(self, value: float) -> float:
        """The root of the score that belongs to a value of `_judged`."""
        return value if self.metric is None else math.sqrt(-math.expm1(-2 * value))

    def _decide(self, state: State, window: Window, floor: float) -> Reason | None:
        values, slacks, noises = self._judged(state, window)
        close = (values + slacks + noises >= (values - slacks - noises).max()).nonzero()[0]
        if 1 < len(close) <= SETTLED and self.metric is None:
            settled = self.items.settle(window.indices[close], window.W[close], window.distances[close])
            window.W[close], window.distances[close] = settled
            values, slacks, noises = self._judged(state, window)
        top = self._root(max(window.top, float(values.max())))
        # Before anything is projected out, the values are those given.
        if not top or (self.picks and ties.used_up(top, self.first, max(self.crest, top))):
            return Reason.EXHAUSTED
        # Only that of a pick that is made: `extend` goes on from here as if no other had been looked at.
        self.crest = max(self.crest, top)
        position, tied = ties.first_tied(values, slacks)
        value = float(values[position])
        norm = self._root(value)
        rival = max(window.rival, float(np.delete(values + noises, position).max(initial=0.0)))
        if window.count < state.m - state.t:
            rival = max(rival, self._outside(floor))
        index = int(window.indices[position])
        # Rounding of a pick's distance is that of all later steps: it must not depend on how wide the window was.
        alone = self.items.alone(index)
        row = self.rows([index])[0] * self.scale_down if alone is None else alone[0]
        self.top, self.distance = top, float(window.distances[position]) if alone is None else alone[1]
        rival += float(noises[position])
        # A norm may tie with the best and be nothing, or so small that its square is.
        behind = min(1.0, rival / value) if value and max(tied, window.tied) == 1 else 1.0
        state.pending = Pick(
            index=index,
            row=row,
            residual=window.W[position],
            gain=norm * norm * self.gain_unit,
            margin=1 - (behind if self.metric is not None else behind**2),
            candidates=window.count,
            ties=max(tied, window.tied),
        )
        return None

    def _outside(self, floor: float) -> float:
        """The norm that no item outside the window exceeds, or the information."""
        above = max(floor, 0.0) * (1 + OFF)
        if self.rules.measure == "distance":
            return math.sqrt(above + OFF * self.largest)
        norm = above * (math.sqrt(self.rules.share[1]) if self.rules.measure == "ratio" else 1.0)
        if self.metric is None:
            return norm
        return -math.log1p(-norm * norm) / 2 if norm < 1 else math.inf

    def _project_out(self, state: State) -> None:
        pick = state.pending
        assert pick is not None
        q = float(self._q(np.array([self.distance]))[0])
        length = self._length(self.distance)
        # A ridge lets a row be picked of which nothing is left; unit^2 / q must fit float32 then too.
        unit = 2.0 ** math.frexp(length or math.sqrt(q))[1]
        factors = pick.residual if self.metric is None else pick.residual @ self.metric.frame
        move = Move(pick.index, factors * (unit / q), unit * unit / q)
        self._widen(state, pick, move, q, unit)
        phi = self.items.project(move, pick.row, pick.residual, q, unit)
        self._count(state, pick.index, pick.residual, phi, q, length)
        self.best, energy = self.items.update(move, self._doubt(state))
        self.unsettled = True
        if self.metric is not None:
            # The share of tr(Q'PQ), which was n to begin with, in place of a sum over the items.
            energy = state.energy / state.unit**2 * max(0.0, 1 - self.explained / len(pick.residual))
        state.record(pick, energy)

    def _length(self, distance: float) -> float:
        """What ||g|| of a pick does not exceed: ||phi||, as ||S|| <= 1."""
        return math.sqrt(distance) * (1 + 1e-9) if self.rules.projects else 1.0

    def _count(self, state: State, index: int, residual: Floats, phi: Floats, q: float, length: float) -> None:
        """What the projection of a pick leaves behind on the host."""
        moved = math.sqrt(float(residual @ residual)) * length / q
        self.projected += moved
        # Each entry of A was rounded once, and so was the product added to it.
        state.drift += U64 * (self.projected + 2 * moved)
        self.picks += 1
        # Rounding of the pick's phi moves that of another item by their ratio.
        square = min(1.0, self.largest) if self.rows_of.normalize else float(self._squares(np.array([index]))[0])
        if square:
            self.least = min(self.least, math.sqrt(q / square))
        if self.metric is not None:
            self.metric.explain(phi, q, self.rules.ridge)
            self.explained += float(np.vdot(residual, residual)) / q

    def _widen(self, state: State, pick: Pick, move: Move, q: float, unit: float) -> None:
        """The bounds after a step."""
        gamma = self.items.gamma
        if not self.rules.positive:
            # What no eligible ||W_j|| exceeds: they are not above the best norm, and the metric only grows.
            roots = math.sqrt(self.rules.ridge + self.largest) if self.rules.measure == "ratio" else 1.0
            self.reach = min(self.reach, self.top * roots * (1 + 1e-9))
        moved = math.sqrt(float(move.weights @ move.weights))
        state.error = error_bounds.step_error(state.error, gamma, self.reach, moved)
        self.reach += moved * (1 + gamma)
        if self.rules.projects:
            self.distance_error = error_bounds.distance_error(
                self.distance_error, gamma, unit, q, self.distance, self.largest
            )
