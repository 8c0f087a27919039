"""Groups of items, and the numbers of picks that are wanted from each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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

    def counts(self, items: Indices) -> Indices:
        """Returns how many of these items are in each group, (g,)."""
        found: Indices = np.bincount(self.codes[items] + 1, minlength=len(self.labels) + 1)[1:]
        return found

    def cheapest(self, owed: Indices, costs: Indices, among: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
        """Returns what the cheapest `owed` (g,) items of each group cost in all, and the dearest of them; 0 for none.

        Args:
            owed: (g,) numbers of items, of which a group may have fewer.
            costs: (m,) costs of the items.
            among: (m,) the items that count.
        """
        sums, dearest = [0] * len(owed), [0] * len(owed)
        for group in np.flatnonzero(owed).tolist():
            own = np.sort(costs[among & (self.codes == group)])[: owed[group]]
            if len(own):
                # As Python's ints, which do not overflow.
                sums[group], dearest[group] = sum(own.tolist()), int(own[-1])
        return sums, dearest


def as_groups(groups: Any, limits: Any, m: int, k: int | None) -> GroupLimits | None:
    """Converts `groups` and `group_limits` of `gip_gpu.select`.

    Args:
        groups: (m,) labels, or None.
        limits: a pair (minimum, maximum) for all groups, or a mapping from labels to pairs; counts, or shares of k as
            floats, rounded up for a minimum and down for a maximum; None: no limit.
        m, k: items, picks; k None: as many as a budget allows, of which there are no shares.

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
    rows = plain_labels(groups, m, "groups", "a label")
    numbers: dict[Any, int] = {}
    for label in rows:
        numbers.setdefault(label, len(numbers))
    return numbers, rows


def plain_labels(given: Any, m: int | None, name: str, what: str) -> list[Any]:
    """Returns labels as Python values that can be looked up.

    Args:
        given: (m,) labels.
        m: number of rows; None if there may be any number of labels.
        name: of the argument, for messages.
        what: a label is, with its article.

    Raises:
        ValueError: not m labels, or one is missing or cannot be looked up.
    """
    if isinstance(given, (list, tuple)):
        # An array of them would make 1 and "1" the same, and tuples a second axis.
        rows = [_plain(label) for label in given]
    else:
        array = np.asarray(given)
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; it must have {what} for each of {m or 'the'} rows")
        rows = [_plain(label) for label in array.tolist()]
    if m is not None and len(rows) != m:
        raise ValueError(f"{name} has {len(rows)} {what.split()[-1]}s; it must have {what} for each of {m} rows")
    for row, label in enumerate(rows):
        try:
            # NaN and pandas.NA are not equal to themselves.
            missing = label is None or not bool(label == label)
            hash(label)
        except TypeError:
            missing = True
        if missing:
            raise ValueError(f"{name} has {label!r} in row {row}; each row must have {what}, such as text or an int")
    return rows


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


def _pair(pair: Any, name: Any, m: int, k: int | None) -> tuple[int, int]:
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


def _count(value: Any, k: int | None, name: Any, wanted: str, up: bool) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"group {name!r} has {value!r} in its limits; they must be {wanted}")
    if isinstance(value, (int, np.integer)):
        if value < 0:
            raise ValueError(f"group {name!r} has {value} in its limits; they must be {wanted}")
        return int(value)
    if not 0 <= value <= 1:
        raise ValueError(f"group {name!r} has {value} in its limits; they must be {wanted}")
    if k is None:
        raise ValueError(f"group {name!r} has {value} in its limits, a share of k, and k is None; it must be a count")
    # A share such as 0.07 of 100 is 7, although 0.07 * 100 is 7.000000000000001.
    share = round(float(value) * k, 9)
    return math.ceil(share) if up else math.floor(share)
