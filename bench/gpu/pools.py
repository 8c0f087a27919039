"""Fixed pools and scores of the suite, with the same bits on every machine, and digests to verify it.

The right indices of these pools are computed once and checked in (`bench.gpu.right`). They are valid on another machine
only if the pool and the scores are bit-identical there. BLAS and `einsum` do not guarantee that: the order of their
sums depends on the width of the machine's vectors and its number of threads. So each sum here uses `numpy.add.reduce`,
which adds rows one after the other and the entries of a row pairwise, in an order fixed by NumPy's source; everything
else is elementwise or a random stream. The digest detects the remaining differences: the C library's logarithm in the
tails of the normal distribution, and a NumPy that adds in another order.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.runner.pools import CLUSTERS

Array = NDArray[Any]
T = TypeVar("T")

# Rows that one thread fills or sums at a time; fixed, as the sums depend on it.
BLOCK = 8192
# Bytes that one thread hashes at a time; fixed, as the digest depends on it.
PIECE = 1 << 24


def cone(m: int, d: int, kind: str) -> Array:
    """Draws (m, d) rows around cluster centres in a narrow cone (mean cosine about 0.4, as in sentence embeddings);
    `kind` is "fp16", "fp32", or "bf16": float32 values that bfloat16 represents exactly."""
    scales = (1 / np.sqrt(np.arange(1, d + 1))).astype(np.float32)
    rng = np.random.default_rng(d)
    centres = rng.standard_normal((CLUSTERS, d), np.float32) * scales + rng.standard_normal(d, np.float32) * scales
    F = np.empty((m, d), np.float16 if kind == "fp16" else np.float32)

    def fill(start: int) -> None:
        block = F[start : start + BLOCK]
        own = np.random.default_rng((m, d, start))
        rows = own.standard_normal(block.shape, np.float32)
        rows *= np.float32(0.7) * scales
        rows += centres[own.integers(CLUSTERS, size=len(block))]
        if kind == "bf16":
            rows = (rows.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        block[:] = rows

    _threaded(fill, range(0, m, BLOCK))
    return F


def similarities(F: Array, n: int = 1) -> NDArray[np.float64]:
    """Sums the cosine similarities of each row to the rows of n parts of the pool: (m, n), or (m,) if n = 1.

    Part p holds the rows p, p + n, p + 2n and so on. With n = 1 these are the self-compression scores, equal to those
    of `gip_gpu.signals.self_compression` except for rounding.

    >>> similarities(np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 2.0]]))
    array([2.8, 2.8, 2.6])
    """
    (m, d), starts = F.shape, range(0, len(F), BLOCK)

    def sums(start: int) -> list[Array]:
        units = _units(F[start : start + BLOCK])
        return [units[(part - start) % n :: n].sum(axis=0) for part in range(n)]

    totals = np.zeros((n, d))
    for found in _threaded(sums, starts):
        totals += found
    G = np.empty((m, n))

    def fill(start: int) -> None:
        units = _units(F[start : start + BLOCK])
        for part in range(n):
            G[start : start + BLOCK, part] = (units * totals[part]).sum(axis=1)

    _threaded(fill, starts)
    return G[:, 0].copy() if n == 1 else G


def digest(array: Array) -> bytes:
    """Returns the SHA-256 of an array's type, shape and bytes: a hash of its pieces' hashes, computed in threads."""
    values = np.ascontiguousarray(array)
    flat = values.reshape(-1).view(np.uint8)
    found = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    pieces = _threaded(
        lambda start: hashlib.sha256(flat[start : start + PIECE]).digest(), range(0, max(1, len(flat)), PIECE)
    )
    for piece in pieces:
        found.update(piece)
    return found.digest()


def _units(block: Array) -> NDArray[np.float64]:
    """Divides rows by their norms, in float64."""
    rows = block.astype(np.float64)
    rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows


def _threaded(action: Callable[[int], T], starts: Iterable[int]) -> list[T]:
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        return list(workers.map(action, starts))
