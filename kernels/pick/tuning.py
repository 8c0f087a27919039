"""Tuning values of a projecting objective's pick by the device, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonPick:
    """Values of pick_triton.py."""

    # Candidates that `decide` judges at a time, one for each thread of 4 warps; there are seldom more.
    chunk: int = 128
    # Columns of S of a program of `remaining`, or rows of one of `lifted`: 128 bytes, a line, so that d = 384 has 24
    # programs; and elements of the sum at a time, 8 float64 values for each thread.
    wide: int = 16
    depth: int = 64
    # The tile of S that a program of `project` updates: 16 float64 values for each thread.
    rows: int = 32
    columns: int = 64
    # Warps of a program.
    warps: int = 4
    # Registers of a thread of `decide`, one program that has a multiprocessor to itself. Without a limit ptxas takes 64
    # to 72, as if several programs had to fit, and spills 8 bytes.
    registers: int = 128

    def parts(self, d: int) -> int:
        """Returns the programs of `remaining` and of `lifted`."""
        return -(-d // self.wide)

    def tiles(self, d: int, projects: bool) -> int:
        """Returns the programs of `project`; if no rows are projected, only the first tiles have work."""
        return -(-d // self.columns) * (-(-d // self.rows) if projects else 1)


TRITON = alike(TritonPick())


@dataclass(frozen=True)
class CudaPick:
    """Values of pick.cu."""

    # 8 warps: `decide` judges 256 candidates at a time, more than there usually are.
    threads: int = 256
    # Columns of S of a block of `remaining`, a lane for each; the warps divide the rows. A block of `lifted` has a row
    # of S for each warp.
    columns: int = 32
    # Rows of S of a block of `project`, in 256 columns.
    rows: int = 8

    def macros(self, n: int, input_dtype: str, measure: str, projects: bool, positive: bool) -> dict[str, str | int]:
        """Returns the macros of a build for rows as given, without those of `layout.macros`."""
        return {
            f"ROWS_{input_dtype.upper()}": "",
            f"MEASURE_{measure.upper()}": "",
            **({"POSITIVE": ""} if positive else {}),
            **({"PROJECTS": ""} if projects else {}),
            "SIGNALS": n,
            "THREADS": self.threads,
            "TILE_ROWS": self.rows,
        }

    def parts(self, d: int) -> int:
        """Returns the entries of `g_squares`, the blocks of `lifted`."""
        return -(-d // (self.threads // 32))

    def tiles(self, d: int, projects: bool) -> tuple[int, int]:
        """Returns the blocks of `project`: across, down."""
        return -(-d // self.threads), -(-d // self.rows) if projects else 1


CUDA = alike(CudaPick())
