"""Data sets by path, by name on a hub, or as objects in memory."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gip_gpu.exceptions import DataWarning, warn
from gip_gpu.records.base import RecordFile
from gip_gpu.records.collection import Records
from gip_gpu.records.json_files import JsonLinesFile, open_json
from gip_gpu.records.tables import ArrowTable, DatasetTable, FrameTable, ParquetFile
from gip_gpu.sources.shards import shard_paths
from gip_gpu.system import compressed
from gip_gpu.system.files import AnyPath, NoRows, suffix_of

OPENERS: dict[str, Callable[[AnyPath], RecordFile]] = {
    ".jsonl": JsonLinesFile,
    ".ndjson": JsonLinesFile,
    ".json": open_json,
    ".parquet": ParquetFile,
}
# Suffixes that may be followed by one of a codec.
PACKED = (".jsonl", ".ndjson", ".json")
# A data set on the Hugging Face hub, with a configuration after the colon: openai/gsm8k:main.
HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?")
# Files by which a folder that `datasets` saved is recognised: one data set, or several splits.
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"


def open_records(data: Any, *, split: str | None = None) -> Records:
    """Opens a data set, or several as one pool. Files without rows are skipped with a warning.

    Args:
        data: one of these, or a list of them:

            - the path of a .jsonl, .ndjson or .json file (an array of objects), also with .gz or .zst, or of a .parquet
              file (extra "data");
            - the path of a folder of such files, read in the natural order of their names;
            - the path of a folder that `datasets` saved, or a name on the Hugging Face hub, "openai/gsm8k:main", with
              the configuration after the colon (extra "data");
            - a `datasets.Dataset`, a pandas or polars DataFrame, or a pyarrow table.

            `Records` are returned as they are.
        split: split of a data set with several.

    Warns:
        gip_gpu.exceptions.DataWarning: files without rows are skipped.

    Raises:
        ValueError: a file cannot be read, or no file has rows; the message names the file.
        TypeError: an object that is no data set in memory.
        ImportError: a format whose library is missing.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.jsonl").write_text('{"text": "one"}\\n{"text": "two"}\\n')
    ...     _ = Path(folder, "b.json").write_text('[{"text": "three"}]')
    ...     records = open_records([folder + "/a.jsonl", folder + "/b.json"])
    ...     len(records), list(records.take([2, 0])), records.source(2)
    (3, [{'text': 'three'}, {'text': 'one'}], (1, 0))
    """
    if isinstance(data, Records):
        return data
    items = list(data) if isinstance(data, (list, tuple)) else [data]
    if not items:
        raise ValueError("data is an empty list; it must name at least one data set")
    found, empty = list[RecordFile](), list[str]()
    for item in items:
        for name, opener in _openers(item, split):
            file = _unless_empty(opener)
            if file is None:
                empty.append(name)
            else:
                found.append(file)
    if not found:
        raise NoRows(f"cannot read {', '.join(empty[:5])}: {'it has' if len(empty) == 1 else 'they have'} no rows")
    if empty:
        shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        warn(f"{len(empty)} of {len(empty) + len(found)} files have no rows and are skipped: {shown}", DataWarning)
    return Records(found)


def format_of(path: AnyPath) -> str:
    """Returns the suffix of a data file without that of its codec, "" for a folder.

    >>> format_of("rows.JSONL.gz"), format_of("rows.parquet"), format_of("folder")
    ('.jsonl', '.parquet', '')
    """
    suffix = suffix_of(path)
    if suffix in compressed.SUFFIXES:
        inner = suffix_of(os.path.splitext(os.fspath(path))[0])
        return inner if inner in PACKED else suffix
    return suffix


def holds_records(name: str) -> bool:
    """Returns whether a path, or a name on the hub, is a data set by its suffix, or a folder with files of records."""
    if os.path.isdir(name):
        return _saved(name) or any(format_of(entry) in OPENERS for entry in os.listdir(name))
    return format_of(name) in OPENERS or (HUB_NAME.fullmatch(name) is not None and not os.path.exists(name))


def _openers(item: Any, split: str | None) -> list[tuple[str, Callable[[], RecordFile]]]:
    """Returns the names of an item's files with functions that open them."""
    if not isinstance(item, (str, os.PathLike)):
        return [(f"the {type(item).__name__}", lambda: _in_memory(item, split))]
    name = os.fspath(item)
    if not name:
        raise ValueError("an empty path names no file")
    if os.path.isdir(name):
        if _saved(name):
            return [(name, lambda: _from_folder(name, split))]
        suffixes = (*OPENERS, *compressed.SUFFIXES)
        paths = [path for path in shard_paths(Path(name), suffixes) if format_of(path) in OPENERS]
        return [(str(path), lambda path=path: _open_file(path)) for path in paths]  # type: ignore[misc]
    hub = HUB_NAME.fullmatch(name)
    if hub and not os.path.exists(name) and format_of(name) not in OPENERS:
        return [(name, lambda: _from_hub(name, hub["name"], hub["config"], split))]
    if split is not None and format_of(name) in OPENERS:
        raise ValueError(f"split is {split!r}, and {name} is a file without splits")
    return [(name, lambda: _open_file(name))]


