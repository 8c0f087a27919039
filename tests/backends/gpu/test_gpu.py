"""On a real GPU: `pytest -m gpu -n 8`. Everything here is skipped, with the reason, where torch sees no CUDA device."""

import gc
import json
import os
import subprocess
import sys
from functools import cache
from itertools import product

import numpy as np
import pytest

import gip_gpu
from bench.gpu import pools
from gip_gpu import backends, select, signals
from gip_gpu.reference import greedy, matching_pursuit
from tests.support.paths import ROOT

pytestmark = pytest.mark.gpu

BACKENDS = ("triton", "cupy")
WAYS = tuple(product(("fp32", "tf32", "fp16", "bf16"), ("gram", "lazy")))
REAL = {
    "gsm8k": ("gsm8k_minilm_f16.npy", None, 747),
    "bbh": ("bbh_wordllama_f16.npy", None, 650),
    "wildbench": ("wildbench_minilm_f16.npy", "wildbench_judges.npy", 612),
    "alpaca": ("alpaca52k_minilm_f16.npy", "alpaca52k_judges.npy", 520),
}


@pytest.fixture(scope="module", autouse=True)
def torch():
    """torch with a CUDA device."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    return torch


@pytest.fixture(params=BACKENDS)
def backend(request):
    why = backends.missing(request.param, "cuda")
    if why:
        pytest.skip(f"backend {request.param}: {why}")
    return request.param


@pytest.fixture
def cupy(torch):
    return pytest.importorskip("cupy", reason="cupy is not installed")


@pytest.fixture(scope="module")
def right(answers):
    """A function that returns the reference's picks."""

    def picks(F, G, k, how="restart"):
        return answers.compute_once(matching_pursuit, F, G, k, on_exhausted=how)

    return picks


@pytest.fixture(scope="module")
def cone_picks(cone, right):
    """Two signals, one with ties, and the reference's picks."""
    G = np.column_stack([signals.self_compression(cone), np.arange(len(cone)) % 6])
    return G, right(cone, G, 250)


@pytest.fixture(scope="module")
def known(real, right, answers):
    """A function that returns a real pool, its scores, and the right picks."""

    @cache
    def pool(name):
        file, judges, k = REAL[name]
        F = real(file)
        G = real(judges) if judges else answers.compute_once(signals.self_compression, F)
        return F, G, answers.compute_once(numpy_picks, F, G, k) if len(F) > 10_000 else right(F, G, k)

    return pool


def numpy_picks(F, G, k, **options):
    """The picks of the NumPy backend, for pools that take the reference long."""
    return select(F, G, k, device="cpu", backend="numpy", **options).indices


def numpy_gains(F, G, k):
    """Gains and explained shares, (2, k), of the NumPy backend."""
    chosen = select(F, G, k, device="cpu")
    return np.stack([chosen.gains, chosen.explained])


@pytest.fixture
def device_memory(torch, answers):
    """Lock for tests that allocate gigabytes: one worker at a time runs them, and frees the libraries' caches."""
    with answers.lock("device memory"):
        yield
        gc.collect()
        torch.cuda.empty_cache()
        if "cupy" in sys.modules:
            sys.modules["cupy"].get_default_memory_pool().free_all_blocks()


def same(indices, expected):
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize(("precision", "columns"), WAYS)
def test_cone(backend, precision, columns, cone, cone_picks, answers):
    G, expected = cone_picks
    chosen = select(cone, G, 250, device="cuda", backend=backend, precision=precision, columns=columns)
    same(chosen.indices, expected)
    gains, explained = answers.compute_once(numpy_gains, cone, G, 250)
    np.testing.assert_allclose(chosen.gains, gains, rtol=1e-6)
    np.testing.assert_allclose(chosen.explained, explained, atol=1e-3)


@pytest.mark.parametrize("objective", ["lr", "omp", "mi", "entropy", "mp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_family(backend, objective, dtype, cone, answers):
    """The objectives with picks decided on the host: beyond the rank, with duplicates, and without unit rows."""
    F = np.concatenate([cone, cone[:100]]).astype(dtype)
    G = None if objective == "entropy" else np.column_stack([signals.self_compression(F), np.arange(len(F)) % 6])
    how = {"sign": "positive"} if objective == "mp" else {"query": "ridge"} if objective == "mi" else {}
    for options in ({}, {"epsilon": 0.05}, {"normalize": False}):
        if objective == "mp" and options:
            continue
        options = {"objective": objective, **how, **options}
        chosen = select(F, G, 120, device="cuda", backend=backend, **options)
        same(chosen.indices, answers.compute_once(greedy, F, G, 120, **options))
        assert chosen.plan.columns == "none"


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "omp", "entropy"])
def test_family_of_many_items(backend, objective, answers):
    """Programs and blocks take several tiles each, and rounds end: where Triton's lr failed on an H200."""
    F = pools.cone(52_002, 384, "fp16")
    G = None if objective == "entropy" else pools.similarities(F)
    expected = answers.compute_once(numpy_picks, F, G, 520, objective=objective)
    for _ in range(2):
        same(select(F, G, 520, objective=objective, device="cuda", backend=backend).indices, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_rows_of_other_types(backend, dtype, cone, cone_picks, right):
    F = (cone * 20).astype(dtype)
    F[~F.any(axis=1)] = 1
    same(select(F, cone_picks[0], 100, device="cuda", backend=backend).indices, right(F, cone_picks[0], 100))


@pytest.mark.parametrize("n", [1, 4, 64])
def test_signals(backend, n, cone, right):
    G = cone @ np.random.default_rng(n).standard_normal((48, n))
    for columns in ("gram", "lazy"):
        chosen = select(cone, G, 100, device="cuda", backend=backend, columns=columns)
        same(chosen.indices, right(cone, G, 100))


@pytest.mark.parametrize("m", [1, 7, 255, 1000])
def test_odd_sizes(backend, m, right):
    rng = np.random.default_rng(m)
    for d in (1, 3, 64, 384):
        F, G = rng.standard_normal((m, d)).astype(np.float32) + 0.7, rng.standard_normal(m)
        k = max(1, m // 10)
        expected = right(F, G, k)
        for columns in ("gram", "lazy"):
            same(select(F, G, k, device="cuda", backend=backend, columns=columns).indices, expected)


@pytest.mark.parametrize("how", ["restart", "stop", "continue"])
def test_exhaustion(backend, how, right):
    F, G = np.random.default_rng(1).standard_normal((300, 4)).astype(np.float32), np.arange(300.0)
    chosen = select(F, G, 300, device="cuda", backend=backend, on_exhausted=how)
    same(chosen.indices, right(F, G, 300, how))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "columns"), WAYS)
