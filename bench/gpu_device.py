"""A device by way of torch or CuPy, as the benchmark needs it: memory, copies, products, events, graphs, peaks.

torch also serves the CPU, where a clock stands in for events and there are no graphs.
"""

import gc
import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

Action = Callable[[], Any]

# Once a measurement has taken so many seconds, it is not repeated any more.
ENOUGH = 6.0
GRID_HEADER = '#include "../kernels/grid.cuh"'
# Of library_types.h and cublas_api.h: the type of a product's arrays, the arithmetic.
CUBLAS = {"fp32": (0, 68), "tf32": (0, 77), "fp16": (2, 68), "bf16": (14, 68)}


class Timer:
    """Seconds between marks, by a clock."""

    def mark(self) -> Any:
        return time.perf_counter()

    def between(self, start: Any, stop: Any) -> float:
        return float(stop - start)

    def seconds(self, action: Action, repeats: int, before: Action | None = None) -> float:
        """The median of several runs after one that is not counted; `before` each of them, not counted either."""
        if before is not None:
            before()
        action()
        spans: list[float] = []
        while len(spans) < repeats and sum(spans) < ENOUGH:
            if before is not None:
                before()
            start = self.mark()
            action()
            spans.append(self.between(start, self.mark()))
        return statistics.median(spans)


class TorchTimer(Timer):
    """By CUDA events of torch, in its current stream."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def mark(self) -> Any:
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, stop: Any) -> float:
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3


class CupyTimer(Timer):
    """By CUDA events of CuPy, in its current stream."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy

    def mark(self) -> Any:
        event = self.cupy.cuda.Event()
        event.record()
        return event

    def between(self, start: Any, stop: Any) -> float:
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) / 1e3


class Library(ABC):
    """A device by way of one library.

    Attributes:
        name: of the library.
        arrays: `gip_gpu.backends.gpu.Arrays` of the device.
        cuda: whether it is a GPU.
        timer: of what runs in the current stream.
    """

    name: str
    arrays: Any
    cuda: bool
    timer: Timer

    @abstractmethod
    def put(self, values: Any, kind: str) -> Any:
        """A host array as a device array of `kind`."""

    @abstractmethod
    def poison(self, array: Any) -> None:
        """Fills a floating-point array with NaN."""

    @abstractmethod
    def copy(self, target: Any, source: Any) -> None:
        """target = source."""

    @abstractmethod
    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        """out = left @ right.T by the vendor's GEMM, arrays of `kind` with float32 sums; `out` may be of a like width."""

    @abstractmethod
    def graph(self, action: Action) -> Action | None:
        """A function that replays a captured graph of what `action` launches; None where there are no graphs."""

    @abstractmethod
    def empty_launch(self) -> Action:
        """A function that launches a kernel that does nothing."""

    @abstractmethod
    def release(self) -> None:
        """Gives cached memory back to the device."""

    @abstractmethod
    def watch(self) -> Callable[[], int | None]:
        """Begins to note the peak of the device's memory. The function tells the bytes beyond what was held before."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Names and versions."""


