"""Pools that the tests select from: real ones where they are at hand, synthetic ones of the same geometry."""

import ctypes
import os
import signal
import sys

# Threads of a BLAS spin while they wait: with a thread on each core for every worker, `pytest -n 2` takes twice the CPU
# time. They read this when NumPy and torch are imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, str(max(1, (os.cpu_count() or 1) // workers)))

import numpy as np
import pytest

from gip_gpu.system.cuda_driver import DRIVER

# Before they are imported: an assertion of a helper that fails shows its values, as one of a test does.
pytest.register_assert_rewrite("tests.support")

from tests.support.blas import on_all_threads
from tests.support.paths import REAL_DATA
from tests.support.shared_answers import SharedAnswers, folder_of_the_run

try:
    ctypes.CDLL(DRIVER)
except OSError:
    # Triton reads this when a kernel is imported: without a GPU its kernels run in its interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A shell starts what runs in the background with Ctrl-C ignored; the processes of the tests get it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real():
    """A function that loads a file of the real data; the test is skipped where there is none."""

    def load(name):
        path = REAL_DATA / name
        if not path.exists():
            pytest.skip(f"real data: {name} is not in ../shared/data (or in $GIP_GPU_DATA)")
        return np.load(path)

    return load


@pytest.fixture(scope="session")
def answers(pytestconfig, tmp_path_factory):
    """Right answers that take time, computed once for all workers of `pytest -n`."""
    return SharedAnswers(folder_of_the_run(pytestconfig, tmp_path_factory) / "answers")


@pytest.fixture(scope="session")
def cone():
    """(2000, 48) float32 rows in a narrow cone, as sentence embeddings are: the residual falls far."""
    rng = np.random.default_rng(7)
    scales = 1 / np.arange(1, 49)
    return (rng.standard_normal((2000, 48)) * scales + 1.5 * scales).astype(np.float32)


@pytest.fixture
def all_threads():
    """NumPy's BLAS splits its sums over all cores, also in a worker of `pytest -n`."""
    with on_all_threads():
        yield


@pytest.fixture
def float32_loop(monkeypatch):
    """Small pools run the loop of larger ones too, and not `gip_gpu.greedy.float64.stepper`."""
    from gip_gpu.api.prepared import PreparedRows

    monkeypatch.setattr(PreparedRows, "_may_run_in_float64", lambda *_: False)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Fresh floating-point memory is NaN, so that reading what was never written shows."""
    empty = np.empty

    def poisoned(shape, dtype=float, *args, **kwargs):
        array = empty(shape, dtype, *args, **kwargs)
        if array.dtype.kind == "f" and array.nbytes < 1 << 28:
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    torch = sys.modules.get("torch")
    if torch is None:
        return
    tensor = torch.empty

    def poisoned_tensor(*args, **kwargs):
        made = tensor(*args, **kwargs)
        if made.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) and made.nbytes < 1 << 28:
            made.fill_(torch.nan)
        return made

    monkeypatch.setattr(torch, "empty", poisoned_tensor)


@pytest.fixture
def triton_in_interpreter(monkeypatch):
    """The Triton backend in Triton's interpreter. Its programs run one after the other, so there are few."""
    import dataclasses

    pytest.importorskip("torch", reason="the Triton backend works on torch tensors")
    pytest.importorskip("triton", reason="Triton is not installed")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("these kernels run in Triton's interpreter: set TRITON_INTERPRET=1")
    from gip_gpu.backends.triton.backend import TritonBackend
    from gip_gpu.kernels.architectures import alike
    from gip_gpu.kernels.family import tuning

    few = dataclasses.replace(tuning.TRITON[80], distance_programs=2, most_programs=4)
    monkeypatch.setattr(tuning, "TRITON", alike(few))
    return TritonBackend


@pytest.fixture
def cupy_on_cpu(monkeypatch):
    """The stand-in for CuPy, with kernels of few threads, and a driver that reports one device."""
    import dataclasses

    from gip_gpu.backends import devices
    from gip_gpu.kernels import cuda_source
    from gip_gpu.kernels.architectures import alike
    from gip_gpu.kernels.family import tuning as family
    from gip_gpu.kernels.loop import tuning as loop
    from gip_gpu.kernels.pick import tuning as pick
    from gip_gpu.kernels.refresh import tuning as refresh
    from tests.support import cupy_stand_in
    from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT

    if not AVAILABLE:
        pytest.skip(WHY_NOT)
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cuda.arrays", raising=False)
    monkeypatch.setattr(devices, "_driver_devices", lambda: 1)
    for tuning in (family, loop, pick, refresh):
        monkeypatch.setattr(tuning, "CUDA", alike(dataclasses.replace(tuning.CUDA[80], threads=64)))
    cuda_source.module.cache_clear()
    cupy_stand_in.Function.LAUNCHES.clear()
    with cupy_stand_in.installed(monkeypatch) as module:
        yield module
    monkeypatch.delitem(sys.modules, "gip_gpu.backends.cuda.arrays", raising=False)
    cuda_source.module.cache_clear()
