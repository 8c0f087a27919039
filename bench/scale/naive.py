"""Greedy matching pursuit that passes over the file once a pick.

All in float32, without a certificate: the simplest code for rows that do not fit into memory.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.runner.ceilings import spans
from gip_gpu.backends.numpy.products import Streamed
from gip_gpu.data.rows import Rows
from gip_gpu.data.single_rows import CHUNK, SingleRows
from gip_gpu.sources import open_matrix
from gip_gpu.system import memory

Single = NDArray[np.float32]


def loop(row: Callable[[int], Single], column: Callable[[Single, Single], None], G: NDArray[Any], picks: int) -> Any:
    """Returns the indices of the picks by scores G (m, n), and the seconds of each; `row` returns the unit row of an
    item, (d,), `column` writes the products of all rows with such a vector into an array (m,)."""
    W = np.ascontiguousarray(G.T, np.float32)
    phi, product, score = (np.empty(len(G), np.float32) for _ in range(3))
    left = np.ones(len(G), np.float32)
    indices, seconds = [], []
    for _ in range(picks):
        began = time.perf_counter()
        np.einsum("nm,nm->m", W, W, out=score)
        np.multiply(score, left, out=score)
        s = int(score.argmax())
        left[s] = 0
        column(row(s), phi)
        for part, weight in zip(W, W[:, s].copy(), strict=True):
            np.multiply(phi, weight, out=product)
            np.subtract(part, product, out=part)
        seconds.append(time.perf_counter() - began)
        indices.append(s)
    return indices, seconds


def converted(F: str) -> tuple[Any, Any, list[float]]:
    """Returns row and column functions with gip_gpu's reading and conversion, and seconds of passes of these alone."""
    single = SingleRows(Rows(open_matrix(F)), 0)
    streamed = Streamed(single)
    passes = spans(lambda: deque(streamed._chunks(), 0), 3)
    return lambda s: single.take([s])[0], streamed.column, passes


def mapped(F: str) -> tuple[Any, Any, list[float]]:
    """Returns row and column functions in plain NumPy on a memory map."""
    X: NDArray[np.float16] = np.load(F, mmap_mode="r")
    step = max(1, CHUNK // X.shape[1])
    spans = [slice(start, start + step) for start in range(0, len(X), step)]
    norms = np.concatenate([np.linalg.norm(X[span].astype(np.float32), axis=1) for span in spans])

    def column(vector: Single, out: Single) -> None:
        for span in spans:
            np.matmul(X[span].astype(np.float32), vector, out=out[span])
        np.divide(out, norms, out=out)

    return lambda s: X[s].astype(np.float32) / norms[s], column, []


WAYS = {"converted": converted, "mapped": mapped}


def run(F: str, scores: str, picks: int, way: str) -> dict[str, Any]:
    """Returns the indices of the first picks, and seconds of each and of passes without picks; for its own process."""
    row, column, passes = WAYS[way](F)
    G = np.load(scores)
    indices, seconds = loop(row, column, G.reshape(len(G), -1), picks)
    return {"indices": indices, "each": seconds, "passes": passes, "peak": memory.peak()}
