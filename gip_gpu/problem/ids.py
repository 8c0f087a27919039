"""Rows named by ids instead of indices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.user_arrays import as_indices
from gip_gpu.problem.groups import plain_labels

Indices = NDArray[np.int64]


def rows_named(given: Any, ids: Any, m: int, name: str, *, repeated: bool = False) -> Indices:
    """Returns the rows that `exclude` or `must_include` name, by ids if there are any, else by indices.

    Args:
        given: ids or indices, in order; a selection stands for its indices.
        ids: (m,) ids of the rows, or None.
        m: number of rows.
        name: of the argument, for messages.
        repeated: whether an id stands for all rows that have it; else it must be that of one row.

    Raises:
        TypeError, ValueError: not m ids, an id of no row, or of several.

    >>> rows_named(["b", "a"], ["a", "b", "c"], 3, "must_include").tolist()
    [1, 0]
    """
    # A selection has its picks in `indices`.
    if ids is None or given is None or hasattr(given, "certificate"):
        return as_indices(given, m, name)
    if isinstance(given, (str, bytes)):
        raise TypeError(f"{name} is {given!r}; it must be a sequence of ids")
    places: dict[Any, list[int]] = {}
    for row, label in enumerate(plain_labels(ids, m, "ids", "an id")):
        places.setdefault(label, []).append(row)
    found = list[int]()
    for label in plain_labels(given, None, name, "an id"):
        rows = places.get(label, [])
        if not rows:
            raise ValueError(f"{name} has {label!r}, which is the id of no row")
        if len(rows) > 1 and not repeated:
            raise ValueError(f"{name} has {label!r}, which is the id of rows {rows[0]} and {rows[1]}")
        found += rows
    return as_indices(found, m, name)
