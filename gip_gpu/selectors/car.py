"""CaR: the best rows by quality, and the best of each cluster of embeddings.

Source: Ge et al. 2024, Clustering and Ranking, arXiv 2402.18191.
"""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_scores
from gip_gpu.validation.settings import as_count, as_whole

# Share of the variance that the principal components keep.
VARIANCE = 0.95


def car(
    F: ArrayLike, scores: ArrayLike, k: int | float | str, *, best: int | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """Chooses the n1 best rows by score, and the n2 best of each cluster that are not among them.

    The authors fix n1 and n2, and the number of rows follows; here k is fixed. Without `best`, n2 is 1 and n1 the
    largest number for which k rows hold the best row of every cluster; if there are more clusters than k, n1 is 0 and
    the best rows of clusters compete by score. With `best`, n1 is given and n2 the smallest number that gives k rows;
    the rows that are the n2-th of their clusters compete by score for the last places. Either way the authors' choice,
    n1 = 1000 and n2 = 1 of 52,002 rows, results for its number of rows.

    Args:
        F: (m, d) embeddings, any float or integer type, clustered as given by `car_clusters`.
        scores: (m,) quality, higher is better.
        k: number of rows, or a share of m, as in `gip_gpu.select`.
        best: n1, from 0 to k; None: n2 is 1.
        seed: seed of the clusters.

    Returns:
        (k,) int64 row numbers: the n1 best first, highest score first, then those of clusters, level by level. Ties go
        to the lowest row number.

    Raises:
        TypeError, ValueError: F is no finite real (m, d) matrix; scores are no finite (m,); k, `best` or the seed is
            out of range.
        ImportError: scikit-learn is missing.

    Source: Ge et al. 2024, arXiv 2402.18191.

    >>> F = [[0, 0], [0, 1], [1, 0], [1, 1], [90, 90], [90, 91], [91, 90], [91, 91]]
    >>> car(F, [5, 9, 8, 7, 1, 2, 3, 0], 3)
    array([1, 2, 6])
    """
    rows = Rows(F, normalize=False)
    m = rows.shape[0]
    given = as_scores(scores, rows.shape, ("F", "scores"))
    if given.shape[1] != 1:
        raise ValueError(f"scores has {given.shape[1]} columns; it must be one, (m,)")
    count = as_count(k, m)
    n1 = None if best is None else as_whole(best, "best", 0, count)
    labels = _clusters(rows, seed)
    order = np.argsort(-given[:, 0], kind="stable")
    level = _levels(labels[order])
    if n1 is None:
        # Rows chosen by each n1 from 0 to m: the n1 best, and the best rows of clusters behind them; grows by 0 or 1.
        tops = np.append(0, np.cumsum(level == 0))
        sizes = np.arange(m + 1) + tops[-1] - tops
        n1 = max(0, int(np.searchsorted(sizes, count, side="right")) - 1)
    rest = np.arange(n1, m)
    rest = rest[np.argsort(level[rest], kind="stable")]
    chosen: NDArray[np.int64] = order[np.concatenate([np.arange(n1), rest])[:count]].astype(np.int64)
    return chosen


def car_clusters(F: ArrayLike, *, seed: int = 0) -> NDArray[np.int64]:
    """Clusters rows as CaR: principal components of 95 % of the variance, and k-means with floor(sqrt(m / 2)) clusters.

    Args:
        F: (m, d) embeddings, as given, not normalised; read into memory in float64.
        seed: seed of k-means, which starts once, by k-means++.

    Returns:
        (m,) int64 labels from 0 to floor(sqrt(m / 2)) - 1. The same seed gives the same labels with the same versions
        of NumPy and scikit-learn.

    Raises:
        TypeError, ValueError: F is no finite real (m, d) matrix; the seed is no int from 0 to 2**32 - 1.
        ImportError: scikit-learn is missing.

    Source: Ge et al. 2024, arXiv 2402.18191.

    >>> car_clusters([[0, 0], [0, 1], [1, 0], [1, 1], [9, 9], [9, 8], [8, 9], [8, 8]]).reshape(2, 4).std(axis=1)
    array([0., 0.])
    """
    return _clusters(Rows(F, normalize=False), seed)


def _clusters(rows: Rows, seed: Any) -> NDArray[np.int64]:
    seed = as_whole(seed, "seed", 0, 2**32 - 1)
    try:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise ImportError('car needs scikit-learn: pip install "gip_gpu[sklearn]"') from error
    m = rows.shape[0]
    clusters = math.isqrt(m // 2)
    values = rows.block(0, m)
    if clusters < 2 or (values == values[0]).all():
        return np.zeros(m, np.int64)
    # Threads of k-means add up their sums in any order; with one, the same seed gives the same labels.
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        # Fewer distinct rows than clusters: the others stay empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        reduced = PCA(VARIANCE, random_state=seed).fit_transform(values)
        found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(reduced)
    labels: NDArray[np.int64] = found.astype(np.int64)
    return labels


def _levels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns for each row how many rows of its cluster come before it."""
    order = np.argsort(labels, kind="stable")
    grouped = labels[order]
    first = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]])
    sizes = np.diff(np.r_[first, len(labels)])
    levels = np.empty(len(labels), np.int64)
    levels[order] = np.arange(len(labels)) - np.repeat(first, sizes)
    return levels
