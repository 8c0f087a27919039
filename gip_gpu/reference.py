"""Reference algorithms in plain float64, which every backend is compared with: algorithms 1 and 2 of the paper, and
greedy on each objective by its definition."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.data.user_arrays import as_initial, as_scores
from gip_gpu.numerics import ties
from gip_gpu.numerics.regularised_fit import RegularisedFit, log_det
from gip_gpu.numerics.ties import exhausted, first_best
from gip_gpu.problem.formulation import Problem, pose
from gip_gpu.problem.objectives import energies, seen
from gip_gpu.problem.options import Options
from gip_gpu.validation.settings import as_count, as_epsilon, one_of

Float = NDArray[np.float64]


def matching_pursuit(
    F: ArrayLike,
    G: ArrayLike,
    k: int,
    *,
    normalize: bool = True,
    center: bool | str = False,
    on_exhausted: str = "continue",
    initial: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Runs greedy matching pursuit, algorithm 1 of arXiv 2603.13790, one Gram column at a time.

    Args:
        F: (m, d) embeddings; cast to float64, then centred by `center` and normalised by `normalize`, both in float64.
        center: as in `gip_gpu.select`.
        G: (m, n) or (m,) scores.
        k: number of picks, at most m.
        on_exhausted: "continue" is the paper's loop; "restart" and "stop" act as in `gip_gpu.select`.
        initial: as in `gip_gpu.select`.

    Returns:
        Indices in order of choice, int64; (k,), or fewer with "stop".

    The products are `einsum` sums, not BLAS: identical rows get identical products, whatever their positions.

    >>> matching_pursuit([[1, 0], [1, 0], [0, 1]], [3, 2, 1], 3).tolist()
    [0, 1, 2]
    """
    rows = Rows(F, normalize=normalize, center=center)
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


