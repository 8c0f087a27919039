"""Results of selections by the projecting objectives: gains, weights, queries, memory, plans, files."""

import tracemalloc
import warnings

import numpy as np
import pytest

from gip_gpu import Pool, metrics, select, signals
from tests.support.family_pools import choose, normalized


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
    with pytest.warns(UserWarning, match=r"a share of 0\.\d+ of the energy of G is outside the range of F") as caught:
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


def test_no_array_of_k_rows(cone, float32_loop):
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
    backend, columns = pool._prepared.backend, pool._prepared.columns
    for objective in ("lr", "omp", "mi"):
        chosen = pool.select(G, 50, objective=objective)
        np.testing.assert_array_equal(chosen.indices, choose(cone, G, 50, objective=objective))
        assert (chosen.plan.columns, chosen.plan.objective) == ("none", objective)
        # Kept columns count as memory.
        assert chosen.plan.total > first.plan.memory["Gram columns"]
    entropy = pool.select(None, 50)
    np.testing.assert_array_equal(entropy.indices, choose(cone, None, 50))
    assert pool._prepared.backend is backend
    assert pool._prepared.columns is columns
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
