"""Algorithms 1 and 2 of the paper and greedy on each objective by its definition, in float64 and without tricks: the
oracles that every backend is compared with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu import ties
from gip_gpu.arrays import as_initial, as_scores
from gip_gpu.objectives import energies, seen
from gip_gpu.problem import Options, Problem, pose
from gip_gpu.rows import Rows
from gip_gpu.ties import exhausted, first_best
from gip_gpu.validate import as_count, as_epsilon, one_of

Float = NDArray[np.float64]


def matching_pursuit(
    F: ArrayLike,
    G: ArrayLike,
    k: int,
    *,
    normalize: bool = True,
    on_exhausted: str = "continue",
    initial: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Greedy matching pursuit, algorithm 1 of arXiv 2603.13790, one Gram column at a time.

    Args:
        F: (m, d) embeddings; cast to float64, then normalised in float64 if `normalize`.
        G: (m, n) or (m,) scores.
        k: number of picks, at most m.
        on_exhausted: "continue" is the paper's loop; "restart" and "stop" act as in `gip_gpu.select`.
        initial: as in `gip_gpu.select`.

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
    given = as_initial(initial, m, k).tolist()
    left, picks, k = np.ones(m, dtype=bool), list[int](), k + len(given)
    while len(picks) < k:
        W = scores.copy()
        scale = float(np.linalg.norm(W[left], axis=1).max())
        while len(picks) < k:
            gains = np.where(left, np.einsum("jn,jn->j", W, W), -np.inf)
            forced = len(picks) < len(given)
            over = on_exhausted == "stop" or (on_exhausted == "restart" and scale)
            if over and not forced and exhausted(gains.max(), scale):
                break
            s = given[len(picks)] if forced else first_best(gains, scale)[0]
            picks.append(s)
            left[s] = False
            W -= np.outer(np.einsum("jd,d->j", X, X[s]), W[s])
        if on_exhausted == "stop":
            break
    return np.array(picks[len(given) :], dtype=np.int64)


def greedy_lr(F: ArrayLike, G: ArrayLike, k: int, *, epsilon: float = 0.0, normalize: bool = True) -> NDArray[np.int64]:
    """Greedy LR, algorithm 2 of arXiv 2603.13790, corrected: as printed, eq. F.6 multiplies by what it must divide by.

    `C` (t, m) holds the rows of the Cholesky factor of the chosen Gram columns, and `d2` what they leave of the
    diagonal of Phi + epsilon I. With epsilon 0 it ends at the rank of F.

    Args:
        F, G, k, normalize: as in `matching_pursuit`.
        epsilon: as in `gip_gpu.select`.

    >>> greedy_lr([[1, 0], [0.8, 0.6], [0, 1]], [1, 2, 3], 2).tolist()
    [2, 0]
    """
    rows = Rows(F, normalize=normalize)
    m = rows.shape[0]
    X, R, k = rows.block(0, m) * 2.0**-rows.exponent, as_scores(G, rows.shape), as_count(k, m)
    squares, ridge = np.einsum("jd,jd->j", X, X), as_epsilon(epsilon) * 4.0**-rows.exponent
    scale = float(np.sqrt(ties.ratio_scale(energies(R), squares, ridge).max()))
    d2, C, picks = squares + ridge, np.empty((0, m)), list[int]()
    while len(picks) < k:
        left = d2 > ties.DEPENDENT * squares
        left[picks] = False
        candidates = np.flatnonzero(left)
        if not len(candidates):
            break
        roots = np.sqrt(d2[left])
        norms = np.linalg.norm(R[left], axis=1) / roots
        terms = ties.ratio_terms(norms, roots, squares[left], ridge, scale)
        s = int(candidates[ties.first_tied(norms, ties.slack(norms, terms))[0]])
        e = (X @ X[s] - C[:, s] @ C) / np.sqrt(d2[s])
        R = R - np.outer(e, R[s]) / np.sqrt(d2[s])
        d2 = d2 - e * e
        C = np.vstack([C, e])
        picks.append(s)
    return np.array(picks, dtype=np.int64)


def greedy(
    F: ArrayLike,
    G: ArrayLike | None,
    k: int,
    *,
    objective: str,
    epsilon: float = 0.0,
    query: str = "direct",
    sign: str = "any",
    normalize: bool = True,
    on_exhausted: str = "restart",
    initial: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Greedy on any objective of the family, by projecting each pick out of the rows themselves.

    The rows phi_j start as those of F, and `phi_j -= (phi_j . phi_s) phi_s / (q + sqrt(epsilon q))` makes their Gram
    matrix that of the projector of algorithms 2: `d2_j = ||phi_j||^2`, `R_j -= (phi_j . phi_s) R_s / q`, with
    `q = epsilon + d2_s`. Unlike a difference of squares, as in `greedy_lr`, that keeps small distances exact, which the
    rules for ties, dependent rows and exhaustion (`gip_gpu.ties`) need near the rank of F. Without epsilon the phi_s
    are an orthogonal basis, and made so once more against the rounding of those before.

    Args:
        F, G, k: as in `matching_pursuit`; G is None for "entropy".
        objective: "lr", "mi", "entropy" or "omp"; also "mp", for sign="positive".
        epsilon, query, sign, normalize, on_exhausted, initial: as in `gip_gpu.select`, with what it refuses; no
            "continue".

    Returns:
        Indices in order of choice, int64.

    >>> greedy([[1, 0], [0.8, 0.6], [0, 1]], None, 2, objective="entropy").tolist()
    [0, 2]
    """
    one_of("on_exhausted", on_exhausted, ("restart", "stop"))
    options = Options(objective, epsilon, query, sign, on_exhausted)
    rows = Rows(F, normalize=normalize)
    m = rows.shape[0]
    scores = None if G is None else as_scores(G, rows.shape)
    exponent = 0 if normalize else int(np.frexp(rows.largest)[1])
    problem, k = pose(rows, scores, options, exponent), as_count(k, m)
    X, ridge = rows.block(0, m) * 2.0**-exponent, epsilon * 4.0**-exponent
    kind, left, picks = problem.objective, np.ones(m, dtype=bool), list[int]()
    squares = np.einsum("jd,jd->j", X, X)
    given = as_initial(initial, m, k).tolist()
    k += len(given)
    while len(picks) < k and left.any():
        began = len(picks)
        R, phi, basis = problem.scores.copy(), X.copy(), np.empty((0, X.shape[1]))
        projected = list[int]()
        measures = squares if kind.measure == "distance" else energies(R)
        if kind.measure == "ratio":
            measures = ties.ratio_scale(measures, squares, ridge)
        scale = float(np.sqrt(measures[left].max()))
        first = largest = 0.0
        while len(picks) < k:
            q = ridge + np.einsum("jd,jd->j", phi, phi)
            eligible = left & (q > ties.DEPENDENT * squares) if kind.projects else left
            forced = len(picks) < len(given)
            if not eligible.any() and not forced:
                break
            norms, terms, metric = _norms(problem, X, R, q, squares, scale, projected, ridge)
            s = given[len(picks)] if forced else -1
            if forced and not eligible[s]:
                # In the span of those before it.
                picks.append(s)
                left[s] = False
                continue
            best = float(norms[s] if forced else norms[eligible].max())
            first, largest = first or best, max(largest, best)
            if not forced:
                if ties.used_up(best, first, largest) or metric >= ties.SINGULAR:
                    break
                candidates = np.flatnonzero(eligible)
                s = int(candidates[ties.first_tied(norms[eligible], ties.slack(norms, terms)[eligible])[0]])
            picks.append(s)
            left[s] = False
            projected.append(s)
            own = phi[s].copy()
            if kind.projects and not ridge:
                for _ in range(2):
                    own -= (basis @ own) @ basis
                own *= np.sqrt(q[s]) / np.linalg.norm(own)
                basis = np.vstack([basis, own / np.linalg.norm(own)])
            column = np.einsum("jd,d->j", phi, own)
            R -= np.outer(column, R[s] / q[s] if kind.projects else R[s] * 4.0**exponent)
            if kind.projects:
                phi -= np.outer(column, own / (q[s] + np.sqrt(ridge * q[s])))
        if on_exhausted == "stop":
            break
        if len(picks) == began:
            # Nothing that counts is left.
            picks.extend(np.flatnonzero(left)[: k - began].tolist())
    return np.array(picks[len(given) :], dtype=np.int64)


