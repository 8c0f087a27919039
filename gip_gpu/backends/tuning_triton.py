"""Tuning of the Triton kernels: block sizes, warps, stages, each with its reason."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GramTile:
    """A tile of the Gram kernels.

    Attributes:
        tile: side of a square of the whole matrix; columns of a tile of a batch.
        wide: columns of a square that a program takes.
        batch_tile: rows of a tile of a batch.
        depth: elements of a row that are multiplied at a time.
        warps, stages: of a program; stages of loads that are under way at once.
    """

    tile: int
    wide: int
    batch_tile: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True)
class TritonTuning:
    """Values for sm_80 and later; `bench/results/resources.md` has the registers and the occupancy that follow."""

    # 128 x 64 float32 sums are 32 registers a thread at 8 warps, which leaves room for the addresses of the two tiles
    # that are stored; 128 x 128 spill. 16 bits: 64 deep, 3 stages of (128 + 64) * 64 * 2 bytes = 72 kB; tf32 half as
    # deep for the same bytes. float32 without tensor cores multiplies in registers: 64 x 64 at 4 warps are 32 sums a
    # thread, and 16 deep keeps the factors in registers too.
    gram: dict[str, GramTile] = field(
        default_factory=lambda: {
            "fp32": GramTile(tile=64, wide=64, batch_tile=32, depth=16, warps=4, stages=3),
            "tf32": GramTile(tile=128, wide=64, batch_tile=64, depth=32, warps=8, stages=3),
            "fp16": GramTile(tile=128, wide=64, batch_tile=64, depth=64, warps=8, stages=3),
            "bf16": GramTile(tile=128, wide=64, batch_tile=64, depth=64, warps=8, stages=3),
        }
    )
    # Rows whose length is no multiple of 16 are loaded element by element, through registers.
    ragged: GramTile = GramTile(tile=64, wide=64, batch_tile=32, depth=16, warps=8, stages=2)
    # Items of a block: four float32 loads of 4 bytes each a thread at 4 warps, under way together.
    step_block: int = 512
    step_warps: int = 4
    # Programs of a step kernel: 4 on each of an A100's 108 multiprocessors. More would queue, and all read all maxima.
    step_programs: int = 432
    # Float64 products of a candidate's row with A that a program of 4 warps holds, for one signal and for more: 8 a
    # thread, so that one pass covers a row of up to 1024, or 4, for beside them stand the row's values.
    rescore_values: tuple[int, int] = (1024, 512)
    # Candidates that the choice reads at once, up to 4 signals and beyond. There are seldom more than a dozen; at these
    # sizes ptxas spills nothing for any type and chip, which it does at others, around its calls for square roots.
    choose_chunks: tuple[int, int] = (512, 256)
    # float64 tile of the refresh, 16 x 64: 8 values a thread. Rows are read 64 elements, 128 bytes or more, at a time.
    refresh_items: int = 16
    refresh_depth: int = 64
    refresh_warps: int = 4
    # Steps of a graph, and graphs started before the host looks: a missing column leaves at most half of them idle.
    graph_steps: int = 8
    graphs_ahead: int = 16

    def rescore_depth(self, signals: int) -> int:
        """Elements of a row that are multiplied with A at a time."""
        return max(32, self.rescore_values[signals > 1] // signals)

    def choose_chunk(self, signals: int) -> int:
        """Candidates that the choice reads at once."""
        return self.choose_chunks[signals > 4]

    def tile(self, multiply: str, d: int) -> GramTile:
        """The tile for rows of length d in a format."""
        return self.ragged if d % 16 else self.gram[multiply]


TRITON = TritonTuning()
