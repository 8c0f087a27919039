"""Measures of a choice as a set: overlap with another set, diversity, variety of labels."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_matrix
from gip_gpu.metrics._arguments import as_choice, as_indices


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Returns intersection over union of two sets of indices, in [0, 1]; 1 for two empty sets.

    Args:
        a, b: integer indices, in any order; repeated ones count once.

    Raises:
        TypeError, ValueError: not a one-dimensional array of integers, or a negative index.

    >>> iou([3, 1, 2], [2, 3, 4])
    0.5
    """
    left, right = np.unique(as_indices(a, "a")), np.unique(as_indices(b, "b"))
    both = len(np.intersect1d(left, right, assume_unique=True))
    either = len(left) + len(right) - both
    return both / either if either else 1.0


def mean_pairwise_cosine(F: ArrayLike, indices: ArrayLike) -> float:
    """Returns the mean cosine over all pairs of different chosen rows, in O(k d): the lower, the more diverse.

    With unit rows f_i, the pairs sum to `(||sum f_i||^2 - sum ||f_i||^2) / 2`.

    Args:
        F: (m, d) embeddings; rows are normalised in float64. Only the chosen rows are read.
        indices: (k,) distinct integers, k >= 2.

    Raises:
        TypeError, ValueError: as above, or a chosen row is zero or not finite.

    >>> mean_pairwise_cosine([[1, 0], [0, 1], [5, 0], [0, 3]], [0, 2])
    1.0
    """
    matrix = as_matrix(F, "F")
    chosen = as_choice(indices, len(matrix))
    k = len(chosen)
    if k < 2:
        raise ValueError(f"indices must hold at least 2 items to form a pair, got {k}")
    rows = Rows(matrix[chosen])
    total, squares = np.zeros(rows.shape[1]), 0.0
    for start, stop in rows.bounds():
        block = rows.block(start, stop)
        total += block.sum(axis=0)
        squares += float(np.vdot(block, block))
    return (float(total @ total) - squares) / (k * (k - 1))


def coverage(labels: Sequence[Hashable] | NDArray[np.generic], indices: ArrayLike) -> int:
    """Returns the number of different labels among the chosen items.

    Args:
        labels: m labels of any hashable kind, one per item.
        indices: (k,) distinct integers.

    >>> coverage(["json", "json", "re", "os"], [0, 1, 3])
    2
    """
    listed = hasattr(labels, "__len__") and hasattr(labels, "__getitem__") and not isinstance(labels, Mapping)
    if not listed or getattr(labels, "ndim", 1) != 1:
        raise TypeError(f"labels is a {type(labels).__name__}; it must be a sequence of m labels, one an item")
    return len({labels[i] for i in as_choice(indices, len(labels)).tolist()})
