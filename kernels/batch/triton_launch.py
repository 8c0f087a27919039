"""Launches of batch_triton.py. Arrays as `gip_gpu/backends/gpu/layout.py` lists them."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.batch import batch_triton, tuning
from gip_gpu.kernels.exact_triton import FUSED


def choose(
    score: Any, slots: Any, held: Any, piece_keys: Any, nominees: Any, chosen: Any, header_i64: Any, size: int,
    room: int, capability: int,
) -> None:  # fmt: skip
    """Lists a batch of up to `size` columns in the first `room` slots, if the header says that a column is missing."""
    m, piece = len(score), tuning.piece_of(len(score))
    values = tuned(tuning.TRITON, capability)
    pieces, span, block = -(-m // piece), values.span(m), values.block
    grid = (values.programs(m),)
    batch_triton.nominate[grid](
        m, score, slots, piece_keys, header_i64, pieces, size - 1, PIECE=piece, BLOCK=block, CHUNK=values.chunk,
        num_warps=values.warps, **FUSED,
    )  # fmt: skip
    batch_triton.choose[grid](
        m, score, slots, held, nominees, chosen, header_i64, size - 1, room, span, BLOCK=block, CHUNK=values.chunk,
        COMPARED=values.compared, SIZE=1 << max(0, (size - 2).bit_length()), num_warps=values.warps, **FUSED,
    )  # fmt: skip
