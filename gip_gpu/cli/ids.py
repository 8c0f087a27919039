"""Ids of the items of a pool, from a file of their own or a column of the embeddings' file."""

import csv
import zipfile
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.cli.id_checks import Id, Ids
from gip_gpu.cli.jsonl import read_lines
from gip_gpu.sources import SHARDS
from gip_gpu.sources.arrow import MAGIC
from gip_gpu.sources.columns import check_single, load
from gip_gpu.sources.names import like_identifier
from gip_gpu.sources.shards import shard_paths
from gip_gpu.system.files import reading, suffix_of

SUFFIXES = (".txt", ".npy", ".csv")
TABLES = (".parquet", ".arrow", ".feather")
# Number of ids converted to Python objects at a time.
BATCH = 1 << 16


def names_a_file(ids: str) -> bool:
    """Returns whether `--ids` is the path of a file; else it is the name of a column or field."""
    return suffix_of(ids) in SUFFIXES


def read_ids(ids: str, m: int, embeddings: Path) -> Ids | None:
    """Reads the ids that `--ids` names; returns None if it is neither a file nor a column of the embeddings' file.

    Args:
        ids: a .txt with one id per line; a .npy (m,) of integers or text; a .csv of one column, with or without a line
            of names, or with a column `id`; else the name of a column of the embeddings' file.
        m: number of items of the pool; each has an id.
        embeddings: the file or folder; .npz, .parquet, .arrow and .feather have named columns.

    Raises:
        ValueError: an unreadable file, not m ids, an empty id, or ids that are neither text nor integers.
    """
    if names_a_file(ids):
        return _from_file(Path(ids), m)
    return _from_table(embeddings, ids, m)


def _from_file(path: Path, m: int) -> Ids:
    if suffix_of(path) == ".txt":
        return _txt(path, m)
    with reading(path):
        if suffix_of(path) == ".csv":
            return _csv(path, m)
        return _of_array(np.load(path, mmap_mode="r", allow_pickle=False), m)


def _txt(path: Path, m: int) -> Ids:
    found = Ids(_line)

    def see(line: str, number: int) -> None:
        value = line.rstrip("\r\n")
        if number == 1 and like_identifier(value):
            raise ValueError(
                f"line 1 is {value!r}, the name of a column; a .txt has ids alone, from line 1 on. Take that line out; "
                "or, if it is an id, name the file .csv and put a line id above it"
            )
        found.add(value)

    lines = read_lines(path, m, see)
    found.take = lambda chosen: [str(line, "utf-8").rstrip("\r\n") for line in lines.take(chosen)]
    return found


def _csv(path: Path, m: int) -> Ids:
    values, starts = list[Id](), array("q")
    found = Ids(lambda i: _line(starts[i] - 1))
    column, width, empty, end = 0, 0, 0, 0
    name = ""
    with open(path, encoding="utf-8-sig", newline="") as source:
        lines = csv.reader(source, strict=True)
        for cells in lines:
            # A quoted record may span several lines.
            start, end = end + 1, lines.line_num
            # A quoted empty cell is a missing id, even in the last line.
            if not any(map(str.strip, cells)) and cells != [""]:
                empty = empty or start
                continue
            if empty:
                raise ValueError(f"line {empty} is empty; every item needs an id")
            if not width:
                width = len(cells)
                names = [cell.strip().lower() for cell in cells]
                if width > 1 and (count := names.count("id")) != 1:
                    held = f"{count} of them" if count else "none of which is"
                    raise ValueError(f"it has {width} columns, {held} named 'id'")
                if width > 1 or like_identifier(cells[0]):
                    column, name = (names.index("id") if width > 1 else 0), cells[0]
                    continue
            if len(cells) <= column:
                raise ValueError(f"line {start} has {len(cells)} columns; the id is in column {column + 1}")
            starts.append(start)
            found.add(cells[column])
            values.append(cells[column])
    hint = ""
    if width == 1 and len(values) == m - 1 and name:
        hint = f"; line 1, {name!r}, was read as the column's name: if it is an id, put a line id above it"
    elif width == 1 and len(values) == m + 1 and not name:
        hint = f"; if line 1, {values[0]!r}, is the column's name, change it to id"
    _check_count(len(values), m, hint)
    found.take = lambda chosen: [values[i] for i in chosen]
    return found


def _line(i: int) -> str:
    return f"line {i + 1}"


def _row(i: int) -> str:
    return f"row {i}"


def _from_table(path: Path, name: str, m: int) -> Ids | None:
    """Reads a column of the embeddings' file; returns None if the file has no such column or no columns."""
    if suffix_of(path) == ".npz":
        with reading(path), zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            return _of_array(arrays[name], m)
    paths = [path]
    if path.is_dir():
        with reading(path):
            paths = shard_paths(path, tuple(SHARDS))
    if not all(suffix_of(shard) in TABLES for shard in paths):
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
        found = Ids(_row)
        for chunk in column.chunks:
            for start in range(0, len(chunk), BATCH):
                found.add_all(chunk.slice(start, BATCH).to_pylist())
    found.take = lambda chosen: list(column.take(pa.array(chosen, pa.int64())).to_pylist())
    return found


def _column(path: Path, name: str) -> Any:
    """Returns a column of a table in a file, or None if it has no such column."""
    pa = load()
    if suffix_of(path) == ".parquet":
        import pyarrow.parquet

        opened = pyarrow.parquet.ParquetFile(path)
        check_single(opened.schema_arrow.names, name, str(path))
        return opened.read([name]).column(name) if name in opened.schema_arrow.names else None
    with pa.memory_map(str(path)) as source:
        stream = source.read(len(MAGIC)) != MAGIC
        source.seek(0)
        table = (pa.ipc.open_stream if stream else pa.ipc.open_file)(source).read_all()
        check_single(table.column_names, name, str(path))
        return table.column(name) if name in table.column_names else None


def _of_array(values: Any, m: int) -> Ids:
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise ValueError(f"the ids are {values.dtype} {values.shape}; they must be ({m},) integers or text")
    _check_count(len(values), m)
    found = Ids(_row)
    for start in range(0, m, BATCH):
        found.add_all(values[start : start + BATCH].tolist())
    found.take = lambda chosen: list(values[np.asarray(chosen, np.int64)].tolist())
    return found


def _check_count(count: int, m: int, hint: str = "") -> None:
    if count != m:
        raise ValueError(f"it has {count} ids and the embeddings have {m} rows; id i belongs to row i{hint}")
