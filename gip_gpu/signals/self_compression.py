"""Self-compression scores: the share of the whole pool that each item represents."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import Rows


def self_compression(F: ArrayLike, *, normalize: bool = True, center: bool | str = False) -> NDArray[np.float64]:
    """Computes row sums of the Gram matrix, `g = F (F' 1)`, in O(m d): selecting with them compresses the pool itself.

    Args:
        F: (m, d) embeddings, any float or integer type; a memory-mapped file is read in blocks, twice.
        normalize: divide each row by its l2 norm first, as `gip_gpu.select` does by default.
        center: subtract the mean row first, as in `gip_gpu.select`.

    Returns:
        (m,) float64 scores. Identical rows have bit-identical scores, whatever their positions.

    Raises:
        TypeError, ValueError: F is no finite real (m, d) matrix, or has a zero row and `normalize` is true.

    Source: Greedy Information Projection, arXiv 2603.13790: the self-compression scores of its experiments.

    >>> self_compression([[1, 0], [1, 0], [0, 2]])
    array([2., 2., 1.])
    """
    rows = Rows(F, normalize=normalize, center=center)
    m, d = rows.shape
    total, scores = np.zeros(d), np.empty(m)
    for start, stop in rows.bounds():
        total += rows.block(start, stop).sum(axis=0)
    for start, stop in rows.bounds():
        # BLAS products of identical rows may differ in the last bit, depending on their position in a block.
        np.einsum("jd,d->j", rows.block(start, stop), total, out=scores[start:stop])
    return scores
