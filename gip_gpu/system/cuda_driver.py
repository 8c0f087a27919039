"""The CUDA driver: its library, the devices it reports, the CUDA version it supports, and the extra that fits it."""

import ctypes
import sys

# The extra of gip_gpu, and CuPy's package, for each major version of CUDA.
EXTRAS = {12: ("cuda12", "cupy-cuda12x"), 13: ("cuda13", "cupy-cuda13x")}
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def devices() -> int:
    """The number of devices that the CUDA driver reports; OSError without a driver."""
    driver = ctypes.CDLL(DRIVER)
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def version() -> tuple[int, int]:
    """The newest CUDA version it supports, (12, 9) for 12.9; (0, 0) if it reports none; OSError without a driver."""
    number = ctypes.c_int(0)
    if ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(number)):
        return 0, 0
    return number.value // 1000, number.value % 1000 // 10


def fitting() -> str:
    """Which extra of gip_gpu fits the driver, or why that is unknown, in a few words."""
    try:
        major, minor = version()
    except OSError:
        return f"which one fits is unknown, as the CUDA driver library {DRIVER} cannot be loaded"
    if not major:
        return "which one fits is unknown, as the CUDA driver does not report its version"
    # A driver runs programs of its own CUDA version and of older ones.
    fits = [extra for known, (extra, _) in EXTRAS.items() if known <= major]
    if not fits:
        return f"the CUDA driver supports CUDA {major}.{minor}, too old for both: they need {min(EXTRAS)}.0 or newer"
    return f"the CUDA driver supports CUDA {major}.{minor}, so 'gip_gpu[{fits[-1]}]' fits"
