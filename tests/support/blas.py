"""Threads of NumPy's BLAS."""

import os
from contextlib import nullcontext


def on_all_threads():
    """Returns a context in which the BLAS splits its sums over all cores, if threadpoolctl is installed to set that."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(os.cpu_count(), "blas")
