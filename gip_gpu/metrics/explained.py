"""Shares of the energy of G that rows explain: in the range of Gram columns, or of F."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import BLOCK_VALUES, Rows
from gip_gpu.data.user_arrays import as_scores
from gip_gpu.metrics._arguments import as_choice
from gip_gpu.numerics.orthogonal import Basis, folded_triangle, row_space
from gip_gpu.problem.ridge_query import share_in_range


def explained_share(F: ArrayLike, G: ArrayLike, indices: ArrayLike, *, normalize: bool = True) -> float:
    """Returns the share of the energy of G that the chosen rows explain, in any order: see `explained_curve`.

    >>> explained_share([[1, 0], [0, 1]], [3, 4], [1])
    0.64
    """
    curve = explained_curve(F, G, indices, normalize=normalize)
    return float(curve[-1]) if len(curve) else 0.0


def explained_curve(F: ArrayLike, G: ArrayLike, indices: ArrayLike, *, normalize: bool = True) -> NDArray[np.float64]:
    """Returns the share of the energy of G that the first 1, 2, ... k chosen rows explain.

    For a set S the share is `1 - min_c ||G - Phi_S c||^2 / ||G||^2`, where Phi_S holds the chosen columns of the Gram
    matrix: the best that any weighting of the choice can do. The choices of different selectors are comparable until
    they span all d dimensions: `Phi_S c` ranges over `F q` with q in the span of the chosen rows, so from then on every
    choice explains as much as any q can.

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
    scores = _scaled(as_scores(G, rows.shape))
    # A power of two, which changes no share, so that squares neither overflow nor vanish.
    scale = 2.0 ** -np.frexp(rows.largest)[1]
    chosen = rows.take(as_choice(indices, rows.shape[0])) * scale
    _, frame = row_space(chosen)
    r, width = frame.shape[1], frame.shape[1] + scores.shape[1]
    # The R factor of [F frame | G] determines the projections, so the m rows are not kept.
    factor = folded_triangle(
        (np.hstack([rows.block(a, b) * scale @ frame, scores[a:b]]) for a, b in _bounds(rows, width)), width
    )
    gram_columns = factor[:, :r] @ (chosen @ frame).T
    return _projected_shares(gram_columns, factor[:, r:])


def range_share(F: ArrayLike, G: ArrayLike, *, normalize: bool = True) -> float:
    """Returns the share of the energy of G in the range of F: `max_Q 1 - ||F Q - G||^2 / ||G||^2`.

    It is 1 if some query Q gives `F Q = G` (eq. 3.1), so that G and Q are equivalent; for raw judge scores the rest is
    the part that no query can express. It bounds `explained_share` of every choice.

    Args:
        F: (m, d) embeddings, read in blocks: O((d + n)^2) memory beyond F and G, O(m (d + n)^2) time.
        G: (m, n) or (m,) scores.
        normalize: divide each row by its l2 norm first, as `gip_gpu.select` does by default.

    Returns:
        A float in [0, 1]. F may have any rank: singular values within the rounding of the largest, up to
        max(m, d) 2^-52 of it, count as zero.

    Raises:
        TypeError, ValueError: F or G is no finite real matrix, their rows differ in number, or G is zero.

    >>> range_share([[2, 0], [0, 3], [0, 1]], [3, 4, 4])
    1.0
    >>> range_share([[1, 0], [0, 1], [0, 0]], [3, 0, 4], normalize=False)
    0.36
    """
    rows = Rows(F, normalize=normalize)
    return share_in_range(rows, _scaled(as_scores(G, rows.shape)))


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns scores divided by the largest magnitude: shares stay equal, and squares neither overflow nor vanish."""
    largest = np.abs(scores).max()
    if largest == 0:
        raise ValueError("G is all zeros; it must have energy to explain")
    shares: NDArray[np.float64] = scores / largest
    return shares


def _bounds(rows: Rows, width: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of blocks of at least `width` rows: folding a factor in then costs no more than the rows."""
    m, d = rows.shape
    step = max(width, BLOCK_VALUES // d)
    return ((start, min(start + step, m)) for start in range(0, m, step))


def _projected_shares(columns: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of the target's energy in the span of the first 1, 2, ... columns."""
    energy = float(np.vdot(target, target))
    shares = np.zeros(columns.shape[1])
    basis = Basis(*columns.shape)
    for t, column in enumerate(columns.T):
        direction, _ = basis.extend(column)
        target = target - np.outer(direction, direction @ target)
        shares[t] = 1 - float(np.vdot(target, target)) / energy
    return np.clip(shares, 0.0, 1.0)
