"""Least squares by normal equations and refinement, for rows with nearly all directions far from dependent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import WIDENED, Rows

Floats = NDArray[np.float64]

# Squares of singular values, relative to the largest. Their errors in F'F are about 2^-53 of the largest one. Above
# this share they describe a direction; below it the rows themselves are needed.
WEAK = 1e-8
# Largest number of weak directions that are multiplied by the rows.
MOST_WEAK = 16
# Range of row norms with products far from overflow and underflow.
SHORTEST, LONGEST = 1e-60, 1e60
# Triangles up to this size are inverted without recursion.
LEAF = 96
# A refinement step that changes no more than the share SETTLED of the solution is the last; STEPS is the most. Each
# step leaves about 2^-53 / WEAK of the error.
SETTLED, STEPS = 1e-8, 3


@dataclass(frozen=True)
class Solution:
    """The ridge solution of F Q ~ G.

    Attributes:
        weights: (d, n) Q.
        share: share of ||G||^2 in the range of F.
        rank: rank of F.
    """

    weights: Floats
    share: float
    rank: int


def solve(rows: Rows, scores: Floats, epsilon: float) -> Solution | None:
    """Solves with this ridge, as exactly as rounding of F and G allows; returns None if the result might be worse.

    O(m d^2 + d^3) time at the rate of matrix products, which orthogonal decompositions do not reach.

    Args:
        rows: F, (m, d).
        scores: G, (m, n), finite.
        epsilon: as `gip_gpu.validation.settings.as_epsilon` returns it.

    Source: Golub and Van Loan, Matrix Computations, section 5.3; Bjorck, Numerical Methods for Least Squares Problems,
    section 2.9 (refinement of corrected seminormal equations).
    """
    (m, d), n = rows.shape, scores.shape[1]
    if not SHORTEST < rows.largest < LONGEST or not epsilon < LONGEST:
        return None
    unit = float(np.abs(scores).max()) or 1.0
    if m < d:
        return _solve_short(rows, scores / unit, unit, epsilon) if m * d <= WIDENED else None
    gram, inside = np.zeros((d, d)), np.zeros((d, n))
    for start, stop in rows.bounds():
        block = rows.read(start, stop)
        gram += block.T @ block
        inside += block.T @ (scores[start:stop] / unit)
    parts = _factored(gram, epsilon) or _diagonal(gram, epsilon)
    if parts is None:
        return None
    # Least squares in the strong directions gives the share in the range; the ridge in all directions gives the query.
    ridges = np.repeat([0.0, epsilon][: len(parts.inverses)], n)
    solutions = parts.apply(np.hstack([inside] * len(parts.inverses)))
    for _ in range(STEPS):
        gradient = -ridges * solutions
        remaining = np.empty((m, n))
        for start, stop in rows.bounds(len(ridges)):
            block = rows.read(start, stop)
            residual = np.tile(scores[start:stop] / unit, len(parts.inverses)) - block @ solutions
            remaining[start:stop] = residual[:, :n]
            gradient += block.T @ residual
        step = parts.apply(gradient)
        solutions += step
        if np.linalg.norm(step) <= SETTLED * np.linalg.norm(solutions):
            break
    else:
        return None
    basis = _weak_range(rows, parts)
    outside = float(np.square(remaining).sum() - np.square(basis.T @ remaining).sum())
    rank = d - parts.weak.shape[1] + basis.shape[1]
    return Solution(solutions[:, -n:] * unit, _share(outside, scores / unit), rank)


def _solve_short(rows: Rows, scores: Floats, unit: float, epsilon: float) -> Solution | None:
    """Solves, as `solve`, for m < d rows in memory: Q = F'Y with (F F' + epsilon I) Y = G."""
    (m, _), n = rows.shape, scores.shape[1]
    F = rows.read(0, m)
    parts = _factored(F @ F.T, epsilon)
    if parts is None:
        return None
    right = np.hstack([scores] * len(parts.inverses))
    ridges = np.repeat([0.0, epsilon][: len(parts.inverses)], n)
    Y = parts.apply(right)
    for _ in range(STEPS):
        remaining = right - F @ (F.T @ Y) - ridges * Y
        step = parts.apply(remaining)
        Y += step
        if np.linalg.norm(step) <= SETTLED * np.linalg.norm(Y):
            return Solution(F.T @ Y[:, -n:] * unit, _share(float(np.square(remaining[:, :n]).sum()), scores), m)
    return None


def _share(outside: float, scores: Floats) -> float:
    """Returns the share of ||G||^2 in the range of F, from the squared norm of the part outside."""
    whole = float(np.square(scores).sum())
    return min(1.0, max(0.0, 1 - outside / whole)) if whole else 1.0


@dataclass(frozen=True)
class _Parts:
    """Decomposition of a Gram matrix that can be inverted in its strong directions.

    Attributes:
        inverses: R with R R' the inverse: for least squares, in the strong directions; with a ridge, a second one in
            all directions.
        strong, squares: (d, s) directions and their eigenvalues; empty if there are no weak ones.
        weak: (d, p) the other directions.
    """

    inverses: list[Floats]
    strong: Floats
    squares: Floats
    weak: Floats

    def apply(self, right: Floats) -> Floats:
        """Multiplies each inverse by its part of the columns."""
        n = right.shape[1] // len(self.inverses)
        parts = (right[:, i * n : (i + 1) * n] for i in range(len(self.inverses)))
        return np.hstack([root @ (root.T @ part) for root, part in zip(self.inverses, parts, strict=True)])


def _factored(gram: Floats, epsilon: float) -> _Parts | None:
    """Decomposes by Cholesky factors; returns None unless all directions are strong."""
    inverses = []
    for ridge in (0.0, epsilon) if epsilon else (0.0,):
        shifted = gram.copy()
        shifted[np.diag_indices(len(gram))] += ridge
        try:
            root = inverse_triangle(np.asarray(np.linalg.cholesky(shifted), np.float64)).T
        except np.linalg.LinAlgError:
            return None
        # A Frobenius norm is not below the largest singular value.
        if not float(np.linalg.norm(shifted) * np.vdot(root, root)) * WEAK <= 1:
            return None
        inverses.append(root)
    return _Parts(inverses, np.empty((len(gram), 0)), np.empty(0), np.empty((len(gram), 0)))


def _diagonal(gram: Floats, epsilon: float) -> _Parts | None:
    """Decomposes by eigenvectors; returns None unless few directions are weak and a ridge makes up for them."""
    squares, V = np.linalg.eigh(gram)
    strong = squares > WEAK * squares[-1]
    weak = V[:, ~strong]
    if weak.shape[1] > (MOST_WEAK if epsilon else 0) or not epsilon + squares[0] > WEAK * (epsilon + squares[-1]):
        return None
    inverses = [V[:, strong] / np.sqrt(squares[strong])]
    if epsilon:
        inverses.append(V / np.sqrt(np.maximum(squares, 0) + epsilon))
    return _Parts(inverses, V[:, strong], squares[strong], weak)


def _weak_range(rows: Rows, parts: _Parts) -> Floats:
    """Returns an orthonormal basis (m, r) of F times the weak directions, as far as it exceeds rounding.

    F'F is inaccurate in these directions, so products with F itself first make them orthogonal to the strong ones.
    """
    weak, m = parts.weak, rows.shape[0]
    if not weak.shape[1]:
        return np.empty((m, 0))
    for _ in range(2):
        made, back = np.empty((m, weak.shape[1])), np.zeros(weak.shape)
        for start, stop in rows.bounds():
            block = rows.read(start, stop)
            made[start:stop] = block @ weak
            back += block.T @ made[start:stop]
        weak = weak - parts.strong @ ((parts.strong.T @ back) / parts.squares[:, None])
    left, singular, _ = np.linalg.svd(made, full_matrices=False)
    # As `gip_gpu.numerics.orthogonal.numerical_rank`.
    cut = max(rows.shape) * np.finfo(np.float64).eps * float(np.sqrt(parts.squares[-1]))
    return left[:, singular > cut]


def inverse_triangle(lower: Floats) -> Floats:
    """Inverts a lower triangle by halves: nearly all work is in matrix products.

    >>> inverse_triangle(np.array([[2.0, 0.0], [1.0, 4.0]]))
    array([[ 0.5  ,  0.   ],
           [-0.125,  0.25 ]])
    """
    d = len(lower)
    if d <= LEAF:
        return np.tril(np.linalg.inv(lower))
    half = d // 2
    first, last = inverse_triangle(lower[:half, :half]), inverse_triangle(lower[half:, half:])
    inverse = np.zeros((d, d))
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -last @ (lower[half:, :half] @ first)
    return inverse
