"""Both sides of the inequalities of the paper: theorems 2, 3 and 6."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.user_arrays import as_query
from gip_gpu.metrics._arguments import chosen_rows
from gip_gpu.metrics._query import left_of_query
from gip_gpu.metrics.information import entropy, mutual_information
from gip_gpu.metrics.path import information_path
from gip_gpu.numerics.orthogonal import log, row_space, singular_values, triangle


def projection_bound(F: ArrayLike, Q: Any, indices: ArrayLike, *, normalize: bool = True) -> tuple[float, float]:
    """Returns both sides, (left, right), of theorem 2.

    The theorem is `||F_S Q||_2 >= sigma_min(F_S) sigma_min(Q) sqrt(1 - (eta / det(Q'Q))^(1/r))` with
    eta = det(Q'(I - P_S)Q) and r = n, the number of columns of Q. Proof: `eta / det(Q'Q)` is the product of the squared
    sines of the n principal angles between Q and the span of the rows, so its n-th root is at least the smallest of
    them, and `F_S Q` is at least as long as F_S times the part of Q at that angle. sigma_min(F_S) is the smallest of
    the min(k, d) singular values, 0 if F_S has a lower rank.

    Args:
        F: (m, d) embeddings, cast to float64; only the chosen rows are read.
        Q: (d, n) or (d,) query, with linearly independent columns.
        indices: (k,) distinct integers; both sides are 0 if there are none.
        normalize: divide each row by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        Both sides, each with its own rounding error; they are equal for k = n = 1.

    Raises:
        TypeError, ValueError: as `mutual_information`.

    >>> [round(side, 6) for side in projection_bound([[1, 0], [3, 4]], [1, 1], [0, 1])]
    [1.720465, 0.894427]
    """
    information = mutual_information(F, Q, indices, normalize=normalize)
    rows, query = _rows_and_query(F, Q, indices, normalize)
    left = float(singular_values(rows @ query).max(initial=0.0))
    least = float(min(singular_values(rows), default=0.0))
    return left, least * _least_projection(query, np.array(information)).item()


def projection_bounds(
    F: ArrayLike, Q: Any, indices: ArrayLike, *, normalize: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns `projection_bound` of the first 1, 2, ... k chosen rows: left sides (k,), right sides (k,).

    The smallest singular value costs O(min(t, d)^3) at pick t, by a QR and an SVD of a triangle; the other costs are
    those of `information_path`.

    >>> projection_bounds([[1, 0], [0, 1]], [3, 4], [1, 0])
    (array([4., 5.]), array([4., 5.]))
    """
    information = information_path(F, Q, indices, normalize=normalize).mutual_information
    rows, query = _rows_and_query(F, Q, indices, normalize)
    k, d = rows.shape
    left, least = np.zeros(k), np.zeros(k)
    product = np.zeros((0, query.shape[1]))
    corner, lower = np.zeros((0, 0)), triangle(rows.T).T  # row t of lower has min(t + 1, d) values
    for t in range(k):
        product = triangle(np.vstack([product, rows[t] @ query]))
        left[t] = singular_values(product)[0]
        width = min(t + 1, d)
        corner = triangle(np.vstack([np.pad(corner, ((0, 0), (0, width - corner.shape[1]))), lower[t, :width]]))
        least[t] = singular_values(corner)[-1]
    return left, least * _least_projection(query, information)


def determinant_bound(
    F: ArrayLike, Q: Any, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True
) -> tuple[float, float]:
    """Returns logarithms of both sides of theorem 3, `det(M) <= (tr(M) / n)^n`, M = Q'PQ.

    The theorem bounds the objective by the trace. Arguments, P and errors are those of `log_determinant`. For n = 1 the
    sides are equal up to rounding.

    >>> determinant_bound([[1, 0, 0]], [[1, 0], [0, 1], [0, 1]], [0])[0]
    -inf
    """
    query, left = left_of_query(F, Q, indices, epsilon, normalize)
    n = query.factor.shape[1]
    determinant = query.log_determinant - 2 * query.information(left)
    return determinant, n * float(log(np.array(query.trace(left) / n)))


def gram_bound(F: ArrayLike, indices: ArrayLike, *, normalize: bool = True) -> tuple[float, float]:
    """Returns logarithms of both sides of theorem 6, `det(F_S F_S') >= (k / tr((F_S F_S')^-1))^k`.

    The theorem compares the geometric mean of the eigenvalues with their harmonic mean. Arguments and errors are those
    of `entropy`; both sides are -inf if the rows are linearly dependent, 0 for an empty choice.

    >>> [round(side, 6) for side in gram_bound([[1, 0], [3, 4]], [0, 1])]
    [-0.446287, -0.892574]
    """
    directions, lengths = chosen_rows(F, indices, normalize)
    k = len(directions)
    if k == 0:
        return 0.0, 0.0
    singular, _ = row_space(directions * lengths[:, None])
    inverses = np.full(k, np.inf)  # logarithms of the eigenvalues of (F_S F_S')^-1
    inverses[: len(singular)] = -2 * log(singular)
    mean_inverse = float(np.logaddexp.reduce(inverses)) - math.log(k)
    return 2 * entropy(F, indices, normalize=normalize), -k * mean_inverse


def _rows_and_query(
    F: ArrayLike, Q: Any, indices: ArrayLike, normalize: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    directions, lengths = chosen_rows(F, indices, normalize)
    return directions * lengths[:, None], as_query(Q, directions.shape[1])


def _least_projection(query: NDArray[np.float64], information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns sigma_min(Q) sqrt(1 - (eta / det(Q'Q))^(1/n)), where the ratio is exp(-2 information)."""
    n = query.shape[1]
    projections: NDArray[np.float64] = singular_values(query)[-1] * np.sqrt(-np.expm1(-2 * information / n))
    return projections
