"""Every selection test over every backend that this machine can run, on small pools.

With a GPU the backends run on it; else Triton runs in its interpreter and CuPy on its stand-in, which are slow.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gip_gpu import Pool, select, signals, verify
from gip_gpu.reference import greedy, matching_pursuit
from tests.support.emulated import device_options
from tests.support.tied_pools import problems

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("triton", "cupy")]


@pytest.fixture(params=["numpy", *SLOW])
def run(request):
    """Options of `select` for one backend."""
    name = request.param
    return {"device": "cpu", "backend": name} if name == "numpy" else device_options(name, request)


@pytest.fixture(scope="module")
def narrow():
    """300 rows of length 24 in a narrow cone."""
    rng = np.random.default_rng(5)
    scales = 1 / np.arange(1, 25)
    return (rng.standard_normal((300, 24)) * scales + 1.5 * scales).astype(np.float32)


def assert_same(F, G, k, run, **options):
    how = {name: options[name] for name in ("normalize", "on_exhausted") if name in options}
    expected = matching_pursuit(F, G, k, **{"on_exhausted": "restart", **how})
    for columns in ("gram", "lazy"):
        chosen = select(F, G, k, columns=columns, **run, **options)
        np.testing.assert_array_equal(chosen.indices, expected, err_msg=columns)
        assert (chosen.plan.backend, chosen.plan.columns) == (run["backend"], columns)
    return chosen


def test_cone(run, narrow):
    assert_same(narrow, signals.self_compression(narrow), 20, run)
    chosen = assert_same(narrow, np.random.default_rng(3).integers(0, 6, (300, 4)), 20, run)
    assert chosen.rounds == (0,)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_shared_precision(run, narrow, precision):
    assert_same(narrow, signals.self_compression(narrow), 15, run, precision=precision)


@pytest.mark.parametrize(("m", "d", "n"), [(1, 1, 1), (7, 3, 8), (255, 64, 3), (131, 33, 1), (90, 5, 70)])
def test_odd_sizes(run, m, d, n):
    rng = np.random.default_rng(m + d + n)
    assert_same(rng.standard_normal((m, d)), rng.standard_normal((m, n)), max(1, m // 6), run)


def test_ties_and_duplicates(run, narrow):
    F = np.concatenate([narrow[:40], narrow[:40] * 3, narrow[:40]])
    assert assert_same(F, np.tile(np.arange(40) % 3, 3), 30, run).certificate.tied > 5


@pytest.mark.parametrize("how", ["restart", "stop", "continue"])
def test_exhaustion(run, how):
    F = np.random.default_rng(1).standard_normal((40, 3))
    assert_same(F, np.arange(40.0), 40, run, on_exhausted=how)


def test_rows_that_are_not_unit(run, narrow):
    F = narrow / np.linalg.norm(narrow, axis=1).max()
    for scale in (1e-3, 1.0):
        assert_same(F * scale, signals.self_compression(narrow), 25, run, normalize=False)


def test_scores_of_any_size(run, narrow):
    G = np.random.default_rng(2).standard_normal((300, 2))
    for scale in (1e-140, 1e140):
        assert_same(narrow, G * scale, 15, run)
    assert_same(narrow, np.zeros(300), 15, run)


def test_strides_and_types(run, narrow):
    G = np.arange(300.0)[::-1]
    for F in (narrow[:, ::-1], np.asfortranarray(narrow), narrow[::2].repeat(2, axis=0), narrow.astype(">f8")):
        assert_same(F, G, 12, run)


def test_a_prefix_is_the_shorter_selection(run, narrow):
    pool = Pool(narrow, **run)
    G = signals.self_compression(narrow)
    whole, part = pool.select(G, 40), pool.select(G, 15)
    np.testing.assert_array_equal(part.indices, whole.indices[:15])
    np.testing.assert_allclose(part.gains, whole.gains[:15], rtol=1e-12)


def test_after_an_interrupt(run, narrow):
    pool = Pool(narrow, **run)
    G = signals.self_compression(narrow)

    def interrupt(done, total):
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.select(G, 40, progress=interrupt)
    np.testing.assert_array_equal(pool.select(G, 20).indices, matching_pursuit(narrow, G, 20))


def test_divergence(run):
    with pytest.raises(ValueError, match=r"diverges .* norm up to 40"):
        select(np.eye(8)[np.arange(100) % 8] * 40, np.arange(100.0) + 1, 60, normalize=False, **run)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_hypothesis(run, problem):
    F, G = problem
    assert_same(F, G, len(F), run)


@pytest.fixture
def on_gpu(run):
    """Options of a backend with arrays on a device."""
    if run["backend"] == "numpy":
        pytest.skip("keeps no arrays on a device")
    return run


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_pool_survives_an_allocation_that_fails(on_gpu, narrow, monkeypatch, error):
    pool = Pool(narrow, **on_gpu)
    G = np.random.default_rng(4).standard_normal((300, 4))
    pool.select(G[:, 0], 5)
    arrays, left = pool._prepared.backend.arrays, [3]
    allocate = arrays.empty

    def failing(shape, kind):
        left[0] -= 1
        if not left[0]:
            raise error
        return allocate(shape, kind)

    monkeypatch.setattr(arrays, "empty", failing)
    with pytest.raises(error):
        pool.select(G, 8)
    np.testing.assert_array_equal(pool.select(G, 8).indices, matching_pursuit(narrow, G, 8))


def test_what_a_gpu_cannot_take(on_gpu, narrow):
    with pytest.raises(ValueError, match="G has 1,025 columns; the GPU backends take up to 1,024"):
        select(narrow, np.ones((300, 1025)), 5, **on_gpu)
    with pytest.raises(ValueError, match=r"norm .* in row 7; on a GPU rows must have norms of at least 1e-300"):
        select(narrow * np.where(np.arange(300.0) == 7, 1e-304, 1.0)[:, None], np.ones(300), 5, **on_gpu)


def test_centred_rows(run, narrow):
    G = np.random.default_rng(4).integers(0, 6, 300)
    expected = matching_pursuit(narrow, G, 15, on_exhausted="restart", center=True)
    for columns in ("gram", "lazy"):
        np.testing.assert_array_equal(select(narrow, G, 15, columns=columns, center=True, **run).indices, expected)
    ratio = select(narrow, G, 8, objective="lr", center="auto", **run)
    np.testing.assert_array_equal(ratio.indices, greedy(narrow, G, 8, objective="lr", center=True))


def test_verified(run, narrow):
    G = np.random.default_rng(4).integers(0, 6, 300)
    for objective in ("mp", "lr"):
        verdict = verify(select(narrow, G, 12, objective=objective, **run), narrow, G)
        assert verdict.ok
        assert len(verdict.holding) == 12
