"""`gip_gpu.select` by backend, columns and size: `python -m pytest bench --benchmark-only`.

The pools are synthetic and clustered, with self-compression scores; 2 % of the rows are selected. The indices are
compared with those of the float64 reference before any timing.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gip_gpu
from bench.runner.pools import clustered
from gip_gpu import backends
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import memory

D = 128
SHARE = 50


def serving(device: str) -> list[str]:
    """Returns the names of the backends that serve a device on this machine."""

    def serves(name: str) -> bool:
        try:
            backends.load(name, device)
        except (ImportError, ValueError):
            return False
        return True

    return [name for name in backends.known() if serves(name)]


@cache
def pool(m: int) -> tuple[NDArray[np.float16], NDArray[np.float64], NDArray[np.int64]]:
    """Returns embeddings, scores and the indices of the float64 reference."""
    F = clustered(m, D)
    G = gip_gpu.signals.self_compression(F)
    return F, G, matching_pursuit(F, G, m // SHARE, on_exhausted="restart")


@pytest.mark.parametrize("m", [1000, 8000, 30000])
@pytest.mark.parametrize("columns", ["gram", "lazy"])
@pytest.mark.parametrize("backend", serving("cpu"))
def test_select(benchmark: Any, backend: str, columns: str, m: int) -> None:
    if columns == "gram" and 5 * m * m > memory.available():
        pytest.skip(f"the Gram matrix of {m:,} items needs {memory.readable(5 * m * m)}")
    F, G, expected = pool(m)

    def run() -> gip_gpu.Selection:
        return gip_gpu.select(F, G, len(expected), device="cpu", backend=backend, columns=columns)

    assert run().indices.tolist() == expected.tolist()
    benchmark.extra_info["k"] = len(expected)
    selection = benchmark.pedantic(run, rounds=3)
    assert selection.indices.tolist() == expected.tolist()
