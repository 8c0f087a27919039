"""Replay of a selection: its picks are projected out of all items in float64, and each is judged given those before.

The picks are known, so the columns of a panel of them are one matrix product for each block of rows: a pass over the
rows for every `survey.PANEL` picks, with memory for the scores, a block, and a float64 copy of nothing. An item that a
bound on rounding leaves close to a pick is computed again, alone and exactly, and the tie rule decides.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.selection import Selection
from gip_gpu.backends.items import Rules
from gip_gpu.greedy.admission import admitted_until
from gip_gpu.greedy.query_metric import QueryMetric
from gip_gpu.numerics import ties
from gip_gpu.problem.formulation import first_measures, first_squares
from gip_gpu.problem.objectives import energies, seen
from gip_gpu.verification import judge
from gip_gpu.verification.claims import Claims
from gip_gpu.verification.inputs import Inputs
from gip_gpu.verification.judge import DIFFERS, HOLDS, ROUNDING, Verdict
from gip_gpu.verification.path import PickStep, RoundPath, RoundScale
from gip_gpu.verification.survey import PANEL, Panel, PoolItems, Survey, pass_noise

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Bound on the error of fitted scores on another machine, as a share of the largest score: the refinement of the normal
# equations settles at 1e-8 and leaves the square of it.
FITTED = 1e-12
# A best score within this share of the floor may be on either side of it.
FLOOR_ROUNDING = 1e-6


@dataclass(frozen=True)
class Segment:
    """Picks of one round.

    Attributes:
        start, stop: positions of its picks.
        initial: items that are projected out before the first.
        in_order: whether its picks were taken in the order of rows.
    """

    start: int
    stop: int
    initial: Indices
    in_order: bool


@dataclass
class Replay:
    """Replay of one selection.

    Attributes:
        selection, inputs: to replay.
        verdicts: for each pick.
        leads: for each pick a lower bound on the lead of the root of its score over every other item, as gains are.
        problems: differences that belong to no pick.
    """

    selection: Selection
    inputs: Inputs
    verdicts: list[Verdict] = field(default_factory=list)
    leads: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows, problem = self.inputs.rows, self.inputs.problem
        self.claims = Claims(self.selection, problem.weights)
        self.squares = np.ones(rows.shape[0]) if rows.normalize else np.square(rows.norms * 2.0**-rows.exponent)
        self.first = first_squares(problem, rows)
        self.measures = first_measures(problem, rows, self.first)
        self.left = np.ones(rows.shape[0], bool)
        self.until: Indices | None = None
        asked = self.inputs.request
        if asked.constraints.limiting:
            k = self.selection.plan.k
            self.until = admitted_until(asked.constraints, rows, asked.initial, self.inputs.picks, k)

    def run(self) -> None:
        """Judges all picks."""
        for segment in self._segments():
            if segment.in_order:
                self._judge_in_order(segment)
            else:
                self._judge_round(segment)
        k = len(self.selection)
        if k < self.selection.plan.k and self.inputs.options.on_exhausted == "restart" and self.until is None:
            self.problems.append(f"it has {k} of {self.selection.plan.k} picks, and a selection that restarts has all")
        if k < self.selection.plan.k and self.inputs.options.on_exhausted == "restart" and self.until is not None:
            open_ = self.until > k
            open_[self.inputs.picks] = open_[self.inputs.request.initial] = False
            if open_.any():
                self.problems.append(f"it ends after {k} picks, and the constraints allow item {open_.argmax()}")
        if not k and self.selection.plan.k:
            self._check_empty()

    def _segments(self) -> Iterator[Segment]:
        proof, k = self.selection.certificate, len(self.selection)
        if not k:
            return
        starts = [start for start in proof.rounds if start < k] or [0]
        if starts[0]:
            self.problems.append(f"the first round began after pick {starts[0]}")
            starts = [0, *starts]
        for number, (start, stop) in enumerate(zip(starts, [*starts[1:], k], strict=True)):
            none = not self.selection.gains[start:stop].any() and not self.selection.weights[start:stop].any()
            initial = self.inputs.request.initial if not number else np.empty(0, np.int64)
            yield Segment(start, stop, initial, bool(none) and stop == k)

    def _scale(self, first: bool) -> RoundScale:
        """Returns the constants of a round of the items left."""
        problem, rows = self.inputs.problem, self.inputs.rows
        objective, square = problem.objective, float(4.0**rows.exponent)
        scale = math.sqrt(float(self.measures.max(where=self.left, initial=0.0)))
        prior = self.inputs.prior if first else None
        if prior is not None:
            scale = max(scale, prior.measured(rows.exponent).scale)
        unit = float(2.0 ** np.frexp(scale)[1]) if objective.scaled and scale else 1.0
        rules = Rules(objective.measure, objective.projects, problem.sign == "positive", problem.epsilon / square)
        fitted = FITTED if problem.range_share is not None else 0.0
        weights = self.inputs.request.constraints.item_weights
        return RoundScale(objective, rules, problem.sign, square, unit, scale / unit, fitted, weights)

    def _judge_in_order(self, segment: Segment) -> None:
        """Judges picks that were taken in the order of rows because no score was left."""
        if segment.start == 0:
            self.left[segment.initial] = False
        picks = self.inputs.picks[segment.start : segment.stop]
        expected = self._in_order(segment)
        best = self._best_of_all()
        scale = self._scale(False).scale
        for pick, wanted in zip(picks.tolist(), expected.tolist(), strict=True):
            if best > 1e-12 * scale and scale:
                verdict = Verdict(DIFFERS, "it was taken in the order of rows, and other items have scores")
            elif pick != wanted:
                verdict = Verdict(DIFFERS, f"no item has a score, and item {wanted} comes first in the order of rows")
            else:
                verdict = Verdict(HOLDS)
            self.verdicts.append(verdict)
            self.leads.append(0.0)
        self.left[picks] = False

    def _in_order(self, segment: Segment) -> Indices:
        """Returns the items of a segment if they are taken in the order of rows."""
        self._take_out(segment.start)
        if self.until is None:
            return np.flatnonzero(self.left)[: segment.stop - segment.start]
        left, found = self.left.copy(), list[int]()
        for at in range(segment.start, segment.stop):
            open_ = np.flatnonzero(left & (self.until > at))
            found += open_[:1].tolist()
            left[open_[:1]] = False
        return np.array(found, np.int64)

    def _take_out(self, start: int) -> None:
        """Takes out the items that constraints have taken out before this pick."""
        if self.until is not None:
            # Near-duplicates of initial items were left when the first round began.
            self.left &= self.until > start if start else self.until >= 0

    def _best_of_all(self) -> float:
        """Returns the largest root of a score of the items left, before anything is projected out."""
        problem = self.inputs.problem
        if not self.left.any():
            return 0.0
        if problem.objective.measure == "distance":
            return math.sqrt(float(self.squares.max(where=self.left, initial=0.0)))
        norms = np.sqrt(energies(seen(problem.scores, problem.sign)))
        counts = self.left & (self.squares > 0) if problem.objective.measure == "ratio" else self.left
        return float(norms.max(where=counts, initial=0.0)) / self._scale(False).unit

    def _judge_round(self, segment: Segment) -> None:
        problem, rows = self.inputs.problem, self.inputs.rows
        first = segment.start == 0
        self._take_out(segment.start)
        of = self._scale(first)
        n = problem.scores.shape[1]
        path = RoundPath(of, n, rows.shape[1], None if problem.Q is None else QueryMetric(problem.Q))
        items = PoolItems(
            rows, self.squares, problem.scores / of.unit, self.squares.copy(), self.left, self.left.copy(), self.until
        )
        if first and self.inputs.prior is not None:
            self._resume(path, items)
        energy = float(self.first.sum(where=items.pool)) / of.unit**2
        explained = 0.0
        if len(segment.initial):
            panel = self._panel(path, segment.initial)
            found = items.survey(path, panel, 0)
            path.largest_root = path.top_root = max([path.largest_root, *(step.value for step in panel.steps)])
            if self._began_anew(path, items, path.of.root_of(float(found.tops[-1]))):
                self._judge_round(replace(segment, initial=segment.initial[:0]))
                return
            explained = sum(float(step.residual @ step.weights) for step in panel.steps)
        picks = self.inputs.picks[segment.start : segment.stop]
        for begin in range(0, len(picks), PANEL):
            part = picks[begin : begin + PANEL]
            before = path.copy()
            panel = self._panel(path, part)
            at = segment.start + begin
            found = items.survey(path, panel, at)
            touched = bool(begin or len(segment.initial) or (first and self.inputs.prior is not None))
            explained = self._judge_panel(before, panel, found, at, touched, energy, explained)
            path.largest_root, path.top_root = before.largest_root, before.top_root
            last = begin + PANEL >= len(picks)
            if last and (segment.stop < len(self.selection) or len(self.selection) < self.selection.plan.k):
                self._check_exhausted(path, path.of.root_of(float(found.tops[-1])), segment.stop)

    def _began_anew(self, path: RoundPath, items: PoolItems, best: float) -> bool:
        """Returns whether a new round began after the initial items, because nothing was left beside them.

        The certificate has the same entry for both rounds. Near the floor, the first gain tells them apart.
        """
        if self.inputs.options.on_exhausted != "restart":
            return False
        floor, blur = self._floor(path, best), FLOOR_ROUNDING + self._blur(path, best)
        if best <= 0 or floor < 1 - blur or (path.metric is not None and path.metric.norm >= ties.SINGULAR):
            return True
        pick = int(self.inputs.picks[0])
        square = self.squares[pick : pick + 1]
        roots = path.roots(items.W[pick : pick + 1], items.distances[pick : pick + 1], square)
        gain = float(roots[0]) ** 2 * path.of.gain_unit
        return floor < 1 + blur and not math.isclose(gain, float(self.selection.gains[0]), rel_tol=1e-3)

    def _resume(self, path: RoundPath, items: PoolItems) -> None:
        """Projects the picks of the selection that this one extends out of the path and of all items."""
        rows, of = self.inputs.rows, path.of
        assert self.inputs.prior is not None
        stored = self.inputs.prior.measured(rows.exponent).in_unit(of.unit)
        scale_down = 2.0**-rows.exponent
        path.projector.A[:] = stored["A"] / scale_down
        path.projector.S = stored.get("S")
        path.picks, path.least = stored["picks"], stored["least"]
        crest = stored["crest"] / math.sqrt(of.gain_unit / of.unit**2)
        path.largest_root = path.top_root = max(path.largest_root, crest)
        path.drift = self.inputs.prior.drift / of.unit
        path.moved = path.projected
        for start, stop in rows.bounds():
            x = rows.read(start, stop) * scale_down
            W, distances = path.exact(items.W[start:stop], x, self.squares[start:stop])
            items.W[start:stop] = W
            if of.rules.projects:
                items.distances[start:stop] = distances

    def _panel(self, path: RoundPath, picks: Indices) -> Panel:
        """Projects picks out of the path; returns their steps, with bounds on rounding."""
        scale_down = 2.0**-self.inputs.rows.exponent
        steps, noises, roots = list[PickStep](), list[float](), list[float]()
        metrics = None if path.metric is None else list[Floats]()
        x, scores = self.inputs.rows.take(picks) * scale_down, self.inputs.problem.scores[picks] / path.of.unit
        for place, pick in enumerate(picks.tolist()):
            self._note(path, noises, roots, metrics)
            steps.append(path.take(x[place], scores[place], float(self.squares[pick])))
        self._note(path, noises, roots, metrics)
        return Panel(picks, steps, np.array(noises), np.array(roots), metrics)

    def _note(self, path: RoundPath, noises: list[float], roots: list[float], metrics: list[Floats] | None) -> None:
        """Adds the bounds before a step, and the metric."""
        noise = pass_noise(path, path.picks) + path.grown_noise
        noises.append(noise if path.metric is None else noise * path.metric.norm)
        roots.append(path.root_noise)
        if metrics is not None:
            assert path.metric is not None
            metrics.append(path.metric.whole)

    def _judge_panel(
        self, path: RoundPath, panel: Panel, found: Survey, at: int, touched: bool, energy: float, explained: float
    ) -> float:
        """Judges the picks of a panel; returns what they have explained of a query.

        Args:
            path: before the panel.
            panel, found: the picks, and the items close to each.
            at: position of the first pick in the selection.
            touched: whether anything was projected out in this round before.
            energy: ||G||^2 over the round's pool, in its unit.
            explained: explained share of a query before, times the signals.
        """
        rows, scores = self.inputs.rows, self.inputs.problem.scores
        scale_down = 2.0**-rows.exponent
        for place, (pick, step) in enumerate(zip(panel.picks.tolist(), panel.steps, strict=True)):
            close = np.union1d(found.close[place], [pick]).astype(np.int64)
            x = rows.take(close) * scale_down
            own = scores[close] / path.of.unit
            verdict = judge.verdict(path, pick, close, x, own, self.squares[close])
            (value,), _ = path.of.compared(np.array([step.value]), np.zeros(1), np.array([pick]))
            top = path.of.root_of(max(float(value), float(found.tops[place])))
            verdict = self._exhausted_before(path, top, touched) or verdict
            explained += float(step.residual @ step.weights)
            left = float(found.energies[place + 1])
            if path.metric is not None:
                left = energy * max(0.0, 1 - explained / len(step.residual))
            shares = 1 - left / energy if energy else 1.0
            wrong = self.claims.compare(at + place, path, pick, step, float(found.rivals[place]), shares)
            if wrong and verdict.code != DIFFERS:
                verdict = Verdict(DIFFERS, wrong)
            if self.until is not None and self.until[pick] <= at + place:
                verdict = Verdict(DIFFERS, "the constraints do not allow it")
            self.verdicts.append(verdict)
            high = max(0.0, float(found.highs[place])) + self.claims.noise(path, step)
            self.leads.append(max(0.0, step.value - high) * math.sqrt(path.of.gain_unit))
            path.largest_root = max(path.largest_root, step.value)
            path.top_root = max(path.top_root, top if path.of.item_weights is not None else step.value)
            path.take(x[int(np.searchsorted(close, pick))], own[int(np.searchsorted(close, pick))], self.squares[pick])
            touched = True
        return explained

    def _floor(self, path: RoundPath, best: float) -> float:
        """Returns the best root of a score as a multiple of the floor below which a round is exhausted."""
        if path.of.rules.projects or path.of.rules.positive:
            largest = max(path.top_root, best)
            return best * path.of.first / (ties.FLOOR * largest * largest) if largest else 0.0
        return best / (ties.FLOOR * path.of.scale) if path.of.scale else 0.0

    def _exhausted_before(self, path: RoundPath, best: float, touched: bool) -> Verdict | None:
        """Returns a verdict on a pick of a round whose scores were exhausted before it, or None."""
        if not touched or self.inputs.options.on_exhausted == "continue":
            return None
        singular = path.metric is not None and path.metric.norm >= ties.SINGULAR * (1 + FLOOR_ROUNDING)
        if self._floor(path, best) < 1 - FLOOR_ROUNDING - self._blur(path, best) or singular:
            return Verdict(DIFFERS, "the scores of its round were exhausted before it")
        return None

    def _check_exhausted(self, path: RoundPath, best: float, stop: int) -> None:
        """Notes a problem if a round ended after pick `stop` - 1 although its scores were not exhausted."""
        singular = path.metric is not None and path.metric.norm >= ties.SINGULAR * (1 - FLOOR_ROUNDING)
        if best > 0 and self._floor(path, best) > 1 + FLOOR_ROUNDING + self._blur(path, best) and not singular:
            ended = "a round began" if stop < len(self.selection) else "the selection ended"
            self.problems.append(f"{ended} after pick {stop - 1}, and the scores before were not exhausted")

    def _blur(self, path: RoundPath, best: float) -> float:
        """Returns the rounding of the best root of a score near the floor, as a share of it."""
        return 4 * (path.residual_noise + path.grown_noise) / best if best else 1.0

    def _check_empty(self) -> None:
        """Notes a problem if nothing was chosen although items have scores."""
        self.left[self.inputs.request.initial] = False
        if not len(self.inputs.request.initial) and self.inputs.prior is None and self._best_of_all() > 0:
            self.problems.append("nothing was chosen, and items have scores")


def codes(verdicts: list[Verdict]) -> NDArray[np.int8]:
    """Returns the codes of verdicts, (k,)."""
    assert {HOLDS, ROUNDING, DIFFERS} == {0, 1, 2}
    return np.array([verdict.code for verdict in verdicts], np.int8)
