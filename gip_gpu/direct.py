"""Stepper for small pools on the CPU: the plain float64 loop, with bounds on its rounding in place of rescoring.

Residuals W, distances d2 and, where rows are projected out, the rows of the Cholesky factor of the chosen Gram columns
are kept in float64. A pick is certified where it beats all others by more than the bounds and the tie rule. Where they
do not decide, or scores come near the float64 floor, the round goes on with the stepper of larger pools, which computes
its candidates from the rows.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu import bounds, direct_carry, ties
from gip_gpu.backends.items import Rules
from gip_gpu.bounds import U64
from gip_gpu.direct_metric import FULL, Downdated, tie
from gip_gpu.engine import Stepper
from gip_gpu.objectives import energies, seen
from gip_gpu.problem import Problem
from gip_gpu.rows import Rows
from gip_gpu.state import Pick, Reason, State, Stored

if TYPE_CHECKING:
    from gip_gpu.columns import Columns

Floats = NDArray[np.float64]

# The bounds may be this share of a score; what happens is a small part of them.
SURE = 1e-4
# A pick of which this share of its squared norm is left, or less, has lost digits to a difference of squares.
LEFT = 1e-4
# The floor of `ties` is left to the other stepper from this many times its height.
NEAR = 4.0
# Picks of a round from which on the next one starts here again, and not with the stepper that ended this one.
LONG = 16
# From this ridge on its root bounds the inverse of the factor well enough.
WIDE_RIDGE = 1e-3


class Successor(Stepper, Protocol):
    """A stepper that goes on with a round."""

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """As `take`, of items that are entered as picks already."""


class Direct:
    """Stepper for small pools on the CPU; it asks for no columns.

    Args:
        rows: the exact rows; of norm 1 for matching pursuit.
        X: `exact_rows(rows)`.
        problem: what is maximised.
        other: makes the stepper that goes on where the bounds do not decide, and its columns; called once at most.
    """

    name: ClassVar[str] = "float64"
    # The other stepper says whether a round is over.
    empty_rounds: ClassVar[bool] = True

    def __init__(
        self, rows: Rows, X: Floats, problem: Problem, other: Callable[[], "tuple[Successor, Columns]"]
    ) -> None:
        self.rows_of, self.X, self.make = rows, X, other
        objective = problem.objective
        self.scale_down = 2.0**-rows.exponent
        self.square = float(4.0**rows.exponent)
        self.rules = Rules(
            objective.measure, objective.projects, problem.sign == "positive", problem.epsilon / self.square
        )
        self.sign = problem.sign
        # Algorithm 1 has a tie rule and a floor of its own.
        self.literal = not objective.projects and problem.sign == "any"
        self.query = problem.Q
        units = {"norm": 1.0, "ratio": 1 / self.square, "distance": self.square}
        self.gain_unit = 1.0 if objective.metric else units[objective.measure]
        self.made: tuple[Successor, Columns] | None = None
        self.active: Successor | None = None

    def rows(self, indices: Any) -> Floats:
        return self.rows_of.take(indices)

    def begin(self, state: State) -> None:
        m, d = self.X.shape
        self.round, self.begun = -1, 0
        unit = self.rows_of.normalize
        self.squares = np.ones(m) if unit else np.square(self.rows_of.norms * self.scale_down)
        most = 0 if not self.rules.projects else state.k if self.rules.ridge else min(state.k, d)
        # Rows of the factor, by pick.
        self.C = np.empty((most, m))
        self.W, self.d2 = np.empty((state.n, m)), np.empty(m)
        self.column, self.spare, self.score = np.empty(m), np.empty(m), np.empty(m)
        # Infinite for items that are not eligible.
        self.blocked = np.empty(m)
        # Of the triangle of the picks, where the ridge does not bound it.
        explicit = most if self.rules.ridge < WIDE_RIDGE else 0
        self.inverse = np.zeros((explicit, explicit))

    def refresh(self, state: State) -> None:
        if self.round != len(state.rounds):
            short = self.round >= 0 and state.t - self.begun < LONG
            self.round, self.begun = len(state.rounds), state.t
            if self.active is None or not short:
                self._begin_round(state)
                return
        assert self.active is not None
        self.active.refresh(state)

    def _begin_round(self, state: State) -> None:
        self.active = None
        self.picks = 0
        self.W[:] = np.where(state.pool[:, None], state.scores / state.unit, 0.0).T
        self.d2[:] = self.squares
        self.blocked[:] = np.where(state.pool, 0.0, np.inf)
        self.counted = None if state.pool.all() else state.pool.astype(np.float64)
        self.longest = math.sqrt(float(np.einsum("nj,nj->j", self.W, self.W).max(initial=0.0)))
        root = math.sqrt(self.rules.ridge + 1) if self.rules.measure == "ratio" else 1.0
        self.first = self.crest = state.scale / root
        # q of the picks.
        self.divisors: list[float] = []
        self.metric = None if self.query is None else Downdated(state.n)
        # Squares: of the inverse, Frobenius; of the coefficients of W in the factor.
        self.inverted = self.explained = 0.0
        # Of matching pursuit: sums of the residuals of the picks, of the errors of a step, and of those of the picks.
        self.moved = self.step_error = self.pick_error = 0.0
        self._rate()

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        self._other(state).take(state, indices)

    def restore(self, state: State, stored: Stored) -> None:
        self._other(state).restore(state, stored)

    def _other(self, state: State) -> Successor:
        """The other stepper, which goes on with this round."""
        self.round, self.begun = len(state.rounds), state.t
        if self.made is None:
            self.made = self.make()
        self.active, columns = self.made
        columns.begin()
        self.active.begin(state)
        return self.active

    def _hand_over(self, state: State) -> None:
        picks = state.indices[self.begun : state.t]
        other = self._other(state)
        if len(picks):
            other.replay(state, picks)
            state.refreshes += 1
        other.refresh(state)

    def advance(self, state: State, columns: "Columns", until: int) -> Reason:
        while state.t < until:
            if self.active is None:
                pick = self._choose(state)
                if pick is Reason.EXHAUSTED:
                    return Reason.EXHAUSTED
                if pick is None:
                    self._hand_over(state)
                else:
                    self._project_out(state, pick)
                continue
            assert self.made is not None
            reason = self.active.advance(state, self.made[1], until)
            if reason is not Reason.NEED_COLUMN:
                return reason
            self.made[1].provide(state)
        return Reason.DONE

    def _rate(self) -> None:
        """Scores of the eligible items, the energy of W or d2, and the least q_j of an eligible item."""
        measure, score, spare = self.rules.measure, self.score, self.spare
        self.least = math.inf
        if measure == "distance":
            np.subtract(self.d2, self.blocked, out=score)
            return
        if self.rules.projects:
            np.add(self.d2, self.blocked, out=self.column)
            if self.rules.ridge:
                self.column += self.rules.ridge
            self._drop_dependent()
        into = score
        parts = self.W
        if self.metric is not None:
            parts = self.metric.B.T @ self.W if self.metric.B is not None else np.full_like(self.W, np.nan)
        for part in parts:
            clipped = np.maximum(part, 0, out=spare) if self.rules.positive else part
            np.multiply(clipped, clipped, out=into)
            if into is spare:
                np.add(score, spare, out=score)
            into = spare
        if measure == "ratio":
            np.divide(score, self.column, out=score)
        else:
            np.subtract(score, self.blocked, out=score)

    def _drop_dependent(self) -> None:
        """Takes out the items of which nothing is left beyond doubt; `column` holds q."""
        self.least = float(self.column.min())
        if self.least > 2 * ties.DEPENDENT:
            return
        _, error = self._errors()
        dependent = (self.column <= ties.DEPENDENT * self.squares - error).nonzero()[0]
        self.blocked[dependent] = self.column[dependent] = np.inf
        self.least = float(self.column.min())

    def _energy(self) -> float:
        """Of W, or the sum of d2, over the pool of the round."""
        parts = self.W
        if self.rules.measure == "distance":
            return float(self.d2.sum() if self.counted is None else self.d2 @ self.counted)
        if self.counted is not None:
            parts = parts * self.counted
        return float(np.vdot(parts, parts))

    def _errors(self) -> tuple[float, float]:
        """Bounds on the errors of W and of d2, by the roundings so far."""
        t, d = self.picks, len(self.X[0])
        # The scores of a query were products.
        given = bounds.dot_error(d, U64) if self.metric is not None else 0.0
        if not t:
            return given, 0.0
        if not self.rules.projects:
            return self.step_error + self.pick_error, 0.0
        residual, distance = bounds.factor_errors(d, t, self._inverse(), self.longest, math.sqrt(self.explained))
        return residual + given * (1 + math.sqrt(t) * self._inverse()), distance

    def _inverse(self) -> float:
        """What the norm of the inverse of the picks' triangle does not exceed."""
        return math.sqrt(self.inverted) if len(self.inverse) else 1 / math.sqrt(self.rules.ridge)

    def _choose(self, state: State) -> Pick | Literal[Reason.EXHAUSTED] | None:
        """The exact argmax, that the scores are used up, or None where the bounds do not tell."""
        score, B = self.score, None if self.metric is None else self.metric.B
        if self.metric is not None and B is None:
            return None
        index = int(score.argmax())
        top = float(score[index])
        residual_error, distance_error = self._errors()
        if self._over(state, top, residual_error, distance_error):
            return Reason.EXHAUSTED
        if not 0 < top < (math.inf if self.metric is None else FULL):
            return None
        value = math.sqrt(top)
        if self._near_floor(state, value):
            return None
        q = self.rules.ridge + float(self.d2[index]) if self.rules.projects else 1.0
        if q <= LEFT * self.squares[index]:
            return None
        length = value * math.sqrt(q) if self.rules.measure == "ratio" else value
        norm = 1.0 if self.metric is None else self.metric.norm
        if distance_error > SURE * q or residual_error * norm > SURE * length:
            return None
        noise, slack = self._doubt(state, value, residual_error, distance_error)
        score[index] = -math.inf
        rival = math.sqrt(max(float(score.max()), 0.0))
        score[index] = top
        candidates = tied = 1
        if not rival < value - 2 * (noise + slack):
            found = self._tied(state, value - 2 * (noise + slack))
            if found is None:
                return None
            index, rival, candidates, tied = found
        residual = self.W[:, index].copy()
        if self.rules.measure == "distance":
            own = float(self.d2[index])
        else:
            clipped = seen(residual, self.sign) if B is None else residual @ B
            own = float(clipped @ clipped)
            if self.rules.measure == "ratio":
                own /= self.rules.ridge + float(self.d2[index])
        if self.rules.measure == "distance":
            behind = (rival * rival + 2 * distance_error) / own
        else:
            behind = (rival + 2 * noise) ** 2
            # The information is what is compared.
            behind = behind / own if self.metric is None else math.log1p(-min(behind, own)) / math.log1p(-own)
        self.crest = max(self.crest, value)
        margin = 0.0 if tied > 1 else max(0.0, 1 - behind - 8 * U64)
        return Pick(index, self.X[index], residual, own * self.gain_unit, margin, candidates, tied)

    def _over(self, state: State, top: float, residual: float, distance: float) -> bool:
        """Whether this round is over beyond doubt, its best score being `top`."""
        if not self.picks:
            return False
        if top == -math.inf or (self.rules.projects and self.least == math.inf and self.rules.measure != "distance"):
            # No item is eligible.
            return True
        if self.rules.measure == "distance":
            unit = self.rows_of.normalize
            return unit and not self.rules.ridge and top + distance <= ties.DEPENDENT
        if not 0 <= top < math.inf:
            return False
        highest = math.sqrt(top) + self._doubt(state, math.sqrt(top), residual, distance)[0]
        if self.literal:
            return highest <= ties.FLOOR * state.scale
        return ties.used_up(highest, self.first, self.crest)

    def _near_floor(self, state: State, value: float) -> bool:
        """Whether a score comes near to where float64 rounding decides."""
        if self.literal:
            return value <= NEAR * ties.FLOOR * state.scale
        return self.picks > 0 and ties.used_up(value / NEAR, self.first, max(self.crest, value))

    def _doubt(self, state: State, value: float, residual: float, distance: float) -> tuple[float, float]:
        """How far the root of any score may be off, if it is not above `value`, and how far it may move in a tie."""
        rounding = (state.n + 8) * U64 * value
        if self.rules.measure == "distance":
            return 2 * distance / value + rounding, ties.TIE * (value + state.scale)
        if self.rules.measure == "norm":
            if self.literal:
                return residual + rounding, ties.RELATIVE * value + 2 * ties.ABSOLUTE * state.scale
            return residual + rounding, ties.TIE * (value + state.scale)
        least = self.least - distance
        if least <= distance:
            return math.inf, math.inf
        root = math.sqrt(least)
        noise = residual / root + value * distance / least + rounding
        if self.metric is not None:
            share = self.metric.share(len(self.X[0]), self.picks, self._inverse(), math.sqrt(self.explained))
            noise += residual / root * self.metric.norm + value * share
            return noise, tie(value, least, self.metric.norm, self.rules.ridge)
        return noise, ties.TIE * (value + (state.scale + value) / root)

    def _tied(self, state: State, bar: float) -> tuple[int, float, int, int] | None:
        """The first of the items that tie, the root of the largest score of another, how many come near and tie; None
        where the bounds do not tell. No item is nearer than the root `bar` but those that come near."""
        if not bar > 0 or self.metric is not None:
            return None
        near = (self.score >= bar * bar * (1 - 8 * U64)).nonzero()[0]
        if not self.picks:
            values, tied = self._given(state, near)
            others = float(np.delete(values, tied[0]).max(initial=bar))
            return int(near[tied[0]]), others, len(near), tied[1]
        return (int(near[0]), math.inf, len(near), len(near)) if self._equal(state, near) else None

    def _equal(self, state: State, near: NDArray[np.int64]) -> bool:
        """Whether these items have the same row and the same scores."""
        scores = state.scores[near]
        return bool((self.X[near] == self.X[near[0]]).all() and (scores == scores[0]).all())

    def _given(self, state: State, near: NDArray[np.int64]) -> tuple[Floats, tuple[int, int]]:
        """Roots of the scores of these items, exact while nothing is projected out, and what `ties.first_tied` does."""
        squares, ridge = self.squares[near], self.rules.ridge
        if self.rules.measure == "distance":
            values = np.sqrt(squares)
            return values, ties.first_tied(values, ties.slack(values, state.scale))
        gains = energies(seen(state.scores[near] / state.unit, self.sign))
        values = np.sqrt(gains)
        if self.literal:
            return values, ties.first_best(gains, state.scale)
        if self.rules.measure == "norm":
            return values, ties.first_tied(values, ties.slack(values, state.scale))
        roots = np.sqrt(ridge + squares)
        values /= roots
        terms = ties.ratio_terms(values, roots, squares, ridge, state.scale)
        return values, ties.first_tied(values, ties.slack(values, terms))

    def _project_out(self, state: State, pick: Pick) -> None:
        index, column = pick.index, self.column
        np.matmul(self.X, pick.row, out=column)
        weights, t = pick.residual, self.picks
        if self.rules.projects:
            self.divisors.append(self.rules.ridge + float(self.d2[index]))
            root = math.sqrt(self.divisors[-1])
            column = self.C[t]
            if t:
                above = self.C[:t, index].copy()
                np.matmul(above, self.C[:t], out=column)
                np.subtract(self.column, column, out=column)
                column /= root
                self._invert(above, root)
            else:
                np.divide(self.column, root, out=column)
                self._invert(np.empty(0), root)
            weights = weights / root
            self.explained += float(weights @ weights)
            if self.metric is not None:
                self.metric.explain(weights)
            np.multiply(column, column, out=self.spare)
            np.subtract(self.d2, self.spare, out=self.d2)
        else:
            norm = math.sqrt(float(weights @ weights))
            self.moved += norm
            # No eligible residual is longer than that of the pick, but for the sign that does not count.
            reach = norm if self.literal else self.longest + self.moved
            # A step is as wrong as its pick was; what the picks leave of an error is no longer than the error.
            self.pick_error += self.step_error
            self.step_error += (bounds.dot_error(len(pick.row), U64) + 6 * U64) * norm + 2 * U64 * reach
        for weight, part in zip(weights, self.W, strict=True):
            np.multiply(column, weight, out=self.spare)
            np.subtract(part, self.spare, out=part)
        self.blocked[index] = np.inf
        self.picks += 1
        self._rate()
        # A metric's is the share of tr(Q'PQ), which was n to begin with.
        left = max(0.0, 1 - self.explained / max(state.n, 1))
        state.record(pick, self._energy() if self.metric is None else state.energy / state.unit**2 * left)

    def _invert(self, above: Floats, root: float) -> None:
        """Adds a row to the inverse of the triangle, whose new row is `above` and the root of the pick's q."""
        if not len(self.inverse):
            return
        t = len(above)
        row = self.inverse[t]
        if t:
            np.matmul(above, self.inverse[:t, :t], out=row[:t])
            row[:t] /= -root
        row[t] = 1 / root
        self.inverted += float(row @ row)

    def carry(self, state: State) -> Stored:
        if self.active is not None:
            return self.active.carry(state)
        picks = state.indices[self.begun : state.t]
        rows, W, q = self.X[picks], state.weights[self.begun : state.t] / state.unit, np.array(self.divisors)
        state.drift = self.step_error + direct_carry.drift(self.rules, W, q)
        if self.literal:
            return {"A": W.T @ rows}
        stored = {"crest": self.crest * math.sqrt(self.gain_unit), "picks": self.picks}
        if not self.rules.projects:
            return {"A": W.T @ rows, **stored}
        A, S = direct_carry.projector(rows, state.scores[picks] / state.unit, self.rules.ridge)
        least = direct_carry.least_left(q, self.squares[picks])
        return {"A": A * self.scale_down, "S": S, "least": least, **stored}

    def snapshot(self, state: State) -> Stored:
        raise AssertionError("a run with a checkpoint has another stepper")


def exact_rows(rows: Rows) -> Floats:
    """The rows in float64, (m, d), divided by a power of two so that no norm exceeds 1."""
    found = np.empty(rows.shape)
    for start, stop in rows.bounds():
        rows.block(start, stop, found[start:stop])
    if rows.exponent:
        found *= 2.0**-rows.exponent
    return found
