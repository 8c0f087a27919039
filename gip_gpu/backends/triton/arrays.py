"""Device memory through torch: on a CUDA device, or on the CPU for Triton's interpreter."""

import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gip_gpu.system import memory

TORCH_DTYPES = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}


# Host memory that is mapped into the devices' address space, by address; pools on the same rows share it.
MAPPED: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


class TorchArrays:
    """`gip_gpu.backends.gpu.arrays.Arrays` on a torch device."""

    def __init__(self, device: str) -> None:
        kind, _, number = device.partition(":")
        # An explicit number: torch's current device may change during the life of a pool.
        self.device = torch.device(kind, int(number or 0)) if kind == "cuda" else torch.device(kind)
        self.cuda = self.device.type == "cuda"
        self.immediate = not self.cuda
        major, minor = torch.cuda.get_device_capability(self.device) if self.cuda else (0, 0)
        self.capability = 10 * major + minor
        self.streams = [torch.cuda.Stream(self.device) for _ in range(2)] if self.cuda else []
        self.buffers: list[Any] = [None, None]
        self.visits = 0

    def device_scope(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.device) if self.cuda else nullcontext()

    def empty(self, shape: tuple[int, ...], kind: str) -> Any:
        try:
            array = torch.empty(shape, dtype=TORCH_DTYPES[kind], device=self.device)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "alloc" not in str(error):
                raise
            wanted = int(np.prod(shape)) * TORCH_DTYPES[kind].itemsize
            raise memory.out_of_memory(wanted, self.free(), str(self.device)) from error
        return array

    def free(self) -> int:
        """Returns the free bytes on the device, torch's own cache included."""
        if not self.cuda:
            return memory.available()
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device))

    def put(self, target: Any, values: NDArray[Any]) -> None:
        self.visits += 1
        target.copy_(_tensor(values))

    def get(self, array: Any) -> NDArray[Any]:
        self.visits += 1
        host = array.cpu()
        # A copy even if the device is the CPU itself.
        return np.array((host.float() if host.dtype == torch.bfloat16 else host).numpy())

    def stage(self, number: int, target: Any, values: NDArray[Any]) -> None:
        self.visits += 1
        if not self.cuda:
            np.copyto(target.numpy(), values, casting="same_kind")
            return
        buffer = self.buffers[number]
        if buffer is None or buffer.numel() < target.numel() or buffer.dtype != target.dtype:
            buffer = self.buffers[number] = torch.empty(target.numel(), dtype=target.dtype, pin_memory=True)
        # The previous copy from this buffer must be complete.
        self.streams[number].synchronize()
        part = buffer[: target.numel()].view(target.shape)
        np.copyto(part.numpy(), values, casting="same_kind")
        with torch.cuda.stream(self.streams[number]):
            target.copy_(part, non_blocking=True)

    def adopt(self, array: Any, kind: str) -> Any:
        tensor = array if isinstance(array, torch.Tensor) else torch.from_dlpack(array)
        return tensor.to(self.device, TORCH_DTYPES[kind]).contiguous()

    def map_host(self, values: NDArray[Any]) -> Any:
        tensor = _tensor(values)
        if not self.cuda:
            return tensor
        runtime: Any = torch.cuda.cudart()
        # Flag 8 allows read-only pages, such as those of a memory map. If the system refuses, use a pinned copy.
        address = tensor.data_ptr()
        if tensor.is_pinned():
            return tensor
        known = MAPPED.get(address)
        if known is not None and (known.shape, known.dtype) == (tensor.shape, tensor.dtype):
            return known
        if int(runtime.cudaHostRegister(address, tensor.numel() * tensor.element_size(), 8)) != 0:
            # The error stays pending and would be reported by the next launch: clear it here.
            with suppress(RuntimeError):
                torch.zeros(1, device=self.device).add_(1)
            return tensor.pin_memory()
        weakref.finalize(tensor, runtime.cudaHostUnregister, address)
        MAPPED[address] = tensor
        return tensor

    def load(self, mapped: Any, start: int, stop: int) -> Any:
        return mapped[start:stop].to(self.device, non_blocking=True)

    def stream_scope(self, number: int) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self.streams[number]) if self.cuda else nullcontext()

    def synchronize(self) -> None:
        self.visits += 1
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def as_fp64(self, array: Any) -> Any:
        return array.view(torch.float64)

    def address(self, array: Any) -> int:
        return int(array.data_ptr())

    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        launches()
        if not self.cuda:
            return launches
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads may allocate during the capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            launches()
        replay: Callable[[], None] = graph.replay
        return replay

    def double(self, array: Any, kind: str) -> Any:
        return array.to(torch.float64, copy=True)

    def take(self, array: Any, indices: NDArray[np.int64]) -> Any:
        self.visits += 1
        return array[_tensor(indices).to(self.device)]

    def scatter(self, array: Any, indices: NDArray[np.int64], values: NDArray[Any]) -> None:
        self.visits += 1
        array[_tensor(indices).to(self.device)] = _tensor(values).to(self.device)

    def top(self, score: Any, slots: Any, count: int) -> NDArray[np.int64]:
        self.visits += 1
        open_ = torch.where(slots < 0, score, torch.zeros((), device=self.device))
        values, items = torch.topk(open_, min(count, len(open_)))
        best: NDArray[np.int64] = items[values > 0].cpu().numpy()
        return best

    def matmul(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        with _float32_products(tf32 and self.cuda):
            torch.matmul(left, right.T, out=out)


@contextmanager
def _float32_products(tf32: bool) -> Any:
    """Sets products to tf32 or full float32, as the error bound requires, and restores the program's setting after."""
    before = torch.get_float32_matmul_precision()
    # "high" may also mean two bfloat16 parts, which hold a tf32 value exactly.
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _tensor(values: NDArray[Any]) -> Any:
    """Returns a tensor on the memory of a host array, for reading only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(values))
