"""Gram columns: the whole matrix, or batches computed on demand."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from typing import Any, Protocol

from gip_gpu.backends.base import Backend
from gip_gpu.backends.residual import Pending
from gip_gpu.gram.batch_size import BatchSize

log = logging.getLogger("gip_gpu")

# After TRIAL_BATCHES batches their time is known; the Gram matrix replaces them if they seem MARGIN times slower.
TRIAL_BATCHES, MARGIN = 32, 1.5
# Slots in use for a single selection: BATCHES batches, and at least LEAST.
BATCHES, LEAST = 4, 64


class Forecast(Protocol):
    """Predictor of picks for a batch of columns; `gip_gpu.backends.residual.Residual` documents it."""

    def prepare(self, count: int) -> None: ...
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]: ...


class Columns(Protocol):
    """A source of Gram columns.

    Attributes:
        computed: columns computed so far.
        seconds: time spent on them, as far as the host measures it.
        whole: whether the whole matrix has replaced columns on demand.
    """

    computed: int
    seconds: float
    whole: bool

    def get(self, index: int) -> Any:
        """Returns the column of an item, (m,), or None if it is not stored."""

    def table(self) -> Any:
        """Returns the array with the columns as rows; `Backend.place` gave the backend their slots."""

    def begin(self) -> None:
        """Begins a new selection."""

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        """Computes the column of a pick, and of others that will be needed.

        Args:
            pick: the pick without a column.
            made: picks made.
            most: picks to come, this one included.
            forecast: predicts them.
        """


class GramColumns:
    """The whole Gram matrix, computed in blocks: the upper triangle, mirrored."""

    def __init__(self, backend: Backend) -> None:
        start = time.perf_counter()
        self.matrix = backend.gram()
        backend.place(range(backend.m), range(backend.m))
        self.computed, self.whole = backend.m, False
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
    """Memory for columns; `gip_gpu.backends.base.Backend` documents it."""

    def empty_columns(self, count: int) -> Any: ...
    def touch(self, columns: Any) -> None: ...
    def place(self, items: Sequence[int], slots: Sequence[int]) -> None: ...


class ColumnCache(ABC):
    """Cache of columns computed on demand, in speculative batches.

    The slots are reused in a circle. Each batch takes consecutive slots, the oldest first, so that the product writes
    straight into its place. A column stays until its slot is reused: another selection on the same pool may use it.

    Args:
        storage: allocates the columns.
        slots: largest number of columns.
        keep: whether other selections will follow. A single selection uses only the slots of a few batches: the system
            takes as long to find new memory as a column takes to compute.
    """

    def __init__(self, storage: Storage, slots: int, keep: bool = False) -> None:
        self.storage, self.keep = storage, keep
        self.stored = storage.empty_columns(slots)
        self.items: list[int | None] = [None] * slots
        self.slot_of: dict[int, int] = {}
        self.next = self.touched = 0
        # A batch leaves room for the unused columns of the one before.
        self.batch = BatchSize(slots // 2)
        self.computed, self.whole = 0, False
        # All seconds, and those without one-time work.
        self.seconds = self.making = 0.0

    def get(self, index: int) -> Any:
        slot = self.slot_of.get(index)
        # An interrupt between the updates of `items` and `slot_of` may have left them different.
        return None if slot is None or self.items[slot] != index else self.stored[slot]

    def table(self) -> Any:
        return self.stored

    def begin(self) -> None:
        self.batch.begin()

    def provide(self, pick: Pending, made: int, most: int, forecast: Forecast) -> None:
        start = time.perf_counter()
        count = self.batch.choose(made, most)
        first = self._claim(count)
        # Not timed as part of the batch, or the first batches would seem slower than all others.
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
        """Evicts the columns of `count` consecutive slots and returns the first slot."""
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
    """Column cache for a backend's own items.

    Args:
        backend: computes the columns.
        slots, keep: as of `ColumnCache`.
        gram_seconds: predicted seconds of the whole Gram matrix, 0 if there is no room for it. If, by the measured
            times, the columns for the rest of a selection would take longer, the matrix is computed after all.
    """

    def __init__(self, backend: Backend, slots: int, keep: bool = False, gram_seconds: float = 0.0) -> None:
        super().__init__(backend, slots, keep)
        self.backend, self.gram_seconds = backend, gram_seconds

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
        """Returns whether the columns of the picks to come will take longer than the whole matrix, half mirrored."""
        m, each = self.backend.m, min(seconds / size for size, seconds in self.batch.seconds.items())
        # The system finds memory for the matrix at the rate of these columns.
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
