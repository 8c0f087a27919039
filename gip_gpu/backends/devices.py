"""Choice of the device: the request, the devices found, and the reasons why one cannot be used."""

import re
from typing import Any

from gip_gpu import backends
from gip_gpu.data.device_arrays import gpu_of, on_gpu
from gip_gpu.system import cuda_driver
from gip_gpu.system.cuda_driver import devices as _driver_devices

WANTED = "device must be 'auto', 'cpu', 'cuda' or 'cuda:<number>'"


def resolve(device: Any, backend: str | None = None, F: Any = None) -> str:
    """Returns the device to use: "cpu", "cuda" or "cuda:<number>".

    Args:
        device: "auto" takes the CUDA device that stores F, else the first one if it works and the backend (by default
            one of those for CUDA) can use it, else the CPU.
        backend: name of the requested backend, None for the default.
        F: the embeddings, if they are known.

    Raises:
        TypeError: `device` is not a string.
        ValueError: `device` names no device, or a CUDA device that cannot be used; the message lists what was tried.
    """
    if not isinstance(device, str):
        raise TypeError(f"device is {device!r}, a {type(device).__name__}; {WANTED}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device is {device!r}; {WANTED}")
    if device == "cpu":
        return "cpu"
    asked = str(device)
    if device == "auto":
        if backend is not None and "cuda" not in backends.serves(backend):
            return "cpu"
        device = f"cuda:{gpu_of(F)}" if on_gpu(F) else "cuda"
    missing = missing_for_cuda(device, backend)
    if not missing:
        return str(device)
    if asked == "auto" and not on_gpu(F) and (backend is None or not backends.missing(backend, "cpu")):
        return "cpu"
    raise ValueError(f"device is {asked!r}, but no such device can be used: {'; '.join(missing)}")


def missing_for_cuda(device: str, backend: str | None = None) -> list[str]:
    """Returns the reasons why a CUDA device cannot be used, each in a few words; empty if it can."""
    number = int(device.partition(":")[2] or 0)
    try:
        count = _driver_devices()
    except OSError:
        return [f"looked for the CUDA driver library {cuda_driver.DRIVER}, and it cannot be loaded"]
    if number >= count:
        return [f"looked for CUDA device {number}, and the driver reports {count}"]
    names = backends.DEFAULTS["cuda"] if backend is None else (backend,)
    missing = [(name, backends.missing(name, device)) for name in names]
    if not all(why for _, why in missing):
        return []
    return [f"backend {name!r}: {why}" for name, why in missing]
