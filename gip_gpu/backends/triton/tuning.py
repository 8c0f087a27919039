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


def _power(count: int) -> int:
    """The power of two from `count` on."""
    return 1 << (count - 1).bit_length()


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
    # The family's step reads its rows once, so its tile is made to cover the memory's latency: 32 rows of 256 bytes,
    # whole lines, are four 16-byte loads a thread under way together at 4 warps, 8 kB. At 56 to 96 registers 5 to 9
    # programs are on a multiprocessor, with 40 kB or more under way while none of them is between two tiles; 2 TB/s at
    # 600 ns want 11 kB of each of an A100's, and an H100 some 20. 32 items are also a whole line of W~.
    family_items: int = 32
    family_bytes: int = 256
    # Elements of rows whose length is no multiple of 16, loaded one by one: 8 a thread, for each needs an address. 64
    # take 161 registers. A fourth of the bytes are under way then, or half in float32: such rows may take longer.
    family_ragged: int = 32
    family_warps: int = 4
    # Signals that a program holds: 32 x 32 values of W~ are 8 a thread.
    family_signals: int = 32
    # 6 on each of an A100's 108 multiprocessors; the host reads 16 bytes of each.
    family_programs: int = 648
    # Items that a program looks through for candidates, two a thread: few, so that candidates that stand together are
    # not rescored one after the other. Float64 products of a row with A that it holds, 8 a thread, for as many signals
    # at a time; half as many products spill.
    window_block: int = 256
    window_signals: int = 16
    window_values: int = 1024
    # 64 rows by 32 columns of S, 256 bytes each: 16 float64 sums a thread, and eight 16-byte loads under way.
    distance_wide: int = 32
    distance_depth: int = 64
    distance_programs: int = 432
    # Partial sums of distances, 64 kB: those of 341 candidates at d = 768, more than are met but when there are so many
    # that each takes a program. Added up 16 x 32 at a time.
    distance_partial: int = 8192
    distance_tile: tuple[int, int] = (16, 32)

    def rescore_depth(self, signals: int) -> int:
        """Elements of a row that are multiplied with A at a time."""
        return max(32, self.rescore_values[signals > 1] // signals)

    def family_depth(self, d: int, size: int) -> int:
        """Elements of `size` bytes of a row of length d that the family's step reads at a time."""
        return self.family_ragged if d % 16 else self.family_bytes // size

    def family_wide(self, signals: int) -> int:
        """Signals that a program of the family's step holds, a power of two."""
        return min(_power(signals), self.family_signals)

    def window_tile(self, signals: int) -> tuple[int, int]:
        """Signals that a candidate's residual is computed for at a time, a power of two, and elements of its row."""
        wide = min(_power(signals), self.window_signals)
        return wide, self.window_values // wide

    def choose_chunk(self, signals: int) -> int:
        """Candidates that the choice reads at once."""
        return self.choose_chunks[signals > 4]

    def tile(self, multiply: str, d: int) -> GramTile:
        """The tile for rows of length d in a format."""
        return self.ragged if d % 16 else self.gram[multiply]


TRITON = TritonTuning()
