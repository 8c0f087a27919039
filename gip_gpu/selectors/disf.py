"""DiSF: rows whose embeddings have the least correlated dimensions, chosen greedily batch by batch.

Source: Fan et al. 2025, Combatting Dimensional Collapse via Diversified File Selection, arXiv 2504.20644.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import BLOCK_VALUES, Rows
from gip_gpu.validation.settings import as_count, as_whole

# Added to the variance of each dimension, as the authors do.
FLOOR = 1e-8
# Largest norm of a row; fourth powers of larger values could overflow float64.
LARGEST = 1e70
# Objectives that differ by this share of the largest possible one tie.
TIE = 1e-13


def disf(F: ArrayLike, k: int | float | str, *, batch: int = 1024, seed: int = 0) -> NDArray[np.int64]:
    """Chooses from each batch of rows a share of k, each row the one after which the chosen ones are least correlated.

    With C the d x d correlation matrix of the chosen rows of a batch, each dimension centred and divided by
    `sqrt(variance + 1e-8)`, a pick minimises the sum of the squares of C off its diagonal. The first pick of a batch is
    random. From batches of 1024 the authors choose 16.

    After one pick the correlations of any second one are 1 or -1, or 0 where both rows agree, so the second pick is a
    row near the first: a copy of it, if there is one. That is what the objective says.

    Args:
        F: (m, d) embeddings, any float or integer type, taken as given, not normalised; d at least 2.
        k: number of rows, or a share of m, as in `gip_gpu.select`.
        batch: rows of a batch, in their order in F; the last batch may be shorter. Each has its share of k: the picks
            up to its end are k times the rows up to its end over m, rounded down.
        seed: seed of the first picks; that of a batch depends on the seed and the number of the batch alone.

    Returns:
        (k,) int64 row numbers, batch by batch in the order chosen. Ties go to the lowest row number.

    Raises:
        TypeError, ValueError: F is no finite real (m, d) matrix, has one column, or a norm beyond 1e70; k, batch or the
            seed is out of range.

    Source: Fan et al. 2025, arXiv 2504.20644.

    >>> F = [[0, 0], [1, 1], [2, 2], [1, -1]]
    >>> sorted(disf(F, 3).tolist())
    [0, 1, 3]
    """
    rows = Rows(F, normalize=False)
    m, d = rows.shape
    if d < 2:
        raise ValueError(f"F has shape {rows.shape}; it must have at least two columns, which correlate")
    if rows.largest > LARGEST:
        raise ValueError(f"F has a row with norm {rows.largest:g}; at most {LARGEST:g} is possible")
    count, size = as_count(k, m), as_whole(batch, "batch", 1)
    number = as_whole(seed, "seed", 0)
    chosen = []
    for index, start in enumerate(range(0, m, size)):
        stop = min(start + size, m)
        share = count * stop // m - count * start // m
        if share:
            first = int(np.random.default_rng([number, index]).integers(stop - start))
            chosen.append(start + _greedy(rows.block(start, stop), share, first))
    return np.concatenate(chosen)


def _greedy(rows: NDArray[np.float64], k: int, first: int) -> NDArray[np.int64]:
    """Chooses k of the rows of one batch, beginning with `first`."""
    # Products of BLAS may differ in the last bit between identical rows; all take the value of the first of them.
    _, firsts, groups = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    alike = firsts[groups.reshape(-1)]
    chosen = np.array([first])
    free = np.ones(len(rows), bool)
    free[first] = False
    # Values are sums of d^2 squared correlations, each at most 1.
    tie = TIE * rows.shape[1] ** 2
    while len(chosen) < k:
        values = _correlations(rows[chosen], rows)[alike]
        values[~free] = np.inf
        pick = int(np.flatnonzero(values <= values.min() + tie)[0])
        free[pick] = False
        chosen = np.append(chosen, pick)
    return chosen


def _correlations(chosen: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns for each candidate the sum of squared off-diagonal correlations of the chosen rows and itself, (c,).

    With A (n x d) the centred chosen rows, u a candidate less their mean and a = n / (n + 1), the scatter matrix of all
    n + 1 rows is `A'A + a u u'`. For weights w of the dimensions the squares of its entries sum up to
    `||A diag(w) A'||^2 + 2 a ||A (w u)||^2 + a^2 (w . u^2)^2`, in which A diag(w) A' is n x n. All terms are sums of
    squares, so nothing cancels.
    """
    n, d = chosen.shape
    mean = chosen.mean(axis=0)
    A, a = chosen - mean, n / (n + 1)
    scatter = np.einsum("nd,nd->d", A, A)
    # The first term as a product of two matrices: with pairs of rows of A, or pairs of dimensions if they are fewer.
    pairwise = n * (n + 1) // 2 <= d
    if pairwise:
        i, j = np.triu_indices(n)
        products, twice = A[i] * A[j], np.where(i == j, 1.0, 2.0)
    else:
        products = np.square(A.T @ A)
    found = np.empty(len(candidates))
    step = max(1, BLOCK_VALUES // d)
    for start in range(0, len(candidates), step):
        u = candidates[start : start + step] - mean
        variance = (scatter + a * u * u) / n
        w = 1 / (variance + FLOOR)
        inner = w @ products.T
        first = np.square(inner) @ twice if pairwise else np.einsum("cd,cd->c", inner, w)
        second = np.square((w * u) @ A.T).sum(axis=1)
        third = np.square(np.einsum("cd,cd,cd->c", w, u, u))
        diagonal = np.square(variance * w).sum(axis=1)
        found[start : start + step] = (first + 2 * a * second + a * a * third) / n**2 - diagonal
    return found
