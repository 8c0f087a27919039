"""The objectives of the family on the CPU: the indices of greedy by definition, whatever the data."""

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import Pool, family, metrics, select, signals, ties
from gip_gpu.reference import brute_force, greedy, greedy_lr

SCORED = ("lr", "mi", "omp")


def normalized(F):
    X = np.asarray(F, float)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def choose(F, G, k, **options):
    """The indices, after a look at the certificate."""
    chosen = select(F, G, k, device="cpu", **options)
    proof = chosen.certificate
    assert (proof.candidates >= proof.ties).all()
    assert ((proof.margins >= 0) & (proof.margins <= 1)).all()
    assert (proof.margins[proof.ties > 1] == 0).all()
    return chosen.indices


@st.composite
def pools(draw):
    """Rows and scores of a query, F of any scale."""
    m, d = draw(st.integers(2, 60)), draw(st.integers(1, 12))
    n = draw(st.integers(1, min(3, d, m)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    F = rng.standard_normal((m, d)) * rng.uniform(0.1, 8, (m, 1))
    normalize = draw(st.booleans())
    G = (normalized(F) if normalize else F) @ rng.standard_normal((d, n))
    return F, G, normalize


def resolved(chosen, objective):
    """Leading picks that differences of whole objectives, in float64, can tell from the next best."""
    proof, gains = chosen.certificate, chosen.gains
    whole = {"lr": np.cumsum(gains), "mi": 1.0, "entropy": gains, "omp": gains + 1e-5 * gains.max()}[objective]
    told = (proof.margins * gains > 1e-8 * whole) | (proof.ties > 1)
    return int(np.append(told, False).argmin())


@settings(max_examples=40, deadline=None)
@given(pools(), st.sampled_from([0.0, 0.05]), st.sampled_from(["direct", "ridge"]))
def test_brute_force(pool, epsilon, query):
    F, G, normalize = pool
    (m, d), n = F.shape, G.shape[1]
    for objective in (*SCORED, "entropy"):
        how = {"objective": objective, "epsilon": epsilon, "normalize": normalize}
        if objective != "entropy":
            how["query"] = query
        scores = None if objective == "entropy" else G
        # Without epsilon, brute force divides zero by zero once the rows, or the query, are spanned.
        rank = min(m, d) - (n if objective == "mi" else 1)
        k = min(m, 8) if epsilon else min(max(rank, 1), 8, m)
        if objective == "mi" and not epsilon and rank < 1:
            continue
        chosen = select(F, scores, k, device="cpu", **how)
        np.testing.assert_array_equal(chosen.indices, greedy(F, scores, k, **how), err_msg=str(how))
        k = resolved(chosen, objective)
        if k:
            expected = brute_force(F, scores, k, **how)
            np.testing.assert_array_equal(chosen.indices[:k], expected, err_msg=str(how))


@settings(max_examples=40, deadline=None)
@given(pools(), st.sampled_from([0.0, 0.05]), st.sampled_from(["restart", "stop"]), st.booleans())
def test_whole_pools(pool, epsilon, on_exhausted, raw):
    """Beyond the rank, to the last item, and with scores that no query gives."""
    F, G, normalize = pool
    if raw:
        G = np.random.default_rng(0).standard_normal(G.shape)
    for objective in (*SCORED, "entropy"):
        how = {"objective": objective, "epsilon": epsilon, "normalize": normalize, "on_exhausted": on_exhausted}
        if objective == "mi":
            how["query"] = "ridge"
        scores = None if objective == "entropy" else G
        expected = greedy(F, scores, len(F), **how)
        np.testing.assert_array_equal(choose(F, scores, len(F), **how), expected, err_msg=str(how))


@settings(max_examples=30, deadline=None)
@given(pools(), st.sampled_from(["mp", "lr", "omp"]), st.floats(-2, 2))
def test_positive_signs(pool, objective, shift):
    F, G, normalize = pool
    if objective == "mp":
        normalize = True
    how = {"objective": objective, "sign": "positive", "normalize": normalize}
    expected = greedy(F, G + shift, len(F), **how)
    np.testing.assert_array_equal(choose(F, G + shift, len(F), **how), expected)


def test_signs_matter():
    F = np.eye(4)
    assert choose(F, [1.0, -3.0, 2.0, -4.0], 2).tolist() == [3, 1]
    for objective in ("mp", "lr", "omp"):
        chosen = select(F, [1.0, -3.0, 2.0, -4.0], 4, objective=objective, sign="positive", device="cpu")
        # What is left when no score is positive comes in order.
        assert chosen.indices.tolist() == [2, 0, 1, 3]
        assert chosen.gains.tolist() == [4, 1, 0, 0]
        stopped = select(F, [-1.0, -3.0, -2.0, -4.0], 4, sign="positive", on_exhausted="stop", device="cpu")
        assert len(stopped) == 0


def textbook_lr(F, G, k, epsilon):
    """lr as the choice that ridge regression fits worst, each set tried as a whole."""
    X, picks = normalized(F), []
    for _ in range(k):
        best = {}
        for j in sorted(set(range(len(X))) - set(picks)):
            S = X[[*picks, j]]
            query = np.linalg.solve(S.T @ S + epsilon * np.eye(X.shape[1]), S.T @ G[[*picks, j]])
            misfit = G[[*picks, j]] - S @ query
            # The penalised loss over epsilon is tr(G_S' (F_S F_S' + epsilon I)^-1 G_S).
            best[j] = float(np.vdot(misfit, misfit) + epsilon * np.vdot(query, query))
        picks.append(max(best, key=lambda j: best[j]))
    return picks


def test_ridge_beyond_the_rank():
    """lr with epsilon and k > d, against the loss of ridge regression on the picks."""
    rng = np.random.default_rng(4)
    F, G = rng.standard_normal((40, 4)), rng.standard_normal((40, 2))
    assert choose(F, G, 15, objective="lr", epsilon=0.3).tolist() == textbook_lr(F, G, 15, 0.3)


def test_rounding_does_not_add_dimensions(cone, monkeypatch):
    """Raw scores over small distances: lr likes rows that lie nearly in the span of its picks, one after the other."""
    monkeypatch.setattr(ties, "FLOOR", 0.0)
    G = np.column_stack([signals.self_compression(cone), np.arange(len(cone)) % 6])
    for normalize in (True, False):
        how = {"objective": "lr", "normalize": normalize}
        chosen = select(cone, G, 120, device="cpu", **how)
        assert chosen.rounds == (0, 48, 96)
        np.testing.assert_array_equal(chosen.indices, greedy(cone, G, 120, **how))


@pytest.mark.parametrize(("m", "d"), [(1000, 32), (3000, 64)])
def test_contradicting_scores_end_a_round_before_rounding_decides(m, d):
    """Ratings of independent rows: near the rank, scores grow by orders of magnitude, and their rounding with them."""
    rng = np.random.default_rng(0)
    F, G = rng.standard_normal((m, d)), rng.integers(0, 6, (m, 2)).astype(float)
    chosen = select(F, G, 3 * d // 2, objective="lr", device="cpu")
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, 3 * d // 2, objective="lr"))
    assert d // 2 < chosen.rounds[1] < d
    exact = np.longdouble
    basis, A = np.zeros((0, d), exact), np.zeros((2, d), exact)
    for s, gain in zip(chosen.indices[: chosen.rounds[1]], chosen.gains, strict=False):
        x = F[s].astype(exact)
        x /= np.sqrt(x @ x)
        phi = x
        for _ in range(2):
            phi = phi - (basis @ phi) @ basis
        w, q = G[s] - A @ x, phi @ phi
        assert gain == pytest.approx(float(w @ w / q), rel=1e-7)
        basis, A = np.vstack([basis, phi / np.sqrt(q)]), A + np.outer(w, phi) / q
    assert chosen.gains[: chosen.rounds[1]].max() > 1e6 * chosen.gains[0]
    assert (chosen.certificate.margins > 0).sum() > d // 2


def test_hopeless_input():
    rng = np.random.default_rng(0)
    F = rng.standard_normal((50, 8))
    with pytest.raises(ValueError, match="F has no row with a norm beyond 1e-120; scale the rows up"):
        select(F * 1e-130, None, 8, normalize=False, device="cpu")
    outside = np.linalg.svd(normalized(F))[0][:, 20:22]
    for objective in ("mp", "lr", "mi"):
        with pytest.raises(
            ValueError, match=r"G has a share of \S+ of its energy in the range of F, which is rounding"
        ):
            select(F, outside, 5, objective=objective, query="ridge", device="cpu")
    # Of widely different lengths, rows are told apart by those that are left.
    lengths = np.logspace(-60, 60, 50)[:, None]
    assert choose(normalized(F) * lengths, None, 8, normalize=False).tolist() == list(range(49, 41, -1))


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_both_forms_of_lr(cone, epsilon):
    """The form with a (t, m) factor and the form with a (d, d) projector."""
    G = np.random.default_rng(1).integers(0, 6, (len(cone), 3))
    expected = greedy_lr(cone, G, 40, epsilon=epsilon)
    np.testing.assert_array_equal(greedy(cone, G, 40, objective="lr", epsilon=epsilon), expected)
    np.testing.assert_array_equal(choose(cone, G, 40, objective="lr", epsilon=epsilon), expected)


def test_omp_is_scikit_learns(cone):
    from sklearn.linear_model import orthogonal_mp_gram

    X = normalized(cone)
    for seed in range(3):
        g = X @ np.random.default_rng(seed).standard_normal(X.shape[1])
        # Dictionary atoms are the items: their Gram matrix, and what each has in common with the target.
        coefficients = orthogonal_mp_gram(X @ X.T, g, n_nonzero_coefs=20, return_path=True)
        order = []
        for step in coefficients.T:
            order += [int(j) for j in np.flatnonzero(step) if j not in order]
        assert choose(cone, g, 20, objective="omp").tolist() == order


def greedy_map_dpp(kernel, k):
    """Fast greedy MAP inference of a determinantal point process (Chen, Zhang and Zhou, arXiv 1709.05135, alg. 1)."""
    items = len(kernel)
    c = np.zeros((k, items))
    d2 = np.diag(kernel).copy()
    chosen = [int(np.argmax(d2))]
    while len(chosen) < k:
        t, j = len(chosen) - 1, chosen[-1]
        e = (kernel[j] - c[:t, j] @ c[:t]) / np.sqrt(d2[j])
        c[t] = e
        d2 -= e**2
        d2[j] = -np.inf
        chosen.append(int(np.argmax(d2)))
    return chosen


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_entropy_is_greedy_map(cone, epsilon):
    F = cone * np.random.default_rng(2).uniform(0.5, 2, (len(cone), 1))  # of different norms, so that no pick is a tie
    kernel = F.astype(float) @ F.astype(float).T + epsilon * np.eye(len(F))
    expected = greedy_map_dpp(kernel, 100 if epsilon else 40)
    assert choose(F, None, len(expected), normalize=False, epsilon=epsilon).tolist() == expected


def test_mi_of_one_column_is_lr(cone):
    for g in (signals.self_compression(cone), np.random.default_rng(1).integers(0, 6, len(cone))):
        for how in ({}, {"epsilon": 0.1}, {"query": "ridge", "epsilon": 0.1}):
            np.testing.assert_array_equal(
                choose(cone, g, 60, objective="mi", **how), choose(cone, g, 60, objective="lr", **how)
            )


REAL = {
    "gsm8k": ("gsm8k_minilm_f16.npy", None),
    "wildbench": ("wildbench_minilm_f16.npy", "wildbench_judges.npy"),
    "bbh": ("bbh_wordllama_f16.npy", None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data(real, name):
    embeddings, judges = REAL[name]
    F = real(embeddings)[:2500]
    compression = signals.self_compression(F)
    G = np.column_stack([compression / compression.max(), np.random.default_rng(0).random(len(F))])
    if judges is not None:
        G = real(judges)[:2500]
    k = 120
    for objective, scores, how in (
        ("lr", compression, {}),
        ("lr", G, {"epsilon": 0.01}),
        ("omp", compression, {}),
        ("mi", G, {"epsilon": 0.01, "query": "ridge"}),
        ("mi", signals.from_query(F, np.random.default_rng(3).standard_normal((F.shape[1], 3))), {}),
        ("entropy", None, {}),
        ("entropy", None, {"epsilon": 0.01}),
        ("mp", G - G.mean(axis=0), {"sign": "positive"}),
    ):
        expected = greedy(F, scores, k, objective=objective, **how)
        np.testing.assert_array_equal(
            choose(F, scores, k, objective=objective, **how), expected, err_msg=f"{objective} {how}"
        )


def test_bounds_hold_at_every_step(cone, monkeypatch):
    """The arrays are never further from float64 than the bounds say, and the bounds are of use."""
    seen = []
    original = family.Family._choose

    def checked(self, state):
        items, rules, metric = self.items, self.rules, self.metric
        x = items._rows(np.arange(len(state.left)))
        S = np.eye(state.d) if items.S is None else items.S
        exact = items.scores - x @ items.A.T
        if metric is not None:
            exact = exact @ metric.frame
        eligible = items.eligible
        if not eligible.any():
            return original(self, state)
        off = np.linalg.norm(items.W.T.astype(float) - exact, axis=1)[eligible].max(initial=0)
        assert off <= state.error
        assert np.linalg.norm(exact, axis=1)[eligible].max(initial=0) <= self.reach * (1 + 1e-6)
        distances = np.square(x @ S).sum(axis=1)
        assert distances[eligible].max() <= self.largest * (1 + 1e-12)
        if rules.measure != "norm":
            assert np.abs(items.distance - distances)[eligible].max() <= self.distance_error
            seen.append(self.distance_error)
        seen.append(state.error)
        return original(self, state)

    monkeypatch.setattr(family.Family, "_choose", checked)
    G = signals.from_query(cone, np.random.default_rng(0).standard_normal((48, 3)))
    for objective, scores in (("lr", G), ("omp", G), ("mi", G), ("entropy", None)):
        for epsilon in (0.0, 0.01):
            select(cone, scores, 60, objective=objective, epsilon=epsilon, device="cpu")
    select(cone, G, 60, sign="positive", device="cpu")
    select(cone * 3, G, 60, objective="lr", normalize=False, device="cpu")
    assert 0 < np.median(seen) < 1e-4


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1])
def test_rounding_of_the_root(cone, epsilon):
    """The estimate of the float64 rounding of S'x against long double."""
    from gip_gpu import bounds

    X = normalized(cone)
    picks = choose(cone, None, 40, epsilon=epsilon)
    least = 1.0
    S, exact = np.eye(48), np.eye(48, dtype=np.longdouble)
    for t, s in enumerate(picks):
        for root in (S, exact):
            x = X[s].astype(root.dtype)
            phi = root.T @ x
            q = epsilon + phi @ phi
            root -= np.outer(root @ phi / (q + np.sqrt(epsilon * q)), phi)
        least = min(least, float(np.sqrt(q)))
        off = np.linalg.norm((X @ (S - exact)).astype(float), axis=1).max()
        assert off <= bounds.root_error(48, t + 1, least)
    assert off > 1e-18


def test_rows_in_the_span_of_the_picks_are_left_out():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((6, 20))
    F = np.concatenate([base, base, 2 * base, rng.standard_normal((30, 6)) @ base])
    G = rng.standard_normal((len(F), 2))
    for objective in ("lr", "omp", "entropy"):
        scores = None if objective == "entropy" else G
        chosen = select(F, scores, len(F), objective=objective, on_exhausted="stop", device="cpu")
        assert len(chosen) == 6
        np.testing.assert_array_equal(chosen.indices, greedy(F, scores, 48, objective=objective, on_exhausted="stop"))
        everything = select(F, scores, len(F), objective=objective, device="cpu")
        assert sorted(everything) == list(range(len(F)))
        assert everything.rounds[:3] == (0, 6, 12)
        np.testing.assert_array_equal(everything.indices, greedy(F, scores, len(F), objective=objective))


@pytest.mark.parametrize("objective", ["lr", "omp", "entropy", "mi"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_line(objective, epsilon):
    """d = 1, and rows of rank 1: every row is a multiple of every other."""
    rng = np.random.default_rng(1)
    for F in (rng.standard_normal((20, 1)), np.outer(rng.standard_normal(20), rng.standard_normal(7))):
        scores = None if objective == "entropy" else rng.standard_normal(20)
        for normalize in (True, False):
            how = {"objective": objective, "epsilon": epsilon, "normalize": normalize}
            np.testing.assert_array_equal(choose(F, scores, 20, **how), greedy(F, scores, 20, **how))


def test_duplicates_tie(cone):
    F = np.concatenate([cone[:50], cone[:50], cone[:50]])
    G = np.tile(np.random.default_rng(0).integers(0, 6, (50, 2)), (3, 1))
    for objective, scores, epsilon in (("lr", G, 0.1), ("omp", G, 0.1), ("entropy", None, 0.1), ("lr", G, 0.0)):
        chosen = select(F, scores, 60, objective=objective, epsilon=epsilon, device="cpu")
        np.testing.assert_array_equal(
            chosen.indices, greedy(F, scores, 60, objective=objective, epsilon=epsilon), err_msg=objective
        )
        assert chosen.certificate.tied > 20
        first = [int(np.flatnonzero(chosen.indices % 50 == i % 50)[0]) for i in chosen.indices]
        assert (chosen.indices[first] < 50).all()


def test_refreshes_come_where_they_help(cone):
    """Where the arrays have become too vague, and not where groups of equal rows stay candidates whatever they say."""
    chosen = select(cone, None, 200, epsilon=0.01, device="cpu")
    assert chosen.certificate.refreshes >= 1
    assert np.median(chosen.certificate.candidates) < 50
    F = np.repeat(np.random.default_rng(0).standard_normal((6, 12)), 50, axis=0)
    chosen = select(F, None, 100, epsilon=0.1, device="cpu")
    np.testing.assert_array_equal(chosen.indices, greedy(F, None, 100, objective="entropy", epsilon=0.1))
    assert chosen.certificate.refreshes < 20


def test_zero_rows_and_zero_scores():
    F = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert choose(F, None, 4, normalize=False).tolist() == [3, 1, 0, 2]
    assert choose(F, [9.0, 1.0, 1.0, 1.0], 4, objective="lr", normalize=False).tolist() == [1, 3, 0, 2]
    # With noise on each row, a score is worth something even of a row of zeros.
    for objective in ("lr", "omp"):
        how = {"objective": objective, "normalize": False, "epsilon": 0.5}
        assert choose(F, [9.0, 1.0, 8.0, 1.0], 4, **how).tolist() == [0, 2, 1, 3]
        assert greedy(F, [9.0, 1.0, 8.0, 1.0], 4, **how).tolist() == [0, 2, 1, 3]
    assert len(select(F * 0, None, 3, normalize=False, on_exhausted="stop", device="cpu")) == 0
    assert choose(F[1:2], [0.0], 1, objective="lr").tolist() == [0]
    assert choose(np.eye(3), np.zeros((3, 2)), 2, objective="omp").tolist() == [0, 1]


def test_gains_add_up_to_the_objective(cone):
    Q = np.random.default_rng(0).standard_normal((48, 3))
    F, k = cone[:400], 30
    G = signals.from_query(F, Q)
    for epsilon in (0.0, 0.05):
        chosen = select(F, G, k, objective="mi", epsilon=epsilon, device="cpu")
        path = metrics.information_path(F, Q, chosen.indices, epsilon=epsilon)
        np.testing.assert_allclose(np.cumsum(-np.log1p(-chosen.gains) / 2), path.mutual_information, rtol=1e-9)
        chosen = select(F, G, k, objective="lr", epsilon=epsilon, device="cpu")
        path = metrics.information_path(F, Q, chosen.indices, epsilon=epsilon)
        np.testing.assert_allclose(np.vdot(Q, Q) - np.cumsum(chosen.gains), path.trace, rtol=1e-8, atol=1e-9)
        chosen = select(F, None, k, epsilon=epsilon, device="cpu")
        path = metrics.entropy_path(F, chosen.indices, epsilon=epsilon)
        np.testing.assert_allclose(np.cumsum(np.log(chosen.gains + epsilon)) / 2, path, rtol=1e-9)


def test_gains_know_the_length_of_rows(cone):
    F = cone[:300] * 40
    Q = np.random.default_rng(0).standard_normal((48, 2))
    G = signals.from_query(F, Q, normalize=False)
    chosen = select(F, G, 10, objective="mi", normalize=False, device="cpu")
    path = metrics.information_path(F, Q, chosen.indices, normalize=False)
    np.testing.assert_allclose(np.cumsum(-np.log1p(-chosen.gains) / 2), path.mutual_information, rtol=1e-9)
    chosen = select(F, G, 10, objective="lr", normalize=False, device="cpu")
    path = metrics.information_path(F, Q, chosen.indices, normalize=False)
    np.testing.assert_allclose(np.vdot(Q, Q) - np.cumsum(chosen.gains), path.trace, rtol=1e-9)
    chosen = select(F, None, 10, normalize=False, device="cpu")
    path = metrics.entropy_path(F, chosen.indices, normalize=False)
    np.testing.assert_allclose(np.cumsum(np.log(chosen.gains)) / 2, path, rtol=1e-9)


def test_weights_and_explained(cone):
    F = cone[:300]
    X, G = normalized(F), np.random.default_rng(0).random((300, 2))
    chosen = select(F, G, 12, objective="lr", device="cpu")
    for t, s in enumerate(chosen.indices):
        S = X[chosen.indices[:t]]
        left = G - X @ S.T @ np.linalg.solve(S @ S.T, G[chosen.indices[:t]]) if t else G
        np.testing.assert_allclose(chosen.weights[t], left[s], atol=1e-9)
        if t:
            assert chosen.explained[t - 1] == pytest.approx(1 - np.vdot(left, left) / np.vdot(G, G), abs=1e-5)
    Q = np.random.default_rng(0).standard_normal((48, 2))
    chosen = select(F, X @ Q, 12, objective="mi", device="cpu")
    S = X[chosen.indices[:5]]
    left = Q - S.T @ np.linalg.solve(S @ S.T, S @ Q)
    np.testing.assert_allclose(chosen.weights[5], X[chosen.indices[5]] @ left, atol=1e-9)
    whitened = np.linalg.qr(Q)[0]
    left = whitened - S.T @ np.linalg.solve(S @ S.T, S @ whitened)
    assert chosen.explained[4] == pytest.approx(1 - np.vdot(left, left) / 2, abs=1e-12)
    chosen = select(F, None, 12, device="cpu")
    S = X[chosen.indices[:5]]
    left = X - X @ S.T @ np.linalg.solve(S @ S.T, S)
    assert chosen.explained[4] == pytest.approx(1 - np.vdot(left, left) / 300, abs=1e-5)
    assert chosen.weights.shape == (12, 0)


def test_mi_is_about_a_query(cone):
    rng = np.random.default_rng(0)
    G = rng.random((len(cone), 2))
    with pytest.warns(UserWarning, match=r"a share of 0\.\d+ of the energy of G lies outside the range of F") as caught:
        fitted = select(cone, G, 20, objective="mi", device="cpu")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = select(cone, G, 20, objective="mi", query="ridge", device="cpu")
        Pool(cone, device="cpu").select(G @ np.eye(2), 5, objective="lr")
    assert fitted.indices.tolist() == chosen.indices.tolist()
    assert chosen.range_share == pytest.approx(metrics.range_share(cone, G), rel=1e-12)
    assert select(cone, G, 5, device="cpu").range_share is None
    assert select(cone, G, 5, query="ridge", device="cpu").range_share == chosen.range_share


@pytest.mark.parametrize("query", ["direct", "ridge"])
@pytest.mark.parametrize(
    ("Q", "column"), [([[1, 2], [2, 4], [3, 6]], 1), ([[0, 1], [0, 2], [0, 3]], 0), (np.eye(3)[:, [0, 1, 2, 1]], 3)]
)
def test_a_singular_query(query, Q, column):
    F = np.random.default_rng(0).standard_normal((30, 3))
    G = signals.from_query(F, np.asarray(Q, float))
    with pytest.raises(ValueError, match=rf"Q'Q is singular.* column {column} of G.*objective='lr'"):
        select(F, G, 2, objective="mi", query=query, device="cpu")


def test_ridge_stands_for_the_fit(cone):
    G = np.random.default_rng(0).random((len(cone), 2))
    fitted = signals.from_query(cone, signals.ridge_query(cone, G, 0.5))
    for objective in ("mp", "omp", "lr"):
        how = {"objective": objective, **({} if objective == "mp" else {"epsilon": 0.5})}
        np.testing.assert_array_equal(
            choose(cone, G, 40, **{**how, "query": "ridge", "epsilon": 0.5}), choose(cone, fitted, 40, **how)
        )


def test_no_array_of_k_rows(cone):
    """Memory does not grow with k, and stays within the plan."""
    F = np.tile(cone, (4, 1)) + np.random.default_rng(0).standard_normal((8000, 48)).astype(np.float32) / 50
    G, peaks = np.random.default_rng(0).random((len(F), 2)), []
    for k in (20, 600):
        tracemalloc.start()
        chosen = select(F, G, k, objective="lr", epsilon=0.1, device="cpu")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[-1] <= chosen.plan.total
    # 600 rows of m values would be 19 MB in float32.
    assert peaks[1] - peaks[0] < 1 << 20


@pytest.mark.parametrize(
    "options", [{"objective": "mi", "query": "ridge"}, {"query": "ridge"}, {"sign": "positive"}, {}]
)
def test_memory_stays_within_the_plan(cone, options):
    G = None if not options else np.random.default_rng(0).random((len(cone), 9))
    for F in (cone, np.tile(cone, (1, 8)) + np.random.default_rng(0).random((len(cone), 384)) / 9):
        tracemalloc.start()
        chosen = select(F, G, 30, device="cpu", **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= chosen.plan.total
        if options.get("query") == "ridge":
            with pytest.raises(ValueError, match="is what memory_limit allows"):
                select(F, G, 30, device="cpu", memory_limit=chosen.plan.memory["query"], **options)


def test_memory_limit(cone):
    with pytest.raises(ValueError, match=r"100 kB is what memory_limit allows.* need at least \d"):
        select(cone, None, 5, memory_limit=100_000, device="cpu")


def test_one_pool_for_all(cone):
    pool = Pool(cone, device="cpu", columns="lazy")
    G = signals.self_compression(cone)
    first = pool.select(G, 50)
    backend, columns = pool._backend, pool._columns
    for objective in ("lr", "omp", "mi"):
        chosen = pool.select(G, 50, objective=objective)
        np.testing.assert_array_equal(chosen.indices, choose(cone, G, 50, objective=objective))
        assert (chosen.plan.columns, chosen.plan.objective) == ("none", objective)
        # The columns that are kept count.
        assert chosen.plan.total > first.plan.memory["Gram columns"]
    entropy = pool.select(None, 50)
    np.testing.assert_array_equal(entropy.indices, choose(cone, None, 50))
    assert pool._backend is backend
    assert pool._columns is columns
    np.testing.assert_array_equal(pool.select(G, 50).indices, first.indices)
    fresh = Pool(cone, device="cpu")
    fresh.select(None, 5)
    np.testing.assert_array_equal(fresh.select(G, 50).indices, first.indices)


def test_progress_and_results(cone, tmp_path):
    calls = []
    G = np.random.default_rng(0).random((len(cone), 2))
    chosen = select(
        cone, G, 30, objective="mi", query="ridge", progress=lambda done, k: calls.append((done, k)), device="cpu"
    )
    assert calls[-1] == (30, 30)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    for name in ("chosen.npz", "chosen.json"):
        chosen.save(tmp_path / name)
        loaded = type(chosen).load(tmp_path / name)
        assert (loaded.range_share, loaded.plan) == (chosen.range_share, chosen.plan)
        np.testing.assert_array_equal(loaded.weights, chosen.weights)
    entropy = select(cone, None, 5, device="cpu")
    entropy.save(tmp_path / "entropy.npz")
    assert type(entropy).load(tmp_path / "entropy.npz").weights.shape == (5, 0)
    assert "mi, a column a pick on cpu (numpy)" in repr(chosen)


def test_large_and_small_units(cone):
    """Neither the unit of the scores nor that of the rows changes a choice."""
    F, Q = cone[:300].astype(float), np.random.default_rng(0).standard_normal((48, 2))
    G = signals.from_query(F, Q, normalize=False)
    for objective in SCORED:
        expected = choose(F, G, 25, objective=objective, normalize=False)
        for factor in (2.0**-300, 2.0**300):
            np.testing.assert_array_equal(choose(F, G * factor, 25, objective=objective, normalize=False), expected)
            np.testing.assert_array_equal(choose(F * factor, G, 25, objective=objective, normalize=False), expected)
    expected = choose(F, None, 25, normalize=False)
    np.testing.assert_array_equal(choose(F * 2.0**200, None, 25, normalize=False), expected)
    scaled = choose(F, G, 25, objective="lr", epsilon=0.1, normalize=False)
    np.testing.assert_array_equal(
        choose(F * 2.0**20, G, 25, objective="lr", epsilon=0.1 * 4.0**20, normalize=False), scaled
    )
