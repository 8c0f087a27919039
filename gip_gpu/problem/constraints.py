"""Constraints on the picks: rows to leave out, numbers of picks from groups, near-duplicates."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
# Fewest and most picks: counts, shares of k, or None.
Pair = tuple[int | float | None, int | float | None]
Limits = Pair | Mapping[Any, Pair]


@dataclass(frozen=True, eq=False)
class GroupLimits:
    """Numbers of picks that are allowed and wanted from each group.

    Attributes:
        labels: (g,) the groups' labels as they print in messages.
        codes: (m,) int64, the group of each item; -1: in no group.
        least, most: (g,) int64, fewest and most picks of each group.
    """

    labels: tuple[str, ...]
    codes: Indices
    least: Indices
    most: Indices


@dataclass(frozen=True, eq=False)
class Constraints:
    """Constraints on the picks of a selection.

    Attributes:
        exclude: (e,) int64, items that are never picked.
        groups: limits of groups, None without.
        dedup: cosine from which on an item is a near-duplicate of a pick and is not picked after it; None: no limit.
    """

    exclude: Indices
    groups: GroupLimits | None = None
    dedup: float | None = None

    def __bool__(self) -> bool:
        return bool(len(self.exclude)) or self.groups is not None or self.dedup is not None

    def among(self, kept: Indices | None, places: Any) -> "Constraints":
        """Returns the constraints on the rows that take part.

        Args:
            kept: (kept,) int64, the rows that take part, ascending; None for all.
            places: function from rows of the pool, all of them kept, to positions among the kept ones.
        """
        if kept is None:
            return self
        groups = None if self.groups is None else replace(self.groups, codes=self.groups.codes[kept])
        return Constraints(places(np.intersect1d(self.exclude, kept)), groups, self.dedup)

    def check(self, k: int, m: int, initial: Indices) -> None:
        """Checks that k picks can satisfy the constraints, near-duplicates aside.

        Args:
            k: picks to make.
            m: items.
            initial: items chosen already, which count for no group.

        Raises:
            ValueError: they cannot; the message names the constraints that contradict each other.
        """
        free = np.ones(m, bool)
        free[self.exclude] = False
        both = np.intersect1d(self.exclude, initial)
        if len(both):
            raise ValueError(f"row {both[0]} is in initial and in exclude; it must be in one of them")
        free[initial] = False
        left = int(free.sum())
        if k > left:
            raise ValueError(f"k is {k}; exclude and initial leave {left} of {m} rows")
        if self.groups is None:
            return
        groups, sizes = self.groups, np.bincount(self.groups.codes[free] + 1, minlength=len(self.groups.labels) + 1)
        short = np.flatnonzero(groups.least > sizes[1:])
        if len(short):
            group = short[0]
            raise ValueError(
                f"group {groups.labels[group]} has {sizes[1:][group]} rows that may be picked, and a minimum of "
                f"{groups.least[group]}"
            )
        if groups.least.sum() > k:
            raise ValueError(f"the minimums of the groups are {groups.least.sum()} in all, and k is {k}")
        reach = int(np.minimum(groups.most, sizes[1:]).sum() + sizes[0])
        if reach < k:
            raise ValueError(f"k is {k}; the maximums of the groups allow {reach} picks")

    def digest(self, k: int) -> str | None:
        """Returns a fingerprint for checkpoints of k picks; None without constraints.

        With minimums, the choice depends on how many picks are left, so another k makes another choice.
        """
        if not self:
            return None
        owed = k if self.groups is not None and self.groups.least.any() else None
        labels = None if self.groups is None else self.groups.labels
        found = hashlib.sha256(repr((self.dedup, labels, owed)).encode())
        arrays = [np.sort(self.exclude)]
        if self.groups is not None:
            arrays += [self.groups.codes, self.groups.least, self.groups.most]
        for array in arrays:
            found.update(np.ascontiguousarray(array, np.int64).tobytes())
            found.update(b"|")
        return found.hexdigest()


def as_dedup(dedup: Any) -> float | None:
    """Converts `dedup` of `gip_gpu.select`.

    Raises:
        TypeError, ValueError: not a cosine above 0 and up to 1.
    """
    if dedup is None:
        return None
    wanted = "dedup must be a cosine above 0 and up to 1, such as 0.95, or None"
    if isinstance(dedup, (bool, np.bool_)) or not isinstance(dedup, (int, float, np.integer, np.floating)):
        raise TypeError(f"dedup is {dedup!r}; {wanted}")
    if not 0 < float(dedup) <= 1:
        raise ValueError(f"dedup is {dedup!r}; {wanted}")
    return float(dedup)


def as_groups(groups: Any, limits: Any, m: int, k: int) -> GroupLimits | None:
    """Converts `groups` and `group_limits` of `gip_gpu.select`.

    Args:
        groups: (m,) labels, or None.
        limits: a pair (minimum, maximum) for all groups, or a mapping from labels to pairs; counts, or shares of k as
            floats, rounded up for a minimum and down for a maximum; None: no limit.
        m, k: items, picks.

    Raises:
        TypeError, ValueError: not m labels, unknown labels, or limits that are none.
    """
    if groups is None:
        if limits is not None:
            raise ValueError("group_limits is given without groups, the label of each row")
        return None
    if limits is None:
        raise ValueError(
            "groups is given without group_limits: a pair (minimum, maximum) for every group, such as (0, 100) or "
            "(0.0, 0.1), or a mapping from labels to pairs"
        )
    given, names = _labels(groups, m)
    labels = list(given)
    codes = np.array([given[label] for label in names], np.int64)
    least, most = np.zeros(len(labels), np.int64), np.full(len(labels), m, np.int64)
    if isinstance(limits, Mapping):
        pairs = {_place(_plain(label), given): pair for label, pair in limits.items()}
    else:
        pairs = dict.fromkeys(range(len(labels)), limits)
    for at, pair in pairs.items():
        least[at], most[at] = _pair(pair, labels[at], m, k)
    return GroupLimits(tuple(map(repr, labels)), codes, least, most)


def _labels(groups: Any, m: int) -> tuple[dict[Any, int], list[Any]]:
    """Returns the numbers of the labels, in the order of their first rows, and the label of each row."""
    if isinstance(groups, (list, tuple)):
        # An array of them would make 1 and "1" the same, and tuples a second axis.
        rows = [_plain(label) for label in groups]
    else:
        array = np.asarray(groups)
        if array.ndim != 1:
            raise ValueError(f"groups has shape {array.shape}; it must have a label for each of {m} rows")
        rows = [_plain(label) for label in array.tolist()]
    if len(rows) != m:
        raise ValueError(f"groups has {len(rows)} labels; it must have a label for each of {m} rows")
    numbers: dict[Any, int] = {}
    for row, label in enumerate(rows):
        try:
            # NaN and pandas.NA are not equal to themselves.
            missing = label is None or not bool(label == label)
            numbers.setdefault(label, len(numbers))
        except TypeError:
            missing = True
        if missing:
            raise ValueError(f"groups has {label!r} in row {row}; each row must have a label, such as text or an int")
    return numbers, rows


def _plain(label: Any) -> Any:
    """Returns a NumPy scalar as a Python one."""
    return label.item() if isinstance(label, np.generic) else label


def _place(label: Any, given: dict[Any, int]) -> int:
    """Returns the number of a label of `group_limits`; text also stands for the only label that prints so."""
    if label in given:
        return given[label]
    alike = [number for known, number in given.items() if isinstance(label, str) and str(known) == label]
    if len(alike) == 1:
        return alike[0]
    some = ", ".join(map(repr, list(given)[:5])) + (", ..." if len(given) > 5 else "")
    raise ValueError(f"group_limits has {label!r}, which is no label in groups ({some})")


def _pair(pair: Any, name: Any, m: int, k: int) -> tuple[int, int]:
    wanted = "a pair (minimum, maximum) of counts, of shares of k from 0.0 to 1.0, or of None"
    if isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise TypeError(f"the limits of group {name!r} are {pair!r}; they must be {wanted}")
    low, high = (
        None if value is None else _count(value, k, name, wanted, up)
        for value, up in zip(pair, (True, False), strict=True)
    )
    low, high = 0 if low is None else low, m if high is None else high
    if low > high:
        raise ValueError(f"group {name!r} has a minimum of {low} picks and a maximum of {high}")
    return low, high


def _count(value: Any, k: int, name: Any, wanted: str, up: bool) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"group {name!r} has {value!r} in its limits; they must be {wanted}")
    if isinstance(value, (int, np.integer)):
        if value < 0:
            raise ValueError(f"group {name!r} has {value} in its limits; they must be {wanted}")
        return int(value)
    if not 0 <= value <= 1:
        raise ValueError(f"group {name!r} has {value} in its limits; they must be {wanted}")
    # A share such as 0.07 of 100 is 7, although 0.07 * 100 is 7.000000000000001.
    share = round(float(value) * k, 9)
    return math.ceil(share) if up else math.floor(share)
