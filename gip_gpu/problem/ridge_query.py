"""The query Q behind raw scores: the ridge solution of F Q ~ G, and the share of G in its reach."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import BLOCK_VALUES, Rows
from gip_gpu.numerics.orthogonal import numerical_rank, triangle
from gip_gpu.problem import normal_equations
from gip_gpu.problem.normal_equations import Solution


@dataclass(frozen=True, eq=False)
class Query:
    """A query, its fitted scores, and the share of the scores that a query can fit.

    Attributes:
        weights: (d, n) float64, Q.
        fitted: (m, n) float64, F Q; identical rows have bit-identical values in every position.
        range_share: share of ||G||^2 in the range of F, `1 - ||G - F F^+ G||^2 / ||G||^2` in [0, 1], for any epsilon; 1
            for G = 0.
        rank: numerical rank of F; singular values up to max(m, d) 2^-52 of the largest count as zero.
    """

    weights: NDArray[np.float64]
    fitted: NDArray[np.float64]
    range_share: float
    rank: int


def fit(rows: Rows, scores: NDArray[np.float64], epsilon: float) -> Query:
    """Fits the ridge query `Q = (F'F + epsilon I)^-1 F' G`; with epsilon 0 the shortest least-squares solution.

    It uses refined normal equations if they are accurate enough (`gip_gpu.problem.normal_equations`). Otherwise it uses
    the QR decomposition of [F G], folded block by block, and the singular values of its triangle. That is as accurate
    as least squares; F'F would square the condition number and lose directions of F. O(m (d + n)^2) time; memory for a
    few (d + n, d + n) and some (m, n).

    Args:
        rows: F, (m, d).
        scores: G, (m, n) float64, finite, as `arrays.as_scores` returns them.
        epsilon: as `validate.as_epsilon` returns it.

    Raises:
        ValueError: Q is beyond float64.

    Source: Greedy Information Projection, arXiv 2603.13790, eq. 3.1 and appendix D.

    >>> query = fit(Rows([[1, 0], [0, 1], [1, 0]]), np.array([[3.0], [2.0], [1.0]]), 0.0)
    >>> query.weights.round(9).ravel(), query.fitted.round(9).ravel(), round(query.range_share, 9), query.rank
    (array([2., 2.]), array([2., 2., 2.]), 0.857142857, 2)
    """
    found = solve(rows, scores, epsilon)
    return Query(found.weights, fitted(rows, found.weights), found.share, found.rank)


def solve(rows: Rows, scores: NDArray[np.float64], epsilon: float) -> Solution:
    """Solves for the query, as `fit`, without the fitted scores."""
    quick = normal_equations.solve(rows, scores, epsilon)
    if quick is not None:
        return quick
    found = _decompose(rows, scores)
    kept = found.singular[:, None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        # s / (s^2 + epsilon), written so that neither square can overflow or underflow.
        weights = found.right.T @ (found.inside / (kept + epsilon / kept)) * found.unit
    if not np.isfinite(weights).all():
        raise ValueError(f"G reaches {found.unit:g} and F no norm beyond {rows.largest:g}: the query is too large "
                         "for float64; scale F up or G down")  # fmt: skip
    return Solution(weights, found.share, len(found.singular))


def fitted(rows: Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes F times these weights (d, n): (m, n)."""
    products = np.empty((rows.shape[0], weights.shape[1]))
    for start, stop in rows.bounds(weights.shape[1]):
        products[start:stop] = row_products(rows.read(start, stop), weights)
    return products


def share_in_range(rows: Rows, scores: NDArray[np.float64]) -> float:
    """Computes `Query.range_share` alone.

    >>> share_in_range(Rows([[1, 0], [0, 1], [0, 0]], normalize=False), np.array([[3.0], [0.0], [4.0]]))
    0.36
    """
    return _decompose(rows, scores).share


@dataclass(frozen=True)
class _Parts:
    """Decomposition of [F G] without the m rows.

    Attributes:
        singular: (r,) singular values of F above rounding.
        right: (r, d) their right singular vectors.
        inside: (r, n) G / unit in terms of the left singular vectors.
        share: share of ||G||^2 in `inside`.
        unit: largest absolute score.
    """

    singular: NDArray[np.float64]
    right: NDArray[np.float64]
    inside: NDArray[np.float64]
    share: float
    unit: float


def _decompose(rows: Rows, scores: NDArray[np.float64]) -> _Parts:
    (m, d), n = rows.shape, scores.shape[1]
    largest = float(np.abs(scores).max()) or 1.0
    factor, outside = np.zeros((0, d + n)), 0.0
    # Blocks are some times as long as the factor, so that folding it in costs little.
    step = max(BLOCK_VALUES // (d + n), 4 * (d + n))
    for start in range(0, m, step):
        stop = min(start + step, m)
        factor = triangle(np.vstack([factor, np.hstack([rows.block(start, stop), scores[start:stop] / largest])]))
        # The rows below d hold the part that no query reaches; only its length is needed.
        outside += float(np.square(factor[d:, d:]).sum())
        factor = factor[:d]
    left, singular, right = np.linalg.svd(factor[:, :d], full_matrices=False)
    rank = numerical_rank(singular, (m, d))
    target = left.T @ factor[:, d:]
    inside = float(np.square(target[:rank]).sum())
    outside += float(np.square(target[rank:]).sum())
    share = inside / (inside + outside) if inside + outside else 1.0
    return _Parts(singular[:rank], right[:rank], target[:rank], share, largest)


def row_products(block: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes `block @ weights`, (rows, n), each value summed in the same order; BLAS depends on a row's position."""
    products: NDArray[np.float64] = np.einsum("jd,nd->jn", block, np.ascontiguousarray(weights.T))
    return products
