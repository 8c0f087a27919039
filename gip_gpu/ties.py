"""The tie rule, shared by the reference and by every backend, and the floor below which picks would be noise."""

import math

import numpy as np
from numpy.typing import NDArray

# Scores (squared norms) within this relative distance of the best count as equal.
RELATIVE = 1e-12
# ... and so do norms within this many units of float64 rounding of the round's largest score. Two rows that are
# mathematically tied (a row and three times that row, say) differ by a few such units once the residual is small.
ABSOLUTE = 16 * 2.0**-53
# Below this share of the round's largest score, float64 rounding decides picks. Two float64 evaluations of the same
# loop were seen to part at 1e-12 of it in 64 dimensions and at 1e-10 to 1e-9 in 2, where items crowd.
FLOOR = 1e-7


def lowest_tied(best: float, scale: float) -> float:
    """The smallest score that counts as equal to `best`.

    Args:
        best: the largest squared norm ||W_j||^2.
        scale: the largest norm ||G_j|| over the items that were eligible when the round began.
    """
    norm: float = math.sqrt(best) * (1 - RELATIVE / 2) - ABSOLUTE * scale
    return max(norm, 0.0) ** 2


def first_best(scores: NDArray[np.float64], scale: float) -> tuple[int, int]:
    """Position of the best score, the lowest one where several tie, and how many tie (1 if none)."""
    tied = (scores >= lowest_tied(float(scores.max()), scale)).nonzero()[0]
    return int(tied[0]), len(tied)


def exhausted(best: float, scale: float) -> bool:
    """Whether a best score (squared norm) has fallen to the float64 floor of the round's scores."""
    return math.sqrt(best) <= FLOOR * scale


# The objectives that divide by a distance, or project rows out, compare norms (roots of scores). Their rounding grows
# with the rows that were projected out, so the tie is wider: this share of the norm and of what it is computed from.
TIE = 1e-12
# An item whose row lies in the span of the picks but for this share of its squared norm (a thousandth of a percent of
# its length) has nothing left to add, and what float64 leaves of its distance is rounding: it is out of the round.
DEPENDENT = 1e-10

# In the objectives that project rows out, scores may grow: rows that nearly depend on the picks and contradict their
# scores. Rounding grows with them: against a long double run on ratings of three pools, the error of a norm was about
# 2^-53 of the largest norm so far times its ratio to the round's first one. So the floor rises by that ratio twice, and
# a norm that has grown beyond 1 / FLOOR of the first has reached it from the other side.


def used_up(best: float, first: float, largest: float) -> bool:
    """Whether float64 rounding decides the picks of a round.

    Args:
        best: the largest root of a score now.
        first, largest: the round's first pick's, and the largest of the round so far.
    """
    return best * first <= FLOOR * largest * largest


# The metric of the mutual information counts as singular, and the information as exhausted, from this norm on.
SINGULAR = 1e7


def slack(norms: NDArray[np.float64], terms: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """How far each norm may move within a tie.

    Args:
        norms: (c,) roots of scores.
        terms: what they are differences of, in the same units: for a norm ||W_j|| the largest ||G_j||; for a ratio
            ||W_j|| / sqrt(q_j) that and the norm, both over sqrt(q_j); for a distance the largest norm of a row.
    """
    wide: NDArray[np.float64] = TIE * (norms + terms)
    return wide


def first_tied(norms: NDArray[np.float64], slacks: NDArray[np.float64]) -> tuple[int, int]:
    """Position of the first norm that reaches the best within the slacks, and how many do."""
    tied = (norms + slacks >= (norms - slacks).max()).nonzero()[0]
    return int(tied[0]), len(tied)
