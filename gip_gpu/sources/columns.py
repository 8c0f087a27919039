"""Columns of an Arrow table as rows of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.names import choose


@dataclass(frozen=True)
class Chosen:
    """The columns that make a matrix.

    Attributes:
        names: one column of lists, or one or more of numbers.
        lists: whether it is a column of lists.
        dtype: common to the columns.
    """

    names: tuple[str, ...]
    lists: bool
    dtype: np.dtype[Any]


def load() -> Any:
    """The pyarrow module.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError('Parquet and Arrow files need pyarrow: pip install "gip_gpu[data]"') from error
    return pyarrow


def choose_columns(path: str, schema: Any, key: str | None, dimensions: tuple[int, ...]) -> Chosen:
    """The only column of lists of numbers, else the only one of numbers; or what `key` names, several with commas.

    Raises:
        ValueError: there is no such column, or there are several and no key.
    """
    kinds = {field.name: field.type for field in schema}
    lists = {name: _number(_item(kind)) for name, kind in kinds.items() if 2 in dimensions}
    plain = {name: _number(kind) for name, kind in kinds.items() if 1 in dimensions}
    named = [name.strip() for name in key.split(",")] if key is not None and "," in key and key not in kinds else []
    if len(set(named)) < len(named):
        raise ValueError(f"key {key!r} names a column twice")
    if named:
        wrong = [name for name in named if name not in kinds or _number(kinds[name]) is None]
        if wrong:
            raise ValueError(f"{path} has no column {wrong[0]!r} of numbers, of which key {key!r} tells; it holds "
                             f"{', '.join(f'{name}: {kind}' for name, kind in kinds.items())}")  # fmt: skip
        return Chosen(tuple(named), False, np.result_type(*(_number(kinds[name]) or 0 for name in named)))
    fitting = {name: kind for name, kind in lists.items() if kind is not None}
    if not fitting or key is not None:
        fitting |= {name: kind for name, kind in plain.items() if kind is not None}
    name = choose(path, "column", key, list(fitting), {n: str(kind) for n, kind in kinds.items()}, dimensions)
    return Chosen((name,), _item(kinds[name]) is not None, fitting[name])


def values(chosen: Chosen, table: Any, first: int, width: int | None) -> NDArray[Any]:
    """Rows of a table or record batch.

    Args:
        chosen: the columns.
        table: with them.
        first: number of its first row, for messages.
        width: d; None: the length of the first row.

    Raises:
        ValueError: a null, or a row of another length; it is named.
    """
    columns = []
    for name in chosen.names:
        column, parts, at = table.column(name), [], first
        for chunk in getattr(column, "chunks", [column]):
            if len(chunk):
                parts.append(_list_rows(chunk, at, width) if chosen.lists else _plain(chunk, at))
                width = width or parts[0].shape[1]
                at += len(chunk)
        columns.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return columns[0] if len(columns) == 1 else np.hstack(columns).astype(chosen.dtype, copy=False)


def _list_rows(chunk: Any, first: int, width: int | None) -> NDArray[Any]:
    import pyarrow.compute as pc

    _no_null(chunk, first, 1, "is null")
    lengths = pc.list_value_length(chunk).to_numpy()
    wanted = int(lengths[0]) if width is None else width
    if (lengths != wanted).any():
        row = int(np.flatnonzero(lengths != wanted)[0])
        raise ValueError(f"row {first + row} has {lengths[row]} values, and the rows before have {wanted}")
    inside = chunk.flatten()
    if wanted:
        _no_null(inside, first, wanted, "has a null")
    found: NDArray[Any] = inside.to_numpy(zero_copy_only=False).reshape(len(chunk), wanted)
    return found


def _plain(chunk: Any, first: int) -> NDArray[Any]:
    _no_null(chunk, first, 1, "is null")
    found: NDArray[Any] = chunk.to_numpy(zero_copy_only=False).reshape(-1, 1)
    return found


def _no_null(array: Any, first: int, width: int, what: str) -> None:
    if array.null_count:
        place = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"row {first + place // width} {what}; every row must have all its values")


def _item(kind: Any) -> Any:
    """Type of the values of a list, or None."""
    types = load().types
    lists: Sequence[Any] = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return kind.value_type if any(is_kind(kind) for is_kind in lists) else None


def _number(kind: Any) -> np.dtype[Any] | None:
    """NumPy's type for an Arrow type of numbers, or None."""
    types = load().types
    if kind is None or not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return None
    found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return found
