"""Tuning values of the Triton step kernels, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonStep:
    """Values of step_triton.py: `update` and `pick`."""

    # Items of a block: four float32 loads of 4 bytes each for a thread at 4 warps, in flight together.
    block: int = 512
    warps: int = 4
    # Programs of a step kernel: 4 on each of an A100's 108 multiprocessors. More would queue, and all read all maxima.
    most_programs: int = 432
    # Float64 products of a candidate's row with A that a program of 4 warps holds, for one signal and for more: 8 for
    # each thread, so that one pass covers a row of up to 1024, or 4, because the row's values also need registers.
    rescore_values: tuple[int, int] = (1024, 512)
    # Candidates that the choice reads at once, up to 4 signals and beyond. There are seldom more than a dozen. At these
    # sizes ptxas spills nothing for any type and chip; at others it spills around its calls for square roots.
    choose_chunks: tuple[int, int] = (512, 256)

    def programs(self, m: int) -> int:
        """Returns the programs of either kernel for m items: at most those that run at once, each with whole blocks."""
        blocks = -(-m // self.block)
        return -(-blocks // -(-blocks // self.most_programs))

    def blocks(self, m: int, programs: int) -> int:
        """Returns the blocks of items of each program."""
        return -(-m // (self.block * programs))

    def rescore_depth(self, signals: int) -> int:
        """Returns the elements of a row that are multiplied with A at a time."""
        return max(32, self.rescore_values[signals > 1] // signals)

    def choose_chunk(self, signals: int) -> int:
        """Returns the candidates that the choice reads at once."""
        return self.choose_chunks[signals > 4]


TRITON = alike(TritonStep())
