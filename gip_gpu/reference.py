"""Algorithm 1 of the paper in float64, without tricks: the oracle that every backend is compared with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.rows import Rows
from gip_gpu.ties import exhausted, first_best
from gip_gpu.validate import as_count, as_scores, one_of


def matching_pursuit(
    F: ArrayLike, G: ArrayLike, k: int, *, normalize: bool = True, on_exhausted: str = "continue"
) -> NDArray[np.int64]:
    """Greedy matching pursuit, algorithm 1 of arXiv 2603.13790, one Gram column at a time.

    Args:
        F: (m, d) embeddings; cast to float64, then normalised in float64 if `normalize`.
        G: (m, n) or (m,) scores.
        k: number of picks, at most m.
        on_exhausted: "continue" is the paper's loop; "restart" and "stop" act as in `gip_gpu.select`.

    Returns:
        Indices in order of choice, int64; (k,), or fewer with "stop".

    The products are `einsum` sums, not BLAS: identical rows get identical products wherever they stand.

    >>> matching_pursuit([[1, 0], [1, 0], [0, 1]], [3, 2, 1], 3).tolist()
    [0, 1, 2]
    """
    rows = Rows(F, normalize=normalize)
    m = rows.shape[0]
    X, scores, k = rows.block(0, m), as_scores(G, rows.shape), as_count(k, m)
    one_of("on_exhausted", on_exhausted, ("restart", "stop", "continue"))
    left, picks = np.ones(m, dtype=bool), list[int]()
    while len(picks) < k:
        W = scores.copy()
        scale = float(np.linalg.norm(W[left], axis=1).max())
        while len(picks) < k:
            gains = np.where(left, np.einsum("jn,jn->j", W, W), -np.inf)
            if exhausted(gains.max(), scale) and (on_exhausted == "stop" or (on_exhausted == "restart" and scale)):
                break
            s, _ = first_best(gains, scale)
            picks.append(s)
            left[s] = False
            W -= np.outer(np.einsum("jd,d->j", X, X[s]), W[s])
        if on_exhausted == "stop":
            break
    return np.array(picks, dtype=np.int64)
