"""Description of the measured machine, in one line."""

import contextlib
import datetime
import os
import platform

import numpy as np

from gip_gpu import __version__ as VERSION
from gip_gpu.system.cpu import cores, processor

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def line() -> str:
    """Returns CPU, cores, system, Python, NumPy, BLAS with its kernels and threads, and date."""
    versions = (f"Python {platform.python_version()}", f"NumPy {np.__version__}", blas(), f"gip_gpu {VERSION}")
    where = (f"{processor()}, {cores()} cores", f"{system()}, {platform.machine()}")
    return "; ".join([*where, *versions, datetime.date.today().isoformat()])


def system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def blas() -> str:
    """Returns name and version of NumPy's BLAS, its kernels and threads: as loaded, or as the environment sets them."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = f"{built.get('name', 'unknown BLAS')} {built.get('version', '')}".strip()
    kernels = os.environ.get("OPENBLAS_CORETYPE", "unknown")
    threads = next((os.environ[name] for name in THREADS if os.environ.get(name)), str(cores()))
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_info

        for pool in [pool for pool in threadpool_info() if pool["user_api"] == "blas"][:1]:
            kernels, threads = pool.get("architecture", "unknown"), pool["num_threads"]
    return f"{name}, kernels: {kernels}, threads: {threads}"
