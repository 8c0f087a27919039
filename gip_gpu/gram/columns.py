"""Gram columns: the whole matrix, or batches computed when they are needed."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from typing import Any, Protocol

from gip_gpu.backends.base import Backend
from gip_gpu.backends.residual import Pending
from gip_gpu.gram.batch_size import BatchSize

log = logging.getLogger("gip_gpu")

# Batches after which their time is known, and how much longer than the Gram matrix they must seem to take.
TRIAL_BATCHES, MARGIN = 32, 1.5
# Slots that go round for a single selection: a few batches, and some more where those are small.
BATCHES, LEAST = 4, 64


class Forecast(Protocol):
    """Foresees picks, for a batch of columns; `gip_gpu.backends.residual.Residual` says how."""

    def prepare(self, count: int) -> None: ...
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]: ...


class Columns(Protocol):
    """A source of Gram columns.

    Attributes:
        computed: columns computed so far.
        seconds: time spent on that.
    """

    computed: int
    seconds: float

    def get(self, index: int) -> Any:
        """The column of an item, (m,), or None where it has not been computed."""

    def table(self) -> Any:
        """The array whose rows are the columns; a backend was told where they lie by `Backend.place`."""

    def begin(self) -> None:
        """A new selection begins."""

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        """Computes the column of a pick, and of others that will be wanted.

        Args:
            pick: whose column is missing.
            made: picks made.
            most: picks to come, this one included.
            forecast: foresees them.
        """


class GramColumns:
    """The whole Gram matrix, blockwise, the upper triangle computed and mirrored."""

    def __init__(self, backend: Backend) -> None:
        start = time.perf_counter()
        self.matrix = backend.gram()
        backend.place(range(backend.m), range(backend.m))
        self.computed = backend.m
        self.seconds = time.perf_counter() - start

    def get(self, index: int) -> Any:
        return self.matrix[index]

    def table(self) -> Any:
        return self.matrix

    def begin(self) -> None:
        pass

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        raise AssertionError("a Gram matrix lacks no column")


class Storage(Protocol):
    """Memory for columns; `gip_gpu.backends.base.Backend` says more."""

    def empty_columns(self, count: int) -> Any: ...
    def touch(self, columns: Any) -> None: ...
    def place(self, items: Sequence[int], slots: Sequence[int]) -> None: ...


class ColumnCache(ABC):
    """Columns computed on demand, in speculative batches, into a ring of slots.

    Each batch takes consecutive slots, the oldest first, so that the product writes straight into its place. A column
    stays until its slot comes round again: another selection on the same pool may use it.

    Args:
        storage: where they lie.
        slots: columns that there is room for.
        keep: whether other selections will follow. For a single one as many slots go round as hold a few batches:
            to find new memory takes a system as long as a column takes to compute.
    """

    def __init__(self, storage: Storage, slots: int, keep: bool = False) -> None:
        self.storage, self.keep = storage, keep
        self.stored = storage.empty_columns(slots)
        self.items: list[int | None] = [None] * slots
        self.slot_of: dict[int, int] = {}
        self.next = self.touched = 0
        # A batch leaves room for the unused columns of the one before.
        self.batch = BatchSize(slots // 2)
        self.computed = 0
        # In all, and without what was done once and for all.
        self.seconds = self.making = 0.0

    def get(self, index: int) -> Any:
        slot = self.slot_of.get(index)
        # An interrupt may have come between the two notes.
        return None if slot is None or self.items[slot] != index else self.stored[slot]

    def table(self) -> Any:
        return self.stored

    def begin(self) -> None:
        self.batch.begin()

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        start = time.perf_counter()
        count = self.batch.choose(made, most)
        first = self._claim(count)
        # Apart, or the first batches would seem to take longer than all others.
        self.storage.touch(self.stored[max(first, self.touched) : first + count])
        self.touched = max(self.touched, first + count)
        forecast.prepare(count)
        began = time.perf_counter()
        indices = forecast.speculate(pick, self.slot_of, count, most)
        self.next = first + len(indices)
        self._fill(indices, first, pick)
        for slot, index in enumerate(indices, first):
            self.items[slot] = index
            self.slot_of[index] = slot
        self.storage.place(indices, range(first, first + len(indices)))
        done = time.perf_counter()
        self.batch.record(count, done - began)
        self.making += done - began
        self.computed += len(indices)
        self.seconds += done - start

    @abstractmethod
    def _fill(self, indices: list[int], first: int, pick: Pending) -> None:
        """Computes the columns of these items, the pick's first, into the slots from `first` on."""

    def _claim(self, count: int) -> int:
        """The first of `count` consecutive slots, emptied."""
        room = len(self.items) if self.keep else min(len(self.items), max(LEAST, BATCHES * count))
        first = self.next if self.next + count <= room else 0
        dropped = [item for item in self.items[first : first + count] if item is not None]
        self.storage.place(dropped, [-1] * len(dropped))
        for item in dropped:
            self.slot_of.pop(item, None)
        self.items[first : first + count] = [None] * count
        self.next = first + count
        return first


class LazyColumns(ColumnCache):
    """The columns of a backend's own items.

    Args:
        backend: whose.
        slots, keep: as above.
        gram_seconds: what the whole Gram matrix is predicted to take; where the columns for the rest of a selection
            would take longer, by what was measured so far, it is computed after all. 0: there is no room for it.
    """

    def __init__(self, backend: Backend, slots: int, keep: bool = False, gram_seconds: float = 0.0) -> None:
        super().__init__(backend, slots, keep)
        self.backend, self.gram_seconds = backend, gram_seconds
        self.whole = False

    def begin(self) -> None:
        super().begin()
        self.batches = self.begun = 0
        self.made = 0.0

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        if self.gram_seconds and self.batches >= TRIAL_BATCHES and self._slower(made, most):
            self._compute_all()
            return
        if not self.batches:
            self.begun = made
        before = self.making
        super().provide(pick, made, most, forecast)
        self.batches += 1
        self.made += self.making - before

    def _slower(self, made: int, most: int) -> bool:
        """Whether the columns of the picks to come will take longer than all there are, half of them mirrored."""
        m, each = self.backend.m, min(seconds / size for size, seconds in self.batch.seconds.items())
        # Memory for the matrix has to be found as it was for these columns.
        found = (self.seconds - self.making) / max(1, self.touched) * m
        whole = max(self.gram_seconds, each * m / 2 + found)
        return self.made / max(1, made - self.begun) * most > MARGIN * whole

    def _compute_all(self) -> None:
        began = time.perf_counter()
        log.info("columns: on demand they last for few picks; computing the whole Gram matrix")
        slots = len(self.items)
        self.slot_of, self.items, self.stored = {}, [None] * slots, None
        try:
            matrix = self.backend.gram()
        except BaseException:
            self.stored = self.backend.empty_columns(slots)
            raise
        m = self.backend.m
        self.stored, self.items, self.whole = matrix, list(range(m)), True
        self.slot_of = dict(zip(range(m), range(m), strict=True))
        self.backend.place(range(m), range(m))
        self.computed += m
        self.seconds += time.perf_counter() - began

    def _fill(self, indices: list[int], first: int, pick: Pending) -> None:
        self.backend.columns(indices, self.stored[first : first + len(indices)])
