"""Rows of a .jsonl file and the ids in them, as the options --rows and --ids name them."""

from collections.abc import Callable
from pathlib import Path

from gip_gpu.cli.id_checks import Id, Ids, Take
from gip_gpu.records.lines import Lines, as_text, parsed, scan
from gip_gpu.system import compressed
from gip_gpu.system.atomic_write import check_suffix
from gip_gpu.system.files import AnyPath

SUFFIXES = tuple(name + codec for codec in ("", *compressed.SUFFIXES) for name in (".jsonl", ".ndjson"))


def read_jsonl_rows(
    path: AnyPath, count: int | None = None, *, check: bool = True, field: str | None = None, ids: Ids | None = None
) -> Lines:
    """Finds the rows of a .jsonl (or .ndjson) file, one per item, also compressed: .jsonl.gz, .jsonl.zst.

    Args:
        path: the file, UTF-8; empty lines at its end do not count.
        count: required number of rows: that of the embeddings.
        check: whether to parse each row.
        field: field that each row must have: an id, text or an integer.
        ids: collects the ids in that field.

    Raises:
        ValueError: an unreadable file, no row, an empty line between rows, a row that is no JSON or lacks the field
            (the first such line is named), or not `count` rows.
        ImportError: .zst, and no library for it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data.jsonl").write_text('{"a": 1}\\n{"a": 2}\\n')
    ...     len(read_jsonl_rows(folder + "/data.jsonl"))
    2
    """
    check_suffix(Path(path), SUFFIXES)

    def parse(line: bytes, number: int) -> None:
        if field is not None:
            found = field_of(line, field, number)
            if ids is not None:
                ids.add(found)
        elif check:
            parsed(line, number, "; --no-check-rows takes rows as they are")

    return scan(Path(path), count, parse)


def read_lines(path: AnyPath, count: int, see: Callable[[str, int], object]) -> Lines:
    """Finds the lines of a UTF-8 file, one per item, and calls `see(line, number)`; raises as `read_jsonl_rows`."""
    return scan(Path(path), count, lambda line, number: see(as_text(line, number), number))


def ids_in(lines: Lines, field: str) -> Take:
    """Returns a function from item numbers to the ids in a field of their rows."""
    return lambda chosen: [field_of(line, field, i + 1) for i, line in zip(chosen, lines.take(chosen), strict=True)]


def field_of(line: bytes, field: str, number: int) -> Id:
    """Returns the id in a row; ValueError with the line number if it is missing or neither text nor an integer."""
    row = parsed(line, number)
    if not isinstance(row, dict) or field not in row:
        raise ValueError(f"line {number} has no field {field!r}, which --ids names")
    found = row[field]
    if not isinstance(found, (str, int)) or isinstance(found, bool):
        raise ValueError(f"line {number} has {found!r} in field {field!r}; an id is text or an integer")
    return found
