"""Devices: the choice of "auto", and one clear error for each thing that a CUDA device can lack."""

import ctypes
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gip_gpu import backends, select
from gip_gpu.backends import devices
from gip_gpu.backends.cuda.backend import CupyBackend
from gip_gpu.backends.triton.backend import TritonBackend
from gip_gpu.data.device_arrays import on_gpu
from gip_gpu.strategies.choose import make_plan
from gip_gpu.system import cuda_driver


@pytest.fixture
def two_devices(monkeypatch):
    """A driver that reports two devices."""
    monkeypatch.setattr(devices, "_driver_devices", lambda: 2)


@pytest.fixture
def without(monkeypatch):
    """A function that makes the import of modules fail, as if they were not installed."""

    def absent(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return absent


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(cuda_driver, "DRIVER", "libno-such-driver.so")
    assert devices.resolve("auto") == "cpu"
    wanted = r"device is 'cuda', but .* driver library libno-such-driver.so, and it cannot be loaded"
    with pytest.raises(ValueError, match=wanted):
        select(np.eye(3), np.ones(3), 1, device="cuda")


@pytest.fixture
def driver_library(monkeypatch):
    """A function that installs a fake driver with these devices and version; its call `fails` fails."""

    def put(devices=1, version=13000, fails=None):
        def answer(name, value):
            def call(pointer):
                pointer._obj.value = value
                return 34 if name == fails else 0

            return name, call

        library = SimpleNamespace(
            cuInit=lambda flags: 100 if fails == "cuInit" else 0,
            **dict([answer("cuDeviceGetCount", devices), answer("cuDriverGetVersion", version)]),
        )
        loads = SimpleNamespace(CDLL={cuda_driver.DRIVER: library}.get, c_int=ctypes.c_int, byref=ctypes.byref)
        monkeypatch.setattr(cuda_driver, "ctypes", loads)

    return put


def test_what_the_driver_reports(driver_library):
    driver_library(devices=3, version=12090)
    assert (cuda_driver.devices(), cuda_driver.version()) == (3, (12, 9))
    driver_library(version=13000)
    assert cuda_driver.version() == (13, 0)
    driver_library(version=12090, fails="cuDriverGetVersion")
    assert (cuda_driver.devices(), cuda_driver.version()) == (1, (0, 0))
    for call in ("cuInit", "cuDeviceGetCount"):
        driver_library(devices=3, version=12090, fails=call)
        assert (cuda_driver.devices(), cuda_driver.version()) == (0, (12, 9))


def test_no_driver_to_ask(monkeypatch):
    monkeypatch.setattr(cuda_driver, "DRIVER", "libno-such-driver.so")
    for ask in (cuda_driver.devices, cuda_driver.version):
        with pytest.raises(OSError, match="libno-such-driver"):
            ask()


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "_driver_devices", lambda: 0)
    assert devices.resolve("auto") == "cpu"
    with pytest.raises(ValueError, match="looked for CUDA device 0, and the driver reports 0"):
        select(np.eye(3), np.ones(3), 1, device="cuda")


def test_a_device_that_is_not_there(two_devices):
    with pytest.raises(ValueError, match="looked for CUDA device 2, and the driver reports 2"):
        devices.resolve("cuda:2")


def test_without_torch_and_cupy(two_devices, without):
    without("torch", "cupy")
    either = r"pip install 'gip_gpu\[cuda12\]' or 'gip_gpu\[cuda13\]' brings them; .*fit"
    wanted = rf"'triton': it needs torch and triton .*{either}.*; backend 'cupy': it needs cupy"
    with pytest.raises(ValueError, match=wanted):
        select(np.eye(3), np.ones(3), 1, device="cuda")
    assert devices.resolve("auto") == "cpu"


def test_without_triton(two_devices, without):
    pytest.importorskip("torch")
    without("triton")
    with pytest.raises(ValueError, match="it needs torch and triton"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="triton")


