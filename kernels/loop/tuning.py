"""Tuning values of the loop: steps at a time, and blocks, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class TritonLoop:
    """CUDA graphs of steps of the Triton backend."""

    # Steps of a graph, and graphs started before the host checks: a missing column leaves at most half of them idle.
    graph_steps: int = 8
    graphs_ahead: int = 16
    # Steps before a batch of columns: a batch lasts for some 2 to 4 picks, and a kernel without work takes about a
    # microsecond.
    batch_steps: int = 4


TRITON = alike(TritonLoop())


@dataclass(frozen=True)
class CudaLoop:
    """Values of loop.cu. Registers are those of NVRTC 12.9 for sm_80, sm_90 and sm_100."""

    # 16 warps: with one block on a multiprocessor they hide the latency of a step's few loads, 52k items give one to
    # each thread of 102 blocks, and 65536 registers allow 128 a thread; 64 signals take 112 to 126. With 1024 threads
    # registers would spill; with 256 a step takes two passes over the items.
    threads: int = 512
    # More blocks would make the two grid barriers of a step longer and the shared memory of each smaller.
    blocks_per_multiprocessor: int = 1

    def macros(self, n: int, input_dtype: str, columns: str) -> dict[str, str | int]:
        """Returns the macros of a build for n signals, without those of `layout.macros`."""
        types = {f"ROWS_{input_dtype.upper()}": "", f"COLUMN_{columns.upper()}": ""}
        return {**types, "SIGNALS": n, "THREADS": self.threads}

    def blocks(self, m: int, multiprocessors: int) -> int:
        """Returns the blocks of a launch for m items, the length of `best` and `energy`: each thread has an item."""
        return min(multiprocessors * self.blocks_per_multiprocessor, -(-m // self.threads))

    def shared_bytes(self, m: int, n: int, blocks: int, limit: int) -> int:
        """Returns the bytes of dynamic shared memory for W, score and weight of a block's items; 0 if they do not fit.

        `limit` is the most shared memory of a block. It also has to hold the static shared memory and the 1024 bytes
        that chips since sm_90 reserve: together less than 2304 bytes and 12 for each signal.
        """
        wanted = -(-m // blocks) * (n + 2) * 4
        return wanted if wanted <= limit - (2304 + 12 * n) else 0


CUDA = alike(CudaLoop())
