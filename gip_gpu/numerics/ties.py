"""The tie rule, shared by the reference and every backend, and the floor below which picks would be noise."""

import math

import numpy as np
from numpy.typing import NDArray

# Scores (squared norms) within this relative distance of the best count as equal.
RELATIVE = 1e-12
# Norms within this share of the round's largest score count as equal too; it is 16 units of float64 rounding. Two rows
# that are mathematically tied (for example a row and three times that row) differ by a few such units once the residual
# is small.
ABSOLUTE = 16 * 2.0**-53
# Below this share of the round's largest score, float64 rounding decides picks. Two float64 evaluations of the same
# loop were observed to diverge at 1e-12 of it in 64 dimensions and at 1e-10 to 1e-9 in 2, where items crowd.
FLOOR = 1e-7


def lowest_tied(best: float, scale: float) -> float:
    """Returns the smallest score that counts as equal to `best`.

    Args:
        best: the largest squared norm ||W_j||^2.
        scale: the largest norm ||G_j|| over the items that were eligible when the round began.
    """
    norm: float = math.sqrt(best) * (1 - RELATIVE / 2) - ABSOLUTE * scale
    return max(norm, 0.0) ** 2


def first_best(scores: NDArray[np.float64], scale: float) -> tuple[int, int]:
    """Returns the position of the best score, the lowest if several tie, and how many tie (1 if none do)."""
    tied = (scores >= lowest_tied(float(scores.max()), scale)).nonzero()[0]
    return int(tied[0]), len(tied)


def exhausted(best: float, scale: float) -> bool:
    """Returns whether the best score (squared norm) has fallen to the float64 floor of the round's scores."""
    return math.sqrt(best) <= FLOOR * scale


# Objectives that divide by a distance, or project rows out, compare norms (roots of scores). Their rounding grows with
# the rows that were projected out, so the tie is wider: this share of the norm plus the terms that it is computed from.
TIE = 1e-12
# An item with no more than this share of its squared norm (a thousandth of a percent of its length) outside the span of
# the picks has nothing left to add; its float64 distance is rounding. It is ineligible for the rest of the round.
DEPENDENT = 1e-10

# In objectives that project rows out, scores may grow: those of rows that nearly depend on the picks and contradict
# their scores. Rounding grows with them: compared with a long double run on ratings of three pools, the error of a norm
# was about 2^-53 of the largest norm so far times its ratio to the round's first one. So the floor rises by the square
# of that ratio, and a norm that has grown to 1 / FLOOR of the first has reached it too.


def used_up(best: float, first: float, largest: float) -> bool:
    """Returns whether float64 rounding decides the picks of a round.

    Args:
        best: the largest root of a score now.
        first, largest: the root of the score of the round's first pick, and the largest root of the round so far.
    """
    return best * first <= FLOOR * largest * largest


# The metric of the mutual information counts as singular, and the information as exhausted, from this norm on.
SINGULAR = 1e7


def slack(norms: NDArray[np.float64], terms: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Returns how far each norm may move within a tie, (c,).

    Args:
        norms: (c,) roots of scores.
        terms: size of the terms whose difference a norm is, in the same units: for a norm ||W_j|| the largest ||G_j||;
            for a distance the largest norm of a row; for a ratio the result of `ratio_terms`; for an information, how
            far a unit of rounding moves it.
    """
    wide: NDArray[np.float64] = TIE * (norms + terms)
    return wide


# The tie of a ratio is relative to the item's own row. Relative to the largest row, all items with rows 1e-10 of its
# length would tie with one another: in pools with rows of two lengths, the first pick was not the argmax in 9 of 40
# pools at a ratio of 1e10, and in all of them from 1e12 on. Relative to its own row it was wrong in none up to 1e16.


def lengths(squares: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Returns sqrt(q_j) before any pick, as a share of sqrt(q) of a row of length 1: at most 1, and 1 for unit rows.

    Args:
        squares: (c,) squared norms of rows, at most 1.
        ridge: epsilon in their unit.
    """
    own: NDArray[np.float64] = np.sqrt((ridge + squares) / (ridge + 1))
    return own


def ratio_scale(energies: NDArray[np.float64], squares: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Returns the squared scales of the rounding of ratios, (c,): ||G_j|| over the length; 0 if the length is 0."""
    own = lengths(squares, ridge) ** 2
    return np.divide(energies, own, out=np.zeros(len(own)), where=own > 0)


def ratio_terms(
    ratios: NDArray[np.float64], roots: NDArray[np.float64], squares: NDArray[np.float64], ridge: float, scale: float
) -> NDArray[np.float64]:
    """Returns the size of the terms of a ratio ||W_j|| / sqrt(q_j), (c,).

    W_j is G_j less a product of x_j and A. Each pick adds w_s g / q_s to A, no longer than its own ratio, so the terms
    of W_j do not exceed the largest ratio times the item's length. The rounding of sqrt(q_j) is relative to ||x_j||.

    Args:
        ratios, roots: (c,) the ratios and sqrt(q_j).
        squares, ridge: as in `lengths`.
        scale: root of the largest `ratio_scale` when the round began, in the metric if there is one.
    """
    terms: NDArray[np.float64] = (scale * lengths(squares, ridge) + ratios * np.sqrt(squares)) / roots
    return terms


# The mutual information of a pick is log((eta + ||phi||^2) / (eta + ||rest||^2)) / 2 nats: phi is the part of its row
# that the picks leave, rest the part that the picks and the query leave. Both vectors are computed in full, so nothing
# cancels however small eta makes them. The ratio of the residual gives the same as -log1p(-ratio) / 2, but would tie
# all items within 1e-16 / eta of each other.


def information(inside: NDArray[np.float64], rest: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Returns the information of each item about the query in nats, (c,).

    Args:
        inside, rest: (c,) squared lengths of the parts of phi within the query's span and outside it; no rest is 0.
        ridge: epsilon in their unit.
    """
    nats: NDArray[np.float64] = np.log1p(inside / (ridge + rest)) / 2
    return nats


def information_moves(inside: NDArray[np.float64], rest: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Bounds how far the information moves per unit by which the lengths of the two parts move, (c,)."""
    outside = ridge + rest
    moves: NDArray[np.float64] = np.sqrt(inside) / (outside + inside) * (1 + np.sqrt(inside * rest) / outside)
    return moves


def first_tied(norms: NDArray[np.float64], slacks: NDArray[np.float64]) -> tuple[int, int]:
    """Returns the position of the first norm that reaches the best within the slacks, and how many do."""
    tied = (norms + slacks >= (norms - slacks).max()).nonzero()[0]
    return int(tied[0]), len(tied)
