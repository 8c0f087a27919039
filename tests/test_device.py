"""Devices: what "auto" takes, and one clear error for each thing that a CUDA device can lack."""

import sys

import numpy as np
import pytest

from gip_gpu import backends, device, select
from gip_gpu.backends.cupy_ import CupyBackend
from gip_gpu.backends.triton_ import TritonBackend
from gip_gpu.interop import on_gpu
from gip_gpu.plan import make_plan


@pytest.fixture
def driver(monkeypatch):
    """A driver that reports two devices."""
    monkeypatch.setattr(device, "_driver_devices", lambda: 2)


@pytest.fixture
def without(monkeypatch):
    """A function that makes the import of modules fail, as where they are not installed."""

    def absent(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return absent


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(device, "DRIVER", "libno-such-driver.so")
    assert device.resolve("auto") == "cpu"
    wanted = r"device is 'cuda', but .* driver library libno-such-driver.so, and it cannot be loaded"
    with pytest.raises(ValueError, match=wanted):
        select(np.eye(3), np.ones(3), 1, device="cuda")


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "_driver_devices", lambda: 0)
    assert device.resolve("auto") == "cpu"
    with pytest.raises(ValueError, match="looked for CUDA device 0, and the driver reports 0"):
        select(np.eye(3), np.ones(3), 1, device="cuda")


def test_a_device_that_is_not_there(driver):
    with pytest.raises(ValueError, match="looked for CUDA device 2, and the driver reports 2"):
        device.resolve("cuda:2")


def test_without_torch_and_cupy(driver, without):
    without("torch", "cupy")
    wanted = r"'triton': it needs torch and triton .*pip install 'gip_gpu\[cuda\]'.*; backend 'cupy': it needs cupy"
    with pytest.raises(ValueError, match=wanted):
        select(np.eye(3), np.ones(3), 1, device="cuda")
    assert device.resolve("auto") == "cpu"


def test_without_triton(driver, without):
    pytest.importorskip("torch")
    without("triton")
    with pytest.raises(ValueError, match="it needs torch and triton"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="triton")


def test_torch_without_cuda(driver, without, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    without("cupy")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'triton': torch \S+ sees no CUDA device; backend 'cupy': it needs cupy"):
        select(np.eye(3), np.ones(3), 1, device="cuda")


def test_without_cupy(driver, without):
    without("cupy")
    with pytest.raises(ValueError, match=r"backend 'cupy': it needs cupy"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")
    with pytest.raises(ValueError, match="it needs cupy"):
        make_plan(100, 10, 1, 5, device="cuda", backend="cupy")


def test_cupy_without_a_device(driver, monkeypatch):
    pytest.importorskip("cupy")
    # This machine's own CuPy, whose runtime finds no driver.
    if not CupyBackend.missing("cuda"):
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match=r"backend 'cupy': cupy \S+ sees no CUDA device \("):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")


def test_the_first_backend_that_can_run(driver, monkeypatch):
    monkeypatch.setattr(CupyBackend, "missing", classmethod(lambda cls, device: ""))
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: ""))
    assert backends.load(None, "cuda:1") is TritonBackend
    assert device.resolve("auto") == "cuda"
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: "no"))
    assert backends.load(None, "cuda:1") is CupyBackend
    assert device.resolve("auto", "numpy") == "cpu"


def test_a_device_that_is_too_old(driver, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"compute capability 7\.5; the kernels need 8\.0"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="triton")
    assert device.resolve("auto", None) == "cpu" or not CupyBackend.missing("cuda")


def test_a_library_that_is_broken(driver, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name in ("cupy", "torch"):
                raise OSError(f"lib{name}.so: wrong ELF class")

    for name in ("cupy", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert device.resolve("auto") == "cpu"
    with pytest.raises(ValueError, match=r"libtorch\.so: wrong ELF class.*libcupy\.so: wrong ELF class"):
        device.resolve("cuda")


def test_triton_on_the_cpu_is_for_tests(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="runs under Triton's interpreter only"):
        select(np.eye(3), np.ones(3), 1, device="cpu", backend="triton")


def test_cupy_does_not_serve_the_cpu():
    with pytest.raises(ValueError, match="it serves device 'cuda'; the device is 'cpu'"):
        select(np.eye(3), np.ones(3), 1, device="cpu", backend="cupy")


class OnGpu:
    """What an array on a GPU shows of itself."""

    def __dlpack_device__(self):
        return (2, 1)


def test_auto_follows_the_embeddings(driver, monkeypatch):
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: ""))
    assert on_gpu(OnGpu())
    assert not on_gpu(np.eye(2))
    assert device.resolve("auto", None, OnGpu()) == "cuda:1"
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: "broken"))
    monkeypatch.setattr(CupyBackend, "missing", classmethod(lambda cls, device: "broken too"))
    with pytest.raises(ValueError, match="broken; backend 'cupy': broken too"):
        device.resolve("auto", None, OnGpu())
