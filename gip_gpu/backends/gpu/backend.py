"""Base of the GPU backends: embeddings and a selection's arrays on the device, and launches.

`gip_gpu.greedy.device_pursuit` is the host's side of the loop that runs there. A backend supplies `Arrays` (memory,
copies, casts, a vendor GEMM) and launches of its kernels.
"""

from abc import abstractmethod
from collections.abc import Callable, Container, Sequence
from functools import wraps
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.base import Backend
from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import HeaderF64, Record
from gip_gpu.backends.items import ErrorBounds, Items, RankOneUpdate, Rules
from gip_gpu.backends.residual import Pending
from gip_gpu.data.device_arrays import DeviceMatrix, format_of, on_gpu
from gip_gpu.data.rows import Rows
from gip_gpu.numerics import error_bounds
from gip_gpu.planning.cpu_costs import STORAGE, Costs
from gip_gpu.planning.gpu_costs import GPU_AUTOMATIC, GPU_PRECISIONS, STEPS, GpuCosts, chunk_rows, multiplied_as
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.objectives import MEASURES

Hook = TypeVar("Hook", bound=Callable[..., Any])
Floats = NDArray[np.float64]

HOST_TYPES = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}
# Rows with norms in the range SANE_NORMS may be multiplied without a cast: no product of theirs overflows float32, and
# `error_bounds.gram_entry_error` covers those flushed to zero.
SMALLEST_NORM = 1e-300  # Its inverse is a finite float64.
SIGNALS = 1024
SANE_NORMS = (2.0**-40, 2.0**40)


def too_old(major: int, minor: int) -> str:
    """Returns the reason why a device of this compute capability cannot be used, "" if it can."""
    if major >= 8:
        return ""
    return f"the device has compute capability {major}.{minor}; the kernels need 8.0 (an A100) or newer"


def _on_device(hook: Hook) -> Hook:
    """Makes the backend's device the current one while a hook runs."""

    @wraps(hook)
    def inside(self: "GpuBackend", *args: Any, **kwargs: Any) -> Any:
        with self.arrays.device_scope():
            return hook(self, *args, **kwargs)

    return cast(Hook, inside)


