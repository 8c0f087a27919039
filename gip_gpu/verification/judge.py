"""Exact values of few items before a pick, and the verdict on the pick by the tie rule."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.numerics import ties
from gip_gpu.numerics.error_bounds import U64
from gip_gpu.verification.path import RoundPath

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

HOLDS, ROUNDING, DIFFERS = 0, 1, 2


@dataclass(frozen=True)
class Verdict:
    """Verdict on one pick.

    Attributes:
        code: HOLDS, ROUNDING or DIFFERS.
        why: reason, "" for a pick that holds.
        rival: the best other item, -1 without one.
    """

    code: int
    why: str = ""
    rival: int = -1


def judged(
    path: RoundPath, indices: Indices, x: Floats, W: Floats, distances: Floats, squares: Floats
) -> tuple[Floats, Floats, Floats]:
    """Returns the compared values of items, their slack within a tie, and bounds on their rounding, (c,) each.

    The values are roots of scores, or nats with a metric, weighted; the slacks are those of `gip_gpu.numerics.ties`.
    The rounding counts twice: for this evaluation and for that of the selection.
    """
    values, slacks, noises = _unweighted(path, x, W, distances, squares)
    of = path.of
    if of.item_weights is None:
        return values, slacks, noises
    factors = of.factors(indices)
    if not of.rules.projects and not of.rules.positive:
        return values * factors, slacks * factors + ties.ABSOLUTE * of.scale * (1 - factors), noises * factors
    return values * factors, slacks * factors, noises * factors


def _unweighted(
    path: RoundPath, x: Floats, W: Floats, distances: Floats, squares: Floats
) -> tuple[Floats, Floats, Floats]:
    of, rules = path.of, path.of.rules
    lengths = np.sqrt(squares)
    if path.metric is not None:
        parts = path.metric.split(path.projector.remaining(x))
        nats = ties.information(parts.inside, parts.rest, rules.ridge)
        moves = ties.information_moves(parts.inside, parts.rest, rules.ridge) * (lengths + parts.reach)
        return nats, ties.slack(nats, moves), 2 * ((path.root_noise + of.fitted) * moves + 4 * U64 * nats)
    values = path.roots(W, distances, squares)
    if rules.measure == "distance":
        return values, ties.slack(values, of.scale), np.full(len(values), 2 * path.root_noise + 4 * U64)
    if rules.measure == "norm":
        if not rules.projects and not rules.positive:
            slacks = ties.RELATIVE / 2 * values + ties.ABSOLUTE * of.scale
            # The rule compares with the largest value itself (`ties.lowest_tied`).
            return values, slacks, np.full(len(values), 2 * path.residual_noise)
        return values, ties.slack(values, of.scale), np.full(len(values), 2 * (path.residual_noise + path.grown_noise))
    roots = np.sqrt(np.maximum(rules.ridge + distances, np.finfo(float).tiny))
    own = ties.lengths(squares, rules.ridge)
    noises = (path.residual_noise * own + values * path.root_noise * lengths) / roots + path.grown_noise
    terms = ties.ratio_terms(values, roots, squares, rules.ridge, of.scale)
    return values, ties.slack(values, terms), 2 * noises


def verdict(path: RoundPath, pick: int, indices: Indices, x: Floats, scores: Floats, squares: Floats) -> Verdict:
    """Returns the verdict on a pick among items that may be the argmax.

    Args:
        path: the projection by the picks before.
        pick: the recorded pick.
        indices: (c,) ascending, the items that may be the argmax, with the pick.
        x, scores, squares: their rows (c, d), scores (c, n) in the round's unit, squared lengths (c,).
    """
    rules = path.of.rules
    W, distances = path.exact(scores, x, squares)
    if rules.projects:
        # Twice the rounding of a distance leaves no doubt that an item is eligible.
        gone = rules.ridge + distances <= ties.DEPENDENT * squares
        own = int(np.flatnonzero(indices == pick)[0])
        if gone[own]:
            close = rules.ridge + distances[own] + _distance_noise(path, distances, squares)[own]
            if close <= ties.DEPENDENT * squares[own]:
                return Verdict(DIFFERS, "the row depends on those chosen before and adds nothing")
            return Verdict(ROUNDING, "whether the row depends on those chosen before is rounding")
        indices, x, scores, squares = indices[~gone], x[~gone], scores[~gone], squares[~gone]
        W, distances = W[~gone], distances[~gone]
    values, slacks, noises = judged(path, indices, x, W, distances, squares)
    own = int(np.flatnonzero(indices == pick)[0])
    same = (x == x[own]).all(axis=1) & (scores == scores[own]).all(axis=1)
    if path.of.item_weights is not None:
        same &= path.of.item_weights[indices] == path.of.item_weights[pick]
    if same[indices < pick].any():
        twin = int(indices[same.argmax()])
        return Verdict(DIFFERS, f"item {twin} is identical, and the lowest index wins a tie", twin)
    # Identical items have identical values, and those of a higher index lose.
    keep = ~same | (indices == pick)
    indices, values, slacks, noises = indices[keep], values[keep], slacks[keep], noises[keep]
    own = int(np.flatnonzero(indices == pick)[0])
    if len(indices) == 1:
        return Verdict(HOLDS)
    lower = values - slacks
    if rules.measure == "norm" and not rules.projects and not rules.positive:
        # An item ties with the best if it reaches the best less the slack (`ties.lowest_tied`); the slack counts once.
        lower, slacks = values, np.full(len(values), slacks[int(values.argmax())])
    surely = values + slacks - noises >= _of_others(lower + noises)
    perhaps = values + slacks + noises >= _of_others(lower - noises)
    best = int(np.where(np.arange(len(values)) == own, -np.inf, values).argmax())
    rival, before = int(indices[best]), indices < pick
    if not perhaps[own]:
        behind = 1 - values[own] / values[best]
        return Verdict(DIFFERS, f"item {rival} has a larger score: the root of the pick's is {behind:.2g} less", rival)
    if (before & surely).any():
        first = int(indices[(before & surely).argmax()])
        return Verdict(DIFFERS, f"item {first} ties, and the lowest index wins", first)
    if surely[own] and not (before & perhaps).any():
        return Verdict(HOLDS, "", rival)
    # A pick that surely ties is in doubt because of an item before it.
    nearest = int(indices[(before & perhaps).argmax()]) if surely[own] else rival
    return Verdict(ROUNDING, f"it leads item {nearest} by less than float64 rounding", nearest)


def _of_others(values: Floats) -> Floats:
    """Returns for each place the largest value of the other places."""
    top = int(values.argmax())
    rest = np.delete(values, top).max()
    found: Floats = np.where(np.arange(len(values)) == top, rest, values[top])
    return found


def _distance_noise(path: RoundPath, distances: Floats, squares: Floats) -> Floats:
    """Returns a bound on the rounding of exact distances."""
    root = path.root_noise
    noise: Floats = 4 * root * np.sqrt(squares) * (np.sqrt(distances) + root * np.sqrt(squares)) + 8 * U64 * squares
    return noise
