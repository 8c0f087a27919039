"""Interface of the array library of a GPU backend."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Arrays(Protocol):
    """Memory of a device, from torch or CuPy. Kinds are "fp16", "bf16", "fp32", "fp64", "int32", "int64".

    Attributes:
        visits: number of copies between host and device and of waits for the device, so far. Backends add the launches
            that are in no graph.
        immediate: whether a launch has finished when it returns, as on a CPU that interprets kernels.
    """

    visits: int
    immediate: bool

    def free(self) -> int:
        """Returns the bytes that can be allocated."""

    def device_scope(self) -> AbstractContextManager[Any]:
        """Makes this device the current one inside the context."""

    def empty(self, shape: tuple[int, ...], kind: str) -> Any:
        """Allocates an uninitialised array; raises MemoryError with the bytes requested and the bytes free."""

    def put(self, target: Any, values: NDArray[Any]) -> None:
        """Copies host values into an array, or part of one, of the same shape and type."""

    def get(self, array: Any) -> NDArray[Any]:
        """Copies an array to the host."""

    def stage(self, number: int, target: Any, values: NDArray[Any]) -> None:
        """Copies host values of any type into part of an array through a pinned buffer, in stream 0 or 1."""

    def adopt(self, array: Any, kind: str) -> Any:
        """Converts a device array of another library, or with other strides, to a contiguous array of `kind`."""

    def map_host(self, values: NDArray[Any]) -> Any:
        """Pins a host matrix in place, so that kernels can read it over the bus; returns its device array."""

    def load(self, mapped: Any, start: int, stop: int) -> Any:
        """Copies rows of a mapped matrix to a device array, in the current stream."""

    def stream_scope(self, number: int) -> AbstractContextManager[Any]:
        """Runs work started inside the context in stream 0 or 1, in order; the two streams overlap."""

    def synchronize(self) -> None:
        """Waits until the device has finished all its work."""

    def as_fp64(self, array: Any) -> Any:
        """Returns an int64 array as float64, the same bits in the same memory."""

    def address(self, array: Any) -> int:
        """Returns the address of the first element."""

    def captured(self, launches: Callable[[], None]) -> Callable[[], None]:
        """Captures launches of kernels in a graph; returns a function that starts them all at once.

        It makes the launches once before, so that they are compiled; the caller sees to it that they have nothing to
        do.
        """

    def double(self, array: Any, kind: str) -> Any:
        """Returns a float64 copy of an array of `kind`."""

    def take(self, array: Any, indices: NDArray[np.int64]) -> Any:
        """Returns a copy of these rows of an array."""

    def scatter(self, array: Any, indices: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Sets array[indices] = values."""

    def top(self, score: Any, slots: Any, count: int) -> NDArray[np.int64]:
        """Returns up to `count` items with the highest positive scores and slot -1, the best first."""

    def matmul(self, left: Any, right: Any, out: Any, tf32: bool) -> None:
        """Computes out = left @ right.T by the vendor's GEMM, float32, with or without tf32 products."""