def greedy_lr(
    F: ArrayLike,
    G: ArrayLike,
    k: int,
    *,
    epsilon: float = 0.0,
    normalize: bool = True,
    center: bool | str = False,
) -> NDArray[np.int64]:
    """Runs Greedy LR, algorithm 2 of arXiv 2603.13790, with a correction: as printed, eq. F.6 multiplies where it must
    divide.

    `C` (t, m) holds the rows of the Cholesky factor of the chosen Gram columns, and `d2` the remaining diagonal of
    Phi + epsilon I. With epsilon 0 it ends at the rank of F.

    Args:
        F, G, k, normalize, center: as in `matching_pursuit`.
        epsilon: as in `gip_gpu.select`.

    >>> greedy_lr([[1, 0], [0.8, 0.6], [0, 1]], [1, 2, 3], 2).tolist()
    [2, 0]
    """
    rows = Rows(F, normalize=normalize, center=center)
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
    center: bool | str = False,
    on_exhausted: str = "restart",
    initial: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Runs greedy selection on any objective, by projecting each pick out of the rows themselves.

    The rows phi_j start as those of F, and `phi_j -= (phi_j . phi_s) phi_s / (q + sqrt(epsilon q))` makes their Gram
    matrix that of the projector of algorithm 2: `d2_j = ||phi_j||^2`, `R_j -= (phi_j . phi_s) R_s / q`, with
    `q = epsilon + d2_s`. Unlike a difference of squares, as in `greedy_lr`, this keeps small distances exact, which the
    rules for ties, dependent rows and exhaustion (`gip_gpu.numerics.ties`) need near the rank of F. Without epsilon the
    phi_s form an orthogonal basis; each is orthogonalised again to remove the rounding of the earlier ones.

    Args:
        F, G, k: as in `matching_pursuit`; G is None for "entropy".
        objective: "lr", "mi", "entropy" or "omp"; also "mp", for sign="positive".
        epsilon, query, sign, normalize, center, on_exhausted, initial: as in `gip_gpu.select`, with the same errors,
            but without "continue".

    Returns:
        Indices in order of choice, int64.

    Raises:
        ValueError: objective "mp" with sign "any"; `matching_pursuit` has its rules for ties and exhaustion.

    >>> greedy([[1, 0], [0.8, 0.6], [0, 1]], None, 2, objective="entropy").tolist()
    [0, 2]
    """
    one_of("on_exhausted", on_exhausted, ("restart", "stop"))
    options = Options(objective, epsilon, query, sign, on_exhausted)
    if (objective, sign) == ("mp", "any"):
        form = "" if normalize else ", normalize=False"
        query_of_G = f"signals.ridge_query(F, G, {epsilon!r}{form})"
        scored = "G" if query == "direct" else f"signals.from_query(F, {query_of_G}{form})"
        raise ValueError(
            "objective is 'mp' and sign 'any', which is matching pursuit: call "
            f"matching_pursuit(F, {scored}, k{form}, on_exhausted={on_exhausted!r})"
        )
    rows = Rows(F, normalize=normalize, center=center)
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
        # The query's columns, from which the picks are projected out as from rows.
        asked = None if problem.Q is None else problem.Q.T.copy()
        touched = False
        measures = squares if kind.measure == "distance" else energies(R)
        if kind.measure == "ratio":
            measures = ties.ratio_scale(measures, squares, ridge)
        scale = float(np.sqrt(measures[left].max()))
        first = largest = scale / np.sqrt(ridge + 1) if kind.measure == "ratio" else scale
        while len(picks) < k:
            q = ridge + np.einsum("jd,jd->j", phi, phi)
            eligible = left & (q > ties.DEPENDENT * squares) if kind.projects else left
            forced = len(picks) < len(given)
            if not eligible.any() and not forced:
                break
            norms = _norms(problem, R, q, squares, asked, ridge)
            s = given[len(picks)] if forced else -1
            if forced and not eligible[s]:
                # It is in the span of the picks before it.
                picks.append(s)
                left[s] = False
                continue
            best = float(norms[s] if forced else norms[eligible].max())
            largest = max(largest, best)
            if not forced:
                singular = asked is not None and np.linalg.norm(_metric(asked)) >= ties.SINGULAR
                if not best or (touched and ties.used_up(best, first, largest)) or singular:
                    break
                values, slacks = _values(problem, norms, phi, q, squares, asked, scale, ridge)
                candidates = np.flatnonzero(eligible)
                s = int(candidates[ties.first_tied(values[eligible], slacks[eligible])[0]])
            picks.append(s)
            left[s] = False
            touched = True
            own = phi[s].copy()
            if kind.projects and not ridge:
                for _ in range(2):
                    own -= (basis @ own) @ basis
                own *= np.sqrt(q[s]) / np.linalg.norm(own)
                basis = np.vstack([basis, own / np.linalg.norm(own)])
            column = np.einsum("jd,d->j", phi, own)
            R -= np.outer(column, R[s] / q[s] if kind.projects else R[s] * 4.0**exponent)
            if kind.projects:
                shrunk = own / (q[s] + np.sqrt(ridge * q[s]))
                phi -= np.outer(column, shrunk)
                if asked is not None:
                    asked -= np.outer(asked @ own, shrunk)
        if on_exhausted == "stop":
            break
        if len(picks) == began:
            # No remaining item has a score that counts.
            picks.extend(np.flatnonzero(left)[: k - began].tolist())
    return np.array(picks[len(given) :], dtype=np.int64)


def _metric(asked: Float) -> Float:
    """Returns B with B B' = M^-1, M = asked asked'; `asked` (n, d) is the unexplained part of the query's columns."""
    triangle = np.linalg.qr(asked.T)[1]
    # A direction that is explained to the last bit leaves a zero on the diagonal.
    triangle[np.diag_indices(len(triangle))] += np.where(np.abs(np.diagonal(triangle)) < 2.0**-104, 2.0**-104, 0.0)
    return np.asarray(np.linalg.inv(triangle))


def _norms(problem: Problem, R: Float, q: Float, squares: Float, asked: Float | None, ridge: float) -> Float:
    """Returns the roots of the scores; 0 for an item whose divisor is zero."""
    kind = problem.objective
    if kind.measure == "distance":
        return np.sqrt(q - ridge)
    norms = np.sqrt(energies(seen(R, problem.sign) if asked is None else R @ _metric(asked)))
    if kind.measure == "norm":
        return norms
    # An item in the span of the picks is not eligible, and its q may be 0.
    return norms / np.sqrt(np.where(q > ties.DEPENDENT * squares, q, np.inf))


