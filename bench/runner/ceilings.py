"""Measured ceilings of the machine: its best rates in float32."""

import statistics
import time
from collections.abc import Callable

import numpy as np

REPEATS = 7


def ceilings(m: int, d: int, size: int) -> dict[str, float]:
    """Measures BLAS rates in float32; call it in its own process, `child.call(ceilings, ...)`.

    Returns:
        "flops": floating-point operations per second of a large product, size x size; "gemv": seconds of a product of
        an (m, d) matrix and a vector; "read": seconds of a dot product that reads the same number of bytes. A cache
        that holds a part of the pool speeds up the last two equally.
    """
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    product = np.empty_like(left)
    flops = 2 * size**3 / median_seconds(lambda: np.matmul(left, right, out=product))
    F, column = rng.standard_normal((m, d), dtype=np.float32), np.empty(m, np.float32)
    gemv = median_seconds(lambda: np.matmul(F, F[0], out=column))
    half, other = np.ones((2, m * d // 2), np.float32)
    return {"flops": flops, "gemv": gemv, "read": median_seconds(lambda: np.dot(half, other))}


def median_seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median seconds of `repeats` runs, after one warm-up run."""
    return statistics.median(spans(action, repeats, 1))


def spans(action: Callable[[], object], repeats: int, warm: int = 0) -> list[float]:
    """Returns the seconds of each of `repeats` runs, after `warm` warm-up runs."""
    found = []
    for _ in range(warm + repeats):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return found[warm:]
