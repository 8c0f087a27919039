"""Devices: what was asked for, what is there, what was looked for."""

import ctypes
import re
import sys
from typing import Any

from gip_gpu import backends

WANTED = "device must be 'auto', 'cpu', 'cuda' or 'cuda:<number>'"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def resolve(device: Any) -> str:
    """The device to use: "cpu", "cuda" or "cuda:<number>".

    Args:
        device: "auto" takes a CUDA device if one works and a backend serves it, else the CPU.

    Raises:
        TypeError: no string.
        ValueError: not a device, or a CUDA device where none can be used; says what was looked for.
    """
    if not isinstance(device, str):
        raise TypeError(f"device is {device!r}, a {type(device).__name__}; {WANTED}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device is {device!r}; {WANTED}")
    if device == "cpu":
        return device
    missing = missing_for_cuda(int(device.partition(":")[2] or 0))
    if device == "auto":
        return "cpu" if missing else "cuda"
    if missing:
        raise ValueError(f"device is {device!r}, but no such device can be used: {'; '.join(missing)}")
    return device


def missing_for_cuda(number: int) -> list[str]:
    """What keeps CUDA device `number` from being used, each in a few words; empty if nothing does."""
    missing = []
    if "cuda" not in backends.DEFAULTS:
        names = ", ".join(map(repr, backends.known()))
        missing.append(f"looked for a backend that serves CUDA, and this installation has {names} only")
    try:
        count = _driver_devices()
    except OSError:
        missing.append(f"looked for the CUDA driver library {DRIVER}, and it cannot be loaded")
    else:
        if number >= count:
            missing.append(f"looked for CUDA device {number}, and the driver reports {count}")
    return missing


def _driver_devices() -> int:
    """The number of devices that the CUDA driver reports; OSError without a driver."""
    driver = ctypes.CDLL(DRIVER)
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