class GpuBackend(Backend):
    """The greedy loop on a device: a launch takes many steps and returns with a reason.

    Rows are stored as given, for exact rescoring, and also rounded to the format in which they are multiplied; rows
    given in 16 bits serve both purposes where possible. Rows that do not fit stay in pinned host memory and stream
    through the products in chunks; the few that are rescored are read over the bus.
    """

    devices: ClassVar[tuple[str, ...]] = ("cuda",)
    precisions: ClassVar[tuple[str, ...]] = GPU_PRECISIONS
    automatic: ClassVar[tuple[str, ...]] = GPU_AUTOMATIC
    device_loop: ClassVar[bool] = True
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
        self.n = self.ready_for = 0

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

    @_on_device
    def begin_pursuit(self, n: int) -> None:
        """Allocates the arrays of matching pursuit for n signals, unless they exist."""
        if n == self.ready_for:
            return
        if n > SIGNALS:
            raise ValueError(f"G has {n:,} columns; the GPU backends take up to {SIGNALS:,}")
        # If an allocation fails, the next call starts again.
        self.ready_for, self.n = 0, n
        empty = self.arrays.empty
        self.scores, self.A, self.W = empty((self.m, n), "fp64"), empty((n, self.d), "fp64"), empty((n, self.m), "fp32")
        self.weight, self.score = empty((self.m,), "fp32"), empty((self.m,), "fp32")
        self.candidate_index, self.candidate_value = empty((self.m,), "int64"), empty((self.m, 1 + n), "fp64")
        self.header_f64, self.header_i64 = empty((HeaderF64.RESIDUAL + n,), "fp64"), empty((16,), "int64")
        self.record = empty((min(STEPS, self.m), Record.WEIGHTS + n), "fp64")
        self.largest = empty((2, self._parts()), "fp64")
        self.head = np.zeros(HeaderF64.RESIDUAL + n)
        self.places = np.zeros(16, np.int64)
        self._begin()
        self.ready_for = n

    @_on_device
    def open_round(self, scores: Floats, weight: NDArray[np.float32], A: Floats) -> None:
        """Uploads the initial arrays of a round: scores (m, n) in its unit, weight (m,), A (n, d), as in `layout`."""
        self.arrays.put(self.scores, scores)
        self.arrays.put(self.weight, weight)
        self.arrays.put(self.A, A)

    @_on_device
    def projection(self) -> Floats:
        """Returns A (n, d), as stored on the device."""
        A: Floats = self.arrays.get(self.A)
        return A

    @_on_device
    def run(self, columns: Any) -> None:
        """Takes steps with these Gram columns from the state in `head` and `places`, until `places` holds a reason."""
        self.arrays.put(self.header_f64, self.head)
        self.arrays.put(self.header_i64, self.places)
        self._run(columns)
        self.head, self.places = self.arrays.get(self.header_f64), self.arrays.get(self.header_i64)

    @_on_device
    def records(self, count: int) -> Floats:
        """Returns the records (count, RECORD_WEIGHTS + n) of the picks of the last `run`."""
        records: Floats = self.arrays.get(self.record[:count])
        return records

    @_on_device
    def recompute(self) -> float:
        """Recomputes W~ from scores and A; returns the largest ||W_j|| of the items left."""
        self.largest[:] = 0
        if self.resident:
            self._refresh(self.stored, 0, self.m, self.largest[0])
        else:
            self.arrays.synchronize()
            for turn, (start, stop) in enumerate(self._chunks()):
                with self.arrays.stream_scope(turn % 2):
                    rows = self.arrays.load(self.stored, start, stop)
                    self._refresh(rows, start, stop - start, self.largest[turn % 2])
            self.arrays.synchronize()
        return float(self.arrays.get(self.largest).max())

    @_on_device
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

    @_on_device
    def gram(self) -> Any:
        out = self.arrays.empty((self.m, self.m), self.storage)
        self._gram(self.products, out)
        self.arrays.synchronize()
        return out

    @_on_device
    def empty_columns(self, count: int) -> Any:
        return self.arrays.empty((count, self.m), self.storage)

    @_on_device
    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:
        if len(items):
            self.arrays.scatter(self.slots, np.asarray(items, np.int64), np.asarray(slots, np.int32))

    def prepare(self, count: int) -> None:
        """Does nothing: this backend has no work of once a round (`gip_gpu.backends.residual.Residual.prepare`)."""

    @_on_device
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        """Predicts picks by the ranking of scores; see `gip_gpu.backends.residual.Residual.speculate`.

        On a GPU a column in a batch costs a hundredth of a matrix-vector product, and a lookahead costs launches.
        """
        ranked = self.arrays.top(self.score, self.slots, count) if count > 1 else np.empty(0, np.int64)
        return [pick.index, *ranked[ranked != pick.index].tolist()][:count]

    def items(self, rules: Rules, n: int) -> Items:
        if n > SIGNALS:
            raise ValueError(f"G has {n:,} columns; the GPU backends take up to {SIGNALS:,}")
        if not MEASURES[rules.measure].on_gpu:
            raise ValueError(f"backend {self.name!r} has no objective measured by {rules.measure!r}; use device='cpu'")
        return GpuItems(self, rules, n)

    @abstractmethod
    def _step_terms(self) -> int:
        """Returns the largest number of roundings of a product on its way into a sum of `_family_step`."""

    @abstractmethod
    def _step_parts(self, count: int) -> int:
        """Returns the programs or blocks of a launch of `_family_step` for `count` items."""

    @abstractmethod
    def _family_step(
        self,
        items: GpuItems,
        rows: Any,
        first: int,
        count: int,
        parts: Any,
        move: RankOneUpdate | None,
        errors: ErrorBounds,
    ) -> None:
        """Projects a pick out of W~ and d2~ of `count` items from `first`, and rates them; without a move only rates.

        Args:
            rows: (count, d) in the format in which they are multiplied; `self.inverse` has their inverse norms.
            parts: (`_step_parts(count)`, 2) of `items.parts`; the launch fills it.
        """

    @abstractmethod
    def _family_candidates(self, items: GpuItems, floor: float) -> None:
        """Lists the items with an upper bound of at least `floor` >= 0, with exact distances and residuals."""

    @abstractmethod
    def _begin(self) -> None:
        """Allocates the arrays that only this backend's kernels need, for `self.n` signals."""

    @abstractmethod
    def _parts(self) -> int:
        """Returns the entries of an array with one value for each program or block."""

    @abstractmethod
    def _cast(self, rows: Any, norms: Any) -> Any:
        """Returns rows / norms * self.factor, in float64, rounded to float32 and then to `self.multiply`."""

    @abstractmethod
    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        """Recomputes W~ of `count` items from `first` with these rows; by part, the largest ||W_j|| of those left."""

    @abstractmethod
    def _run(self, columns: Any) -> None:
        """Takes steps with these Gram columns until `header_i64[REASON]` holds a reason to stop."""

    @abstractmethod
    def _gram(self, rows: Any, out: Any) -> None:
        """Computes the Gram matrix of rows."""

    @abstractmethod
    def _products(self, left: Any, by_row: Any, right: Any, by_column: Any, out: Any) -> None:
        """Computes out = (left @ right.T) * by_row * by_column, by our own kernel."""
