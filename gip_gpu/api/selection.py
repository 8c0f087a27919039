"""Result of a selection: its picks, their certificate, and the cost of the run."""

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api import selection_file
from gip_gpu.api.certificate import Certificate
from gip_gpu.api.notebook import as_html
from gip_gpu.api.provenance import Provenance
from gip_gpu.data.preparation import Preparation
from gip_gpu.data.read_only import ReadOnlyArrays
from gip_gpu.greedy.projection import LazyField
from gip_gpu.planning.plan import Plan
from gip_gpu.system import memory
from gip_gpu.system.atomic_write import atomic_write

# Methods that convert an array, a tensor or a column of a table to a list.
LISTINGS = ("tolist", "to_list", "to_pylist")
# Errors of objects that cannot be compared with an int or a list: arrays of several values, meta tensors.
UNDECIDED = (TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Selection(ReadOnlyArrays, Sequence[int]):
    """The chosen examples, most informative first: a read-only sequence of their indices.

    It works wherever a list of indices does: `F[chosen]` for NumPy arrays and torch tensors, `df.iloc[chosen]`,
    `torch.utils.data.Subset(dataset, chosen)`; pyarrow's `table.take` wants `chosen.indices`. `chosen[0]` is an int and
    `chosen[:10]` a list of ints. `chosen.indices` is the array, read-only like all arrays here and in the certificate;
    `np.asarray(chosen)` returns a copy to sort or shuffle. `chosen == other` is a bool: True if `other`, a Selection,
    list, tuple, array, tensor or column of a table, holds the same indices in the same order. Other fields are not
    compared. With an array to the left of `==` NumPy compares item by item.

    >>> import gip_gpu
    >>> chosen = gip_gpu.select([[1, 0], [0.8, 0.6], [0, 1]], [3, 2.9, 1], 2, device="cpu")
    >>> chosen.tolist(), chosen[0], chosen[:1], 1 in chosen, chosen == [0, 2]
    ([0, 2], 0, [0], False, True)

    Attributes:
        indices: (k,) int64, rows of F in order of choice.
        gains: (k,) float64, the score of each pick at its step, computed from the rows; where a small pool ran in
            float64 (`plan.precision` "fp64"), updated from step to step, with a bound on the rounding. For "mi" with
            several columns, or with query "ridge", the information gained is -log1p(-gain) / 2 nats. 0 where scores
            are exhausted and items are taken in order. For another method (`plan.method`) the quantity that it
            compares, as its class says; NaN if it compares none.
        weights: (k, n) float64, the residual rows W_s: for "mp" the coefficients of the projection on the chosen rows.
            For another method the scores of the picks as given.
        explained: (k,) float64, the share explained after each pick: 1 - ||W||^2 / ||G||^2 over the pool, to float32
            accuracy; for "mi" the share of tr(Q'Q), of the whitened query; for "entropy" the share of the sum of
            squared norms. Each round starts from 0 again, over the items then left. For "mp", "lr" and "omp" it can
            fall below 0 where the scores are far from the range of F: projecting a pick out changes the score of every
            item that is not orthogonal to it, whether their scores agree or not. Then `repr` and the command line
            print "none". NaN for another method.
        certificate: the evidence that the indices are those of the float64 reference; `Certificate.none` for another
            method.
        plan: the decisions made before the run. `plan.method` names another method than `gip_gpu.select`
            (`gip_gpu.selectors`) with its settings; it is "" for `select`.
        timings: seconds by part; on a GPU also "host_visits", the number of times in the run that the device waited for
            the host or the host for the device: copies, waits, launches that are in no graph.
        peak_bytes: the largest resident size of the process so far, a GPU's memory not included; 0 where the system
            does not report it.
        range_share: share of ||G||^2 in the range of F, if a query was fitted; else None.
        projection: projection of the picks of the last round, which `gip_gpu.extend` continues from; None if it cannot
            (see there).
        computed: number of Gram columns computed in this run; 0 where each is computed in the step of its pick.
        resumed: number of picks read from a checkpoint; `timings` and `computed` cover only the others.
        preparation: record of rows left out (`on_nan="drop"`) and of scores standardised before the choice; None
            without either, nor centred rows. `gains`, `weights`, `explained` and the certificate refer to the prepared
            rows and scores.
        provenance: fingerprints of the input, and the settings, which `gip_gpu.verify` checks; None if the version that
            saved the selection did not store them.
    """

    indices: NDArray[np.int64]
    gains: NDArray[np.float64]
    weights: NDArray[np.float64]
    explained: NDArray[np.float64]
    certificate: Certificate
    plan: Plan
    timings: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    range_share: float | None = None
    projection: Any = LazyField()  # noqa: RUF009
    computed: int = 0
    resumed: int = 0
    preparation: Preparation | None = None
    provenance: Provenance | None = None

    @property
    def made(self) -> int:
        """Number of picks that this run made."""
        return len(self) - self.resumed

    @property
    def used_share(self) -> float | None:
        """Picks of this run per column computed on demand, at most 1; None if all or no columns were computed."""
        if self.plan.columns != "lazy" or not self.computed:
            return None
        return min(1.0, self.made / self.computed)

    @property
    def seconds_per_pick(self) -> float:
        """Seconds per pick of this run: columns, refreshes and steps, without the time before the first pick."""
        parts = ("columns", "refresh", "steps")
        return sum(self.timings.get(part, 0.0) for part in parts) / max(1, self.made)

    @property
    def work(self) -> str:
        """Short text on the work of this run: picks after a checkpoint, time per pick, share of columns used."""
        stored = f"{self.resumed:,} picks from the checkpoint" if self.resumed else ""
        if self.resumed and not self.made:
            return stored
        used = "" if self.used_share is None else f", {self.used_share:.0%} of {self.computed:,} columns used"
        each = f"{1000 * self.seconds_per_pick:.3g} ms a pick{used}"
        return f"{stored}, {self.made:,} made at {each}" if stored else each

    @property
    def rounds(self) -> tuple[int, ...]:
        """Number of picks made before each round began: (0,) unless the scores were exhausted, () without picks."""
        return self.certificate.rounds

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> int: ...

    @overload
    def __getitem__(self, key: slice) -> list[int]: ...

    def __getitem__(self, key: int | slice) -> int | list[int]:
        if isinstance(key, slice):
            return self.tolist()[key]
        try:
            place = operator.index(key)
        except TypeError:
            raise TypeError(
                f"a selection is indexed by an int or a slice, got a {type(key).__name__}; chosen.indices takes arrays"
            ) from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"selection index {place} is out of range; there are {len(self)} picks")
        return int(self.indices[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __contains__(self, item: object) -> bool:
        try:
            # A number compares with the whole array at once; any other object uses its own equality.
            return bool((self.indices == item).any()) if isinstance(item, Real) else item in self.tolist()
        except UNDECIDED:
            return False

    def __eq__(self, other: object) -> bool:
        try:
            if isinstance(other, (Selection, list, tuple)):
                return self.tolist() == list(other)
            for listing in LISTINGS:
                if hasattr(other, listing):
                    return bool(self.tolist() == getattr(other, listing)())
        except UNDECIDED:
            return False
        return False if isinstance(other, Iterable) else NotImplemented

    def __hash__(self) -> int:
        # A selection equals a tuple of its indices, so their hashes must agree.
        return hash(tuple(self.tolist()))

    def tolist(self) -> list[int]:
        """Returns the indices as a list of ints."""
        indices: list[int] = self.indices.tolist()
        return indices

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is not False:
            return np.array(self.indices, dtype=dtype)
        if dtype is not None and np.dtype(dtype) != self.indices.dtype:
            raise ValueError(f"indices are int64; as {dtype} they have to be copied")
        return self.indices

    # pandas.DataFrame(chosen) uses these three of a sequence of scalars.

    @property
    def ndim(self) -> int:
        """1, as for `indices`."""
        return self.indices.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,), as for `indices`."""
        return self.indices.shape

    def reshape(self, *shape: Any, **options: Any) -> NDArray[np.int64]:
        """Returns a copy of `indices` in another shape; arguments as for `numpy.ndarray.reshape`."""
        copied: NDArray[np.int64] = self.indices.copy().reshape(*shape, **options)
        return copied

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.indices[:6])) + (", ..." if len(self) > 6 else "")
        if self.plan.method:
            return (
                f"Selection of {len(self)} from {self.plan.m}: [{shown}]{self._prepared()}\n"
                f"  {self.plan.method}; {self.certificate}\n"
                f"  {self.timings.get('total', 0.0):.3g} s, peak {memory.readable(self.peak_bytes)}"
            )
        # A value below 0 is not a share.
        share = self.explained[-1] if len(self) else 0.0
        explained = f"{share:.4g}" if share >= 0 else "none"
        seconds = self.timings.get("total", 0.0)
        return (
            f"Selection of {len(self)} from {self.plan.m}: [{shown}]{self._prepared()}\n"
            f"  explained {explained}; {self.certificate}\n"
            f"  {self.plan.objective}, {self.plan.kept} on {self.plan.device} ({self.plan.backend}), "
            f"{seconds:.3g} s, {self.work}, peak {memory.readable(self.peak_bytes)}"
        )

    def _repr_html_(self) -> str:
        return as_html(self)

    def _prepared(self) -> str:
        said = () if self.preparation is None else self.preparation.said
        return "".join(f"; {name}: {value}" for name, value in said)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole result to a .npz or .json file: to a temporary file beside it, which is then renamed.

        Raises:
            ValueError: another suffix.
        """
        target = Path(path)
        content = selection_file.encode(self, selection_file.checked_suffix(target))
        with atomic_write(target) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Selection":
        """Reads a selection that `save` wrote; every array and field equals the saved one.

        Raises:
            ValueError: another suffix, or no valid selection in the file: damaged; a field missing, of another type or
                with a value that no selection has; indices outside the pool or repeated.
            OSError: the file does not exist or cannot be read.
        """
        return cls(**selection_file.read(Path(path)))

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame, one row per pick, in order of choice: rank (from 0), index, gain, margin.

        Raises:
            ImportError: pandas is not installed (`pip install "gip_gpu[data]"`).
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('a frame needs pandas: pip install "gip_gpu[data]"') from error
        return pandas.DataFrame(
            {
                "rank": np.arange(len(self)),
                "index": self.indices,
                "gain": self.gains,
                "margin": self.certificate.margins,
            }
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Plots gain and explained share over the picks; returns a matplotlib Figure, also written to a given `path`.

        Raises:
            ImportError: matplotlib is not installed (`pip install "gip_gpu[plot]"`).
        """
        from gip_gpu.api.plotting import plot_picks

        return plot_picks(self.gains, self.explained, self.rounds, path)
