"""Tuning values of the Gram kernels: tiles, each with its reason."""

from dataclasses import dataclass, field

from gip_gpu.kernels.architectures import alike
from gip_gpu.numerics import error_bounds


@dataclass(frozen=True)
class TritonTile:
    """Tile of the Triton kernels.

    Attributes:
        tile: side of a square of the whole matrix; columns of a tile of a batch.
        wide: columns of a square for each program.
        batch_tile: rows of a tile of a batch.
        depth: elements of a row that are multiplied at a time.
        warps: warps of a program.
        stages: stages of loads in flight at once.
    """

    tile: int
    wide: int
    batch_tile: int
    depth: int
    warps: int
    stages: int

    def programs(self, m: int) -> int:
        """Returns the programs of a launch of `gram` for an m x m matrix."""
        tiles = -(-m // self.tile)
        return (tiles + 1) * -(-tiles // 2) * (self.tile // self.wide)

    def batch_programs(self, count: int, m: int) -> int:
        """Returns the programs of a launch of `products` for a count x m matrix."""
        return -(-count // self.batch_tile) * -(-m // self.tile)


@dataclass(frozen=True)
class TritonGram:
    """Values of gram_triton.py: the tile for each format of the factors."""

    # 128 x 64 float32 sums are 32 registers a thread at 8 warps, which leaves room for the addresses of the two stored
    # tiles; 128 x 128 spills. 16 bits: depth 64, 3 stages of (128 + 64) * 64 * 2 bytes = 72 kB; tf32: half the depth
    # for the same bytes. Float32 without tensor cores multiplies in registers: 64 x 64 at 4 warps are 32 sums a thread,
    # and depth 16 keeps the factors in registers too.
    tiles: dict[str, TritonTile] = field(
        default_factory=lambda: {
            "fp32": TritonTile(tile=64, wide=64, batch_tile=32, depth=16, warps=4, stages=3),
            "tf32": TritonTile(tile=128, wide=64, batch_tile=64, depth=32, warps=8, stages=3),
            "fp16": TritonTile(tile=128, wide=64, batch_tile=64, depth=64, warps=8, stages=3),
            "bf16": TritonTile(tile=128, wide=64, batch_tile=64, depth=64, warps=8, stages=3),
        }
    )
    # Rows with a length that is not a multiple of 16 are loaded element by element, through registers.
    ragged: TritonTile = TritonTile(tile=64, wide=64, batch_tile=32, depth=16, warps=8, stages=2)

    def tile(self, multiply: str, d: int) -> TritonTile:
        """Returns the tile for rows of length d in a format."""
        return self.ragged if d % 16 else self.tiles[multiply]


TRITON = alike(TritonGram())


@dataclass(frozen=True)
class CudaTile:
    """Values of gram.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100; nothing spills."""

    # A tile of 128 x 128 makes 64 multiplications for each loaded element, so that the L2 cache keeps up with the
    # tensor cores: at d = 384 in 16 bits a tile reads 196 kB and takes the tensor cores of one A100 SM about 4
    # microseconds, 5 TB/s over all SMs. With 256 rows the sums alone would fill the registers.
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

    def macros(self, multiply: str, storage: str) -> dict[str, str | int]:
        """Returns the macros of a build for factors in `multiply` and entries stored in `storage`."""
        return {
            f"INPUT_{multiply.upper()}": "",
            f"OUTPUT_{storage.upper()}": "",
            "TILE": self.tile,
            "DEPTH": self.stage_bytes // error_bounds.FORMATS[multiply].bytes,
            "WARPS_DOWN": self.warps_down,
            "WARPS_ACROSS": self.warps_across,
            "BLOCKS": self.blocks,
            "GROUP": self.group,
        }

    def tiles(self, m: int) -> int:
        """Returns the tiles on or above the diagonal of an m x m matrix, the blocks of a whole launch of `gram`."""
        side = -(-m // self.tile)
        return side * (side + 1) // 2

    def products_grid(self, count: int, m: int) -> tuple[int, int]:
        """Returns the blocks of a launch of `products` for a count x m matrix."""
        return -(-m // self.tile), -(-count // self.tile)


# Without tensor cores a thread has 8 x 8 sums, which makes 256 threads; 126 to 128 registers fit twice.
CUDA = alike({"fp32": CudaTile(warps_across=4), **dict.fromkeys(("tf32", "fp16", "bf16"), CudaTile())})
