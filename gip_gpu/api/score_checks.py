"""Checks for scores that the caller probably did not intend: negative with the sign ignored, or equal for all items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.exceptions import ConstraintWarning, ScoreSignWarning, TiedScoresWarning, warn
from gip_gpu.greedy.state import State
from gip_gpu.problem.constraints import Constraints
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.problem.options import Options

# Scores F Q of a query lie in the range of F. In a block of d + BEYOND rows, noise leaves about BEYOND / (d + BEYOND)
# of its energy outside of the range; scores stored in float16 leave 1e-7.
BEYOND = 64
OUTSIDE = 1e-4
# With fewer than d + LEAST_BEYOND rows the range of F holds nearly all scores, so the check cannot decide.
LEAST_BEYOND = 8
# Negative scores within this share of a column's largest are rounding.
ROUNDING = 1e-9
# Steps of conjugate gradients, each about as long as two products of the block and a vector. Self-compression took 1 to
# 28 steps on four pools of text.
STEPS = 30
# Longest rows for which a full decomposition takes less time than these steps.
SHORT = 128

Single = NDArray[np.float32]

ALONE = (
    "for a choice by the embeddings alone pass G=None, objective='entropy'; gip_gpu.signals.self_compression(F) makes "
    "scores of them"
)


@dataclass(frozen=True)
class Traits:
    """Properties of the scores of some items, such as those of one process.

    Attributes:
        lowest, highest: (n,) float64, extremes of each column.
        negative: number of items with a negative score.
        queried: whether these rows show the negative columns to be scores F Q of a query; None if there are too few
            rows to decide, or if it was not tested.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    negative: int
    queried: bool | None

    @classmethod
    def of(cls, rows: Rows, scores: NDArray[np.float64], *, directed: bool) -> "Traits":
        """Returns the traits of rows of F and their scores; `directed` tests whether the scores are F Q of a query."""
        lowest, highest = scores.min(axis=0), scores.max(axis=0)
        floors = -ROUNDING * np.maximum(highest, -lowest)
        below = (scores < floors).any(axis=1)
        columns = np.flatnonzero(lowest < floors)
        queried = _queried(rows, scores, int(below.argmax()), columns) if directed and len(columns) else None
        return cls(lowest, highest, int(below.sum()), queried)

    @classmethod
    def joined(cls, parts: Sequence["Traits"]) -> "Traits":
        """Returns the traits of all items from those of their parts."""
        told = [part.queried for part in parts if part.queried is not None]
        return cls(
            np.min([part.lowest for part in parts], axis=0),
            np.max([part.highest for part in parts], axis=0),
            sum(part.negative for part in parts),
            all(told) if told else None,
        )


def sign_matters(options: Options, scored: bool) -> bool:
    """Returns whether negative scores count like positive ones although they may be low ratings."""
    objective = options.choose(scored)
    # A query is a direction: information about it has no sign.
    return objective.signs and options.sign == "any" and options.query == "direct"


def check(traits: Traits, m: int, options: Options, *, sign_given: bool, fresh: bool = True, name: str = "G") -> None:
    """Warns of scores that the caller probably did not intend.

    Args:
        traits: traits of the scores of all m items.
        options: options that decide which items are chosen.
        sign_given: whether the caller chose the sign that counts.
        fresh: whether nothing was projected out of the scores before.
        name: name of the scores in messages.
    """
    kind = OBJECTIVES[options.choose(True).name]
    if m > 1 and fresh and (traits.lowest == traits.highest).all():
        if not traits.lowest.any():
            zero = f"is zero for all {m} items"
            if options.standardize is not None:
                made = f"standardize={options.standardize!r} makes it zero"
                zero = f"is the same for all {m} items (every column is constant), and {made}"
            warn(
                f"{name} {zero}: nothing distinguishes them and rows are chosen in order; {ALONE}",
                TiedScoresWarning,
            )
        elif options.query == "direct" and not kind.metric:
            warn(
                f"{name} is the same for all {m} items (every column is constant), so scores distinguish none of them; "
                f"{ALONE}",
                TiedScoresWarning,
            )
    if not sign_given and sign_matters(options, True) and traits.negative and not traits.queried:
        centred = " (as z-scores below the mean are)" if options.standardize == "zscore" else ""
        warn(
            f"{name} has negative scores for {traits.negative} of {m} items{centred}, and objective {kind.name!r} uses "
            "their size alone: the worst items are chosen as eagerly as the best. For ratings, where higher is better, "
            "pass sign='positive'; sign='any' is right for scores F Q of a query, and silences this warning",
            ScoreSignWarning,
        )