class TorchLibrary(Library):
    name = "torch"

    def __init__(self, device: str) -> None:
        import torch

        from gip_gpu.backends.torch_arrays import TorchArrays

        self.torch, self.arrays = torch, TorchArrays(device)
        self.cuda = self.arrays.cuda
        self.timer = TorchTimer(torch) if self.cuda else Timer()

    def put(self, values: Any, kind: str) -> Any:
        from gip_gpu.backends.torch_arrays import KINDS

        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.arrays.device, KINDS[kind])

    def poison(self, array: Any) -> None:
        array.fill_(float("nan"))

    def copy(self, target: Any, source: Any) -> None:
        target.copy_(source)

    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        if kind in ("fp32", "tf32"):
            self.arrays.matmul(left, right, out, kind == "tf32")
        else:
            self.torch.matmul(left, right.T, out=out.view(left.dtype))

    def graph(self, action: Action) -> Action | None:
        if not self.cuda:
            return None
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            action()
        return graph.replay

    def empty_launch(self) -> Action:
        from bench.empty_triton import empty

        word = self.arrays.empty((1,), "int32")
        return lambda: empty[(1,)](word)

    def release(self) -> None:
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()

    def watch(self) -> Callable[[], int | None]:
        if not self.cuda:
            return lambda: None
        cuda = self.torch.cuda
        cuda.synchronize()
        held = cuda.memory_allocated()
        cuda.reset_peak_memory_stats()
        return lambda: int(cuda.max_memory_allocated()) - held

    def facts(self) -> dict[str, Any]:
        told = {"torch": self.torch.__version__, "triton": installed("triton")}
        if not self.cuda:
            return {"device": "CPU", **told}
        properties = self.torch.cuda.get_device_properties(self.arrays.device)
        return {
            "device": properties.name,
            "CUDA of torch": self.torch.version.cuda,
            "compute capability": self.arrays.capability,
            "multiprocessors": properties.multi_processor_count,
            "memory": properties.total_memory,
            "L2 cache": properties.L2_cache_size,
            **told,
        }


class CupyLibrary(Library):
    name = "cupy"

    def __init__(self, device: str) -> None:
        import cupy

        from gip_gpu.backends.cupy_arrays import CupyArrays

        self.cupy, self.arrays = cupy, CupyArrays(device)
        self.cuda = True
        self.timer = CupyTimer(cupy)

    def put(self, values: Any, kind: str) -> Any:
        from gip_gpu.backends.cupy_arrays import KINDS

        if kind == "bf16":
            # Its bits, rounded towards zero.
            values = np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16
        return self.cupy.asarray(np.ascontiguousarray(values, KINDS[kind]))

    def poison(self, array: Any) -> None:
        # bfloat16 is kept as its bits.
        array.fill(0x7FC0 if array.dtype == np.uint16 else np.nan)

    def copy(self, target: Any, source: Any) -> None:
        target[...] = source

    def matmul(self, left: Any, right: Any, out: Any, kind: str) -> None:
        from cupy.cuda import cublas, device

        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        stored, computed = CUBLAS[kind]
        # cuBLAS counts columns first: out' = right left'.
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
        kernel = self._kernel("empty")
        return lambda: kernel((1,), (32,), ())

    def barriers(self, blocks: int, threads: int) -> Callable[[int], None]:
        """A function that makes so many barriers over all blocks in one cooperative launch."""
        kernel = self._kernel("barriers")
        arrived = self.put(np.zeros(1, np.int64), "int64")

        def run(count: int) -> None:
            arrived.fill(0)
            kernel((blocks,), (threads,), (arrived, np.int32(count)))

        return run

    def _kernel(self, name: str) -> Any:
        module = self.cupy.RawModule(code=barrier_source(), options=("-std=c++17",), enable_cooperative_groups=True)
        return module.get_function(name)

    def release(self) -> None:
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def watch(self) -> Callable[[], int | None]:
        # The pool keeps what it ever took from the device, so that its size at the end is the peak.
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


LIBRARIES: dict[str, type[Any]] = {"triton": TorchLibrary, "cupy": CupyLibrary}


def barrier_source() -> str:
    """barrier.cu with the barrier of kernels/ in it, so that the compiler needs no path to look in."""
    here = Path(__file__).parent
    header = (here.parent / "kernels" / "grid.cuh").read_text()
    return (here / "barrier.cu").read_text().replace(GRID_HEADER, header)


def installed(package: str) -> str:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


SMI = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


def clocks() -> dict[str, str]:
    """What nvidia-smi tells of the driver, the clocks now and at most, and the power limit; nothing without it."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [[part.strip() for part in line.split(",")] for line in told.strip().splitlines()]
    return {f"nvidia-smi {key}": "; ".join(values) for key, *values in zip(SMI, *lines, strict=False)}
