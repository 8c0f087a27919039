"""Base of the GPU backends: a selection's arrays on the device, and launches.

`gip_gpu.greedy.device_pursuit` is the host's side of the loop that runs there. A backend supplies `Arrays` (memory,
copies, casts, graphs, a vendor GEMM) and launches of its kernels.
"""

from abc import abstractmethod
from collections.abc import Callable, Container
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import LARGEST_BATCH, PIECES, PLACES, Code, HeaderF64, HeaderI64, Record
from gip_gpu.backends.gpu.picks import DevicePicks
from gip_gpu.backends.gpu.rows import GpuRows, on_device
from gip_gpu.backends.items import ErrorBounds, Items, RankOneUpdate, Rules
from gip_gpu.backends.residual import Pending
from gip_gpu.data.rows import Rows
from gip_gpu.planning.gpu_costs import STEPS
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.objectives import MEASURES

Floats = NDArray[np.float64]

SIGNALS = 1024


def too_old(major: int, minor: int) -> str:
    """Returns the reason why a device of this compute capability cannot be used, "" if it can."""
    if major >= 8:
        return ""
    return f"the device has compute capability {major}.{minor}; the kernels need 8.0 (an A100) or newer"


class Ring:
    """Gram columns that the device computes by itself; arrays as in `gip_gpu.backends.gpu.layout`.

    Attributes:
        columns: (slots, m).
        held: (slots,) the item of each.
    """

    def __init__(self, backend: "GpuBackend", slots: int) -> None:
        empty = backend.arrays.empty
        self.columns, self.held = backend.empty_columns(slots), empty((slots,), "int32")
        self.piece_keys, self.chosen = empty((PIECES,), "int64"), empty((LARGEST_BATCH,), "int64")


