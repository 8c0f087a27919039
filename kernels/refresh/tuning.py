"""Tuning values of the refresh: programs and blocks, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonRefresh:
    """Values of refresh_triton.py."""

    # float64 tile of 16 x 64: 8 values a thread. Rows are read 64 elements, 128 bytes or more, at a time.
    items: int = 16
    depth: int = 64
    warps: int = 4

    def programs(self, count: int) -> int:
        """Returns the programs of a launch for `count` items."""
        return -(-count // self.items)


TRITON = alike(TritonRefresh())


@dataclass(frozen=True)
class CudaRefresh:
    """Values of refresh.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100."""

    # One item for each warp and at most 106 registers: two or more blocks on a multiprocessor, so that some warps
    # divide while others wait for rows.
    threads: int = 256
    # Blocks of a launch for each multiprocessor: two that run and two that follow, because blocks do not end together.
    blocks_per_multiprocessor: int = 4

    def macros(self, n: int, input_dtype: str) -> dict[str, str | int]:
        """Returns the macros of a build for n signals and rows in `input_dtype`, without those of `layout.macros`."""
        return {f"ROWS_{input_dtype.upper()}": "", "SIGNALS": n, "THREADS": self.threads}

    def blocks(self, multiprocessors: int) -> int:
        """Returns the blocks of a launch, which is the length of `largest`."""
        return multiprocessors * self.blocks_per_multiprocessor


CUDA = alike(CudaRefresh())
