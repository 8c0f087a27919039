"""Stepper for small pools on the CPU: the plain float64 loop, with bounds on its rounding instead of rescoring.

Residuals W, distances d2 and, if rows are projected out, the rows of the Cholesky factor of the chosen Gram columns are
stored in float64. The stepper makes several picks as if nothing were in doubt, then judges them together: a pick is
certified if it beats all others by more than the bounds and the tie rule. The first pick that is not, and all after it,
are taken back, and that pick is decided alone: ties are settled, and an exhausted round ends. If the bounds do not
decide, or scores approach the float64 floor, the round continues with the stepper of larger pools, which computes its
candidates from the rows.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy.float64.arrays import Best, Float64Arrays, Path
from gip_gpu.greedy.float64.bounds import Bounds, Errors
from gip_gpu.greedy.float64.carry import Carried, projector
from gip_gpu.greedy.float64.hand_over import HandOver
from gip_gpu.greedy.float64.metric import FULL
from gip_gpu.greedy.float64.tied import equal, given_roots
from gip_gpu.greedy.state import Reason, State, Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.planning.float64_costs import factor_rows, many_rows
from gip_gpu.problem.formulation import Problem
from gip_gpu.problem.objectives import MEASURES, energies

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Largest bound as a share of a score. Actual errors are a small part of the bounds.
SURE = 1e-3
# A pick with this share of its squared norm left, or less, has lost digits to a difference of squares.
LEFT = 1e-4
# Scores below this many times the floor of `ties` are left to the other stepper.
NEAR = 4.0
# After a round of at least LONG picks the next round starts here again, not with the stepper that ended this one. From
# SOON picks on, recomputed arrays have smaller errors.
LONG, SOON = 16, 16
# Picks that are made before they are judged together: at first, and at most.
AHEAD, FARTHEST = 64, 128
# Largest number of picks decided one by one after a pick in doubt; the number doubles each time.
CAREFUL = 16


class Float64Stepper(HandOver):
    """Stepper for small pools on the CPU; it needs no columns.

    Args:
        rows: the exact rows; of norm 1 for matching pursuit.
        X: `rows.exact()`.
        problem: the problem to solve.
        other: returns the stepper of larger pools; called at most once, when the bounds do not decide.
    """

    name: ClassVar[str] = "float64"
    # The other stepper may find that a round is over before its first pick.
    empty_rounds: ClassVar[bool] = True
    stride: ClassVar[int] = 8

    def __init__(self, rows: Rows, X: Floats, problem: Problem, other: Callable[[], Stepper]) -> None:
        super().__init__(other)
        self.rows_of, self.X = rows, X
        objective = problem.objective
        square = float(4.0**rows.exponent)
        self.rules = Rules(objective.measure, objective.projects, problem.sign == "positive", problem.epsilon / square)
        self.query, self.metric = problem.Q, problem.Q is not None
        self.query_condition: float | None = None
        if problem.Q is not None:
            assert problem.weights is not None
            self.query_condition = float(np.linalg.cond(problem.weights))
        self.gain_unit = 1.0 if objective.metric else MEASURES[objective.measure].gain_unit(square)

    def rows(self, indices: Any) -> Floats:
        return self.rows_of.take(indices)

    def begin(self, state: State) -> None:
        (m, d), unit = self.X.shape, self.rows_of.normalize
        self.round, self.begun = -1, 0
        squares = np.ones(m) if unit else np.square(self.rows_of.norms * 2.0**-self.rows_of.exponent)
        most, self.many = factor_rows(state.k, m, d), many_rows(m, d)
        self.arrays = Float64Arrays(self.X, squares, self.rules, state.n, most)
        self.bounds = Bounds(d, state.n, self.rules, self.query_condition, most)

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
        W = state.scores / state.unit
        self.arrays.begin(state.pool, W, self.metric)
        self.bounds.begin(math.sqrt(float(energies(W).max(where=state.pool, initial=0.0))))
        root = math.sqrt(self.rules.ridge + 1) if self.rules.measure == "ratio" else 1.0
        self.first = self.largest_root = state.scale / root
        self.divisors: list[float] = []
        # Picks of the round when the arrays were last computed, and their projection, as in `gip_gpu.backends.items`.
        self.based = 0
        self.A: Floats = np.zeros((state.n, self.X.shape[1]))
        self.S: Floats | None = None
        # All rows of norm 1 tie for the first pick by distance.
        self.ahead, self.careful, self.caution = AHEAD, int(self.rules.measure == "distance"), 1

    def block(self, state: State, indices: Indices) -> None:
        if self.active is not None:
            self.active.block(state, indices)
            return
        self.arrays.block(indices)
        self.arrays.rate()

    def advance(self, state: State, until: int) -> Reason:
        while state.t < until:
            if self.active is not None:
                return self.active.advance(state, until)
            made = None if self.careful else self._run_ahead(state, until)
            if made is None:
                made = self._decide(state)
            if made is Reason.EXHAUSTED:
                return Reason.EXHAUSTED
            if made is Reason.NEED_REFRESH:
                if self.rules.projects and self.bounds.picks >= SOON:
                    self._anew(state)
                else:
                    self._hand_over(state)
        return Reason.DONE

    def _anew(self, state: State) -> None:
        """Projects the picks out of the rows and scores by a decomposition, and continues with the remainder.

        The factor is empty again, and the only errors are those of the decomposition.
        """
        X, picks = self.arrays.X, state.indices[self.begun + self.based : state.t]
        scores = state.scores[picks] / state.unit - self.X[picks] @ self.A.T
        A, S = projector(X[picks], scores, self.rules.ridge)
        self.A, self.S = (A, S) if self.S is None else (self.A + A @ self.S.T, self.S @ S)
        rows, W = self.X @ self.S, state.scores / state.unit - self.X @ self.A.T
        M = None
        if self.query is not None:
            left = self.S.T @ self.query
            M = left.T @ left
        self.based = state.t - self.begun
        state.refreshes += 1
        self.arrays.anew(state.pool & state.left, rows, W, M)
        d, least = self.X.shape[1], math.sqrt(min(1.0, min(self.divisors)))
        # The estimates of the stepper of larger pools, which computes its candidates in this way.
        root = error_bounds.root_error(d, self.based, least)
        drift = self._carried(state).drift() + error_bounds.float64_error(d, float(np.linalg.norm(self.A)), state.scale)
        longest = math.sqrt(float(energies(W).max(where=state.pool, initial=0.0)))
        gram = 2 * root * math.sqrt(float(self.arrays.base.max()))
        self.bounds.begin(longest, (gram, (1 + math.sqrt(self.based) / least) * drift))

    def _run_ahead(self, state: State, until: int) -> Reason | None:
        """Makes picks, and takes back the first that is in doubt and all after it.

        Returns:
            A reason as `_decide`, or None if the pick in doubt has to be decided alone.
        """
        arrays, wanted = self.arrays, state.k - state.t
        if self.rules.projects and self.bounds.picks >= self.many <= wanted:
            self._anew(state)
        # Without a ridge at most d rows are independent.
        most = wanted if self.rules.ridge or not self.rules.projects else self.X.shape[1] - (state.t - self.begun)
        ahead = self.many - self.bounds.picks
        if self.rules.projects and 0 < ahead <= wanted - self.many:
            # The arrays are recomputed after these picks.
            most = min(most, ahead)
        count = max(0, min(self.ahead, until - state.t, most))
        saved = arrays.save()
        path = arrays.run(count, wanted)
        errors = self.bounds.along(path, arrays.C)
        sure, sound, noise = self._sure(state, path, errors)
        made = len(path) if sure.all() else int(sure.argmin())
        if made < count:
            self.ahead = max(1, self.ahead // 2)
            self.careful, self.caution = self.caution, min(2 * self.caution, CAREFUL)
        else:
            self.ahead, self.caution = min(2 * self.ahead, FARTHEST), 1
        if made < len(path) and sound[made]:
            arrays.restore(saved, path.indices[:made], wanted)
        if made:
            one = np.ones(made, np.int64)
            margins = self.bounds.margins(path.scores[:made], np.maximum(path.rivals[:made], 0.0), noise[:made], errors)
            self._enter(state, path[:made], errors, margins, one, one)
        if made == len(path):
            return Reason.DONE if made == count > 0 else None
        if sound[made]:
            return None
        # The arrays are ahead of the certified picks, but this round does not use them any more.
        left = slice(made, len(path))
        return Reason.EXHAUSTED if self._over(state, path[left], errors.after(made)) else Reason.NEED_REFRESH

    def _sure(self, state: State, path: Path, errors: Errors) -> tuple[Flags, Flags, Floats]:
        """Judges the picks of a path.

        Returns:
            Flags (b,) of the picks that are beyond doubt, flags (b,) of those that can be decided here at all, and
            bounds (b,) on the errors of the roots of scores before each.
        """
        values, rivals = np.sqrt(path.scores), np.sqrt(np.maximum(path.rivals, 0.0))
        noise, slack = self.bounds.doubt(values, path, errors, state.scale)
        sound = self._sound(state, path, errors)
        # Dependent items can be taken out.
        independent = path.least > 2 * ties.DEPENDENT
        return (rivals < values - 2 * (noise + slack)) & sound & independent, sound | ~independent, noise

    def _sound(self, state: State, path: Path, errors: Errors) -> Flags:
        """Flags the picks (b,) with narrow bounds, a score far from the floor and no lost digits."""
        count = len(path)
        values, q = np.sqrt(path.scores), path.divisors
        lengths = values * np.sqrt(q) if self.rules.measure == "ratio" else values
        sound: Flags = q > LEFT * self.arrays.base[path.indices]
        sound &= errors.distance[:count] <= SURE * q
        sound &= errors.residual[:count] * path.norms <= SURE * lengths
        if self.rules.measure == "distance":
            # The other objectives drop dependent items before a pick (`Float64Arrays.drop_dependent`).
            sound &= q > 2 * ties.DEPENDENT * self.arrays.squares[path.indices]
        if self.metric:
            sound &= path.scores < FULL
        if self.bounds.literal:
            sound &= values > NEAR * ties.FLOOR * state.scale
        else:
            largest = np.maximum(self.largest_root, np.maximum.accumulate(values))
            # As `ties.used_up`.
            sound &= (values / NEAR * self.first > ties.FLOOR * largest * largest) | (
                errors.picks[:count] + self.based == 0
            )
        return sound

    def _enter(self, state: State, path: Path, errors: Errors, margins: Floats, near: Indices, tied: Indices) -> None:
        """Records these picks, which the arrays already contain."""
        self.bounds.keep(path, errors)
        self.largest_root = max(self.largest_root, math.sqrt(float(path.scores.max())))
        self.divisors += path.divisors.tolist()
        energy = path.energies
        if self.metric:
            energy = state.energy / state.unit**2 * np.maximum(0.0, energy / state.n)
        state.record_all(path.indices, path.scores * self.gain_unit, path.residuals, energy, margins, near, tied)

    def _decide(self, state: State) -> Reason:
        """Makes the exact argmax the next pick.

        Returns:
            DONE; EXHAUSTED if the scores are exhausted; NEED_REFRESH if the bounds do not decide.
        """
        self.careful = max(0, self.careful - 1)
        arrays = self.arrays
        if self.rules.projects and self.bounds.picks == len(arrays.C):
            return Reason.NEED_REFRESH
        before = self.bounds.along(Path.of([], [], state.n), arrays.C)
        self.arrays.drop_dependent(float(before.distance[0]))
        best = arrays.best()
        path = arrays.before(best)
        if self._over(state, path, before):
            return Reason.EXHAUSTED
        if not (path.sane and path.least[0] > 2 * ties.DEPENDENT and self._sound(state, path, before)[0]):
            return Reason.NEED_REFRESH
        noise, slack = (float(found[0]) for found in self.bounds.doubt(np.sqrt(path.scores), path, before, state.scale))
        bar = math.sqrt(best.score) - 2 * (noise + slack)
        near = tied = 1
        if not math.sqrt(max(best.rival, 0.0)) < bar:
            found = self._tied(state, bar)
            if found is None:
                return Reason.NEED_REFRESH
            index, behind, near, tied = found
            path = arrays.before(Best(index, float(arrays.score[index]), behind * behind))
            if not path.sane:
                return Reason.NEED_REFRESH
        margins = np.zeros(1)
        if tied == 1:
            margins = self.bounds.margins(path.scores, np.maximum(path.rivals, 0.0), np.array([noise]), before)
        errors = self.bounds.along(path, arrays.C)
        arrays.project_out(int(path.indices[0]), state.k - state.t)
        path.energies[0] = arrays.energy
        self._enter(state, path, errors, margins, np.array([near]), np.array([tied]))
        return Reason.DONE

    def _over(self, state: State, path: Path, errors: Errors) -> bool:
        """Returns whether this round is certainly over, with the best item in `path`."""
        if state.t == self.begun:
            return False
        top = float(path.scores[0])
        if self.rules.measure == "distance":
            # Among rows of equal length the best one is the last to become dependent.
            left = self.rules.ridge + top + float(errors.distance[0])
            return top == -math.inf or (self.rows_of.normalize and left <= ties.DEPENDENT)
        if top == -math.inf or (self.rules.projects and path.least[0] == math.inf):
            # No item is eligible.
            return True
        if not 0 <= top < math.inf:
            return False
        value = math.sqrt(top)
        highest = value + float(self.bounds.doubt(np.array([value]), path, errors, state.scale)[0][0])
        if self.bounds.literal:
            return highest <= ties.FLOOR * state.scale
        return ties.used_up(highest, self.first, self.largest_root)

    def _tied(self, state: State, bar: float) -> tuple[int, float, int, int] | None:
        """Settles a tie among the items near the best.

        Args:
            state: of the selection.
            bar: root of a score; items at or above it are near, all others are below it.

        Returns:
            The first tied item, the root of the largest score of another item, how many items are near, and how many
            tie; None if the bounds do not decide.
        """
        if not bar > 0 or self.metric:
            return None
        near = (self.arrays.score >= bar * bar * (1 - 8 * U64)).nonzero()[0]
        if state.t == self.begun:
            squares = self.arrays.squares[near]
            values, tied = given_roots(state, self.rules, squares, self.rows_of.normalize, near)
            values[tied[0]] = bar
            return int(near[tied[0]]), float(values.max()), len(near), tied[1]
        return (int(near[0]), math.inf, len(near), len(near)) if equal(state, self.X, near) else None

    def carry(self, state: State) -> Stored:
        if self.active is not None:
            return self.active.carry(state)
        carried = self._carried(state)
        state.drift = self.bounds.step + carried.drift()
        if self.bounds.literal:
            return {"later": carried}
        return {"later": carried, "crest": self.largest_root * math.sqrt(self.gain_unit), "picks": state.t - self.begun}

    def _carried(self, state: State) -> Carried:
        picks = slice(self.begun, state.t)
        divisors, scale_down = np.array(self.divisors), 2.0**-self.rows_of.exponent
        return Carried.of(state, picks, self.rules, self.X, divisors, self.arrays.squares, scale_down)

    def snapshot(self, state: State) -> Stored:
        raise AssertionError("a run with a checkpoint has another stepper")
