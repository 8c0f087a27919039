"""The hooks that a backend supplies: what touches arrays of m items. Everything else is written once, on the host."""

from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Items, Rules
from gip_gpu.data.rows import Rows
from gip_gpu.greedy import matching_pursuit
from gip_gpu.greedy.state import Reason, State, Stored
from gip_gpu.planning.cpu_costs import Costs, HostCosts
from gip_gpu.system import memory

if TYPE_CHECKING:
    from gip_gpu.gram.columns import Columns
    from gip_gpu.planning.plan import Plan


class Backend(ABC):
    """Embeddings on a device, and the operations on them that a selection needs.

    Semantics that all backends share: indices are int64 in the order of the pool; a Gram column is the products of
    all m rows with one row, exact to `gamma`; rows come back as the float64 values that define the problem; no hook
    modifies F or G. A backend serves one selection at a time.

    Attributes:
        name: the registry's key.
        precisions: what Gram columns can be computed and kept in, the most exact first.
        automatic: those that precision "auto" takes the first fitting one of; empty: all.
        portable: whether its arrays can be pickled; else a copied pool makes them anew.
        empty_rounds: whether a round of its steps may find nothing to pick.
        stride: as `gip_gpu.greedy.loop.Stepper.stride`.
        rows_of: the exact rows.
        exponent: rows are stored divided by 2**exponent, so that no stored norm exceeds 1; 0 for unit rows.
        gamma: bound on the error of one stored Gram entry (`bounds.gram_entry_error`).
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    automatic: ClassVar[tuple[str, ...]] = ()
    portable: ClassVar[bool] = True
    empty_rounds: ClassVar[bool] = False
    stride: ClassVar[int] = 1
    gamma: float

    def __init__(self, rows: Rows, plan: "Plan") -> None:
        self.rows_of = rows
        self.m, self.d = rows.shape
        self.exponent = rows.exponent

    @classmethod
    def missing(cls, device: str) -> str:
        """Why this backend cannot run on a device that it serves, in a few words; "" if it can."""
        return ""

    @classmethod
    def open(cls, F: Any, *, normalize: bool, widen: bool = False) -> Rows:
        """The exact rows of the embeddings F that a user gave."""
        return Rows(F, normalize=normalize, widen=widen)

    @classmethod
    def available(cls, device: str) -> int:
        """Bytes of memory that are free where this backend keeps its arrays."""
        return memory.available()

    @classmethod
    def costs(cls, m: int, d: int, n: int, given: str) -> Costs:
        """The cost model for a pool of m rows of length d, given in a format such as "fp32", and n signals."""
        return HostCosts(m, d, n)

    @property
    def largest_norm(self) -> float:
        """The largest norm of a row."""
        return self.rows_of.largest

    @property
    def square(self) -> float:
        """The factor from a stored Gram entry to a true one: the square of the rows' common scale."""
        return float(4.0**self.exponent)

    def rows(self, indices: Any) -> NDArray[np.float64]:
        """Exact rows (len(indices), d), float64."""
        return self.rows_of.take(indices)

    @abstractmethod
    def begin(self, state: State) -> None:
        """Allocates the arrays of a selection."""

    @abstractmethod
    def refresh(self, state: State) -> None:
        """Recomputes W~ = G - F A in float64 for all items, rounds it to the device's type, sets `state.error`."""

    @abstractmethod
    def advance(self, state: State, columns: "Columns", until: int) -> Reason:
        """Takes as many whole steps as it can, up to `until` picks, and says why it came back."""

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects these items out, one after the other and on the host, before the first refresh of a round."""
        matching_pursuit.take(self, state, indices)

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """As `take`, of items that are entered as picks already."""
        matching_pursuit.replay(self, state, indices)

    def carry(self, state: State) -> Stored:
        """What is projected out in this round."""
        return {"A": state.A}

    def snapshot(self, state: State) -> Stored:
        """What `restore` needs to go on from here, for a file."""
        return self.carry(state)

    def restore(self, state: State, stored: Stored) -> None:
        """Goes on from a snapshot, or from what another pool carries, before the first refresh."""
        state.A[:] = stored["A"]

    @abstractmethod
    def columns(self, indices: Sequence[int], out: Any) -> None:
        """Writes the Gram columns of these items into `out`, (len(indices), m) in the columns' precision."""

    @abstractmethod
    def gram(self) -> Any:
        """The whole Gram matrix, (m, m) in the columns' precision."""

    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:  # noqa: B027
        """Told where the columns of these items now lie among those that `columns` filled; slot -1: nowhere.

        A backend that looks columns up on its device keeps a table; others have no use for it.
        """

    @abstractmethod
    def empty_columns(self, count: int) -> Any:
        """An uninitialised (count, m) array on the device in the columns' precision."""

    def ready(self, columns: Any, count: int) -> None:  # noqa: B027
        """Told, before a batch of `count` columns, which of them will be written for the first time.

        What is done once and for all, such as touching memory that the system has to find, is not the batch's time.
        """

    def items(self, rules: Rules, n: int) -> Items:
        """The arrays of a selection whose picks the host decides, for n signals.

        A backend without them runs matching pursuit only.
        """
        raise ValueError(f"backend {self.name!r} has only objective 'mp' with sign 'any'")

    @abstractmethod
    def speculate(self, state: State, known: Container[int], count: int) -> list[int]:
        """The pending pick and up to `count` - 1 more items, none of them `known`, that will probably be picked next.

        Only the time depends on how good the guess is, never the answer.
        """


class HostBackend(Backend):
    """A backend whose steps the host drives one by one: it supplies four operations on the residual."""

    @abstractmethod
    def best(self, state: State) -> float:
        """The largest ||W~_j|| over the items left; its square was summed in float32."""

    @abstractmethod
    def window(self, state: State, floor: float) -> NDArray[np.int64]:
        """Ascending indices of the items left with ||W~_j||^2 >= floor."""

    @abstractmethod
    def update(self, state: State, index: int | None, column: Any, residual: NDArray[np.float64]) -> float:
        """W~ -= column * square * residual, `index` no longer eligible; returns ||W~||^2 over `state.pool`.

        No item is `index` None: the pick is another process's.
        """

    def choose(self, state: State) -> Reason | None:
        """Sets `state.pending` to the exact argmax, or says why it cannot."""
        return matching_pursuit.choose(self, state)

    def advance(self, state: State, columns: "Columns", until: int) -> Reason:
        return matching_pursuit.advance(self, state, columns, until)
