"""Launches of the two Triton kernels of a step. Arrays as `gip_gpu/backends/gpu/layout.py` lists them."""

from typing import Any

from gip_gpu.kernels.architectures import tuned
from gip_gpu.kernels.exact_triton import FUSED
from gip_gpu.kernels.step import step_triton, tuning


def update(
    W: Any, columns: Any, weight: Any, score: Any, best: Any, energy: Any, header_f64: Any, header_i64: Any,
    capability: int,
) -> None:  # fmt: skip
    """Projects the pick in the header out of W~, and scores; `best` and `energy` have an entry for each program."""
    (n, m), programs = W.shape, len(best)
    values = tuned(tuning.TRITON, capability)
    step_triton.update[(programs,)](
        m, W, columns, columns.stride(0), weight, score, best, energy, header_f64, header_i64,
        values.blocks(m, programs), SIGNALS=n, BLOCK=values.block, num_warps=values.warps, **FUSED,
    )  # fmt: skip


def pick(
    rows: Any, inverses: Any, scores: Any, A: Any, weight: Any, score: Any, slots: Any, best: Any, energy: Any,
    candidate_index: Any, candidate_value: Any, header_f64: Any, header_i64: Any, record: Any, capability: int,
) -> None:  # fmt: skip
    """Rescores the window, makes its argmax the pick and projects it out of A, or writes the reason to the header."""
    (m, n), d, programs = scores.shape, rows.shape[1], len(best)
    wide = 1 << (n - 1).bit_length()
    values = tuned(tuning.TRITON, capability)
    step_triton.pick[(programs,)](
        m, d, rows, inverses, scores, A, weight, score, slots, best, energy, candidate_index, candidate_value,
        header_f64, header_i64, record, values.blocks(m, programs), SIGNALS=n, WIDE=wide, BLOCK=values.block,
        DEPTH=values.rescore_depth(wide), PARTS=programs, PARTS_BLOCK=1 << (programs - 1).bit_length(),
        CHUNK=values.choose_chunk(wide), num_warps=values.warps, **FUSED,
    )  # fmt: skip
