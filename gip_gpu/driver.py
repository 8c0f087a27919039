"""The CUDA driver: its library, the devices it reports, and the CUDA version it supports."""

import ctypes
import sys

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
