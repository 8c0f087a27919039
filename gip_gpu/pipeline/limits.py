"""Constraints on the rows of a data set: groups, costs, weights and ids from its columns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.problem.costs import MOST
from gip_gpu.problem.ids import rows_named
from gip_gpu.records import Records, Texts

# The cost of a row that is the length of its text.
CHARACTERS = "characters"


@dataclass(frozen=True)
class LimitColumns:
    """Columns of a data set that constraints are made of; None for none.

    Attributes:
        groups: its values are the groups.
        costs: its numbers are the costs; "characters" is the length of the text, if no column has this name.
        weights: its numbers are the weights.
        ids: its values are the ids by which rows to exclude and to include are named.
    """

    groups: str | None = None
    costs: str | None = None
    weights: str | None = None
    ids: str | None = None

    def limits(self, records: Records, texts: Texts | None) -> dict[str, Any]:
        """Returns the constraints as arguments of `gip_gpu.select`, those that a column gives.

        Raises:
            ValueError: a row lacks a column, or holds no number or no whole cost; the message names the row.
        """
        found: dict[str, Any] = {}
        held = next(records.take([0]))
        for column in (self.groups, self.weights, self.costs):
            if column not in (None, CHARACTERS) and column not in held:
                raise ValueError(f"{records.place(0)} has no field {column!r}; it has {', '.join(map(repr, held))}")
        if self.groups is not None:
            found["groups"] = records.labels(self.groups)
        if self.costs is not None:
            found["costs"] = self._costs(self.costs, records, texts)
        if self.weights is not None:
            found["weights"] = records.numbers([self.weights])[:, 0]
        return found

    def _costs(self, column: str, records: Records, texts: Texts | None) -> NDArray[np.int64]:
        if column == CHARACTERS and column not in next(records.take([0])):
            if texts is None:
                raise ValueError("the cost is the number of characters, and vectors are given instead of texts")
            return np.array([max(1, len(text)) for text in texts], np.int64)
        return as_costs_of(records.numbers([column])[:, 0], records.place)

    def named(self, records: Records, select: dict[str, Any]) -> dict[str, Any]:
        """Returns rows to exclude and to include by their indices, if `select` names them by ids, in lists."""
        return {} if self.ids is None else by_id(select, records.labels(self.ids))


def by_id(select: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """Returns the rows to exclude and to include, as indices, that `select` names by ids, in lists."""
    return {
        name: rows_named(list(map(str, select[name])), ids, len(ids), name, repeated=name == "exclude")
        for name in ("exclude", "must_include")
        if isinstance(select.get(name), list)
    }


def as_costs_of(costs: NDArray[Any], place: Callable[[int], str]) -> NDArray[np.int64]:
    """Converts costs that a file or a column may hold as floats.

    Raises:
        ValueError: one is no whole number; the message names its place.
    """
    bad = np.flatnonzero(~((costs >= 1) & (costs <= MOST) & (costs == np.floor(costs))))
    if len(bad):
        raise ValueError(f"{place(int(bad[0]))} has a cost of {costs[bad[0]]}; costs are whole numbers from 1 to 2^53")
    return costs.astype(np.int64)
