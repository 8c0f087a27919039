"""Chosen rows, written in the format of a file's suffix."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gip_gpu.records.base import Record, TextRecordFile
from gip_gpu.records.collection import Records
from gip_gpu.records.lines import parsed
from gip_gpu.records.opening import OPENERS, format_of, load_datasets
from gip_gpu.records.tables import DatasetTable, TableFile
from gip_gpu.sources.columns import load
from gip_gpu.system import compressed
from gip_gpu.system.atomic_write import atomic_write, check_target
from gip_gpu.system.files import AnyPath

# Columns that can be added to the chosen rows.
ADDED = ("gip_rank", "gip_gain", "gip_source")


def added_columns(
    records: Records, indices: Sequence[int], gains: Sequence[float], names: Sequence[str]
) -> dict[str, list[Any]]:
    """Returns the values of the requested columns for the chosen rows.

    Args:
        records: the pool.
        indices: the chosen rows in order of choice.
        gains: gain of each.
        names: some of `ADDED`: gip_rank, from 0; gip_gain; gip_source, an object of file and row, counted from 0.

    Raises:
        ValueError: an unknown name.
    """
    check_added(names)
    made: dict[str, list[Any]] = {}
    if "gip_rank" in names:
        made["gip_rank"] = list(range(len(indices)))
    if "gip_gain" in names:
        made["gip_gain"] = [float(gain) for gain in gains]
    if "gip_source" in names:
        found = (records.source(index) for index in indices)
        made["gip_source"] = [{"file": records.files[number].name, "row": row} for number, row in found]
    return made


def check_added(names: Sequence[str]) -> None:
    """Raises ValueError for a name that is not in `ADDED`."""
    if [name for name in names if name not in ADDED]:
        raise ValueError(f"columns are {', '.join(map(repr, names))}; they must be some of {', '.join(ADDED)}")


def check_output(path: AnyPath, *, overwrite: bool) -> None:
    """Checks before a run that the chosen rows can be written to `path`.

    Raises:
        ValueError: another suffix than .jsonl, .ndjson, .json (also with .gz or .zst), .parquet, or none for a folder
            of `datasets`; the file exists and `overwrite` is false, or cannot be written.
        ImportError: a format whose library is missing.
    """
    kind = format_of(path)
    if kind == "":
        load_datasets()
        if os.path.exists(path) and not (overwrite and os.path.isdir(path)):
            raise ValueError(f"cannot write {path}: it exists; --force overwrites a folder that datasets saved")
        # A folder is renamed into its place, so its parent must be writable.
        check_target(f"{os.path.abspath(path)}.probe", (".probe",), overwrite=True)
        return
    if kind not in OPENERS:
        raise ValueError(
            f"{path} has suffix {Path(path).suffix!r}; it must be {', '.join(OPENERS)}, or none for a folder of "
            "datasets"
        )
    if kind == ".parquet":
        load()
    compressed.check_codec(path)
    check_target(path, (Path(path).suffix.lower(),), overwrite=overwrite)


def write_records(
    records: Records, indices: Sequence[int], path: AnyPath, added: Mapping[str, Sequence[Any]] | None = None
) -> None:
    """Writes rows in this order, completely or not at all.

    JSON text is copied byte for byte, with added columns in front of the last brace; rows of tables keep the types of
    their columns.

    Args:
        records: the pool.
        indices: the chosen rows.
        path: the file, as in `check_output`.
        added: columns to add, by name; they replace columns of that name.

    Raises:
        ValueError: a value that the format cannot hold, such as bytes in JSON; the message names the row.
        OSError: the file cannot be written.
    """
    added, kind = dict(added or {}), format_of(path)
    if kind == "":
        _save_dataset(records, indices, path, added)
        return
    with atomic_write(path) as file:
        if kind == ".parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(table_of(records, indices, added=added), file)
            return
        with compressed.compressing(file, path) as target:
            _write_json(_texts(records, indices, added), target, array=kind == ".json")


def _write_json(rows: Iterator[bytes], target: BinaryIO, *, array: bool) -> None:
    if not array:
        for row in rows:
            target.write(_on_one_line(row) + b"\n")
        return
    separator = b"[\n"
    for row in rows:
        target.write(separator + row)
        separator = b",\n"
    target.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def _on_one_line(row: bytes) -> bytes:
    if b"\n" not in row and b"\r" not in row:
        return row
    return _dumped(json.loads(row))


def _texts(records: Records, indices: Sequence[int], added: Mapping[str, Sequence[Any]]) -> Iterator[bytes]:
    """Yields the rows as JSON text."""
    streams: dict[int, Iterator[bytes]] = {}
    for number, rows in records.by_file(indices).items():
        file = records.files[number]
        if isinstance(file, TextRecordFile):
            streams[number] = file.raw(rows)
        else:
            streams[number] = _converted(file.take(rows), [file.place(row) for row in rows])
    for at, index in enumerate(indices):
        text = next(streams[records.source(index)[0]])
        yield _with(text, {name: values[at] for name, values in added.items()}) if added else text


def _converted(rows: Iterator[Record], places: Sequence[str]) -> Iterator[bytes]:
    for row, place in zip(rows, places, strict=True):
        yield _dumped(row, place)


def _with(text: bytes, values: Record) -> bytes:
    """Returns the JSON text of an object with more fields."""
    row = parsed(text, 1)
    if set(row) & set(values):
        return _dumped({**{name: value for name, value in row.items() if name not in values}, **values})
    inner = text[: text.rindex(b"}")].rstrip()
    return inner + (b", " if row else b"") + _dumped(values)[1:]


def _dumped(row: Record, place: str = "a row") -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can hold
        return json.dumps(row).encode()
    except TypeError as error:
        raise ValueError(f"{place}: {error}; write the rows to a .parquet file instead of JSON") from None


def table_of(
    records: Records,
    indices: Sequence[int],
    columns: Sequence[str] | None = None,
    added: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Returns rows as a pyarrow table, with these columns of theirs (None: all) and added ones.

    Raises:
        ValueError: no row is chosen, or a column holds values of several types.
        ImportError: pyarrow is missing.
    """
    pa = load()
    parts, starts, at = [], dict[int, int](), 0
    for number, rows in sorted(records.by_file(indices).items()):
        file = records.files[number]
        parts.append(file.table(rows) if isinstance(file, TableFile) else _typed(list(file.take(rows)), file.name))
        starts[number], at = at, at + len(rows)
    order = []
    for number, _ in map(records.source, indices):
        order.append(starts[number])
        starts[number] += 1
    if not parts:
        raise ValueError("no row is chosen; a table needs one")
    try:
        joined = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"the columns of the files differ: {error}; write the rows to a .jsonl file") from error
    made = joined.take(pa.array(order))
    if columns is not None:
        made = made.select(list(columns))
    for name, values in (added or {}).items():
        if name in made.column_names:
            made = made.drop_columns([name])
        made = made.append_column(name, pa.array(list(values)))
    if added and made.schema.metadata:
        # The list of columns that datasets and pandas keep beside the data would lack the new ones.
        kept = {key: value for key, value in made.schema.metadata.items() if key not in (b"huggingface", b"pandas")}
        made = made.replace_schema_metadata(kept)
    return made


def _typed(rows: list[Record], name: str) -> Any:
    pa = load()
    fields = dict.fromkeys(key for row in rows for key in row)
    try:
        return pa.table({field: pa.array([row.get(field) for row in rows]) for field in fields})
    except pa.ArrowException as error:
        raise ValueError(f"{name}: a field holds values of several types: {error}; write a .jsonl file") from error


def _save_dataset(records: Records, indices: Sequence[int], path: AnyPath, added: Mapping[str, Sequence[Any]]) -> None:
    datasets = load_datasets()
    only = records.files[0] if len(records.files) == 1 else None
    if isinstance(only, DatasetTable):
        # Features such as class labels stay.
        chosen = only.dataset.select(list(indices))
        for name, values in added.items():
            chosen = chosen.remove_columns([name]) if name in chosen.column_names else chosen
            chosen = chosen.add_column(name, list(values))
    else:
        chosen = datasets.Dataset(table_of(records, indices, added=added))
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:16]}.tmp")
    try:
        chosen.save_to_disk(str(temporary))
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