def check_order(state: State, traits: Traits | None) -> None:
    """Warns if picks were taken in the order of rows, unless `check` has already warned of these scores."""
    if state.ending != "in order" or (traits is not None and not (traits.lowest.any() or traits.highest.any())):
        return
    picks = state.t - max(state.rounds[-1], state.first)
    if picks and state.remaining + picks > 1:
        warn(
            f"the last {picks} of {state.t - state.first} picks are rows in order: nothing distinguishes the items "
            "left by then, for their scores are zero, of the sign that does not count, or used up; on_exhausted='stop' "
            "leaves such picks out",
            TiedScoresWarning,
        )


def check_left(state: State, constraints: Constraints) -> None:
    """Warns if constraints have left no item for some of the picks, or picks that they ask for are not made.

    A budget that is used up is no surprise.
    """
    groups = constraints.groups
    if groups is not None:
        made = np.bincount(groups.codes[state.indices[state.first : state.t]], minlength=len(groups.labels))
        short = np.flatnonzero(made < groups.least)
        if len(short):
            names = ", ".join(f"{groups.labels[at]}: {made[at]} of {groups.least[at]}" for at in short[:5].tolist())
            warn(f"the minimums of {len(short)} groups are not met ({names})", ConstraintWarning)
    if constraints.costs is None and state.t < state.k and state.blocked and not state.remaining:
        warn(
            f"the constraints leave no row after {state.t - state.first} of {state.k - state.first} picks: the others "
            "are near-duplicates of picks, or belong to full groups",
            ConstraintWarning,
        )


def _queried(rows: Rows, scores: NDArray[np.float64], row: int, chosen: NDArray[np.int64]) -> bool | None:
    """Returns whether the chosen columns of scores are F Q, by consecutive rows around `row`; None with few rows."""
    m, d = rows.shape
    if m < d + LEAST_BEYOND:
        return None
    stop = min(m, row + d + BEYOND)
    start = max(0, stop - d - BEYOND)
    block = (rows.block(start, stop) / (rows.largest or 1)).astype(np.float32)
    columns = scores[start:stop][:, chosen]
    largest = np.abs(columns).max(axis=0)
    given = (columns / np.where(largest > 0, largest, 1)).astype(np.float32)
    # `_reached` decides for any query, but takes 2 d^3 operations.
    return (d > SHORT and _reached_soon(block, given)) or _reached(block, given)


def _reached(block: Single, given: Single) -> bool:
    """Returns whether columns (s, c) lie in the range of a block (s, d), up to a share `OUTSIDE` of their energy."""
    d = block.shape[1]
    factor = np.asarray(np.linalg.qr(np.hstack([block, given]), mode="r"))[:, d:]
    return bool((np.square(factor[d:]).sum(axis=0) <= OUTSIDE * np.square(factor).sum(axis=0)).all())


def _reached_soon(block: Single, given: Single) -> bool:
    """As `_reached`, by a few conjugate gradient steps: True for most queries, such as `F' 1`; False if undecided."""
    left = given.copy()
    slope = block.T @ left
    direction, steep = slope, np.square(slope).sum(axis=0)
    floor = OUTSIDE * np.square(given).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(STEPS):
            moved = block @ direction
            left -= steep / np.square(moved).sum(axis=0) * moved
            if (np.square(left).sum(axis=0) <= floor).all():
                return True
            slope = block.T @ left
            before, steep = steep, np.square(slope).sum(axis=0)
            direction = slope + steep / before * direction
    return False
