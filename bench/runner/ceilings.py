"""What the machine can do at best."""

import statistics
import time
from collections.abc import Callable

import numpy as np

REPEATS = 7


def ceilings(m: int, d: int, size: int) -> dict[str, float]:
    """Rates of BLAS in float32, for a process of its own: `child.call(ceilings, ...)`.

    Args:
        m, d: shape of a pool.
        size: rows and columns of the matrices of the large product.

    Returns:
        "flops": per second, of the large product; "gemv": seconds of a product of (m, d) with a vector; "read": seconds
        of reading as many bytes for a sum of products. A cache that holds a part of the pool helps both alike.
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
    """The median of some runs after one that is not counted."""
    action()
    spans = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)
