"""How the passes of a pick whose column is made in its step are cut into blocks; every value with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonFamily:
    """family_triton.py."""

    # The step reads its rows once, so its tile is made to cover the memory's latency: 32 rows of 256 bytes, whole
    # lines, are four 16-byte loads a thread under way together at 4 warps, 8 kB. At 56 to 96 registers 5 to 9 programs
    # are on a multiprocessor, with 40 kB or more under way while none of them is between two tiles; 2 TB/s at 600 ns
    # want 11 kB of each of an A100's, and an H100 some 20. 32 items are also a whole line of W~.
    items: int = 32
    row_bytes: int = 256
    # Elements of rows whose length is no multiple of 16, loaded one by one: 8 a thread, for each needs an address. 64
    # take 161 registers. A fourth of the bytes are under way then, or half in float32: such rows may take longer.
    ragged: int = 32
    # Signals that a program holds: 32 x 32 values of W~ are 8 a thread.
    signals: int = 32
    # 6 on each of an A100's 108 multiprocessors; the host reads 16 bytes of each.
    most_programs: int = 648
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
    # Of each of the three kernels.
    warps: int = 4

    def programs(self, count: int) -> int:
        """Programs of a launch of `step` for so many items."""
        return min(-(-count // self.items), self.most_programs)

    def depth(self, d: int, size: int) -> int:
        """Elements of `size` bytes of a row of length d that `step` reads at a time."""
        return self.ragged if d % 16 else self.row_bytes // size

    def terms(self, d: int, size: int) -> int:
        """Roundings that a product passes through at most on its way into a sum of `step`."""
        # A product and its sum are rounded, a tile is added up in any order, and each tile's sum is added.
        depth = min(self.depth(d, size), d)
        return depth + 1 + -(-d // depth)

    def wide(self, n: int) -> int:
        """Signals that a program of `step` holds, a power of two."""
        return min(_power(n), self.signals)

    def window_tile(self, n: int) -> tuple[int, int]:
        """Signals that a candidate's residual is computed for at a time, a power of two, and elements of its row."""
        wide = min(_power(n), self.window_signals)
        return wide, self.window_values // wide


def _power(count: int) -> int:
    """The power of two from `count` on."""
    return 1 << (count - 1).bit_length()


TRITON = alike(TritonFamily())


@dataclass(frozen=True)
class CudaFamily:
    """family.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100; nothing spills."""

    # 8 warps, which `distances` divides the rows of S among: at d = 384 a thread has 48 terms of a column. 52k items
    # are 204 blocks of `step`, two at most on each of 108 multiprocessors.
    threads: int = 256
    # Rows of which a warp has 16 bytes a lane under way: 4 kB, which is 64 kB a multiprocessor with 16 warps, where 10
    # to 16 kB cover the latency of an A100's or an H200's memory (13 to 18 bytes a cycle, 800 cycles); a warp spends
    # part of its time on sums. Each load of h serves as many rows.
    rows_at_once: int = 8
    # Blocks on a multiprocessor: 128 registers at most x 256 threads fit twice into 65536; with three `step` spills.
    blocks_per_multiprocessor: int = 2
    # Sums of 32 columns of S that blocks share a candidate by, 64 kB: 682 candidates at d = 384, 256 at d = 1024; where
    # there are more, each block has one of its own.
    partial: int = 1 << 13

    def macros(self, n: int, input_dtype: str, multiply: str, measure: str, positive: bool) -> dict[str, str | int]:
        """The macros of a build for rows as given and as multiplied, beside those of `layout.macros`."""
        return {
            f"ROWS_{input_dtype.upper()}": "",
            f"INPUT_{multiply.upper()}": "",
            f"MEASURE_{measure.upper()}": "",
            **({"POSITIVE": ""} if positive else {}),
            "SIGNALS": n,
            "THREADS": self.threads,
            "BLOCKS": self.blocks_per_multiprocessor,
            "ROWS_AT_ONCE": self.rows_at_once,
        }

    def blocks(self, count: int, multiprocessors: int) -> int:
        """Blocks of a launch for so many items: those that run together, no thread without an item."""
        return min(self.most_blocks(multiprocessors), -(-count // self.threads))

    def most_blocks(self, multiprocessors: int) -> int:
        """Blocks that run together."""
        return multiprocessors * self.blocks_per_multiprocessor

    def terms(self, d: int, size: int) -> int:
        """Roundings that a product of values of `size` bytes passes through at most on its way into a sum of `step`."""
        # A lane's fused products of 16 bytes at a time, then five exchanges.
        chunk = 16 // size
        return chunk * -(-d // (32 * chunk)) + 6


CUDA = alike(CudaFamily())