class GpuBackend(GpuRows):
    """The greedy loop on a device: a launch takes many steps and returns with a reason.

    Attributes:
        words: (PLACES + RESIDUAL + n,) int64, the host's copy of the header.
        places, head: its two parts, integers and numbers, at the places of `HeaderI64` and `HeaderF64`.
    """

    device_loop: ClassVar[bool] = True

    def __init__(self, rows: Rows, plan: Plan) -> None:
        super().__init__(rows, plan)
        self.n = self.ready_for = 0

    @on_device
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
        # One array, so that one copy reads or writes all of it.
        self.words = np.zeros(PLACES + HeaderF64.RESIDUAL + n, np.int64)
        self.places, self.head = self.words[:PLACES], self.words[PLACES:].view(np.float64)
        self.header = empty(self.words.shape, "int64")
        self.header_i64, self.header_f64 = self.header[:PLACES], self.arrays.as_fp64(self.header[PLACES:])
        self.record = empty((min(STEPS, self.m), Record.WEIGHTS + n), "fp64")
        self.largest = empty((2, self._parts()), "fp64")
        # Captured launches, by the address of the columns that they read and by the batch.
        self.graphs: dict[tuple[int, ...], Callable[[], None]] = {}
        self._begin()
        self.ready_for = n

    @on_device
    def open_round(self, scores: Floats, weight: NDArray[np.float32], A: Floats) -> None:
        """Uploads the initial arrays of a round: scores (m, n) in its unit, weight (m,), A (n, d), as in `layout`."""
        self.arrays.put(self.scores, scores)
        self.arrays.put(self.weight, weight)
        self.arrays.put(self.A, A)

    @on_device
    def block(self, indices: NDArray[np.int64]) -> None:
        """Makes these items ineligible for the rest of the round."""
        self.arrays.scatter(self.weight, indices, np.zeros(len(indices), np.float32))

    @on_device
    def projection(self) -> Floats:
        """Returns A (n, d), as stored on the device."""
        A: Floats = self.arrays.get(self.A)
        return A

    @property
    def computes_columns(self) -> bool:
        # Rows that stream past need the host.
        return self.resident

    @property
    def visits(self) -> int:
        return self.arrays.visits

    def code(self) -> Code:
        """Returns the reason in the host's copy of the header."""
        return Code(int(self.places[HeaderI64.REASON]))

    def _load(self) -> None:
        self.arrays.put(self.header, self.words)

    def _fetch(self) -> None:
        self.words[:] = self.arrays.get(self.header)

    @on_device
    def run(self, columns: Any) -> None:
        """Takes steps with these Gram columns from the state in `words`, until `places` holds a reason to stop."""
        self._load()
        self._run(columns)
        self._fetch()

    @on_device
    def ring(self, slots: int) -> Ring:
        """Allocates a ring of Gram columns; no item has one."""
        ring = Ring(self, slots)
        self.forget(ring)
        return ring

    @on_device
    def forget(self, ring: Ring) -> None:
        """Drops all columns of a ring."""
        ring.held[:] = -1
        self.slots[:] = -1

    @on_device
    def prepare_batches(self, ring: Ring, size: int, room: int) -> None:
        """Captures the launches of steps up to a missing column, and of a batch, unless they are known."""
        key = (self.arrays.address(ring.columns), size, room)
        if key not in self.graphs:

            def launches() -> None:
                self._steps(ring.columns)
                self._choose_batch(ring, size, room)
                self._listed_products(ring, size)

            self._idle()
            self.graphs[key] = self.arrays.captured(launches)
            self._load()

    def _idle(self) -> None:
        """Loads a header with a reason to stop, so that launches do nothing."""
        idle = self.words.copy()
        idle[HeaderI64.REASON] = Code.DONE
        self.arrays.put(self.header, idle)

    @on_device
    def run_batches(self, ring: Ring, size: int, room: int, count: int, *, first: bool) -> None:
        """Takes steps and computes missing columns in batches, `count` of them or fewer, without the host.

        `prepare_batches` comes before.

        Args:
            ring: the columns.
            size: columns of a batch, at most LARGEST_BATCH and `room`.
            room: slots in use.
            count: batches after which the header is read.
            first: whether the steps begin with the state in `words`, where the residual has not been scored; else they
                go on where the last call has ended.
        """
        replay = self.graphs[self.arrays.address(ring.columns), size, room]
        if first:
            self._load()
            self._start(ring.columns)
        for _ in range(count):
            replay()
            # A GPU is ahead of the host; an interpreter would take its time for kernels with nothing to do.
            if self.arrays.immediate and int(self.header_i64[HeaderI64.REASON]) not in (Code.RUNNING, Code.LISTED):
                break
        self._fetch()

    @on_device
    def records(self, count: int) -> Floats:
        """Returns the records (count, RECORD_WEIGHTS + n) of the picks of the last `run`."""
        records: Floats = self.arrays.get(self.record[:count])
        return records

    @on_device
    def recompute(self) -> float:
        """Recomputes W~ from scores and A; returns the largest ||W_j|| of the items left."""
        self.largest[:] = 0
        self.arrays.visits += 1
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

    def prepare(self, count: int) -> None:
        """Does nothing: this backend has no work of once a round (`gip_gpu.backends.residual.Residual.prepare`)."""

    @on_device
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        """Predicts picks by the ranking of scores, for columns of rows that stream past.

        See `gip_gpu.backends.residual.Residual.speculate`.
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
    def _pick_parts(self) -> int:
        """Returns the programs or blocks that compute g of a pick, for an array with one value of each."""

    @abstractmethod
    def _device_pick(self, picks: DevicePicks) -> None:
        """Launches a pick that the device makes, for a graph: window, decision, projection, step."""

    @abstractmethod
    def _begin(self) -> None:
        """Allocates the arrays that only this backend's kernels need, for `self.n` signals."""

    @abstractmethod
    def _parts(self) -> int:
        """Returns the entries of an array with one value for each program or block."""

    @abstractmethod
    def _refresh(self, rows: Any, first: int, count: int, largest: Any) -> None:
        """Recomputes W~ of `count` items from `first` with these rows; by part, the largest ||W_j|| of those left."""

    @abstractmethod
    def _run(self, columns: Any) -> None:
        """Takes steps with these Gram columns until `header_i64[REASON]` holds a reason to stop."""

    @abstractmethod
    def _start(self, columns: Any) -> None:
        """Scores the residual before the first step of `run_batches`, if the steps do not."""

    @abstractmethod
    def _steps(self, columns: Any) -> None:
        """Launches steps with these Gram columns, for a graph; a launch with a reason to stop does nothing."""

    @abstractmethod
    def _choose_batch(self, ring: Ring, size: int, room: int) -> None:
        """Lists a batch, if a column is missing: the pending pick, and the items with the largest scores."""

    @abstractmethod
    def _listed_products(self, ring: Ring, size: int) -> None:
        """Computes the columns of the batch, if one is listed."""
