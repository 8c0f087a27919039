"""Items of a small pool near the best score: whether they are identical, and their exact scores before any pick."""

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Rules
from gip_gpu.greedy.state import State
from gip_gpu.numerics import ties
from gip_gpu.problem.objectives import energies, seen

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def equal(state: State, X: Floats, near: Indices) -> bool:
    """Returns whether these items have the same row of X (m, d) and the same scores."""
    scores = state.scores[near]
    return bool((X[near] == X[near[0]]).all() and (scores == scores[0]).all())


def given_roots(
    state: State, rules: Rules, squares: Floats, unit: bool, near: Indices
) -> tuple[Floats, tuple[int, int]]:
    """Returns the roots of these items' scores, exact while nothing is projected out, and their `ties.first_tied`.

    Args:
        state, rules: of the selection.
        squares: (c,) squared norms of their rows.
        unit: whether all rows have norm 1.
        near: (c,) the items.
    """
    if rules.measure == "distance" and unit:
        return np.ones(len(near)), (0, len(near))
    if rules.measure == "distance":
        values = np.sqrt(squares)
        return values, ties.first_tied(values, ties.slack(values, state.scale))
    gains = energies(seen(state.scores[near] / state.unit, "positive" if rules.positive else "any"))
    values = np.sqrt(gains)
    if not (rules.projects or rules.positive):
        return values, ties.first_best(gains, state.scale)
    if rules.measure == "norm":
        return values, ties.first_tied(values, ties.slack(values, state.scale))
    roots = np.sqrt(rules.ridge + squares)
    values /= roots
    terms = ties.ratio_terms(values, roots, squares, rules.ridge, state.scale)
    return values, ties.first_tied(values, ties.slack(values, terms))
