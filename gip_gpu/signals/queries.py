"""Scores from a query, `G = F Q`, and the query behind scores."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_query, as_scores
from gip_gpu.problem.ridge_query import fit, row_products
from gip_gpu.validation.settings import as_epsilon, flag


def from_query(F: ArrayLike, Q: ArrayLike, *, normalize: bool = True) -> NDArray[np.float64]:
    """Computes the scores `F Q` of a query, for which the information of a choice about Q is defined.

    Args:
        F: (m, d) embeddings, any float or integer type; read in blocks.
        Q: (d, n) query, or (d,) for one column, such as the embedding of a task; taken as given, not normalised.
        normalize: divide each row of F by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        (m, n) float64 scores, or (m,) for a query (d,). Identical rows have bit-identical scores.

    Raises:
        TypeError, ValueError: F is no finite real (m, d) matrix, or has a zero row and `normalize` is true; Q is not
            real and finite, does not fit F, or has a column with a norm beyond 1e150.

    Source: Greedy Information Projection, arXiv 2603.13790, eq. 3.1.

    >>> from_query([[3, 4], [0, 2]], [10, 0])
    array([6., 0.])
    """
    rows = Rows(F, normalize=flag("normalize", normalize))
    query = as_query(Q, rows.shape[1], rows.shape[0])
    scores = np.empty((rows.shape[0], query.shape[1]))
    for start, stop in rows.bounds(query.shape[1]):
        scores[start:stop] = row_products(rows.block(start, stop), query)
    return scores[:, 0] if np.ndim(Q) == 1 else scores


def ridge_query(F: ArrayLike, G: ArrayLike, epsilon: float, *, normalize: bool = True) -> NDArray[np.float64]:
    """Fits a query to raw scores: `Q = (F'F + epsilon I)^-1 F'G` minimises `||F Q - G||^2 + epsilon ||Q||^2`.

    `from_query(F, ridge_query(F, G, epsilon))` is the part of G that a query can express, and is itself a signal; the
    measures of information in `gip_gpu.metrics` take the query.

    Args:
        F: (m, d) embeddings, any float or integer type; read in blocks.
        G: (m, n) or (m,) scores.
        epsilon: regularisation, >= 0, in units of squared singular values of F; unit rows have `sum s_i^2 = m`. 0 gives
            the shortest of the least-squares solutions.
        normalize: divide each row of F by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        (d, n) float64, or (d,) for scores (m,).

    Raises:
        TypeError, ValueError: F or G is no finite real matrix, their rows differ in number, F has a zero row and
            `normalize` is true, or epsilon is negative or not finite; Q is beyond float64.

    Source: Greedy Information Projection, arXiv 2603.13790, eq. 3.1 and appendix D.

    >>> ridge_query([[1, 0], [0, 1], [0, 1]], [4, 3, 6], 1.0).round(9)
    array([2., 3.])
    """
    ridge = as_epsilon(epsilon)
    rows = Rows(F, normalize=flag("normalize", normalize))
    weights = fit(rows, as_scores(G, rows.shape), ridge).weights
    return weights[:, 0] if np.ndim(G) == 1 else weights