def _norms(
    problem: Problem, X: Float, R: Float, q: Float, squares: Float, scale: float, picks: list[int], ridge: float
) -> tuple[Float, Float, float]:
    """Roots of the scores, the terms of their ties, and how large the metric has grown."""
    kind = problem.objective
    if kind.measure == "distance":
        norms = np.sqrt(q - ridge)
        return norms, np.full(len(X), scale), 1.0
    norms, metric = np.sqrt(energies(seen(R, problem.sign))), 1.0
    if problem.Q is not None:
        # M = Q'PQ from what the ridge regression of Q on the picks leaves, its penalty included: a sum of squares, in
        # which nothing cancels.
        chosen = X[picks]
        fit = np.linalg.solve(chosen @ chosen.T + ridge * np.eye(len(picks)), chosen @ problem.Q)
        left = np.vstack([problem.Q - chosen.T @ fit, np.sqrt(ridge) * fit])
        inverse = np.linalg.inv(np.linalg.qr(left)[1])
        norms, metric = np.sqrt(energies(R @ inverse)), float(np.linalg.norm(inverse))
    if kind.measure == "norm":
        return norms, np.full(len(X), scale), metric
    # An item in the span of the picks is not eligible, and its q may be 0.
    roots = np.sqrt(np.where(q > ties.DEPENDENT * squares, q, np.inf))
    norms = norms / roots
    return norms, ties.ratio_terms(norms, roots, squares, ridge, metric * scale), metric


