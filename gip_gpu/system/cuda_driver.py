"""The CUDA driver: its library, devices and newest CUDA version, and the gip_gpu extra that fits it."""

import ctypes
import sys

# The extra of gip_gpu, and CuPy's package, for each major version of CUDA.
EXTRAS = {12: ("cuda12", "cupy-cuda12x"), 13: ("cuda13", "cupy-cuda13x")}
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def devices() -> int:
    """Returns the number of devices that the CUDA driver reports; raises OSError without a driver."""
    driver = ctypes.CDLL(DRIVER)
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def version() -> tuple[int, int]:
    """Returns the newest CUDA version that the driver supports, (12, 9) for 12.9; (0, 0) if it reports none.

    Raises:
        OSError: there is no driver.
    """
    number = ctypes.c_int(0)
    if ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(number)):
        return 0, 0
    return number.value // 1000, number.value % 1000 // 10


def fitting() -> str:
    """Names the gip_gpu extra that fits the driver, or the reason why it is unknown, for messages."""
    try:
        major, minor = version()
    except OSError:
        return f"which one fits is unknown, as the CUDA driver library {DRIVER} cannot be loaded"
    if not major:
        return "which one fits is unknown, as the CUDA driver does not report its version"
    # A driver runs programs built for its own CUDA version and for older ones.
    fits = [extra for known, (extra, _) in EXTRAS.items() if known <= major]
    if not fits:
        return f"the CUDA driver supports CUDA {major}.{minor}, too old for both: they need {min(EXTRAS)}.0 or newer"
    return f"the CUDA driver supports CUDA {major}.{minor}, so 'gip_gpu[{fits[-1]}]' fits"
