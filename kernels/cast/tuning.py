"""Tuning values of the cast, each with its reason."""

from dataclasses import dataclass

from gip_gpu.kernels.architectures import alike


@dataclass(frozen=True)
class CudaCast:
    """Values of cast.cu."""

    # One row of length 384 to 1024 for each block: every thread has two to four divisions in flight.
    threads: int = 256
    # Blocks of a launch for each multiprocessor: the 2048 threads that it holds.
    blocks_per_multiprocessor: int = 8

    def macros(self, input_dtype: str, multiply: str) -> dict[str, str | int]:
        """Returns the macros of a build for rows given in `input_dtype` and multiplied in `multiply`."""
        # tf32 is float32 with a shorter mantissa.
        output = {"OUTPUT_FP32": "", "ROUND_TF32": ""} if multiply == "tf32" else {f"OUTPUT_{multiply.upper()}": ""}
        return {f"ROWS_{input_dtype.upper()}": "", "THREADS": self.threads, **output}

    def blocks(self, count: int, multiprocessors: int) -> int:
        """Returns the blocks of a launch for `count` rows."""
        return min(count, multiprocessors * self.blocks_per_multiprocessor)


CUDA = alike(CudaCast())