def _unless_empty(opener: Callable[[], RecordFile]) -> RecordFile | None:
    try:
        return opener()
    except NoRows:
        return None


def _open_file(path: AnyPath) -> RecordFile:
    kind = format_of(path)
    if kind not in OPENERS:
        raise ValueError(
            f"{os.fspath(path)} has suffix {Path(path).suffix!r}; it must be {', '.join(OPENERS)}, these with .gz or "
            ".zst, a folder of them, or a folder that datasets saved"
        )
    compressed.check_codec(path)
    return OPENERS[kind](path)


def _saved(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in (SAVED, SAVED_SPLITS))


def _from_folder(folder: str, split: str | None) -> RecordFile:
    datasets = load_datasets()
    try:
        return _single(datasets.load_from_disk(folder), folder, split)
    except (OSError, ValueError) as error:
        if isinstance(error, NoRows) or str(error).startswith(folder):
            raise
        raise ValueError(f"cannot read {folder}: {error}") from error


def _from_hub(name: str, repository: str, config: str | None, split: str | None) -> RecordFile:
    datasets = load_datasets()
    try:
        found = datasets.load_dataset(repository, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"cannot read {name}: there is no such file, and as a name on the hub: {str(error).splitlines()[0]}"
        ) from error
    return _single(found, name, split)


def _single(found: Any, name: str, split: str | None) -> RecordFile:
    """Returns the data set, or the named or only one of several splits."""
    if isinstance(found, dict):
        splits = list(found)
        if split is None and len(splits) == 1:
            split = splits[0]
        if split not in found:
            wanted = "name one" if split is None else f"split is {split!r}"
            raise ValueError(f"{name} has splits {', '.join(splits)}; {wanted}, as in split={splits[0]!r}")
        return DatasetTable(found[split], f"{name} ({split})")
    return DatasetTable(found, name)


def _in_memory(value: Any, split: str | None) -> RecordFile:
    library, kind = type(value).__module__.split(".")[0], type(value).__name__
    name = f"the {kind}"
    if library == "datasets" and kind in ("Dataset", "DatasetDict"):
        return _single(value, name, split)
    if library in ("pandas", "polars") and kind == "DataFrame":
        return FrameTable(value, name)
    if library == "pyarrow" and kind == "Table":
        return ArrowTable(value, name)
    hint = {
        "IterableDataset": "; it is read once and has no length: datasets.Dataset.from_generator holds its rows",
        "LazyFrame": "; collect() makes a DataFrame of it",
    }.get(kind, "")
    raise TypeError(
        f"data is a {library}.{kind}{hint}; it must be a path, a datasets.Dataset, a pandas or polars DataFrame, a "
        "pyarrow table, or a list of these"
    )


def load_datasets() -> Any:
    """Imports and returns `datasets`; ImportError that names the extra if it is missing."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError('data sets of Hugging Face need datasets: pip install "gip_gpu[data]"') from error
    return datasets


def names_of(records: Records) -> Sequence[str]:
    """Returns the names of the files of a pool."""
    return [file.name for file in records.files]