def brute_force(
    F: ArrayLike,
    G: ArrayLike | None,
    k: int,
    *,
    objective: str,
    epsilon: float = 0.0,
    query: str = "direct",
    normalize: bool = True,
) -> NDArray[np.int64]:
    """Greedy on an objective by its definition: each step tries every item. For pools of a few hundred items.

    With `K = F_S F_S' + epsilon I` of the picks and the item that is tried, these are maximised:

        lr: tr(G_S' K^-1 G_S), which lowers the trace (4.2)    entropy: log det K
        mi: log det(Q'Q) - log det(Q'Q - G_S' K^-1 G_S)        omp, mp: ||W_j||^2 of the residual

    where the residual is `G - F F_S' K^-1 G_S` for omp, and for mp what algorithm 1 leaves. Values within
    1e-10 of the best tie, logarithms absolutely and others relatively, and the lowest index wins. No exhaustion.

    Args:
        F, G, k, objective, epsilon, query, normalize: as in `greedy`.

    >>> brute_force([[1, 0], [0.8, 0.6], [0, 1]], [1, 2, 3], 2, objective="lr").tolist()
    [2, 0]
    """
    rows = Rows(F, normalize=normalize)
    m = rows.shape[0]
    scores = None if G is None else as_scores(G, rows.shape)
    problem = pose(rows, scores, Options(objective, epsilon, query))
    X, G_, Q = rows.block(0, m), problem.scores, problem.Q
    picks = list[int]()
    while len(picks) < as_count(k, m):
        values = np.full(m, -np.inf)
        for j in np.setdiff1d(np.arange(m), picks):
            tried = [*picks, j] if objective in ("lr", "mi", "entropy") else picks
            S, G_S = X[tried], G_[tried]
            K = S @ S.T + epsilon * np.eye(len(tried))
            if objective == "entropy":
                values[j] = np.linalg.slogdet(K)[1]
            elif objective == "mp":
                w = G_[j].copy()
                kept = G_.copy()
                for s in picks:
                    w -= X[j] @ X[s] * kept[s]
                    kept -= np.outer(X @ X[s], kept[s])
                values[j] = w @ w
            elif objective == "omp":
                w = G_[j] - X[j] @ S.T @ np.linalg.solve(K, G_S)
                values[j] = w @ w
            elif Q is None:
                values[j] = np.vdot(G_S, np.linalg.solve(K, G_S))
            else:
                values[j] = -np.linalg.slogdet(Q.T @ Q - G_S.T @ np.linalg.solve(K, G_S))[1]
        best = values.max()
        tie = 1e-10 * (max(abs(best), 1.0) if objective in ("mi", "entropy") else best)
        picks.append(int((values >= best - tie).argmax()))
    return np.array(picks, dtype=np.int64)
