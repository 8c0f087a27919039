"""Values of the picks that a caller includes: they are projected out first, whatever their scores."""

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Projector, Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import decision
from gip_gpu.greedy.query_metric import QueryMetric
from gip_gpu.greedy.state import State
from gip_gpu.numerics import ties
from gip_gpu.problem.formulation import Problem
from gip_gpu.problem.objectives import MEASURES, energies, seen

Floats = NDArray[np.float64]


def rate_included(state: State, problem: Problem, rows: Rows) -> None:
    """Records gains, weights and explained shares of the included picks, when the first round has begun.

    One pass over the rows in float64.

    Args:
        state: the initial items are recorded, with zeros for their values.
        problem: of the selection.
        rows: the exact rows.
    """
    objective, square = problem.objective, 4.0**rows.exponent
    rules = Rules(objective.measure, objective.projects, problem.sign == "positive", problem.epsilon / square)
    metric = None if problem.Q is None else QueryMetric(problem.Q)
    n, d = state.scores.shape[1], rows.shape[1]
    projector, scale_down = Projector(rules, n, d), 2.0**-rows.exponent
    gain_unit = 1.0 if metric is not None else MEASURES[rules.measure].gain_unit(square)
    count = len(state.initial)
    directions, factors, shrinks = np.zeros((count, d)), np.zeros((count, n)), np.zeros(count)
    explained = 0.0
    shares = np.zeros(count)
    for place, (_, given, scores) in enumerate(decision.given(rows.take, state, state.initial)):
        x = given[0] * scale_down
        W, distances = projector.exact(scores / state.unit, x[None])
        distance, own = float(distances[0]), 1.0 if rows.normalize else float(x @ x)
        q = rules.ridge + distance if rules.projects else 1 / square
        if not rules.projects or q > ties.DEPENDENT * own:
            if rules.measure == "distance":
                gain = distance
            else:
                gain = float(energies(seen(W, problem.sign) if metric is None else W @ metric.whole)[0])
            gain = (gain / q if rules.measure == "ratio" else gain) * gain_unit * state.unit**2
            # Rounding decides about a row that nearly depends on those before; with a metric no gain is above 1.
            state.gains[place] = gain if metric is None else min(gain, 1.0)
            state.weights[place] = W[0] * state.unit
            phi, g = projector.project(x, W[0], q)
            directions[place], factors[place], shrinks[place] = g, W[0] / q, 1 / q
            if metric is not None:
                metric.explain(phi, q, rules.ridge)
                explained += float(W[0] @ W[0]) / q
        shares[place] = explained / max(1, n)
    if metric is None:
        shares = (
            1 - _left(state, rows, directions, factors, shrinks, rules) / state.energy if state.energy else shares + 1
        )
    state.explained[:count] = np.minimum(shares, 1.0)
    # Initial items keep their zeros.
    for name in ("gains", "weights", "explained"):
        getattr(state, name)[: state.first] = 0


def _left(state: State, rows: Rows, directions: Floats, factors: Floats, shrinks: Floats, rules: Rules) -> Floats:
    """Returns ||W||^2, or the sum of distances, over the round's pool after each of these picks, (c,)."""
    left = np.zeros(len(directions))
    of_distances = rules.measure == "distance"
    scale_down = 2.0**-rows.exponent
    for start, stop in rows.bounds(len(directions)):
        pool = state.pool[start:stop]
        x = rows.block(start, stop)[pool] * scale_down
        columns = x @ directions.T
        if of_distances:
            distances = np.einsum("jd,jd->j", x, x)[:, None] - np.cumsum(columns**2 * shrinks, axis=1)
            left += np.maximum(distances, 0).sum(axis=0)
            continue
        W = state.scores[start:stop][pool] / state.unit
        for place, column in enumerate(columns.T):
            W -= column[:, None] * factors[place]
            left[place] += float(np.vdot(W, W))
    return left * (4.0**rows.exponent if of_distances else state.unit**2)