def _values(
    problem: Problem, norms: Float, phi: Float, q: Float, squares: Float, asked: Float | None, scale: float,
    ridge: float,
) -> tuple[Float, Float]:  # fmt: skip
    """Returns the values that are compared, roots of scores or nats, and the slack of each within a tie."""
    kind = problem.objective
    if asked is not None:
        basis = np.linalg.qr(asked.T)[0]
        inside = phi @ basis
        rest = phi - inside @ basis.T
        rest -= (rest @ basis) @ basis.T
        lengths = np.sqrt(squares)
        # A rest is at least as large as its rounding.
        beyond = np.maximum(np.linalg.norm(rest, axis=1), 2.0**-53 * np.sqrt(q) + 1e-150)
        metric = _metric(asked)
        reach = np.linalg.norm(inside @ metric.T, axis=1) + np.linalg.norm(metric) * beyond
        nats = ties.information(energies(inside), beyond**2, ridge)
        moves = ties.information_moves(energies(inside), beyond**2, ridge)
        return nats, ties.slack(nats, moves * (lengths + reach))
    if kind.measure != "ratio":
        return norms, ties.slack(norms, scale)
    roots = np.sqrt(np.where(q > ties.DEPENDENT * squares, q, np.inf))
    return norms, ties.slack(norms, ties.ratio_terms(norms, roots, squares, ridge, scale))


def brute_force(
    F: ArrayLike,
    G: ArrayLike | None,
    k: int,
    *,
    objective: str,
    epsilon: float = 0.0,
    query: str = "direct",
    normalize: bool = True,
    center: bool | str = False,
) -> NDArray[np.int64]:
    """Runs greedy selection on an objective by its definition: each step tries every item. For a few hundred items.

    With `K = F_S F_S' + epsilon I` of the picks and the item that is tried, these quantities are maximised:

        lr: tr(G_S' K^-1 G_S), which lowers the trace (4.2)    entropy: log det K
        mi: log det(Q'Q) - log det(Q'Q - G_S' K^-1 G_S)        omp, mp: ||W_j||^2 of the residual

    where the residual is `G - F F_S' K^-1 G_S` for omp, and that of algorithm 1 for mp. All but mp use orthogonal
    decompositions, because K itself loses values below 1e-16 / epsilon. Values within 1e-10 of the best tie, logarithms
    absolutely and others relatively, and the lowest index wins. There is no exhaustion.

    Args:
        F, G, k, objective, epsilon, query, normalize, center: as in `greedy`.

    >>> brute_force([[1, 0], [0.8, 0.6], [0, 1]], [1, 2, 3], 2, objective="lr").tolist()
    [2, 0]
    """
    rows = Rows(F, normalize=normalize, center=center)
    m = rows.shape[0]
    scores = None if G is None else as_scores(G, rows.shape)
    problem = pose(rows, scores, Options(objective, epsilon, query))
    X, G_, Q = rows.block(0, m), problem.scores, problem.Q
    picks = list[int]()
    while len(picks) < as_count(k, m):
        values = np.full(m, -np.inf)
        for j in np.setdiff1d(np.arange(m), picks):
            tried = [*picks, j] if objective in ("lr", "mi", "entropy") else picks
            if objective == "mp":
                w = G_[j].copy()
                kept = G_.copy()
                for s in picks:
                    w -= X[j] @ X[s] * kept[s]
                    kept -= np.outer(X @ X[s], kept[s])
                values[j] = w @ w
                continue
            whole = RegularisedFit(X[tried], G_[tried], epsilon)
            if objective == "entropy":
                values[j] = whole.log_det
            elif objective == "omp":
                w = G_[j] - X[j] @ whole.solution
                values[j] = w @ w
            elif Q is None:
                values[j] = whole.explained
            else:
                values[j] = -log_det(whole.unexplained(Q))
        best = values.max()
        tie = 1e-10 * (max(abs(best), 1.0) if objective in ("mi", "entropy") else best)
        picks.append(int((values >= best - tie).argmax()))
    return np.array(picks, dtype=np.int64)
