"""Device memory through CuPy."""

import logging
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from gip_gpu.system import memory

log = logging.getLogger("gip_gpu")

# CuPy has no bfloat16: its bits are stored as uint16, and the kernels interpret them.
CUPY_DTYPES = {
    "fp16": np.float16,
    "bf16": np.uint16,
    "fp32": np.float32,
    "tf32": np.float32,
    "fp64": np.float64,
    "int32": np.int32,
    "int64": np.int64,
}
# Constants of cublas_api.h: the types of a product's arrays and of its arithmetic.
R_32F, COMPUTE_32F, COMPUTE_32F_FAST_TF32, DEFAULT_ALGORITHM = 0, 68, 77, -1
NO_TRANSPOSE, TRANSPOSE = 0, 1


class _Owner:
    """Owner of the host memory behind a device array."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values


class CupyArrays:
    """`gip_gpu.backends.gpu.arrays.Arrays` on a CUDA device."""

    immediate = False

    def __init__(self, device: str) -> None:
        self.number = int(device.partition(":")[2] or 0)
        self.device = cupy.cuda.Device(self.number)
        with self.device:
            self.streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        self.buffers: list[Any] = [None, None]
        self.visits = 0

    def device_scope(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.device
        return context

    @property
    def capability(self) -> int:
        """Compute capability, 90 for 9.0."""
        return int(self.device.compute_capability)

    @property
    def multiprocessors(self) -> int:
        return int(self.device.attributes["MultiProcessorCount"])

    @property
    def shared_of_block(self) -> int:
        """Bytes of shared memory that a block may request."""
        return int(self.device.attributes["MaxSharedMemoryPerBlockOptin"])

    def empty(self, shape: tuple[int, ...], kind: str) -> Any:
        try:
            return cupy.empty(shape, CUPY_DTYPES[kind])
        except cupy.cuda.memory.OutOfMemoryError as error:
            wanted = int(np.prod(shape)) * np.dtype(CUPY_DTYPES[kind]).itemsize
            raise memory.out_of_memory(wanted, self.free(), f"cuda:{self.number}") from error

    def free(self) -> int:
        """Returns the free bytes on the device, CuPy's own cache included."""
        with self.device:
            free, _ = cupy.cuda.runtime.memGetInfo()
            return int(free + cupy.get_default_memory_pool().free_bytes())

    def put(self, target: Any, values: NDArray[Any]) -> None:
        self.visits += 1
        target[...] = cupy.asarray(values)

    def get(self, array: Any) -> NDArray[Any]:
        self.visits += 1
        host: NDArray[Any] = cupy.asnumpy(array)
        return host.copy()

    def stage(self, number: int, target: Any, values: NDArray[Any]) -> None:
        import cupyx

        self.visits += 1
        buffer = self.buffers[number]
        if buffer is None or buffer.size < target.size or buffer.dtype != target.dtype:
            buffer = self.buffers[number] = cupyx.empty_pinned(target.size, target.dtype)
        # The previous copy from this buffer must be complete.
        self.streams[number].synchronize()
        part = buffer[: target.size].reshape(target.shape)
        np.copyto(part, values, casting="same_kind")
        target.set(part, self.streams[number])

    def adopt(self, array: Any, kind: str) -> Any:
        if kind == "bf16" and not isinstance(array, cupy.ndarray):
            import torch

            # DLPack supports bfloat16, CuPy does not: its bits are passed as integers.
            array = torch.from_dlpack(array).view(torch.int16)
        taken = array if isinstance(array, cupy.ndarray) else cupy.from_dlpack(array)
        if taken.device.id != self.number:
            taken = cupy.array(taken)
        if kind == "bf16":
            return cupy.ascontiguousarray(taken.view(np.uint16))
        return cupy.ascontiguousarray(taken.astype(CUPY_DTYPES[kind], copy=False))

    def map_host(self, values: NDArray[Any]) -> Any:
        owner, address = _Owner(values), values.ctypes.data
        # Flag 8 allows read-only pages, such as those of a memory map. If the system refuses, use a pinned copy.
        try:
            cupy.cuda.runtime.hostRegister(address, values.nbytes, 8)
            weakref.finalize(owner, cupy.cuda.runtime.hostUnregister, address)
        except cupy.cuda.runtime.CUDARuntimeError:
            import cupyx

            pinned = cupyx.empty_pinned(values.shape, values.dtype)
            pinned[...] = values
            owner, address = _Owner(pinned), pinned.ctypes.data
        mapped = cupy.cuda.UnownedMemory(address, values.nbytes, owner, self.number)
        return cupy.ndarray(values.shape, values.dtype, cupy.cuda.MemoryPointer(mapped, 0))

    def load(self, mapped: Any, start: int, stop: int) -> Any:
        return mapped[start:stop].copy()

    def stream_scope(self, number: int) -> AbstractContextManager[Any]:
        stream: AbstractContextManager[Any] = self.streams[number]
        return stream

    def synchronize(self) -> None:
        self.visits += 1
        self.device.synchronize()

    def as_fp64(self, array: Any) -> Any:
        return array.view(np.float64)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        launches()
        self.device.synchronize()
        # CuPy captures no launch in the default stream, where the graph runs.
        with self.streams[0] as stream:
            try:
                stream.begin_capture()
                launches()
                graph = stream.end_capture()
            except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
                # An old driver captures no cooperative launch. Launches one by one do the same, and nobody waits.
                log.info("launches are not captured in a graph: %s", error)
                with suppress(cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                return launches
        replay: Callable[[], None] = graph.launch
        return replay

    def double(self, array: Any, kind: str) -> Any:
        if kind == "bf16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float64)

    def take(self, array: Any, indices: NDArray[np.int64]) -> Any:
        self.visits += 1
        return array[cupy.asarray(indices)]

    def scatter(self, array: Any, indices: NDArray[np.int64], values: NDArray[Any]) -> None:
        self.visits += 1
        array[cupy.asarray(indices)] = cupy.asarray(values)

    def top(self, score: Any, slots: Any, count: int) -> NDArray[np.int64]:
        open_ = cupy.where(slots < 0, score, np.float32(0))
        items = cupy.argsort(-open_)[:count]
        best: NDArray[np.int64] = self.get(items[open_[items] > 0])
        return best

    def matmul(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        from cupy.cuda import cublas, device

        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        # cuBLAS is column-major: it computes out' = right left' on the transposes of the stored arrays.
        cublas.gemmEx(
            device.get_cublas_handle(), TRANSPOSE, NO_TRANSPOSE, len(right), len(left), left.shape[1],
            one.ctypes.data, right.data.ptr, R_32F, right.shape[1], left.data.ptr, R_32F, left.shape[1],
            zero.ctypes.data, out.data.ptr, R_32F, out.strides[0] // 4,
            COMPUTE_32F_FAST_TF32 if tf32 else COMPUTE_32F, DEFAULT_ALGORITHM,
        )  # fmt: skip
