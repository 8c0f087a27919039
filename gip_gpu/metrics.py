"""How good a choice is: measures of a set of rows that do not depend on how the set was chosen."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.rows import Rows
from gip_gpu.validate import as_matrix, as_scores

# A Gram column with no more than this share of its length outside the span of others is taken to lie in it.
DEPENDENT = 1e-12


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union of two sets of indices, in [0, 1]; two empty sets are equal, so 1.

    Args:
        a, b: integer indices, any order; repeated ones count once.

    Raises:
        TypeError, ValueError: not a one-dimensional array of integers, or a negative index.

    >>> iou([3, 1, 2], [2, 3, 4])
    0.5
    """
    left, right = np.unique(_indices(a, "a")), np.unique(_indices(b, "b"))
    both = len(np.intersect1d(left, right, assume_unique=True))
    either = len(left) + len(right) - both
    return both / either if either else 1.0


def mean_pairwise_cosine(F: ArrayLike, indices: ArrayLike) -> float:
    """Mean cosine over all pairs of different chosen rows, in O(k d): the lower, the more diverse the choice.

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
    chosen = _chosen(indices, len(matrix))
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
    """Number of different labels among the chosen items.

    Args:
        labels: m labels of any hashable kind, one an item.
        indices: (k,) distinct integers.

    >>> coverage(["json", "json", "re", "os"], [0, 1, 3])
    2
    """
    return len({labels[i] for i in _chosen(indices, len(labels)).tolist()})


def explained_share(F: ArrayLike, G: ArrayLike, indices: ArrayLike, *, normalize: bool = True) -> float:
    """Share of the energy of G that the span of the chosen rows explains, in any order: see `explained_curve`.

    >>> explained_share([[1, 0], [0, 1]], [3, 4], [1])
    0.64
    """
    curve = explained_curve(F, G, indices, normalize=normalize)
    return float(curve[-1]) if len(curve) else 0.0


def explained_curve(F: ArrayLike, G: ArrayLike, indices: ArrayLike, *, normalize: bool = True) -> NDArray[np.float64]:
    """Share of the energy of G that the first, the first two, ... of the chosen rows explain.

    For a set S that is `1 - min_c ||G - Phi_S c||^2 / ||G||^2`, where Phi_S holds the chosen columns of the Gram
    matrix: the best that any weighting of the choice can do. So choices of different selectors compare, until
    they span all d dimensions: `Phi_S c` ranges over `F q` with q in the span of the chosen rows, and then every
    choice explains what any q can.

    Args:
        F: (m, d) embeddings, read in blocks.
        G: (m, n) or (m,) scores.
        indices: (k,) distinct integers, in order of choice.
        normalize: divide each row by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        (k,) float64 in [0, 1], never falling.

    Raises:
        TypeError, ValueError: F or G is no finite real matrix, their rows differ in number, G is zero, or an
            index is repeated or out of range.

    Float64 by orthogonal projections; no normal equations, which would square the condition number.

    >>> explained_curve([[1, 0], [0, 1]], [3, 4], [1, 0])
    array([0.64, 1.  ])
    """
    rows = Rows(F, normalize=normalize)
    scores = as_scores(G, rows.shape)
    largest = np.abs(scores).max()
    if largest == 0:
        raise ValueError("G is all zeros; it must have energy to explain")
    scores /= largest  # shares stay as they are, and squares neither overflow nor vanish
    chosen = rows.take(_chosen(indices, rows.shape[0]))
    frame = _row_space(chosen)
    r = frame.shape[1]
    # The R factor of [F frame | G], folded in block by block: all that projections need to know of m rows.
    factor = np.zeros((0, r + scores.shape[1]))
    for start, stop in rows.bounds():
        block = np.hstack([rows.block(start, stop) @ frame, scores[start:stop]])
        factor = _triangle(np.vstack([factor, block]))
    gram_columns = factor[:, :r] @ (chosen @ frame).T
    return _projected_shares(gram_columns, factor[:, r:])


def _projected_shares(columns: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the target's energy in the span of the first, the first two, ... columns (Gram-Schmidt)."""
    energy = float(np.vdot(target, target))
    shares = np.zeros(columns.shape[1])
    basis = np.zeros((len(columns), min(columns.shape)))
    rank = 0
    for t, column in enumerate(columns.T):
        left = column
        for _ in range(2):  # twice is enough for orthogonality to rounding
            left = left - basis[:, :rank] @ (basis[:, :rank].T @ left)
        length = np.linalg.norm(left)
        if rank < basis.shape[1] and length > DEPENDENT * np.linalg.norm(column):
            basis[:, rank] = left / length
            target = target - np.outer(basis[:, rank], basis[:, rank] @ target)
            rank += 1
        shares[t] = 1 - float(np.vdot(target, target)) / energy
    return np.clip(shares, 0.0, 1.0)


def _triangle(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The R factor of a QR decomposition."""
    return np.asarray(np.linalg.qr(rows, mode="r"), dtype=np.float64)


def _row_space(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis of the span of (k, d) rows, (d, rank)."""
    _, singular, right = np.linalg.svd(_triangle(rows), full_matrices=False)
    cut = max(rows.shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    basis: NDArray[np.float64] = right[singular > cut].T
    return basis


def _indices(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Indices as int64; refuses what is not a one-dimensional array of integers >= 0."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")
    return array.astype(np.int64)


def _chosen(values: ArrayLike, m: int) -> NDArray[np.int64]:
    """Indices of a choice out of m items: in range and distinct."""
    chosen = _indices(values, "indices")
    if len(chosen) and chosen.max() >= m:
        raise ValueError(f"indices must be below the number of rows {m}, got {chosen.max()}")
    if len(np.unique(chosen)) < len(chosen):
        raise ValueError("indices must be distinct, got repeated ones")
    return chosen
