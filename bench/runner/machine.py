"""Description of the measured machine, in one line."""

import datetime
import os
import platform

import numpy as np

import gip_gpu
from gip_gpu.system.cpu import cores, processor

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def line() -> str:
    """Returns CPU, cores, system, Python, NumPy, BLAS with its kernels and threads, and date."""
    parts = (
        f"{processor()}, {cores()} cores",
        f"{system()}, {platform.machine()}",
        f"Python {platform.python_version()}",
        f"NumPy {np.__version__}",
        blas(),
        f"gip_gpu {gip_gpu.__version__}",
        datetime.date.today().isoformat(),
    )
    return "; ".join(parts)


def system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def blas() -> str:
    """Returns name and version of the BLAS that NumPy was built with, its kernels and its threads."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    name = f"{built.get('name', 'unknown BLAS')} {built.get('version', '')}".strip()
    kernels, threads = loaded()
    return f"{name}, kernels: {kernels}, threads: {threads}"


def loaded() -> tuple[str, str]:
    """Returns kernel architecture and threads of the loaded BLAS, or the settings of the environment."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        pools = []
    else:
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if pools:
        return str(pools[0].get("architecture", "unknown")), str(pools[0]["num_threads"])
    asked = next((os.environ[name] for name in THREADS if os.environ.get(name)), str(cores()))
    return os.environ.get("OPENBLAS_CORETYPE", "unknown"), asked
