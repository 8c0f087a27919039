"""Launches of cast.cu."""

from typing import Any

from numpy import float64, int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.cast import tuning


def cast(rows: Any, input_dtype: str, norms: Any, factor: float, out: Any, multiply: str, chip: Chip) -> None:
    """Computes out (count, d) in `multiply` = rows / norms * factor, rows in `input_dtype`, `factor` a power of two."""
    count, d = rows.shape
    values = tuned(tuning.CUDA, chip.capability)
    kernel = cuda_source.kernel("cast", "cast", values.macros(input_dtype, multiply))
    grid = (values.blocks(count, chip.multiprocessors),)
    kernel(grid, (values.threads,), (rows, norms, out, int64(count), int32(d), float64(factor)))
