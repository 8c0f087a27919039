"""A GPU through CuPy."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu.library import Action, EventTimer, Library
from gip_gpu.kernels import cuda_source

# Values of library_types.h and cublas_api.h: the type of a product's arrays, and its arithmetic.
CUBLAS = {"fp32": (0, 68), "tf32": (0, 77), "fp16": (2, 68), "bf16": (14, 68)}


class CupyLibrary(Library):
    name = "cupy"

    def __init__(self, device: str) -> None:
        import cupy

        from gip_gpu.backends.cuda.arrays import CupyArrays

        self.cupy, self.arrays = cupy, CupyArrays(device)
        self.cuda, self.timer = True, EventTimer(cupy.cuda.Event, cupy.cuda.get_elapsed_time)

    def put(self, values: Any, kind: str) -> Any:
        from gip_gpu.backends.cuda.arrays import CUPY_DTYPES

        if kind == "bf16":
            # The bits of bfloat16, rounded towards zero.
            values = np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16
        return self.cupy.asarray(np.ascontiguousarray(values, CUPY_DTYPES[kind]))

    def poison(self, array: Any) -> None:
        # bfloat16 is stored as its bits.
        array.fill(0x7FC0 if array.dtype == np.uint16 else np.nan)

    def copy(self, target: Any, source: Any) -> None:
        target[...] = source

    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        from cupy.cuda import cublas, device

        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        stored, computed = CUBLAS[kind]
        # cuBLAS is column-major: out' = right left'.
        cublas.gemmEx(
            device.get_cublas_handle(), 1, 0, len(right), len(left), left.shape[1],
            one.ctypes.data, right.data.ptr, stored, right.shape[1], left.data.ptr, stored, left.shape[1],
            zero.ctypes.data, out.data.ptr, stored, out.strides[0] // out.itemsize, computed, -1,
        )  # fmt: skip

    def graph(self, action: Action) -> Action | None:
        stream = self.cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            action()
            graph = stream.end_capture()
        return lambda: graph.launch()

    def empty_launch(self) -> Action:
        kernel = self._kernel("empty", False)
        return lambda: kernel((1,), (32,), ())

    def barriers(self, blocks: int, threads: int) -> Callable[[int], None]:
        """Returns a function that runs `count` barriers over all blocks in one cooperative launch."""
        kernel = self._kernel("barriers", True)
        arrived = self.put(np.zeros(1, np.int64), "int64")

        def run(count: int) -> None:
            arrived.fill(0)
            kernel((blocks,), (threads,), (arrived, np.int32(count)))

        return run

    def _kernel(self, name: str, cooperative: bool) -> Any:
        how = {"options": ("-std=c++17",), "enable_cooperative_groups": cooperative}
        return self.cupy.RawModule(code=barrier_source(), **how).get_function(name)

    def release(self) -> None:
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def watch(self) -> Callable[[], int | None]:
        # The pool never returns memory to the device, so its size at the end is the peak.
        self.release()
        pool = self.cupy.get_default_memory_pool()
        held = pool.total_bytes()
        return lambda: int(pool.total_bytes()) - held

    def facts(self) -> dict[str, Any]:
        runtime = self.cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.arrays.number)
        return {
            "device": properties["name"].decode(),
            "CUDA of CuPy": runtime.runtimeGetVersion(),
            "CUDA of the driver": runtime.driverGetVersion(),
            "compute capability": 10 * properties["major"] + properties["minor"],
            "multiprocessors": properties["multiProcessorCount"],
            "memory": properties["totalGlobalMem"],
            "L2 cache": properties["l2CacheSize"],
            "cupy": self.cupy.__version__,
        }


def barrier_source() -> str:
    """Returns barrier.cu with the headers of kernels/ inlined, so that the compiler needs no include path."""
    return cuda_source.with_headers((Path(__file__).parent / "barrier.cu").read_text())