@pytest.mark.parametrize("name", REAL)
def test_real_data(backend, name, precision, columns, known, request):
    F, G, expected = known(name)
    if columns == "gram" and len(F) > 10_000:
        request.getfixturevalue("device_memory")
    chosen = select(F, G, len(expected), device="cuda", backend=backend, precision=precision, columns=columns)
    same(chosen.indices, expected)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_torch_tensors_on_the_device(backend, kind, torch, cone, cone_picks, right):
    F = torch.from_numpy(cone).to("cuda", getattr(torch, kind))
    before, G = F.clone(), torch.from_numpy(cone_picks[0]).cuda()
    expected = right(F.double().cpu().numpy(), cone_picks[0], 100)
    same(select(F, G, 100, backend=backend).indices, expected)
    same(select(F.T.contiguous().T.requires_grad_(), G, 100, device="cuda", backend=backend).indices, expected)
    pool = gip_gpu.Pool(F, backend=backend)
    same(pool.select(G, 100).indices, expected)
    same(pool.select(G, 50).indices, expected[:50])
    assert torch.equal(F, before)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_cupy_arrays(backend, kind, cupy, cone, cone_picks, right):
    F = cupy.asarray(cone.astype(kind))
    before, G = F.copy(), cupy.asarray(cone_picks[0])
    expected = right(cone.astype(kind), cone_picks[0], 100)
    same(select(F, G, 100, backend=backend).indices, expected)
    same(select(cupy.asfortranarray(F), G, 100, device="cuda", backend=backend).indices, expected)
    assert bool((before == F).all())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_streamed_embeddings(backend, dtype, cone, cone_picks, right, monkeypatch, tmp_path):
    from gip_gpu.planning import gpu_costs

    monkeypatch.setattr(gpu_costs, "CHUNK", 1 << 15)
    G = cone_picks[0]
    F = np.repeat(cone, 4, axis=0).astype(dtype)
    F[::7] *= -1
    scores = np.repeat(G, 4, axis=0) + np.arange(len(F))[:, None] % 3
    np.save(tmp_path / "F.npy", F)
    given = {2: "fp16", 4: "fp32", 8: "fp64"}[np.dtype(dtype).itemsize]
    costs = gpu_costs.GpuCosts(*F.shape, 2, given)
    expected = right(F, scores, 60)
    for precision in ("fp32", "bf16"):
        limit = sum(costs.lazy(8, costs.layouts()[-1], precision).values())
        options = {"device": "cuda", "backend": backend, "precision": precision, "memory_limit": limit}
        for rows in (F, np.load(tmp_path / "F.npy", mmap_mode="r")):
            chosen = select(rows, scores, 60, **options)
            assert not chosen.plan.resident
            same(chosen.indices, expected)


def test_out_of_memory_says_what_helps(backend):
    F, G = np.random.default_rng(0).standard_normal((600_000, 4)).astype(np.float32), np.ones(600_000)
    with pytest.raises(MemoryError, match=r"could not allocate 1\.44 TB; .* is free .*memory_limit.*columns='lazy'"):
        select(F, G, 3, device="cuda", backend=backend, precision="fp32", columns="gram", memory_limit="100TB")


def test_the_plan_avoids_what_does_not_fit(backend, cone, cone_picks):
    chosen = select(cone, cone_picks[0], 250, device="cuda", backend=backend, memory_limit="8 MB")
    assert chosen.plan.columns == "lazy"
    assert chosen.plan.total <= 8_000_000
    same(chosen.indices, cone_picks[1])


def test_auto_takes_the_gpu(cone, cone_picks):
    chosen = select(cone, cone_picks[0], 20)
    assert chosen.plan.device == "cuda"
    same(chosen.indices, cone_picks[1][:20])


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    output = tmp_path / "found.json"
    command = [sys.executable, "-m", "bench", "gpu", "--quick", "--budget", "2000", "--output", str(output)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        command, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(output.read_text())
    assert list(found["spent"]) == ["ceilings", "steps", "selections", "gram", "lazy", "family", "equivalence"]
    assert not [line for line in found["left_out"] if "the time was used up" in line]
    assert found["checks"]
    assert not found["wrong"]
    assert "copy bandwidth" in found["ceilings"]
