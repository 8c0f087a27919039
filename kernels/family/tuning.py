"""Tuning values of the passes of a pick with its column computed in the step, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonFamily:
    """Values of family_triton.py."""

    # The step reads its rows once, so its tile must cover the latency of memory: 32 rows of 256 bytes, whole lines, are
    # four 16-byte loads a thread in flight together at 4 warps, 8 kB. With 56 to 96 registers, 5 to 9 programs fit on a
    # multiprocessor, with 40 kB or more in flight while none of them is between two tiles; 2 TB/s at 600 ns need 11 kB
    # on each multiprocessor of an A100, and an H100 needs some 20. 32 items are also a whole line of W~.
    items: int = 32
    row_bytes: int = 256
    # Elements of rows with a length that is not a multiple of 16, loaded one by one: 8 a thread, because each needs an
    # address; 64 take 161 registers. A fourth of the bytes, or half in float32, are then in flight: such rows may take
    # longer.
    ragged: int = 32
    # Signals that a program holds: 32 x 32 values of W~ are 8 a thread.
    signals: int = 32
    # 6 on each of an A100's 108 multiprocessors; the host reads 16 bytes of each.
    most_programs: int = 648
    # Items that a program searches for candidates, two a thread: few, so that neighbouring candidates are not all
    # rescored by one program. Signals at a time, and float64 products of a row with A that a program holds, 8 a thread;
    # half as many products spill.
    window_block: int = 256
    window_signals: int = 16
    window_values: int = 1024
    # 64 rows by 32 columns of S, 256 bytes each: 16 float64 sums a thread, and eight 16-byte loads in flight.
    distance_wide: int = 32
    distance_depth: int = 64
    distance_programs: int = 432
    # Partial sums of distances, 64 kB: enough for 341 candidates at d = 768, more than usual. With more, each candidate
    # takes a program. They are added up 16 x 32 at a time.
    distance_partial: int = 8192
    distance_tile: tuple[int, int] = (16, 32)
    # Warps of a program of each of the three kernels.
    warps: int = 4

    def programs(self, count: int) -> int:
        """Returns the programs of a launch of `step` for `count` items."""
        return min(-(-count // self.items), self.most_programs)

    def depth(self, d: int, size: int) -> int:
        """Returns the elements of `size` bytes of a row of length d that `step` reads at a time."""
        return self.ragged if d % 16 else self.row_bytes // size

    def terms(self, d: int, size: int) -> int:
        """Returns the largest number of roundings of a product on its way into a sum of `step`."""
        # A product is rounded, the elements of a tile are added in any order, and the sums of the tiles are added.
        depth = min(self.depth(d, size), d)
        return depth + 1 + -(-d // depth)

    def wide(self, n: int) -> int:
        """Returns the signals that a program of `step` holds, a power of two."""
        return min(_power(n), self.signals)

    def window_tile(self, n: int) -> tuple[int, int]:
        """Returns the signals (a power of two) and elements of a candidate's row that are processed at a time."""
        wide = min(_power(n), self.window_signals)
        return wide, self.window_values // wide


def _power(count: int) -> int:
    """Returns the smallest power of two that is at least `count`."""
    return 1 << (count - 1).bit_length()


TRITON = alike(TritonFamily())


@dataclass(frozen=True)
class CudaFamily:
    """Values of family.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100; nothing spills."""

    # 8 warps, among which `distances` divides the rows of S: at d = 384 a thread has 48 terms of a column. 52k items
    # are 204 blocks of `step`, at most two on each of 108 multiprocessors.
    threads: int = 256
    # Rows of which each lane of a warp has 16 bytes in flight: 4 kB, or 64 kB for a multiprocessor with 16 warps, where
    # 10 to 16 kB cover the latency of an A100's or an H200's memory (13 to 18 bytes a cycle, 800 cycles); a warp spends
    # part of its time on sums. Each load of h serves this many rows.
    rows_at_once: int = 8
    # Blocks on a multiprocessor: at most 128 registers x 256 threads fit twice into 65536; with three, `step` spills.
    blocks_per_multiprocessor: int = 2
    # Sums of 32 columns of S through which blocks share a candidate, 64 kB: 682 candidates at d = 384, 256 at d = 1024.
    # With more, each block has a candidate of its own.
    partial: int = 1 << 13

    def macros(self, n: int, input_dtype: str, multiply: str, measure: str, positive: bool) -> dict[str, str | int]:
        """Returns the macros of a build for rows as given and as multiplied, without those of `layout.macros`."""
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
        """Returns the blocks of a launch for `count` items: at most those that run together, no idle thread."""
        return min(self.most_blocks(multiprocessors), -(-count // self.threads))

    def most_blocks(self, multiprocessors: int) -> int:
        """Returns the number of blocks that run together."""
        return multiprocessors * self.blocks_per_multiprocessor

    def terms(self, d: int, size: int) -> int:
        """Returns the most roundings of a product of values of `size` bytes on its way into a sum of `step`."""
        # A lane's fused products of 16 bytes at a time, then five exchanges.
        chunk = 16 // size
        return chunk * -(-d // (32 * chunk)) + 6


CUDA = alike(CudaFamily())
