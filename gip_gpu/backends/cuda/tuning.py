"""How the CUDA kernels are cut into blocks, one frozen dataclass a file; every value with its reason."""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of an item of the operands in shared memory; tf32 is float32 with a shorter mantissa.
ITEM_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class GramTuning:
    """kernels/gram/gram.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100; nothing spills."""

    # A tile of 128 x 128 does 64 multiplications a loaded item, so that the L2 cache keeps up with the tensor cores:
    # at d = 384 in 16 bits a tile reads 196 kB and takes the tensor cores of one A100 SM about 4 microseconds, which
    # over all SMs is 5 TB/s. With 256 rows the sums alone would fill the registers.
    tile: int = 128
    # Bytes of a row in a stage: both buffers of both operands, padded, are 40 kB, below the 48 kB of static shared
    # memory, and a stage is two matrix instructions deep, 64 for each warp between two barriers.
    stage_bytes: int = 64
    # 2 x 2 warps with 64 x 64 sums each: 8 fragment loads for 32 matrix instructions. At d = 384 in 16 bits a tile then
    # keeps the tensor cores busy for 6144 cycles and shared memory for about 6800; 2 x 4 warps with 64 x 32 sums read
    # half as much again.
    warps_down: int = 2
    warps_across: int = 2
    # Blocks on a multiprocessor: 224, 226 and 255 registers x 128 threads fit twice into 65536. One block multiplies
    # while the other waits or writes its tile.
    blocks: int = 2
    # Tile rows of a group: two blocks on each of 108 SMs then work on 8 x 27 tiles, which share 35 panels of rows
    # (3.4 MB at d = 384 in 16 bits) instead of 217.
    group: int = 8

    @property
    def threads(self) -> int:
        return 32 * self.warps_down * self.warps_across

    def macros(self, precision: str, output: str) -> dict[str, str | int]:
        """The macros of a build for inputs in `precision` and entries stored as `output`."""
        return {
            f"INPUT_{precision.upper()}": "",
            f"OUTPUT_{output.upper()}": "",
            "TILE": self.tile,
            "DEPTH": self.stage_bytes // ITEM_BYTES[precision],
            "WARPS_DOWN": self.warps_down,
            "WARPS_ACROSS": self.warps_across,
            "BLOCKS": self.blocks,
            "GROUP": self.group,
        }

    def tiles(self, m: int) -> int:
        """Tiles on or above the diagonal of an m x m matrix, the blocks of a whole launch of `gram`."""
        side = -(-m // self.tile)
        return side * (side + 1) // 2

    def products_grid(self, count: int, m: int) -> tuple[int, int]:
        """Blocks of a launch of `products` for a count x m matrix."""
        return -(-m // self.tile), -(-count // self.tile)


# Without tensor cores a thread has 8 x 8 sums, which makes 256 threads; 126 to 128 registers fit twice.
GRAM = {precision: GramTuning(warps_across=4 if precision == "fp32" else 2) for precision in ITEM_BYTES}


@dataclass(frozen=True)
class LoopTuning:
    """kernels/loop/loop.cu, refresh.cu and cast.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100."""

    # 16 warps: with one block on a multiprocessor they hide the latency of a step's few loads, 52k items are one for
    # each thread of 102 blocks, and 65536 registers allow 128 a thread; 64 signals take 112 to 126. With 1024
    # threads they would spill, with 256 a step is two passes over the items.
    threads: int = 512
    # More blocks would make the two grid barriers of a step longer and the shared memory of each smaller.
    blocks_per_multiprocessor: int = 1
    # `refresh` takes an item a warp, with 106 registers at most: two blocks or more on a multiprocessor, so that some
    # warps divide while others wait for rows.
    refresh_threads: int = 256
    # `cast` takes a row a block, 384 to 1024 long: every thread has two to four divisions under way.
    cast_threads: int = 256

    def macros(self, op: str, n: int, rows: str, columns: str) -> dict[str, str | int]:
        """The macros of a build of "loop" or "refresh", beside those of `layout.macros`."""
        threads = {"loop": self.threads, "refresh": self.refresh_threads}[op]
        return {f"ROWS_{rows.upper()}": "", f"COLUMN_{columns.upper()}": "", "SIGNALS": n, "THREADS": threads}

    def blocks(self, m: int, multiprocessors: int) -> int:
        """Blocks of a launch of `loop` for m items, the parts of `best` and `energy`: no thread without an item."""
        return min(multiprocessors * self.blocks_per_multiprocessor, -(-m // self.threads))

    def shared_bytes(self, m: int, n: int, blocks: int, limit: int) -> int:
        """Dynamic shared memory of a block that keeps its items' W, score and weight there; 0 where it cannot.

        `limit` is the most that a block may have, with its static shared memory and the 1024 bytes that chips since
        sm_90 reserve: less than 2304 bytes and 12 for each signal.
        """
        wanted = -(-m // blocks) * (n + 2) * 4
        return wanted if wanted <= limit - (2304 + 12 * n) else 0


LOOP = LoopTuning()


@dataclass(frozen=True)
class FamilyTuning:
    """kernels/family/family.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100; nothing spills."""

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

    def macros(self, n: int, given: str, multiply: str, measure: str, positive: bool) -> dict[str, str | int]:
        """The macros of a build for rows as given and as multiplied, beside those of `layout.macros`."""
        return {
            f"ROWS_{given.upper()}": "",
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


FAMILY = FamilyTuning()
