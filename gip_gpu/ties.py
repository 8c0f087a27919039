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
