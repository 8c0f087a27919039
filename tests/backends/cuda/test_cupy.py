"""The CuPy backend on a stand-in for CuPy: the unchanged host code, with kernels run on the CPU.

Without a GPU these parts do not run: CuPy itself (its allocator, overlapping streams, pinned and mapped memory, DLPack
between devices), cuBLAS (the stand-in checks the arguments and multiplies), NVRTC's machine code (`test_resources.py`
compiles it only), and the cooperative launch (the stand-in checks its grid against the multiprocessors).
"""

import gc

import numpy as np
import pytest

from gip_gpu import Pool, backends, select, signals
from gip_gpu.backends import devices
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.reference import matching_pursuit
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)


@pytest.fixture
def cupy(cupy_on_cpu):
    return cupy_on_cpu


@pytest.fixture(scope="module")
def pool():
    """500 rows in a narrow cone with two scores, and the reference's picks."""
    rng = np.random.default_rng(3)
    scales = 1 / np.arange(1, 33)
    F = (rng.standard_normal((500, 32)) * scales + 1.5 * scales).astype(np.float32)
    return F, np.column_stack([signals.self_compression(F), np.arange(500) % 6])


def leads(F, G, picks):
    """The true share of its gain by which each pick beats the next best item; certified margins are lower bounds."""
    X = F / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
    W, taken, found = G.astype(float), [], []
    for s in picks:
        gains = (W**2).sum(axis=1)
        gains[taken] = 0
        others = np.delete(gains, s)
        found.append(1 - others.max() / gains[s])
        taken.append(s)
        W = W - np.outer(X @ X[s], W[s])
    return np.array(found)


def check(F, G, k, **options):
    chosen = select(F, G, k, device="cuda", backend="cupy", **options)
    normalize = options.get("normalize", True)
    how = options.get("on_exhausted", "restart")
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(F, G, k, normalize=normalize, on_exhausted=how))
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["gram", "lazy"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_every_precision_gives_the_reference(cupy, pool, precision, columns):
    F, G = pool
    chosen = check(F, G, 60, precision=precision, columns=columns)
    assert chosen.plan.backend == "cupy"
    assert chosen.certificate.refreshes >= (precision == "bf16")
    by_host = select(F, G, 60, device="cpu")
    np.testing.assert_allclose(chosen.gains, by_host.gains, rtol=1e-9)
    np.testing.assert_allclose(chosen.weights, by_host.weights, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(chosen.explained, by_host.explained, atol=1e-3)
    assert (chosen.certificate.margins <= leads(F, G, chosen.indices) + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_rows_of_other_types(cupy, pool, dtype):
    F, G = pool
    check((F * 20).astype(dtype), G, 30)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_rows_given_in_16_bits_are_multiplied_as_they_are(cupy, pool, precision):
    from tests.support import cupy_stand_in

    F, G = pool
    chosen = check(F.astype(np.float16), G, 40, precision=precision, columns="lazy")
    assert "listed" in dict(cupy_stand_in.Function.LAUNCHES)
    # Exact products: the bound is that of float32 sums, and hardly any item is in doubt.
    if precision != "fp16":
        assert chosen.certificate.candidates.mean() < 2


@pytest.mark.slow
def test_rows_that_are_not_normalised(cupy, pool):
    F, G = pool
    check(F / 30, G, 30, normalize=False, columns="lazy")
    check((F / 30).astype(np.float16), G, 30, normalize=False, columns="gram")


@pytest.mark.slow
def test_norms_far_apart(cupy, pool):
    F, G = pool
    check(F.astype(np.float64) * np.logspace(-40, 40, len(F))[:, None], G, 30)
    check((F * np.logspace(-30, 30, len(F))[:, None]).astype(np.float32), G, 30)


@pytest.mark.slow
def test_embeddings_that_do_not_fit_are_streamed(cupy, pool, monkeypatch):
    from gip_gpu.planning import gpu_costs
    from tests.support import cupy_stand_in

    monkeypatch.setattr(gpu_costs, "CHUNK", 32 * 256)
    monkeypatch.setattr(gpu_costs.GpuCosts, "layouts", lambda self: (Layout(resident=False),))
    F, G = pool
    for given in (F, F.astype(np.float16), F.astype(np.float64)):
        chosen = check(given, G, 30, columns="lazy")
        assert not chosen.plan.resident
    gc.collect()
    assert not cupy_stand_in.MAPPED


@pytest.mark.parametrize("how", ["restart", "stop", "continue"])
def test_exhaustion(cupy, how):
    F = np.random.default_rng(1).standard_normal((80, 4)).astype(np.float32)
    check(F, np.arange(80.0), 80, on_exhausted=how, columns="gram")


def test_ties_and_duplicates(cupy, pool):
    F, _ = pool
    F = np.concatenate([F[:100], F[:100], F[:100]])
    G = np.tile(np.arange(100) % 4, 3).astype(float)
    assert check(F, G, 60).certificate.tied > 10


def test_a_pool_serves_other_sizes(cupy, pool):
    F, G = pool
    kept = Pool(F, device="cuda", backend="cupy", columns="lazy")
    for scores, k in ((G, 20), (G[:, 0], 40), (G, 30)):
        np.testing.assert_array_equal(kept.select(scores, k).indices, matching_pursuit(F, scores, k))


def test_progress_and_divergence(cupy, pool):
    F, G = pool
    seen = []
    check(F, G, 20, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    with pytest.raises(ValueError, match="diverges after"):
        select(F * 10, G, 400, device="cuda", backend="cupy", normalize=False)


def test_out_of_memory_says_what_helps(cupy, pool, monkeypatch):
    F, G = pool

    def full(shape, dtype):
        raise cupy.cuda.memory.OutOfMemoryError

    monkeypatch.setattr(cupy, "empty", full)
    with pytest.raises(MemoryError, match=r"cuda:0 could not allocate 4 kB; 1\.07 GB is free.*memory_limit"):
        select(F, G, 5, device="cuda", backend="cupy")


@pytest.mark.slow
def test_the_plan_avoids_what_does_not_fit(cupy, pool):
    F, G = pool
    assert select(F, G, 400, device="cuda", backend="cupy").plan.columns == "gram"
    lazy = check(F, G, 400, memory_limit="1 MB")
    assert lazy.plan.columns == "lazy"
    assert lazy.plan.total <= 1_000_000
    with pytest.raises(ValueError, match="is what memory_limit allows"):
        select(F, G, 5, device="cuda", backend="cupy", memory_limit="10 kB")


def test_default_backend_for_cuda(cupy, pool, monkeypatch):
    # torch sees no GPU here, so only CuPy can run.
    assert backends.load(None, "cuda").name == "cupy"
    assert devices.resolve("auto") == "cuda"
    assert select(*pool, 5).plan.backend == "cupy"


def test_launches_that_cannot_be_captured_are_made_one_by_one(cupy, pool, monkeypatch):
    from tests.support import cupy_stand_in

    call = cupy_stand_in.Function.__call__

    def refused(self, *args, **options):
        if cupy_stand_in.Stream.capturing is not None:
            raise cupy.cuda.driver.CUDADriverError("CUDA_ERROR_NOT_PERMITTED: operation not permitted")
        call(self, *args, **options)

    monkeypatch.setattr(cupy_stand_in.Function, "__call__", refused)
    F, G = pool
    check(F, G, 20, precision="fp32", columns="lazy")
    assert cupy_stand_in.Stream.capturing is None
