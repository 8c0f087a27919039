"""Launches of refresh_triton.py."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.refresh import refresh_triton, tuning


def refresh(
    rows: Any, norms: Any, scores: Any, A: Any, W: Any, weight: Any, largest: Any, first: int, count: int,
    capability: int,
) -> None:  # fmt: skip
    """Recomputes W~ of `count` items from `first`, from their `rows`; by program, the `largest` ||W_j||."""
    (n, m), d = W.shape, rows.shape[1]
    values = tuned(tuning.TRITON, capability)
    refresh_triton.refresh[(values.programs(count),)](
        m, d, rows, norms, scores, A, W, weight, largest, first, count, SIGNALS=n, ITEMS=values.items,
        DEPTH=values.depth, num_warps=values.warps, **FUSED,
    )  # fmt: skip
