"""The objectives of the family on the CPU: the indices of greedy by definition, whatever the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import select, signals
from gip_gpu.reference import brute_force, greedy, greedy_lr, matching_pursuit
from tests.support.family_pools import SCORED, choose, normalized, pools


def resolved(chosen, objective):
    """Leading picks that differences of whole objectives, in float64, distinguish from the next best."""
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
    """Beyond the rank, to the last item, and with scores that no query reproduces."""
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


def textbook_lr(F, G, k, epsilon):
    """lr by its definition: the pick with the largest loss of ridge regression, computed for each whole set."""
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
        # The items are dictionary atoms: their Gram matrix, and the product of each with the target.
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "how", [{}, {"normalize": False}, {"query": "ridge", "epsilon": 0.1}, {"query": "ridge", "normalize": False}]
)
@pytest.mark.parametrize("on_exhausted", ["restart", "stop"])
def test_the_reference_has_another_function_for_matching_pursuit(how, on_exhausted):
    """The error shows the call of the other function, and that call selects the same where the residual grows."""
    rng = np.random.default_rng(2)
    F, G = rng.standard_normal((40, 5)) + 1.5, rng.standard_normal((40, 2))
    if "normalize" in how:
        F /= np.linalg.norm(F, axis=1).max()
    how = {"objective": "mp", "on_exhausted": on_exhausted, **how}
    with pytest.raises(ValueError, match=r"^objective is 'mp' and sign 'any', which is matching pursuit: ") as told:
        greedy(F, G, 20, **how)
    call = str(told.value).partition(": call ")[2]
    names = {"signals": signals, "matching_pursuit": matching_pursuit, "F": F, "G": G, "k": 20}
    assert eval(call, names).tolist() == select(F, G, 20, **how)
