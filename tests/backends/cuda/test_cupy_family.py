"""Selections of the GIP family by the CuPy backend on its stand-in, index by index against the reference."""

import gc

import numpy as np
import pytest

from gip_gpu import Pool, select
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.reference import greedy
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)


@pytest.fixture(autouse=True)
def cupy(cupy_on_cpu):
    return cupy_on_cpu


@pytest.fixture(scope="module")
def F():
    """200 rows of length 24 in a narrow cone."""
    rng = np.random.default_rng(6)
    scales = 1 / np.arange(1, 25)
    return (rng.standard_normal((200, 24)) * scales + 1.5 * scales).astype(np.float32)


def problem(F, objective):
    """Scores and options of an objective."""
    rng = np.random.default_rng(8)
    if objective == "entropy":
        return None, {}
    if objective == "mi":
        X = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
        return X @ rng.standard_normal((F.shape[1], 3)), {"query": "ridge", "epsilon": 0.05}
    G = rng.standard_normal((len(F), 3)) + 0.5
    return G, {"sign": "positive"} if objective == "mp" else {}


def check(F, G, k, objective, **options):
    chosen = select(F, G, k, objective=objective, device="cuda", backend="cupy", **options)
    how = {name: options[name] for name in options if name not in ("precision", "memory_limit")}
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, k, objective=objective, **how))
    assert (chosen.plan.backend, chosen.plan.columns) == ("cupy", "none")
    return chosen


OBJECTIVES = ("lr", "mi", "entropy", "omp", "mp")


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_gives_the_reference(F, objective):
    G, options = problem(F, objective)
    chosen = check(F, G, 40, objective, **options)
    by_host = select(F, G, 40, objective=objective, device="cpu", **options)
    np.testing.assert_allclose(chosen.gains, by_host.gains, rtol=1e-8)
    np.testing.assert_allclose(chosen.weights, by_host.weights, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(chosen.explained, by_host.explained, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("objective", ["lr", "entropy", "omp"])
def test_epsilon(F, objective):
    G, _ = problem(F, objective)
    check(F, G, 60, objective, epsilon=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
def test_mutual_information_of_an_exact_query(F, n):
    X = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
    check(F, X @ np.random.default_rng(n).standard_normal((24, n)), 22, "mi")


@pytest.mark.parametrize("objective", ["lr", "entropy", "mp"])
def test_rows_that_are_not_normalised(F, objective):
    G, options = problem(F, objective)
    for scale in (0.02, 0.2):
        check(F * np.float32(scale), G, 15, objective, normalize=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_rows_of_other_types(F, dtype):
    G, _ = problem(F, "lr")
    check(F.astype(dtype), G, 20, "lr")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
def test_every_precision_gives_the_reference(F, precision):
    G, _ = problem(F, "lr")
    chosen = check(F, G, 20, "lr", precision=precision)
    assert chosen.certificate.refreshes or precision != "bf16"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_embeddings_that_do_not_fit_are_streamed(F, objective, monkeypatch):
    from gip_gpu.backends.gpu import rows as gpu
    from gip_gpu.planning import gpu_costs
    from tests.support import cupy_stand_in

    monkeypatch.setattr(gpu_costs.GpuCosts, "layouts", lambda self: (Layout(resident=False),))
    monkeypatch.setattr(gpu, "chunk_rows", lambda d: 96)
    G, options = problem(F, objective)
    for given in (F, F.astype(np.float16)) if objective == "lr" else (F,):
        chosen = check(given, G, 12, objective, **options)
        assert not chosen.plan.resident
    gc.collect()
    assert not cupy_stand_in.MAPPED


@pytest.mark.parametrize("objective", ["lr", "entropy"])
def test_ties_and_dependent_rows(objective):
    """Every row three times and more picks than dimensions: several rounds, and identical rows must stay tied."""
    X = np.random.default_rng(1).standard_normal((30, 6), np.float32)
    F = np.concatenate([X, X, X])
    G = None if objective == "entropy" else np.tile(np.arange(30.0) % 4 + 1, 3)
    assert check(F, G, 20, objective).certificate.tied > 5


def test_more_signals_than_are_summed_at_once():
    rng = np.random.default_rng(2)
    F, G = rng.standard_normal((100, 30), np.float32), rng.standard_normal((100, 20))
    check(F, G, 20, "lr")


def test_a_pool_serves_several_objectives(F):
    pool = Pool(F, device="cuda", backend="cupy")
    for objective in ("lr", "entropy", "lr"):
        G, options = problem(F, objective)
        found = pool.select(G, 10, objective=objective, **options)
        np.testing.assert_array_equal(found.indices, greedy(F, G, 10, objective=objective, **options))


def test_what_is_launched(F):
    """Seven kernels for each pick of the device, and once to compile them; the host rates the items at the start."""
    from tests.support import cupy_stand_in

    G, _ = problem(F, "lr")
    check(F, G, 10, "lr")
    names = [name for name, _ in cupy_stand_in.Function.LAUNCHES]
    assert (names.count("step"), names.count("candidates"), names.count("distances")) == (1, 0, 0)
    pick = ["gated_candidates", "gated_distances", "decide", "remaining", "lifted", "project", "gated_step"]
    assert [name for name in names if name in pick] == 11 * pick


def test_what_is_launched_if_the_host_decides(F, monkeypatch):
    """One `step` for each pick and one at the start; `distances` once a row has been projected out."""
    from gip_gpu.greedy import device_projecting
    from gip_gpu.greedy.projecting import Projecting
    from tests.support import cupy_stand_in

    monkeypatch.setattr(device_projecting, "DeviceProjecting", Projecting)
    G, _ = problem(F, "lr")
    check(F, G, 10, "lr")
    names = [name for name, _ in cupy_stand_in.Function.LAUNCHES]
    assert (names.count("step"), names.count("candidates"), names.count("distances")) == (11, 10, 9)
