"""Threads of NumPy's BLAS."""

import os
from contextlib import nullcontext


def on_all_threads():
    """A context in which the BLAS splits its sums over all cores, where threadpoolctl is there to tell it."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(os.cpu_count(), "blas")
