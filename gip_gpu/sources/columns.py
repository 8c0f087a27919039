"""Columns of an Arrow table as rows of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.names import MatrixRequest, Origin, choose_columns


@dataclass(frozen=True)
class Chosen:
    """The columns that form a matrix.

    Attributes:
        origin: one column of lists, or one or more columns of numbers.
        lists: whether it is a column of lists.
        dtype: common type of the columns.
    """

    origin: Origin
    lists: bool
    dtype: np.dtype[Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.origin.names


def load() -> Any:
    """Imports and returns pyarrow.

    Raises:
        ImportError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError('Parquet and Arrow files need pyarrow: pip install "gip_gpu[data]"') from error
    return pyarrow


def choose(path: str, schema: Any, request: MatrixRequest) -> Chosen:
    """Chooses the requested columns of a table with this schema.

    Raises:
        ValueError: as `gip_gpu.sources.names.choose_columns`.
    """
    kinds = {field.name: field.type for field in schema}
    lists = {name: dtype for name, kind in kinds.items() if (dtype := _number(_item(kind))) is not None}
    plain = {name: dtype for name, kind in kinds.items() if (dtype := _number(kind)) is not None}
    held = {name: str(kind) for name, kind in kinds.items()}
    origin = choose_columns(path, "column", request, list(lists), list(plain), held)
    for name in origin.names:
        check_single(schema.names, name, path)
    dtypes = lists if origin.matrix else plain
    dtype = np.result_type(*(dtypes[name] for name in origin.names))
    # Nulls are not known yet. They become NaN, so columns of integers are read as float64.
    return Chosen(origin, origin.matrix, dtype if origin.matrix or dtype.kind == "f" else np.dtype(np.float64))


def check_single(names: Sequence[str], name: str, path: str) -> None:
    """Raises ValueError if several columns of a table have this name."""
    if (count := list(names).count(name)) > 1:
        raise ValueError(f"{path} has {count} columns {name!r}; rename them")


def array_of(column: Any, name: str) -> NDArray[Any] | None:
    """Converts a pyarrow array, chunked or not, to (m,) numbers or, from lists, (m, d); None if it holds neither.

    Raises:
        ValueError: a null among integers, or a list of another length; the message names the row.
    """
    lists = _number(_item(column.type)) is not None
    if not lists and _number(column.type) is None:
        return None
    parts, at, width = [], 0, None
    try:
        for chunk in getattr(column, "chunks", [column]):
            if len(chunk):
                parts.append(_list_rows(chunk, at, width) if lists else _plain(chunk))
                width = parts[0].shape[1]
                at += len(chunk)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not parts:
        return np.empty((0, 0) if lists else 0)
    rows = np.concatenate(parts)
    return rows if lists else rows[:, 0]


def values(chosen: Chosen, table: Any, first: int, width: int | None) -> NDArray[Any]:
    """Converts the rows of a table or record batch, (rows, d).

    Args:
        chosen: the columns.
        table: a table or record batch with these columns.
        first: number of its first row, for messages.
        width: d; None: the length of the first row.

    Raises:
        ValueError: a null among integers, or a row of another length; the message names the row.
    """
    columns = []
    for name in chosen.names:
        column, parts, at = table.column(name), [], first
        for chunk in getattr(column, "chunks", [column]):
            if len(chunk):
                parts.append(_list_rows(chunk, at, width) if chosen.lists else _plain(chunk))
                width = width or parts[0].shape[1]
                at += len(chunk)
        columns.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return columns[0] if len(columns) == 1 else np.hstack(columns).astype(chosen.dtype, copy=False)


def _list_rows(chunk: Any, first: int, width: int | None) -> NDArray[Any]:
    import pyarrow.compute as pc

    present = chunk.is_valid()
    missing = ~np.asarray(present)
    # A null list takes its length from the rows before; a null in the first row has no known length.
    if missing.any() and ((missing[0] and width is None) or not _floating(chunk.type.value_type)):
        _no_null(chunk, first, 1, "is null")
    lengths = pc.list_value_length(chunk).fill_null(-1).to_numpy(zero_copy_only=False)
    wanted = int(lengths[0]) if width is None else width
    wrong = np.flatnonzero((lengths != wanted) & ~missing)
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"row {first + row} has {lengths[row]} values, and the rows before have {wanted}")
    inside = (chunk.filter(present) if missing.any() else chunk).flatten()
    if wanted and not _floating(chunk.type.value_type):
        _no_null(inside, first, wanted, "has a null")
    inside = _without_null(inside)
    found: NDArray[Any] = inside.to_numpy(zero_copy_only=False).reshape(-1, wanted)
    if missing.any():
        some, found = found, np.full((len(chunk), wanted), np.nan, found.dtype)
        found[~missing] = some
    return found


def _floating(kind: Any) -> bool:
    return bool(load().types.is_floating(kind))


def _without_null(array: Any) -> Any:
    """Replaces nulls, the missing values of tables, by NaN; integers with nulls become float64."""
    if not array.null_count:
        return array
    import pyarrow as pa

    floats = array if _floating(array.type) else array.cast(pa.float64())
    return floats.fill_null(pa.scalar(np.nan).cast(floats.type))


def _plain(chunk: Any) -> NDArray[Any]:
    found: NDArray[Any] = _without_null(chunk).to_numpy(zero_copy_only=False).reshape(-1, 1)
    return found


def _no_null(array: Any, first: int, width: int, what: str) -> None:
    if array.null_count:
        place = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(
            f"row {first + place // width} {what}; every row must have all its values; among floats a null is NaN"
        )


def _item(kind: Any) -> Any:
    """Returns the value type of a list type, or None."""
    types = load().types
    lists: Sequence[Any] = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return kind.value_type if any(is_kind(kind) for is_kind in lists) else None


def _number(kind: Any) -> np.dtype[Any] | None:
    """Returns NumPy's type for a numeric Arrow type, or None."""
    types = load().types
    if kind is None or not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return None
    found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return found
