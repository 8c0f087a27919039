"""What the GPU backends ask of the library that keeps their arrays."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Arrays(Protocol):
    """Memory of a device, as torch and CuPy give it. Kinds are "fp16", "bf16", "fp32", "fp64", "int32", "int64"."""

    def free(self) -> int:
        """Bytes that can be allocated."""

    def device_scope(self) -> AbstractContextManager[Any]:
        """Inside, this device is the current one."""

    def empty(self, shape: tuple[int, ...], kind: str) -> Any:
        """An uninitialised array. Raises MemoryError that says what was asked for and what is free."""

    def put(self, target: Any, values: NDArray[Any]) -> None:
        """Copies host values into an array, or part of one, of the same shape and type."""

    def get(self, array: Any) -> NDArray[Any]:
        """A copy on the host."""

    def stage(self, number: int, target: Any, values: NDArray[Any]) -> None:
        """Copies host values of any type into part of an array by way of a pinned buffer, in stream 0 or 1."""

    def adopt(self, array: Any, kind: str) -> Any:
        """A device array of another library, or one with other strides, as a contiguous array of `kind`."""

    def map_host(self, values: NDArray[Any]) -> Any:
        """A host matrix, pinned where it lies so that kernels can read it over the bus."""

    def load(self, mapped: Any, start: int, stop: int) -> Any:
        """Rows of a mapped matrix as a device array, in the current stream."""

    def stream_scope(self, number: int) -> AbstractContextManager[Any]:
        """What is started inside runs in stream 0 or 1, in order; the two overlap."""

    def synchronize(self) -> None:
        """Until the device has done all it was given."""

    def double(self, array: Any, kind: str) -> Any:
        """A float64 copy of an array of `kind`."""

    def take(self, array: Any, indices: NDArray[np.int64]) -> Any:
        """Rows of an array."""

    def scatter(self, array: Any, indices: NDArray[np.int64], values: NDArray[Any]) -> None:
        """array[indices] = values."""

    def top(self, score: Any, slots: Any, count: int) -> NDArray[np.int64]:
        """The items of the highest positive scores among those whose slot is -1, at most `count`, the best first."""

    def matmul(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        """out = left @ right.T by the vendor's GEMM, float32, with or without tf32 products."""
