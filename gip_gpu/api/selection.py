"""The result of a selection: what was chosen, why it can be trusted, what it took."""

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
from gip_gpu.data.preparation import Preparation
from gip_gpu.data.read_only import ReadOnlyArrays
from gip_gpu.greedy.projection import Deferred
from gip_gpu.planning.plan import Plan
from gip_gpu.system import memory
from gip_gpu.system.atomic_write import atomic_write

# Methods that make a list of an array, a tensor or a column of a table.
LISTINGS = ("tolist", "to_list", "to_pylist")
# Errors of objects that cannot tell whether they equal an int or a list: arrays of several values, meta tensors.
UNDECIDED = (TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Selection(ReadOnlyArrays, Sequence[int]):
    """The chosen examples, most informative first: a read-only sequence of their indices.

    It stands wherever a list of indices does: `F[chosen]` for NumPy arrays and torch tensors, `df.iloc[chosen]`,
    `torch.utils.data.Subset(dataset, chosen)`; pyarrow's `table.take` wants `chosen.indices`. `chosen[0]` is an int and
    `chosen[:10]` a list of ints. `chosen.indices` is the array, read-only as all arrays here and in the certificate;
    `np.asarray(chosen)` is a copy of it to sort or shuffle. `chosen == other` is a bool: whether `other`, a Selection,
    list, tuple, array, tensor or column of a table, holds the same indices in the same order, whatever else the
    selections hold. With an array to the left of `==` NumPy compares item by item.

    >>> import gip_gpu
    >>> chosen = gip_gpu.select([[1, 0], [0.8, 0.6], [0, 1]], [3, 2.9, 1], 2, device="cpu")
    >>> chosen.tolist(), chosen[0], chosen[:1], 1 in chosen, chosen == [0, 2]
    ([0, 2], 0, [0], False, True)

    Attributes:
        indices: (k,) int64, rows of F in order of choice.
        gains: (k,) float64, the score of each pick when it was made: computed from the rows, or where a small pool ran
            in float64 (`plan.precision` "fp64") carried along in it, with a bound on the rounding. For "mi" with
            several columns, or with query "ridge", the information gained is -log1p(-gain) / 2 nats; where scores are
            used up and items taken in order, 0.
        weights: (k, n) float64, the residual rows W_s: for "mp" the coefficients of the projection on the chosen rows.
        explained: (k,) float64, what is explained after each pick: 1 - ||W||^2 / ||G||^2 over the pool, to float32
            accuracy; for "mi" the share of tr(Q'Q), of the whitened query; for "entropy" that of the sum of squared
            norms. It starts anew with each round, over the items then left. For "mp", "lr" and "omp" it can fall below
            0 where the scores lie far from the range of F: a pick takes out of every item what it shares with that
            item, whether the scores are alike or not. Then `repr` and the command line say "none".
        certificate: why the indices are those of the float64 reference.
        plan: what was decided before the run.
        timings: seconds by part.
        peak_bytes: the largest resident size of the process so far, a GPU's memory not included; 0 where the system
            does not tell.
        range_share: share of ||G||^2 that lies in the range of F, where a query was fitted; else None.
        projection: what the picks of the last round projected out, which `gip_gpu.extend` goes on from; None where it
            cannot (see there).
        computed: Gram columns computed in this run; 0 where each is made in the step of its pick.
        resumed: picks that came from a checkpoint; the others were made in this run, which `timings` and `computed`
            are of.
        preparation: rows left out (`on_nan="drop"`) and scores standardised before the choice; None where neither was.
            `gains`, `weights`, `explained` and the certificate are of what came of it, over the rows that were left.
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
    projection: Any = Deferred()  # noqa: RUF009
    computed: int = 0
    resumed: int = 0
    preparation: Preparation | None = None

    @property
    def made(self) -> int:
        """Picks that this run made."""
        return len(self) - self.resumed

    @property
    def used_share(self) -> float | None:
        """Picks of this run for each column that it computed on demand; None where all or none were computed."""
        if self.plan.columns != "lazy" or not self.computed:
            return None
        return min(1.0, self.made / self.computed)

    @property
    def seconds_per_pick(self) -> float:
        """Time of a pick of this run: its column, refreshes and steps, without what was done before the first."""
        parts = ("columns", "refresh", "steps")
        return sum(self.timings.get(part, 0.0) for part in parts) / max(1, self.made)

    @property
    def work(self) -> str:
        """What this run did, in a few words: picks after a checkpoint, time of a pick, share of columns used."""
        stored = f"{self.resumed:,} picks from the checkpoint" if self.resumed else ""
        if self.resumed and not self.made:
            return stored
        used = "" if self.used_share is None else f", {self.used_share:.0%} of {self.computed:,} columns used"
        each = f"{1000 * self.seconds_per_pick:.3g} ms a pick{used}"
        return f"{stored}, {self.made:,} made at {each}" if stored else each

    @property
    def rounds(self) -> tuple[int, ...]:
        """Picks made before each round began: (0,) unless the scores were exhausted, () if nothing was picked."""
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
            # An array of one value compares at once; any other object decides itself what it equals.
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
        # That of an equal tuple.
        return hash(tuple(self.tolist()))

    def tolist(self) -> list[int]:
        """The indices as a list of ints."""
        indices: list[int] = self.indices.tolist()
        return indices

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is not False:
            return np.array(self.indices, dtype=dtype)
        if dtype is not None and np.dtype(dtype) != self.indices.dtype:
            raise ValueError(f"indices are int64; as {dtype} they have to be copied")
        return self.indices

    # pandas.DataFrame(chosen) asks any sequence whose items are scalars for these three.

    @property
    def ndim(self) -> int:
        """1, as for `indices`."""
        return self.indices.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,), as for `indices`."""
        return self.indices.shape

    def reshape(self, *shape: Any, **options: Any) -> NDArray[np.int64]:
        """A copy of `indices` in another shape; arguments as for `numpy.ndarray.reshape`."""
        copied: NDArray[np.int64] = self.indices.copy().reshape(*shape, **options)
        return copied

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.indices[:6])) + (", ..." if len(self) > 6 else "")
        # Below 0 it is no share.
        share = self.explained[-1] if len(self) else 0.0
        explained = f"{share:.4g}" if share >= 0 else "none"
        seconds = self.timings.get("total", 0.0)
        return (
            f"Selection of {len(self)} from {self.plan.m}: [{shown}]{self._prepared()}\n"
            f"  explained {explained}; {self.certificate}\n"
            f"  {self.plan.objective}, {self.plan.kept} on {self.plan.device} ({self.plan.backend}), "
            f"{seconds:.3g} s, {self.work}, peak {memory.readable(self.peak_bytes)}"
        )

    def _prepared(self) -> str:
        said = () if self.preparation is None else self.preparation.said
        return "".join(f"; {name}: {value}" for name, value in said)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all of it to a .npz or .json file, beside it first and then renamed.

        Raises:
            ValueError: another suffix.
        """
        target = Path(path)
        content = selection_file.encode(self, selection_file.checked_suffix(target))
        with atomic_write(target) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Selection":
        """Reads what `save` wrote; equal to it in every array and field.

        Raises:
            ValueError: another suffix, or a file that holds no selection: damaged, a field missing, of another type or
                with a value that no selection has, indices that are no rows of the pool or not distinct.
            OSError: there is no such file, or it cannot be read.
        """
        return cls(**selection_file.read(Path(path)))

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row a pick, most informative first: rank (from 0), index, gain, margin.

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
        """Gain and explained share over the picks; a matplotlib Figure, also written to `path` if one is given.

        Raises:
            ImportError: matplotlib is not installed (`pip install "gip_gpu[plot]"`).
        """
        from gip_gpu.api.plotting import plot_picks

        return plot_picks(self.gains, self.explained, self.rounds, path)
