"""Tables passed as a matrix or as scores: those of pandas, polars, pyarrow and datasets, and mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.names import like_identifier
from gip_gpu.sources.unnamed import suspicion

# Prefixes, in lower case, of the names of number and text types in pandas, polars, pyarrow and datasets.
NUMBERS = ("int", "uint", "float", "double", "halffloat", "bool", "decimal")
TEXT = ("str", "large_str", "utf8")
LAZY = ("LazyFrame", "IterableDataset")


def library_of(value: Any) -> str:
    """Returns the name of the package that defines a value's type, without importing it."""
    return type(value).__module__.split(".")[0]


def check_all_numbers(value: Any, name: str) -> None:
    """Raises TypeError for a mapping, and for a table with a column that is not numbers; other values pass.

    Args:
        value: the user's argument.
        name: name of the argument, for messages.
    """
    kinds = _kinds(value)
    if kinds is None:
        return
    kind = type(value).__name__
    in_memory = library_of(value) in ("pandas", "polars", "pyarrow") and kind not in LAZY
    if in_memory and kinds and all(str(of).lower().startswith(NUMBERS) for of in kinds.values()):
        return
    likely = [of for of in kinds if not str(kinds[of]).lower().startswith(TEXT) and not like_identifier(str(of))]
    example = next(iter(likely or kinds), "embedding")
    call = {
        "LazyFrame": f"{name}.collect()[{example!r}]",
        "IterableDataset": f"np.array([row[{example!r}] for row in {name}])",
    }.get(kind, f"{name}[{example!r}]")
    shown = ", ".join(f"{column}: {of}" if of else str(column) for column, of in kinds.items()) or "nothing"
    raise TypeError(f"{name} is a {kind} that holds {shown}; it must be an array or one column, as {call} is")


def check_scores(value: Any, name: str) -> None:
    """Checks as `check_all_numbers` does, and raises ValueError if one of several score columns is an identifier.

    A single column and an array pass: the user has named the column, or has built the array from chosen columns.
    """
    check_all_numbers(value, name)
    kinds = _kinds(value)
    if kinds is None or len(kinds) < 2:
        return
    doubts = {column: suspicion(str(column), _numbers(value, column)) for column in kinds}
    for column, why in doubts.items():
        if why is not None:
            good = [other for other, doubt in doubts.items() if doubt is None] or [column]
            call = f"{name}.select({good!r})" if library_of(value) == "pyarrow" else f"{name}[{good!r}]"
            raise ValueError(
                f"{name} is a {type(value).__name__} whose column {column!r} {why}; give the columns that are scores, "
                f"{call}, or an array"
            )


def _kinds(value: Any) -> dict[Any, Any] | None:
    """Returns the names and types of a table's columns, "" for an unknown type; None if the value is not a table."""
    library = library_of(value)
    if library == "datasets" and (names := getattr(value, "column_names", None)) is not None:
        features = getattr(value, "features", None)
        if isinstance(names, Sequence) and features is not None:
            return {name: getattr(features[name], "dtype", features[name]) for name in names}
        return dict.fromkeys(names, "")
    if isinstance(value, Mapping):
        return dict.fromkeys(value, "")
    if library == "pandas" and hasattr(value, "columns"):
        return dict(value.dtypes.items())
    if library == "polars" and hasattr(value, "collect_schema"):
        return dict(value.collect_schema())
    if library == "pyarrow" and hasattr(value, "column_names"):
        return {field.name: field.type for field in value.schema}
    return None


def _numbers(table: Any, column: Any) -> NDArray[Any]:
    """Returns a column of a table as float64; an empty array if it does not hold numbers."""
    try:
        return np.asarray(table[column]).astype(np.float64)
    except (TypeError, ValueError, KeyError):
        return np.empty(0)
