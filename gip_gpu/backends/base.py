"""Interface of a backend: embeddings on a device, arrays and launches. Decisions are the steppers', written once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.items import Items, Rules
from gip_gpu.backends.residual import Residual
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
        precisions: what Gram columns can be computed and kept in, the most exact first.
        automatic: those that precision "auto" takes the first fitting one of; empty: all.
        portable: whether its arrays can be pickled; else a copied pool makes them anew.
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

    def touch(self, columns: Any) -> None:  # noqa: B027
        """Told which columns will be written for the first time: to find their memory is not the batch's time."""

    def columns_of(self, rows: NDArray[np.float64], out: Any) -> None:
        """As `columns`, of exact rows (c, d), be they of this pool or not: of a backend that `shards`."""
        raise NotImplementedError

    def residual(self, n: int) -> Residual:
        """The arrays of matching pursuit for n signals, where the host decides each pick."""
        raise ValueError(f"backend {self.name!r} has no arrays for objective 'mp' with sign 'any'")

    def items(self, rules: Rules, n: int) -> Items:
        """The arrays of the projecting objectives for n signals, where the host decides each pick.

        A backend without them runs matching pursuit only.
        """
        raise ValueError(f"backend {self.name!r} has only objective 'mp' with sign 'any'")
