"""Stepper for lr, mi, omp, entropy and sign="positive": the host decides picks, a backend passes over the items.

`gip_gpu.greedy.device_projecting` lets a GPU make the picks that are beyond doubt.

As in `gip_gpu.greedy.matching_pursuit`, float32 arrays with error bounds show which items can be the argmax, and
float64 decides among those. Here an item has two float32 values, the residual W~_j and the distance d2~_j of its row
from the span of the picks, and the score may be a ratio (design: the window in general). Where the metric of a ratio
changes from pick to pick (mi), W~ is stored in a frame: the metric at the time of the last refresh. Float32 then
suffices however much of one direction is explained.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import RankOneUpdate
from gip_gpu.backends.residual import USUAL_WINDOW
from gip_gpu.greedy import decision
from gip_gpu.greedy.decision import diverged
from gip_gpu.greedy.projecting_round import ProjectingRound
from gip_gpu.greedy.state import Pick, Reason, State
from gip_gpu.greedy.window import Judged, Window, narrowed
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import DIVERGED, OFF
from gip_gpu.problem.objectives import MEASURES

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Dependent items found one by one before a refresh drops all of them at once.
DROPPED = 8
# Distances fall by this factor once the picks nearly span the rows; bounds by the largest one are then recomputed.
STALE = 1e-4
# Most candidates that may tie and are settled one by one. Among more of them rounding decides anyway.
SETTLED = 256


class Projecting(ProjectingRound):
    """Stepper for lr, mi, omp, entropy and sign="positive": decides each pick.

    Arguments as of `ProjectingRound`.
    """

    def advance(self, state: State, until: int) -> Reason:
        """Takes certified steps until `until` picks are made or something is needed; returns the reason."""
        while state.t < until:
            if state.pending is None:
                reason = self._choose(state)
                if reason is not None:
                    return reason
            self._project_out(state)
            state.pending = None
        return Reason.DONE

    def block(self, state: State, indices: Indices) -> None:
        self.items.drop(indices)
        # One of them may have set the floor.
        self.best = self.items.rate(self._doubt(state))

    def _choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax and returns None, or returns the reason why it cannot."""
        while True:
            best = self.best
            if best < 0 or (self.metric is not None and self.metric.norm >= ties.SINGULAR):
                return Reason.EXHAUSTED
            if not best < DIVERGED:
                if self.rules.projects:
                    return Reason.EXHAUSTED
                raise diverged(state.t, self.largest_norm)
            if self.picks and self.unsettled and (not best or self.items.spent(self.distance_error)):
                # The bounds do not distinguish an item from a dependent one; recomputed arrays distinguish all of them.
                return Reason.NEED_REFRESH
            # Twice the float32 error of the bounds: items outside the window are then behind by as much.
            floor = best * (1 - 2 * OFF) - (2 * OFF * self.largest if self.rules.measure == "distance" else 0.0)
            window = (
                self._narrowed(state, floor) if self.items.wide(floor) else self.judge.all(self.items.candidates(floor))
            )
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
            # A dropped item may have set the floor.
            self.best = self.items.rate(self._doubt(state))
        if self._refresh_pays(state, window.count):
            return Reason.NEED_REFRESH
        return self._decide(state, window, floor)

    def _narrowed(self, state: State, floor: float) -> Window:
        """Reduces very many candidates to a window of those that decide the pick; drops dependent ones."""
        if not self.picks and self.judge.alike(state):
            return self.judge.first(state)

        def judged() -> Iterator[tuple[Window, Judged]]:
            rounding = self._rounding(state)
            for portion in map(self.judge.all, self.items.portions(floor)):
                yield portion, self.judge.judged(state, portion, rounding)

        return narrowed(judged, SETTLED)

    def _refresh_pays(self, state: State, candidates: int) -> bool:
        """Returns whether rescoring candidates because of wide bounds has cost as much as a refresh.

        Items that stay candidates however exact the arrays are, such as duplicates, do not count.
        """
        self.always = min(self.always, candidates)
        state.excess += max(0, candidates - max(USUAL_WINDOW, 2 * self.always))
        if 2 * state.excess < state.m or not self.unsettled:
            return False
        residual, _ = self._noise(state)
        frame = 1.0 if self.metric is None else self.metric.norm
        wide = state.error > 4 * (error_bounds.cast_error(self.largest_residual) + frame * residual)
        return wide or self.distance_error > 4 * error_bounds.cast_error(self.largest)

    def _stale(self, distance: float) -> bool:
        """Returns whether `largest` overestimates the rounding of picks with such distances; True once a scale."""
        # A refresh does not help zero rows: their distances stay 0.
        if self.metric is None or distance >= STALE * min(self.largest, self.looked):
            return False
        self.looked = distance
        return True

    def _decide(self, state: State, window: Window, floor: float) -> Reason | None:
        rounding = self._rounding(state)
        values, slacks, noises = self.judge.judged(state, window, rounding)
        close = (values + slacks + noises >= (values - slacks - noises).max()).nonzero()[0]
        if 1 < len(close) <= SETTLED and self.metric is None:
            settled = self.items.settle(window.indices[close], window.W[close], window.distances[close])
            window.W[close], window.distances[close] = settled
            values, slacks, noises = self.judge.judged(state, window, rounding)
        top = self.judge.root(max(window.top, float(values.max())))
        # Before anything is projected out, the values are the given ones.
        if not top or (self.picks and ties.used_up(top, self.first, max(self.largest_root, top))):
            return Reason.EXHAUSTED
        # Only picks that are made count: `extend` resumes from here as if no other item had been rated.
        self.largest_root = max(self.largest_root, top)
        position, tied = ties.first_tied(values, slacks)
        value = float(values[position])
        norm = self.judge.root(value)
        if state.item_weights is not None:
            norm = self.judge.root(value / float(self.judge.factors(state, window.indices[[position]])[0]))
            self.grown_root = max(self.grown_root, norm)
        rival = max(window.rival, float(np.delete(values + noises, position).max(initial=0.0)))
        if window.count < state.remaining:
            rival = max(rival, self._outside(floor))
        index = int(window.indices[position])
        # The rounding of a pick's distance enters all later steps, so it must not depend on the width of the window.
        alone = self.items.alone(index)
        row = self.rows([index])[0] * self.scale_down if alone is None else alone[0]
        self.top, self.distance = top, float(window.distances[position]) if alone is None else alone[1]
        rival += float(noises[position])
        # The value of a tied pick may be 0, or small enough for its square to underflow.
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
        """Returns the norm, or the information, that no item outside the window exceeds, weighted."""
        above = max(floor, 0.0) * (1 + OFF)
        if self.metric is not None and self.items.item_weights is not None:
            return above
        if self.rules.measure == "distance":
            return math.sqrt(above + OFF * self.largest)
        norm = above * (math.sqrt(self.rules.share[1]) if self.rules.measure == "ratio" else 1.0)
        if self.metric is None:
            return norm
        return -math.log1p(-norm * norm) / 2 if norm < 1 else math.inf

    def _project_out(self, state: State) -> None:
        pick = state.pending
        assert pick is not None
        q = float(self.judge.q(np.array([self.distance]))[0])
        length = self._length(self.distance)
        # With a ridge, a row with nothing left may be picked; unit^2 / q must fit float32 then too.
        unit = 2.0 ** math.frexp(length or math.sqrt(q))[1]
        factors = pick.residual if self.metric is None else pick.residual @ self.metric.frame
        move = RankOneUpdate(pick.index, factors * (unit / q), unit * unit / q)
        self._widen(state, pick, move, q, unit)
        phi = self.items.project(move, pick.row, pick.residual, q, unit)
        self._count(state, pick.index, pick.residual, phi, q, length)
        self.best, energy = self.items.update(move, self._doubt(state))
        self.unsettled = True
        if self.metric is not None:
            # With a metric, the energy is the share of tr(Q'PQ), which starts at n, not a sum over the items.
            energy = state.energy / state.unit**2 * max(0.0, 1 - self.explained / len(pick.residual))
        state.record(pick, energy)

    def _widen(self, state: State, pick: Pick, move: RankOneUpdate, q: float, unit: float) -> None:
        """Updates the bounds for a step."""
        gamma = self.items.gamma
        if not self.rules.positive and state.item_weights is None:
            # No eligible score exceeds the best one, and a metric only grows.
            longest = MEASURES[self.rules.measure].longest(self.top, self.rules.ridge, self.largest)
            self.largest_residual = min(self.largest_residual, longest * (1 + 1e-9))
        moved = math.sqrt(float(move.weights @ move.weights))
        state.error = error_bounds.step_error(state.error, gamma, self.largest_residual, moved)
        self.largest_residual += moved * (1 + gamma)
        if self.rules.projects:
            self.distance_error = error_bounds.distance_error(
                self.distance_error, gamma, unit, q, self.distance, self.largest
            )
