"""Interface of a backend: embeddings on a device, arrays and launches. The steppers decide, for all backends alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Items, Rules
from gip_gpu.backends.residual import Residual
from gip_gpu.data.center import Center, Watch
from gip_gpu.data.rows import Rows
from gip_gpu.planning.cpu_costs import Costs, HostCosts
from gip_gpu.planning.plan import Plan
from gip_gpu.system import memory


class Backend(ABC):
    """Embeddings on a device, and the operations on them that a selection needs.

    Semantics that all backends share: indices are int64 in the order of the pool; a Gram column is the products of
    all m rows with one row, exact to `gamma`; rows come back as the float64 values that define the problem; no hook
    modifies F or G. A backend serves one selection at a time.

    Attributes:
        name: the registry's key.
        devices: kinds of device that it serves: "cpu", "cuda".
        precisions: precisions in which Gram columns can be computed and stored, the most exact first.
        automatic: precisions that "auto" tries, in order, for the first that fits; empty: all.
        portable: whether its arrays can be pickled; else a copied pool rebuilds them.
        device_loop: whether matching pursuit runs on the device, many steps a launch (`gip_gpu.backends.gpu`); else
            the host decides each pick on the arrays of `residual`.
        shards: whether it can hold the rows of one process of several and take matching pursuit's steps with the
            columns of the others' picks (`columns_of`, and `nominees` of its residual).
        rows_of: the exact rows.
        exponent: rows are stored divided by 2**exponent, so that no stored norm exceeds 1; 0 for unit rows.
        gamma: bound on the error of one stored Gram entry (`error_bounds.gram_entry_error`).
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    precisions: ClassVar[tuple[str, ...]]
    automatic: ClassVar[tuple[str, ...]] = ()
    portable: ClassVar[bool] = True
    device_loop: ClassVar[bool] = False
    shards: ClassVar[bool] = False
    gamma: float

    def __init__(self, rows: Rows, plan: Plan) -> None:
        self.rows_of = rows
        self.m, self.d = rows.shape
        self.exponent = rows.exponent

    @classmethod
    def missing(cls, device: str) -> str:
        """Returns the reason why this backend cannot run on a device that it serves, in a few words; "" if it can."""
        return ""

    @classmethod
    def open(
        cls,
        F: Any,
        *,
        normalize: bool,
        center: bool | str | Center = False,
        widen: bool = False,
        watch: Watch | None = None,
    ) -> Rows:
        """Returns the exact rows of the embeddings F given by a user; arguments as of `Rows`."""
        return Rows(F, normalize=normalize, center=center, widen=widen, watch=watch)

    @classmethod
    def available(cls, device: str) -> int:
        """Returns the bytes of free memory on the device of this backend's arrays."""
        return memory.available()

    @classmethod
    def costs(cls, m: int, d: int, n: int, given: str) -> Costs:
        """Returns the cost model for m rows of length d in an input dtype such as "fp32", and n signals."""
        return HostCosts(m, d, n)

    @property
    def computes_columns(self) -> bool:
        """Whether the device computes Gram columns on demand without the host (`gip_gpu.gram.ring`)."""
        return False

    @property
    def visits(self) -> int:
        """Number of times that the device has waited for the host, or the host for the device; 0 without a device."""
        return 0

    @property
    def largest_norm(self) -> float:
        """Largest norm of a row."""
        return self.rows_of.largest

    @property
    def square(self) -> float:
        """Factor from a stored Gram entry to a true one: the square of the rows' common scale."""
        return float(4.0**self.exponent)

    def rows(self, indices: Any) -> NDArray[np.float64]:
        """Returns exact rows (len(indices), d), float64."""
        return self.rows_of.take(indices)

    @abstractmethod
    def columns(self, indices: Sequence[int], out: Any) -> None:
        """Writes the Gram columns of these items into `out`, (len(indices), m) in the columns' precision."""

    @abstractmethod
    def gram(self) -> Any:
        """Returns the whole Gram matrix, (m, m) in the columns' precision."""

    def place(self, items: Sequence[int], slots: Sequence[int]) -> None:  # noqa: B027
        """Notes the slots in which the columns of these items are now stored; slot -1: not stored.

        A backend that looks columns up on its device keeps a table; others ignore the call.
        """

    @abstractmethod
    def empty_columns(self, count: int) -> Any:
        """Allocates an uninitialised (count, m) array on the device in the columns' precision."""

    def touch(self, columns: Any) -> None:  # noqa: B027
        """Prepares columns that will be written for the first time, so that no batch is timed finding their memory."""

    def columns_of(self, rows: NDArray[np.float64], out: Any) -> None:
        """Writes, as `columns`, the Gram columns of exact rows (c, d) of any pool; for a backend that `shards`."""
        raise ValueError(f"backend {self.name!r} does not compute columns of other pools")

    def residual(self, n: int) -> Residual:
        """Returns the arrays of matching pursuit for n signals, if the host decides each pick."""
        raise ValueError(f"backend {self.name!r} has no arrays for objective 'mp' with sign 'any'")

    def items(self, rules: Rules, n: int) -> Items:
        """Returns the arrays of the projecting objectives for n signals; the host decides each pick.

        A backend without them runs matching pursuit only.
        """
        raise ValueError(f"backend {self.name!r} has only objective 'mp' with sign 'any'")
