"""Ids of the items of a pool, from a file of their own or a column of the embeddings' file."""

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.jsonl import Ids, read_lines
from gip_gpu.sources import SHARDS
from gip_gpu.sources.arrow import MAGIC
from gip_gpu.sources.columns import load
from gip_gpu.sources.file import reading
from gip_gpu.sources.shards import shard_paths

SUFFIXES = (".txt", ".npy", ".csv")
TABLES = (".parquet", ".arrow", ".feather")


def names_a_file(ids: str) -> bool:
    """Whether `--ids` is the path of a file, else the name of a column or field."""
    return Path(ids).suffix in SUFFIXES


def read_ids(ids: str, m: int, embeddings: Path) -> Ids | None:
    """What `--ids` names; None where it is neither a file nor such a column.

    Args:
        ids: a .txt with an id a line; a .npy (m,) of integers or text; a .csv of one column, or with a column `id`;
            else the name of a column of the embeddings' file.
        m: items of the pool, each of which has an id.
        embeddings: the file or folder; .npz, .parquet, .arrow and .feather have named columns.

    Raises:
        ValueError: unreadable, not m ids, or ids that are neither text nor integers.
    """
    if names_a_file(ids):
        return _from_file(Path(ids), m)
    return _from_table(embeddings, ids, m)


def _from_file(path: Path, m: int) -> Ids:
    if path.suffix == ".txt":
        lines = read_lines(path, m)
        return lambda chosen: [str(line, "utf-8").rstrip("\r\n") for line in lines.take(chosen)]
    with reading(path):
        values = _csv(path, m) if path.suffix == ".csv" else np.load(path, mmap_mode="r", allow_pickle=False)
        return _of_array(values, m)


def _csv(path: Path, m: int) -> Any:
    with open(path, encoding="utf-8-sig", newline="") as source:
        rows = [cells for cells in csv.reader(source, strict=True) if cells]
    column, header = 0, len(rows) == m + 1
    if rows and len(rows[0]) > 1:
        if "id" not in rows[0]:
            raise ValueError(f"it has {len(rows[0])} columns, none of which is named 'id'")
        column, header = rows[0].index("id"), True
    values = rows[header:]
    short = next((number for number, cells in enumerate(values) if len(cells) <= column), None)
    if short is not None:
        raise ValueError(f"row {short} of its items has {len(values[short])} columns; the id is in column {column + 1}")
    return np.array([cells[column] for cells in values], dtype=object)


def _from_table(path: Path, name: str, m: int) -> Ids | None:
    """A column of the embeddings' file, or None where it has no such column or no columns."""
    if path.suffix == ".npz":
        with reading(path), zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            return _of_array(arrays[name], m)
    paths = [path]
    if path.is_dir():
        with reading(path):
            paths = shard_paths(path, tuple(SHARDS))
    if not all(shard.suffix in TABLES for shard in paths):
        return None
    pa = load()
    with reading(path):
        parts = [part for shard in paths if (part := _column(shard, name)) is not None]
        if len(parts) < len(paths):
            return None
        column = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)
                or pa.types.is_large_string(column.type)):  # fmt: skip
            raise ValueError(f"column {name!r} is {column.type}; an id is text or an integer")
        if column.null_count:
            raise ValueError(f"column {name!r} has {column.null_count} nulls; every item needs an id")
        _check_count(len(column), m)
    return lambda chosen: list(column.take(pa.array(chosen, pa.int64())).to_pylist())


def _column(path: Path, name: str) -> Any:
    """A column of a table in a file, or None."""
    pa = load()
    if path.suffix == ".parquet":
        import pyarrow.parquet

        opened = pyarrow.parquet.ParquetFile(path)
        return opened.read([name]).column(name) if name in opened.schema_arrow.names else None
    with pa.memory_map(str(path)) as source:
        stream = source.read(len(MAGIC)) != MAGIC
        source.seek(0)
        table = (pa.ipc.open_stream if stream else pa.ipc.open_file)(source).read_all()
        return table.column(name) if name in table.column_names else None


def _of_array(values: Any, m: int) -> Ids:
    if values.ndim != 1 or values.dtype.kind not in "iuUO":
        raise ValueError(f"the ids are {values.dtype} {values.shape}; they must be ({m},) integers or text")
    _check_count(len(values), m)
    return lambda chosen: list(values[np.asarray(chosen, np.int64)].tolist())


def _check_count(count: int, m: int) -> None:
    if count != m:
        raise ValueError(f"it has {count} ids and the embeddings have {m} rows; id i belongs to row i")
