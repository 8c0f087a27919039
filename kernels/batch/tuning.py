"""Tuning values of the batch of Gram columns, each with its reason."""

from dataclasses import dataclass

from gip_gpu.backends.gpu.layout import PIECES
from gip_gpu.kernels.architectures import alike


def piece_of(m: int) -> int:
    """Returns the items of a piece, a power of two with at most `PIECES` pieces of m items.

    The pieces' largest keys give a threshold that every item of the batch reaches. The more pieces, the fewer other
    items reach it, and one program compares all of them.
    """
    return 1 << max(0, (-(-m // PIECES) - 1).bit_length())


@dataclass(frozen=True)
class TritonBatch:
    """Values of batch_triton.py: `nominate` and `choose`."""

    # Items of a program at a time, two keys of 8 bytes for each thread. With 4 warps ptxas spills in the choice.
    block: int = 512
    warps: int = 8
    # Keys that the choice reads at once: of all pieces, or of the nominees, of which there are seldom more.
    chunk: int = 512
    # Keys of a batch that are compared with all others of the batch at a time: 256 x 4 comparisons, 4 for each thread.
    compared: int = 4

    def span(self, m: int) -> int:
        """Returns the items of a program: whole pieces."""
        return max(self.block, piece_of(m))

    def programs(self, m: int) -> int:
        """Returns the programs of either kernel."""
        return -(-m // self.span(m))


TRITON = alike(TritonBatch())


@dataclass(frozen=True)
class CudaBatch:
    """Values of batch.cu."""

    # 8 warps: enough loads in flight for a scan of m scores, and 4 of the pieces' keys for each thread of the block
    # that chooses.
    threads: int = 256
    # Blocks for each multiprocessor: both kernels are scans with little work for each item.
    blocks_per_multiprocessor: int = 4

    def macros(self) -> dict[str, str | int]:
        """Returns the macros of a build, without those of `layout.macros`."""
        return {"THREADS": self.threads}

    def blocks(self, m: int, multiprocessors: int) -> int:
        """Returns the blocks of either kernel."""
        return min(multiprocessors * self.blocks_per_multiprocessor, -(-m // self.threads))


CUDA = alike(CudaBatch())