def test_torch_without_cuda(two_devices, without, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    without("cupy")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    wanted = r"'triton': torch \S+ sees no CUDA device, and is built for CUDA 13.0; backend 'cupy': it needs cupy"
    with pytest.raises(ValueError, match=wanted):
        select(np.eye(3), np.ones(3), 1, device="cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ValueError, match="is built without CUDA"):
        select(np.eye(3), np.ones(3), 1, device="cuda")


def test_without_cupy(two_devices, without):
    without("cupy")
    with pytest.raises(ValueError, match=r"backend 'cupy': it needs cupy"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")
    with pytest.raises(ValueError, match="it needs cupy"):
        make_plan(100, 10, 1, 5, device="cuda", backend="cupy")


BOTH = (
    "pip install 'gip_gpu[cuda12]' (cupy-cuda12x) or 'gip_gpu[cuda13]' (cupy-cuda13x), "
    "with no other CuPy package beside it; "
)
# The driver's report, and the end of the message.
FITTING = {
    12000: "the CUDA driver supports CUDA 12.0, so 'gip_gpu[cuda12]' fits",
    12090: "the CUDA driver supports CUDA 12.9, so 'gip_gpu[cuda12]' fits",
    13000: "the CUDA driver supports CUDA 13.0, so 'gip_gpu[cuda13]' fits",
    14020: "the CUDA driver supports CUDA 14.2, so 'gip_gpu[cuda13]' fits",
    11080: "the CUDA driver supports CUDA 11.8, too old for both: they need 12.0 or newer",
    0: "which one fits is unknown, as the CUDA driver does not report its version",
}


@pytest.mark.parametrize("version", FITTING)
def test_the_cupy_that_fits_the_driver(version, driver_library, without, two_devices):
    without("cupy")
    driver_library(version=version)
    expected = re.escape(f"{BOTH}{FITTING[version]}")
    with pytest.raises(ValueError, match=rf"backend 'cupy': it needs cupy \(.*\); {expected}$"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")


def test_which_cupy_fits_is_unknown_without_a_driver(monkeypatch, without):
    without("cupy")
    monkeypatch.setattr(cuda_driver, "DRIVER", "libno-such-driver.so")
    expected = f"{BOTH}which one fits is unknown, as the CUDA driver library libno-such-driver.so cannot be loaded"
    assert CupyBackend.missing("cuda").endswith(f"; {expected}")


class CUDARuntimeError(RuntimeError):
    pass


@pytest.fixture
def cupy_that_fails(monkeypatch):
    """A function that installs a fake CuPy; each of its CUDA calls fails with a message."""

    def put(message):
        def fail():
            raise CUDARuntimeError(message)

        runtime = SimpleNamespace(getDeviceCount=fail, CUDARuntimeError=CUDARuntimeError)
        cupy = SimpleNamespace(__version__="14.2.0", cuda=SimpleNamespace(runtime=runtime))
        monkeypatch.setitem(sys.modules, "cupy", cupy)

    return put


@pytest.mark.parametrize("version", FITTING)
def test_cupy_for_a_newer_cuda_than_the_drivers(version, driver_library, two_devices, cupy_that_fails):
    error = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
    cupy_that_fails(error)
    driver_library(version=version)
    expected = re.escape(f"backend 'cupy': cupy 14.2.0 sees no CUDA device ({error}); {BOTH}{FITTING[version]}")
    with pytest.raises(ValueError, match=f"{expected}$"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")


def test_another_error_of_cupy_is_no_matter_of_packages(two_devices, cupy_that_fails):
    cupy_that_fails("cudaErrorDevicesUnavailable: all CUDA-capable devices are busy or unavailable")
    assert CupyBackend.missing("cuda").endswith("are busy or unavailable)")


def test_cupy_without_a_device(two_devices, monkeypatch):
    pytest.importorskip("cupy")
    # This machine's own CuPy, with a runtime that finds no driver.
    if not CupyBackend.missing("cuda"):
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match=r"backend 'cupy': cupy \S+ sees no CUDA device \("):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="cupy")


def test_the_first_backend_that_can_run(two_devices, monkeypatch):
    monkeypatch.setattr(CupyBackend, "missing", classmethod(lambda cls, device: ""))
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: ""))
    assert backends.load(None, "cuda:1") is TritonBackend
    assert devices.resolve("auto") == "cuda"
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: "no"))
    assert backends.load(None, "cuda:1") is CupyBackend
    assert devices.resolve("auto", "numpy") == "cpu"


def test_a_device_that_is_too_old(two_devices, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"compute capability 7\.5; the kernels need 8\.0"):
        select(np.eye(3), np.ones(3), 1, device="cuda", backend="triton")
    assert devices.resolve("auto", None) == "cpu" or not CupyBackend.missing("cuda")


def test_a_library_that_is_broken(two_devices, driver_library, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name in ("cupy", "torch"):
                raise OSError(f"lib{name}.so: wrong ELF class")

    for name in ("cupy", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert devices.resolve("auto") == "cpu"
    with pytest.raises(ValueError, match=r"libtorch\.so: wrong ELF class.*libcupy\.so: wrong ELF class"):
        devices.resolve("cuda")
    driver_library(version=12090)
    wanted = re.escape(f"it needs cupy (libcupy.so: wrong ELF class); {BOTH}{FITTING[12090]}")
    with pytest.raises(ValueError, match=wanted):
        devices.resolve("cuda", "cupy")


def test_triton_on_the_cpu_is_for_tests(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="runs under Triton's interpreter only"):
        select(np.eye(3), np.ones(3), 1, device="cpu", backend="triton")


def test_cupy_does_not_serve_the_cpu():
    with pytest.raises(ValueError, match="it serves device 'cuda'; the device is 'cpu'"):
        select(np.eye(3), np.ones(3), 1, device="cpu", backend="cupy")


class OnGpu:
    """The visible interface of an array on a GPU."""

    def __dlpack_device__(self):
        return (2, 1)


def test_auto_follows_the_embeddings(two_devices, monkeypatch):
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: ""))
    assert on_gpu(OnGpu())
    assert not on_gpu(np.eye(2))
    assert devices.resolve("auto", None, OnGpu()) == "cuda:1"
    monkeypatch.setattr(TritonBackend, "missing", classmethod(lambda cls, device: "broken"))
    monkeypatch.setattr(CupyBackend, "missing", classmethod(lambda cls, device: "broken too"))
    with pytest.raises(ValueError, match="broken; backend 'cupy': broken too"):
        devices.resolve("auto", None, OnGpu())
