"""Tuning of the Triton kernels: block sizes, warps, stages, each with its reason."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GramTile:
    """A tile of the Gram kernels.

    Attributes:
        tile: rows and columns of a tile of the whole matrix; columns of a tile of a batch.
        batch_tile: rows of a tile of a batch.
        depth: elements of a row that are multiplied at a time.
        warps, stages: of a program; stages of loads that are under way at once.
    """

    tile: int
    batch_tile: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True)
class TritonTuning:
    """Values for sm_80 and later; `bench/results/resources.md` has the registers and the occupancy that follow."""

    # 128 x 128 float32 sums are 64 registers a thread at 8 warps, which leaves as many for the addresses of the two
    # tiles that are stored. 16 bits: 64 deep, 3 stages of 2 * 128 * 64 * 2 bytes = 96 kB, two thirds of the shared
    # memory of an A100; tf32 half as deep for the same bytes. float32 without tensor cores multiplies in registers:
    # 64 x 64 at 4 warps are 32 sums a thread, and 16 deep keeps the factors in registers too.
    gram: dict[str, GramTile] = field(
        default_factory=lambda: {
            "fp32": GramTile(tile=64, batch_tile=32, depth=16, warps=4, stages=3),
            "tf32": GramTile(tile=128, batch_tile=64, depth=32, warps=8, stages=3),
            "fp16": GramTile(tile=128, batch_tile=64, depth=64, warps=8, stages=3),
            "bf16": GramTile(tile=128, batch_tile=64, depth=64, warps=8, stages=3),
        }
    )
    # sm_100 brings its sums from tensor memory all at once: 128 x 128 spill there, a quarter of that does not.
    narrow: dict[str, GramTile] = field(
        default_factory=lambda: {
            "fp32": GramTile(tile=64, batch_tile=32, depth=16, warps=4, stages=3),
            "tf32": GramTile(tile=64, batch_tile=64, depth=32, warps=4, stages=3),
            "fp16": GramTile(tile=64, batch_tile=64, depth=64, warps=4, stages=3),
            "bf16": GramTile(tile=64, batch_tile=64, depth=64, warps=4, stages=3),
        }
    )
    # Rows whose length is no multiple of 16 are loaded element by element, through registers.
    ragged: GramTile = GramTile(tile=64, batch_tile=32, depth=16, warps=8, stages=2)
    # Items of a block: four float32 loads of 4 bytes each a thread at 4 warps, under way together.
    step_block: int = 512
    step_warps: int = 4
    # Programs of a step kernel: 4 on each of an A100's 108 multiprocessors. More would queue, and all read all maxima.
    step_programs: int = 432
    # Float64 products of a candidate's row with A that a program of 4 warps holds: 4 a thread, 8 registers.
    rescore_values: int = 512
    # Candidates that the choice reads at once; there are seldom more than a dozen.
    choose_chunk: int = 256
    # float64 tile of the refresh, 16 x 64: 8 values a thread. Rows are read 64 elements, 128 bytes or more, at a time.
    refresh_items: int = 16
    refresh_depth: int = 64
    refresh_warps: int = 4
    # Steps of a graph, and graphs started before the host looks: a missing column leaves at most half of them idle.
    graph_steps: int = 8
    graphs_ahead: int = 16

    def rescore_depth(self, signals: int) -> int:
        """Elements of a row that are multiplied with A at a time."""
        return max(32, self.rescore_values // signals)

    def tile(self, multiply: str, d: int, capability: int) -> GramTile:
        """The tile for rows of length d in a format, on a chip of compute capability such as 80."""
        if d % 16:
            return self.ragged
        return (self.narrow if capability >= 100 else self.gram)[multiply]


TRITON = TritonTuning()
