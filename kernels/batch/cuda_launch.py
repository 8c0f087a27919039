"""Launches of batch.cu. Arrays as `gip_gpu/backends/gpu/layout.py` lists them."""

from typing import Any

from numpy import int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.batch import tuning


def choose(
    score: Any, slots: Any, held: Any, piece_keys: Any, nominees: Any, header_i64: Any, size: int, room: int, chip: Chip
) -> None:
    """Lists a batch of up to `size` columns in the first `room` slots, if the header says that a column is missing."""
    m, piece = len(score), tuning.piece_of(len(score))
    values = tuned(tuning.CUDA, chip.capability)
    grid, block = (values.blocks(m, chip.multiprocessors),), (values.threads,)
    nominate, chosen = (cuda_source.kernel("batch", name, values.macros()) for name in ("nominate", "choose"))
    pieces = -(-m // piece)
    nominate(
        grid, block, (int64(m), score, slots, piece_keys, header_i64, int64(piece), int64(pieces), int64(size - 1))
    )
    chosen(grid, block, (int64(m), score, slots, held, nominees, header_i64, int64(size - 1), int64(room)))
