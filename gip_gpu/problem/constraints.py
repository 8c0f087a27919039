"""Constraints on the picks: rows to leave out or to include, groups, a budget, near-duplicates; weights of scores."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.problem.costs import BudgetedCosts, Floats, item_weights
from gip_gpu.problem.groups import GroupLimits

Indices = NDArray[np.int64]


def _none() -> Indices:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Constraints:
    """Constraints on the picks of a selection, and the weights of its scores.

    Attributes:
        exclude: (e,) int64, items that are never picked.
        groups: limits of groups, None without.
        dedup: cosine from which on an item is a near-duplicate of a pick and is not picked after it; None: no limit.
        include: (r,) int64, items that are the first picks, in this order.
        costs: costs of the items and the budget, None without.
        weights: (m,) factors of the scores as given, None without.
    """

    exclude: Indices = field(default_factory=_none)
    groups: GroupLimits | None = None
    dedup: float | None = None
    include: Indices = field(default_factory=_none)
    costs: BudgetedCosts | None = None
    weights: Floats | None = None

    def __bool__(self) -> bool:
        return self.limiting or bool(len(self.include)) or self.weights is not None

    @property
    def limiting(self) -> bool:
        """Whether there are items that may not be picked, now or later."""
        limits = (self.groups, self.dedup, self.costs)
        return bool(len(self.exclude)) or any(limit is not None for limit in limits)

    @cached_property
    def item_weights(self) -> Floats | None:
        """(m,) factors of the scores, at most 1, weight over cost; None if they are all equal."""
        return item_weights(self.weights, self.costs)

    def among(self, kept: Indices | None, places: Any) -> "Constraints":
        """Returns the constraints on the rows that take part.

        Args:
            kept: (kept,) int64, the rows that take part, ascending; None for all.
            places: function from rows of the pool, all of them kept, to positions among the kept ones.

        Raises:
            ValueError: a row that must be included does not take part.
        """
        if kept is None:
            return self
        missing = np.setdiff1d(self.include, kept)
        if len(missing):
            raise ValueError(f"must_include has row {missing[0]}, which on_nan='drop' leaves out")
        return Constraints(
            places(np.intersect1d(self.exclude, kept)),
            None if self.groups is None else replace(self.groups, codes=self.groups.codes[kept]),
            self.dedup,
            places(self.include),
            None if self.costs is None else replace(self.costs, of=self.costs.of[kept]),
            None if self.weights is None else self.weights[kept],
        )

    def free(self, m: int, initial: Indices) -> NDArray[np.bool_]:
        """Flags the items, (m,), that may be picked by choice."""
        free = np.ones(m, bool)
        free[self.exclude] = free[initial] = free[self.include] = False
        return free

    def most(self, m: int, initial: Indices) -> int:
        """Returns the largest number of picks that the budget allows, those to include among them.

        Raises:
            ValueError: it allows none.
        """
        assert self.costs is not None
        self._check_budget(m, initial)
        spent = int(self.costs.of[self.include].sum())
        return len(self.include) + self.costs.affordable(self.free(m, initial), spent)

    def check(self, k: int, m: int, initial: Indices) -> None:
        """Checks that k picks, or with costs at least the minimums, can satisfy the constraints, near-duplicates aside.

        Args:
            k: picks to make, those to include among them.
            m: items.
            initial: items chosen already, which count for no group and cost nothing.

        Raises:
            ValueError: they cannot; the message names the constraints that contradict each other.
        """
        pairs = (("initial", initial, "exclude", self.exclude), ("must_include", self.include, "exclude", self.exclude),
                 ("initial", initial, "must_include", self.include))  # fmt: skip
        for one, its, other, theirs in pairs:
            both = np.intersect1d(its, theirs)
            if len(both):
                raise ValueError(f"row {both[0]} is in {one} and in {other}; it must be in one of them")
        if len(self.include) > k:
            raise ValueError(f"k is {k}, and must_include has {len(self.include)} rows")
        free = self.free(m, initial)
        left = int(free.sum()) + len(self.include)
        if k > left:
            raise ValueError(f"k is {k}; exclude and initial leave {left} of {m} rows")
        if self.costs is not None:
            self._check_budget(m, initial)
        if self.groups is not None:
            self._check_groups(self.groups, k, free)
        # Checks the weights.
        self.item_weights  # noqa: B018

    def _check_budget(self, m: int, initial: Indices) -> None:
        costs = self.costs
        assert costs is not None
        spent = sum(costs.of[self.include].tolist())
        if spent > costs.budget:
            raise ValueError(f"budget is {costs.budget}, and the rows of must_include cost {spent}")
        free = self.free(m, initial)
        if not len(self.include) and free.any():
            cheapest = int(costs.of[free].min())
            if cheapest > costs.budget:
                raise ValueError(f"budget is {costs.budget}, and the cheapest row that may be picked costs {cheapest}")

    def _check_groups(self, groups: GroupLimits, k: int, free: NDArray[np.bool_]) -> None:
        included = groups.counts(self.include)
        sizes = np.bincount(groups.codes[free] + 1, minlength=len(groups.labels) + 1)
        short = np.flatnonzero(groups.least > sizes[1:] + included)
        if len(short):
            group = short[0]
            raise ValueError(
                f"group {groups.labels[group]} has {sizes[1:][group] + included[group]} rows that may be picked, and a "
                f"minimum of {groups.least[group]}"
            )
        over = np.flatnonzero(included > groups.most)
        if len(over):
            group = over[0]
            raise ValueError(
                f"group {groups.labels[group]} has {included[group]} rows in must_include, and a maximum of "
                f"{groups.most[group]}"
            )
        owed = np.maximum(groups.least - included, 0)
        if owed.sum() + len(self.include) > k:
            beside = f" beside {len(self.include)} rows of must_include" if len(self.include) else ""
            wanted = int(groups.least.sum() if not len(self.include) else owed.sum())
            raise ValueError(f"the minimums of the groups are {wanted} in all{beside}, and k is {k}")
        if self.costs is not None:
            cost = sum(self.costs.of[self.include].tolist()) + sum(groups.cheapest(owed, self.costs.of, free)[0])
            if cost > self.costs.budget:
                raise ValueError(
                    f"budget is {self.costs.budget}, and the minimums of the groups cost {cost} at least"
                    + (", the rows of must_include among them" if len(self.include) else "")
                )
            # The budget may allow fewer than k picks anyway.
            return
        reach = int(np.minimum(groups.most - included, sizes[1:]).sum() + sizes[0]) + len(self.include)
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
        # Fingerprints made before there were these options stay the same without them.
        if len(self.include):
            found.update(b"include" + np.ascontiguousarray(self.include, np.int64).tobytes())
        if self.costs is not None:
            found.update(
                f"budget {self.costs.budget} ".encode() + np.ascontiguousarray(self.costs.of, np.int64).tobytes()
            )
        if self.weights is not None:
            found.update(b"weights" + np.ascontiguousarray(self.weights, np.float64).tobytes())
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
