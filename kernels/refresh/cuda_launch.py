"""Launches of refresh.cu."""

from typing import Any

from numpy import int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.refresh import tuning


def blocks(chip: Chip) -> int:
    """Returns the blocks of a launch, which is the length of `largest`."""
    return tuned(tuning.CUDA, chip.capability).blocks(chip.multiprocessors)


def refresh(
    rows: Any, input_dtype: str, norms: Any, scores: Any, A: Any, W: Any, weight: Any, largest: Any, first: int,
    count: int, chip: Chip,
) -> None:  # fmt: skip
    """Recomputes W~ of `count` items from `first`, given `rows` in `input_dtype`; by block, the `largest` ||W_j||."""
    (n, m), d = W.shape, rows.shape[1]
    values = tuned(tuning.CUDA, chip.capability)
    kernel = cuda_source.kernel("refresh", "refresh", values.macros(n, input_dtype))
    arguments = (rows, norms, scores, A, W, weight, largest, int64(first), int64(count))
    kernel((values.blocks(chip.multiprocessors),), (values.threads,), (int64(m), int32(d), *arguments))
