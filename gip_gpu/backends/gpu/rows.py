"""Rows on a device: as given, in the format in which they are multiplied, and the products with them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.base import Backend
from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import STORAGE, Costs
from gip_gpu.planning.gpu_costs import GPU_AUTOMATIC, GPU_PRECISIONS, GpuCosts, chunk_rows, multiplied_as
from gip_gpu.planning.plan import Plan

Hook = TypeVar("Hook", bound=Callable[..., Any])

HOST_TYPES = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}
# Rows with norms in the range SANE_NORMS may be multiplied without a cast: no product of theirs overflows float32, and
# `error_bounds.gram_entry_error` covers those flushed to zero.
SMALLEST_NORM = 1e-300  # Its inverse is a finite float64.
SANE_NORMS = (2.0**-40, 2.0**40)


def on_device(hook: Hook) -> Hook:
    """Makes the backend's device the current one while a hook runs."""

    @wraps(hook)
    def inside(self: "GpuRows", *args: Any, **kwargs: Any) -> Any:
        with self.arrays.device_scope():
            return hook(self, *args, **kwargs)

    return cast(Hook, inside)


class GpuRows(Backend):
    """Embeddings on a device, and Gram columns of them.

    Rows are stored as given, for exact rescoring, and also rounded to the format in which they are multiplied; rows
    given in 16 bits serve both purposes where possible. Rows that do not fit stay in pinned host memory and stream
    through the products in chunks; the few that are rescored are read over the bus.
    """

    devices: ClassVar[tuple[str, ...]] = ("cuda",)
    precisions: ClassVar[tuple[str, ...]] = GPU_PRECISIONS
    automatic: ClassVar[tuple[str, ...]] = GPU_AUTOMATIC
    portable: ClassVar[bool] = False
    # True: steps are kernels of a CUDA graph. False: one kernel takes many steps.
    graph: ClassVar[bool] = False

    arrays: Arrays

    @classmethod
    def open(cls, F: Any, *, widen: bool = False, **how: Any) -> Rows:
        return Rows(DeviceMatrix(F) if on_gpu(F) else F, **how)

    @classmethod
    def costs(cls, m: int, d: int, n: int, given: str) -> Costs:
        return GpuCosts(m, d, n, given, graph=cls.graph)

    @classmethod
    @abstractmethod
    def make_arrays(cls, device: str) -> Arrays:
        """Returns the arrays of a device such as "cuda:0"; raises ValueError if the library cannot use it."""

    def __init__(self, rows: Rows, plan: Plan) -> None:
        super().__init__(rows, plan)
        self.arrays = self.make_arrays(plan.device)
        with self.arrays.device_scope():
            self._store(plan)

    def _store(self, plan: Plan) -> None:
        """Places the embeddings as the plan says."""
        rows = self.rows_of
        self.input_dtype = format_of(rows.values)
        norms = rows.norms if rows.normalize else np.ones(self.m)
        if norms.min() < SMALLEST_NORM:
            row = int(norms.argmin())
            raise ValueError(
                f"F has norm {norms[row]:g} in row {row}; on a GPU rows must have norms of at least {SMALLEST_NORM:g} "
                "to be normalised: scale such rows up"
            )
        lengths = norms if rows.normalize else np.array([rows.largest])
        sane = bool(((lengths >= SANE_NORMS[0]) & (lengths <= SANE_NORMS[1])).all())
        self.multiply, self.multiplied_without_cast = multiplied_as(plan.precision, self.input_dtype, sane)
        # Rows that are on the device and are multiplied without a cast need no second copy.
        self.resident = plan.resident or (self.multiplied_without_cast and isinstance(rows.values, DeviceMatrix))
        self.storage = STORAGE[plan.precision]
        self.factor = 2.0**-self.exponent
        self.gamma = error_bounds.gram_entry_error(
            self.d,
            self.storage,
            self.multiply,
            given=self.multiplied_without_cast,
            adding=error_bounds.U32 if self.multiply == "fp32" else error_bounds.TENSOR_CORE,
        )
        self.norms = self._upload(norms, "fp64")
        inverse = self.factor / norms if self.multiplied_without_cast else np.ones(self.m)
        self.inverse = self._upload(inverse.astype(np.float32), "fp32")
        self.chunk = chunk_rows(self.d)
        self.stored = self._place_rows()
        self.products = self._make_products() if self.resident else None
        self.slots = self._upload(np.full(self.m, -1, np.int32), "int32")

    def _upload(self, values: NDArray[Any], kind: str) -> Any:
        array = self.arrays.empty(values.shape, kind)
        self.arrays.put(array, values)
        return array

    def _chunks(self) -> list[tuple[int, int]]:
        return [(start, min(start + self.chunk, self.m)) for start in range(0, self.m, self.chunk)]

    def _place_rows(self) -> Any:
        """Returns the rows as given, on the device or mapped into its address space."""
        values = self.rows_of.values
        if isinstance(values, DeviceMatrix):
            return self.arrays.adopt(values.array, self.input_dtype)
        if not self.resident:
            return self.arrays.map_host(np.ascontiguousarray(values[:], HOST_TYPES[self.input_dtype]))
        array = self.arrays.empty((self.m, self.d), self.input_dtype)
        # Another stream may still use the memory for a previous array.
        self.arrays.synchronize()
        for turn, (start, stop) in enumerate(self._chunks()):
            self.arrays.stage(turn % 2, array[start:stop], values[start:stop])
        self.arrays.synchronize()
        return array

    def _make_products(self) -> Any:
        """Returns the rows in the format in which they are multiplied."""
        if self.multiplied_without_cast:
            return self.stored
        array = self.arrays.empty((self.m, self.d), self.multiply)
        for start, stop in self._chunks():
            array[start:stop] = self._cast(self.stored[start:stop], self.norms[start:stop])
        return array

    @on_device
    def columns(self, indices: Sequence[int], out: Any) -> None:
        wanted = np.asarray(indices, np.int64)
        by_row = self.arrays.take(self.inverse, wanted)
        if self.products is not None:
            self._multiply(self.arrays.take(self.products, wanted), by_row, self.products, self.inverse, out)
            self.arrays.synchronize()
            return
        values = self.rows_of.values
        if isinstance(values, DeviceMatrix):
            left = self.arrays.take(self.stored, wanted)
        else:
            left = self._upload(np.ascontiguousarray(values[wanted], HOST_TYPES[self.input_dtype]), self.input_dtype)
        if not self.multiplied_without_cast:
            left = self._cast(left, self.arrays.take(self.norms, wanted))
        self.arrays.synchronize()
        for turn, (start, stop) in enumerate(self._chunks()):
            with self.arrays.stream_scope(turn % 2):
                right = self.arrays.load(self.stored, start, stop)
                if not self.multiplied_without_cast:
                    right = self._cast(right, self.norms[start:stop])
                self._multiply(left, by_row, right, self.inverse[start:stop], out[:, start:stop])
        self.arrays.synchronize()

    def _multiply(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        """Computes out = (left @ right.T) * by_row * by_column.

        The vendor's GEMM multiplies float32: a batch has no symmetry that saves arithmetic, and the GEMM is tuned for
        every shape and chip. Our own kernel multiplies 16-bit rows, because vendors round the results to 16 bits.
        """
        if self.multiply in ("fp32", "tf32") and not self.multiplied_without_cast and self.storage == "fp32":
            self.arrays.matmul(left, right, out, self.multiply == "tf32")
        else:
            self._products(left, by_row, right, by_column, out)

    @on_device
    def gram(self) -> Any:
        out = self.arrays.empty((self.m, self.m), self.storage)
        self._gram(self.products, out)
        self.arrays.synchronize()
        return out

    @on_device
    def empty_columns(self, count: int) -> Any:
        return self.arrays.empty((count, self.m), self.storage)

    @on_device
    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:
        if len(items):
            self.arrays.scatter(self.slots, np.asarray(items, np.int64), np.asarray(slots, np.int32))

    @abstractmethod
    def _cast(self, rows: Any, norms: Any) -> Any:
        """Returns rows / norms * self.factor, in float64, rounded to float32 and then to `self.multiply`."""

    @abstractmethod
    def _gram(self, rows: Any, out: Any) -> None:
        """Computes the Gram matrix of rows."""

    @abstractmethod
    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        """Computes out = (left @ right.T) * by_row * by_column, by our own kernel."""
