"""Information of a set of chosen rows on a query: the objectives of the paper, section 3 and eq. 4.2.

Throughout, P projects the span of the chosen rows F_S out: `P = I - P_S`. With epsilon > 0, the variance of noise on
each chosen row, `P = epsilon (epsilon I + F_S'F_S)^-1`. The first is the limit of the second.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gip_gpu.metrics._arguments import chosen_rows
from gip_gpu.metrics._query import left_of_query, seen_rows
from gip_gpu.numerics.orthogonal import log, row_space
from gip_gpu.validation.settings import as_epsilon


def mutual_information(
    F: ArrayLike, Q: Any, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True
) -> float:
    """Returns the mutual information of query and chosen rows in nats, eq. 3.3: `-1/2 log(det(Q'PQ) / det(Q'Q))`.

    By theorem 1 it equals `1/2 log(det(Q'Q) det(F_S F_S') / det(Sigma))` with Sigma the joint covariance
    `[[Q'Q, Q'F_S'], [F_S Q, F_S F_S']]`, but it stays defined where both determinants of chosen rows vanish. With
    epsilon > 0 the formula has `F_S F_S' + epsilon I`. The order of the indices, the scale of the rows (epsilon = 0)
    and an invertible recombination of the columns of Q do not change it.

    Args:
        F: (m, d) embeddings, cast to float64; only the chosen rows are read.
        Q: (d, n) or (d,) query, with linearly independent columns.
        indices: (k,) distinct integers; an empty choice has information 0.
        epsilon: variance of the noise on each chosen row, >= 0.
        normalize: divide each row by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        A float >= 0; inf if a combination of the columns of Q lies in the span of the chosen rows, that is, keeps no
        more than 1e-12 of its length under P^(1/2). Rows are linearly dependent if a singular value is no larger than
        the rounding of the largest, max(k, d) 2^-52 of it.

    Raises:
        TypeError, ValueError: an argument is not as above, or the columns of Q are linearly dependent.

    Computed in float64 by singular values of the rows and of the query's part outside of them; no normal equations.

    >>> F, Q = [[1, 0], [0, 1]], [1, 1]
    >>> round(mutual_information(F, Q, [0]), 6), mutual_information(F, Q, [0, 1])
    (0.346574, inf)
    """
    query, left = left_of_query(F, Q, indices, epsilon, normalize)
    return query.independent().information(left)


def log_determinant(F: ArrayLike, Q: Any, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True) -> float:
    """Returns `log det(Q'PQ)`, eq. 3.4, which selection minimises; -inf if a combination of Q's columns is spanned or
    zero.

    Arguments and errors are those of `mutual_information`, but the columns of Q may be dependent.

    >>> round(log_determinant([[1, 0], [0, 1]], [3, 4], [0]), 6)  # log 16
    2.772589
    """
    query, left = left_of_query(F, Q, indices, epsilon, normalize)
    return query.log_determinant - 2 * query.information(left)


def trace(F: ArrayLike, Q: Any, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True) -> float:
    """Returns `tr(Q'PQ)`, eq. 4.2: the energy of the query outside of the span of the chosen rows.

    Arguments and errors are those of `mutual_information`, but the columns of Q may be dependent. If all of Q is
    spanned, rounding leaves up to about 1e-30 of its energy.

    >>> trace([[1, 0], [0, 1]], [3, 4], [0])
    16.0
    """
    query, left = left_of_query(F, Q, indices, epsilon, normalize)
    return query.trace(left)


def entropy(F: ArrayLike, indices: ArrayLike, *, epsilon: float = 0.0, normalize: bool = True) -> float:
    """Returns `1/2 log det(F_S F_S' + epsilon I)`: the entropy of the chosen rows up to a constant, without a query.

    Arguments and errors are those of `mutual_information`. It is 0 for an empty choice, and -inf for linearly dependent
    rows if epsilon is 0.

    >>> round(entropy([[1, 0], [3, 4]], [0, 1]), 6), entropy([[1, 0], [2, 0]], [0, 1])
    (-0.223144, -inf)
    """
    directions, lengths = chosen_rows(F, indices, normalize)
    epsilon = as_epsilon(epsilon)
    singular, _ = row_space(seen_rows(directions, lengths, epsilon))
    squares = np.full(len(lengths), -np.inf)
    squares[: len(singular)] = 2 * log(singular)
    total = float(np.logaddexp(squares, log(np.array(epsilon))).sum()) / 2
    return total if epsilon else total + float(log(lengths).sum())
