"""Launches of loop.cu."""

from typing import Any

from numpy import int32, int64

from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import Chip, tuned
from gip_gpu.kernels.loop import tuning


def blocks(m: int, chip: Chip) -> int:
    """Returns the blocks of a launch for m items, which is the length of `best` and `energy`."""
    return tuned(tuning.CUDA, chip.capability).blocks(m, chip.multiprocessors)


class Loop:
    """The kernel, built for a selection of n signals from m items.

    Attributes:
        shared: bytes of a block's shared memory that hold W~ during a launch; 0 if it does not fit.
    """

    def __init__(self, m: int, n: int, input_dtype: str, storage: str, chip: Chip) -> None:
        values = tuned(tuning.CUDA, chip.capability)
        self.threads, self.blocks = values.threads, blocks(m, chip)
        self.shared = values.shared_bytes(m, n, self.blocks, chip.shared_of_block)
        self.kernel = cuda_source.kernel("loop", "loop", values.macros(n, input_dtype, storage))
        if self.shared:
            self.kernel.max_dynamic_shared_size_bytes = self.shared

    def run(
        self, rows: Any, norms: Any, scores: Any, A: Any, W: Any, score: Any, weight: Any, slots: Any, columns: Any,
        best: Any, energy: Any, candidate_index: Any, candidate_value: Any, header_f64: Any, header_i64: Any,
        record: Any,
    ) -> None:  # fmt: skip
        """Takes steps until the header says that the host is needed. Arrays as in `backends/gpu/layout.py`."""
        m, d = rows.shape
        self.kernel(
            (self.blocks,), (self.threads,),
            (int64(m), int32(d), rows, norms, scores, A, W, score, weight, slots, columns, best, energy,
             candidate_index, candidate_value, header_f64, header_i64, record, int32(self.shared > 0)),
            shared_mem=self.shared,
        )  # fmt: skip
