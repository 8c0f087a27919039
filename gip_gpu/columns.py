"""Where Gram columns come from: the whole matrix, or batches computed when they are needed."""

import time
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gip_gpu.batching import BatchSize
from gip_gpu.state import State

if TYPE_CHECKING:
    from gip_gpu.backends.base import Backend


class Columns(Protocol):
    """A source of Gram columns.

    Attributes:
        computed: columns computed so far.
        seconds: time spent on that.
    """

    computed: int
    seconds: float

    def get(self, index: int) -> Any:
        """The column of an item, (m,), or None where it is not at hand."""

    def table(self) -> Any:
        """The array whose rows are the columns; a backend was told where they lie by `Backend.place`."""

    def begin(self) -> None:
        """A new selection begins."""

    def provide(self, state: State) -> None:
        """Computes the column of the pending pick, and of others that will be wanted."""


class GramColumns:
    """The whole Gram matrix, blockwise, the upper triangle computed and mirrored."""

    def __init__(self, backend: "Backend") -> None:
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

    def provide(self, state: State) -> None:
        raise AssertionError("every column of a Gram matrix is at hand")


class NoColumns:
    """None are kept: the column of a pick depends on the picks before it, and is multiplied in the step."""

    computed = 0
    seconds = 0.0

    def get(self, index: int) -> Any:
        return None

    def table(self) -> Any:
        return None

    def begin(self) -> None:
        pass

    def provide(self, state: State) -> None:
        raise AssertionError("no step asks for a column")


class Source(Protocol):
    """What a ring of columns asks of a backend; `gip_gpu.backends.base.Backend` says what."""

    def empty_columns(self, count: int) -> Any: ...
    def place(self, items: Sequence[int], slots: Sequence[int]) -> None: ...
    def speculate(self, state: State, known: Container[int], count: int) -> list[int]: ...


class Ring(ABC):
    """Columns computed on demand, in speculative batches, into a ring of slots.

    Each batch takes consecutive slots, the oldest first, so that the product writes straight into its place. A column
    stays until its slot comes round again: another selection on the same pool may use it.
    """

    def __init__(self, source: Source, slots: int) -> None:
        self.source = source
        self.ring = source.empty_columns(slots)
        self.items: list[int | None] = [None] * slots
        self.slot_of: dict[int, int] = {}
        self.next = 0
        # A batch leaves room for the unused columns of the one before.
        self.batch = BatchSize(slots // 2)
        self.computed = 0
        self.seconds = 0.0

    def get(self, index: int) -> Any:
        slot = self.slot_of.get(index)
        # An interrupt may have come between the two notes.
        return None if slot is None or self.items[slot] != index else self.ring[slot]

    def table(self) -> Any:
        return self.ring

    def begin(self) -> None:
        self.batch.begin()

    def provide(self, state: State) -> None:
        began = time.perf_counter()
        count = self.batch.choose(state.t, state.k - state.t)
        indices = self.source.speculate(state, self.slot_of, count)
        first = self._claim(len(indices))
        self._fill(indices, first)
        for slot, index in enumerate(indices, first):
            self.items[slot] = index
            self.slot_of[index] = slot
        self.source.place(indices, range(first, first + len(indices)))
        seconds = time.perf_counter() - began
        self.batch.record(count, seconds)
        self.computed += len(indices)
        self.seconds += seconds

    @abstractmethod
    def _fill(self, indices: list[int], first: int) -> None:
        """Computes the columns of these items into the slots from `first` on."""

    def _claim(self, count: int) -> int:
        """The first of `count` consecutive slots, emptied."""
        first = self.next if self.next + count <= len(self.items) else 0
        dropped = [item for item in self.items[first : first + count] if item is not None]
        self.source.place(dropped, [-1] * len(dropped))
        for item in dropped:
            self.slot_of.pop(item, None)
        self.items[first : first + count] = [None] * count
        self.next = first + count
        return first


class LazyColumns(Ring):
    """The columns of a backend's own items."""

    def __init__(self, backend: "Backend", slots: int) -> None:
        super().__init__(backend, slots)
        self.backend = backend

    def _fill(self, indices: list[int], first: int) -> None:
        self.backend.columns(indices, self.ring[first : first + len(indices)])
