"""Numbers in text files, one item a line: .csv and .tsv with or without a header line, and fields of .jsonl."""

import csv
import io
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources.base import Source
from gip_gpu.sources.in_memory import InMemorySource
from gip_gpu.sources.names import MatrixRequest, Origin, choose_columns, like_identifier
from gip_gpu.system.files import File, NoRows

# The byte order mark with which some editors begin a UTF-8 file; it belongs to no row.
MARK = b"\xef\xbb\xbf"
# Cells that stand for a missing value, in lower case.
MISSING = {"", "na", "n/a", "nan", "null", "none", "<na>"}


def open_delimited(file: File, request: MatrixRequest, *, delimiter: str) -> Source:
    """Reads all columns of a .csv or .tsv file, or the requested ones."""
    with (
        file.opened() as opened,
        io.TextIOWrapper(io.BufferedReader(opened), encoding="utf-8-sig", newline="") as text,
    ):
        names, values = _parse(csv.reader(text, delimiter=delimiter, strict=True), request)
    held = dict.fromkeys(names, "number")
    return InMemorySource(file.name, values, Origin(request, "column", tuple(names), held, tuple(names)))


open_csv = partial(open_delimited, delimiter=",")
open_tsv = partial(open_delimited, delimiter="\t")


def open_jsonl(file: File, request: MatrixRequest) -> Source:
    """Reads the requested fields of numbers of a .jsonl file, or the only one."""
    with file.opened() as opened, io.BufferedReader(opened) as lines:
        first = next(_rows(lines), None)
        if first is None:
            raise NoRows("it has no rows")
        # A field that is null in the first rows shows its kind in a later row.
        held = {name: _kind(value) for name, value in first[1].items()}
        for _, row in _rows(lines) if "null" in held.values() else ():
            held |= {name: _kind(row[name]) for name, kind in held.items() if kind == "null" and name in row}
            if "null" not in held.values():
                break
    lists, plain = ([name for name, kind in held.items() if kind == wanted] for wanted in ("numbers", "number"))
    origin = choose_columns(file.name, "field", request, lists, plain, held)
    values, width = array("d"), 0
    with file.opened() as opened, io.BufferedReader(opened) as lines:
        for number, row in _rows(lines):
            found = _fields(row, origin, number, width)
            width = width or len(found)
            if len(found) != width:
                raise ValueError(f"line {number} has {len(found)} values, and the lines before have {width}")
            values.extend(found)
    return InMemorySource(file.name, np.frombuffer(values, np.float64).reshape(-1, width), origin)


def _parse(lines: Any, request: MatrixRequest) -> tuple[list[str], NDArray[np.float64]]:
    """Returns the names of the columns (none without a header line) and the values, (m, n) float64."""
    values, names, width, empty = array("d"), list[str](), 0, 0
    wanted: list[int] | None = None
    for cells in lines:
        number = lines.line_num
        # In a file of one column, a line with only a pair of quotes is a missing value.
        if not any(map(str.strip, cells)) and not (cells == [""] and width == 1):
            empty = empty or number
            continue
        if empty:
            raise ValueError(f"line {empty} is empty; every item needs a row")
        if width and len(cells) != width:
            raise ValueError(f"line {number} has {len(cells)} columns and the lines above have {width}")
        first, width = not width, len(cells)
        if first and not all(map(_is_number, cells)):
            names = [cell.strip() for cell in cells]
            wanted = _wanted(names, request, number)
            continue
        if first and request.key is not None:
            raise ValueError(
                f"line {number} has numbers; with key {request.key!r} the first line must have the names of columns"
            )
        taken = cells if wanted is None else [cells[j] for j in wanted]
        try:
            values.extend(map(_number, taken))
        except ValueError:
            raise ValueError(_no_number(cells, wanted, names, request, number)) from None
    if not values:
        raise NoRows("it has no rows of numbers")
    if wanted is not None:
        names = [names[j] for j in wanted]
    return names, np.frombuffer(values, np.float64).reshape(-1, len(names) or width)


def _wanted(names: Sequence[str], request: MatrixRequest, number: int) -> list[int] | None:
    """Returns the positions of the requested columns, None for all."""
    if request.key is None:
        if "" in names:
            # A column without a name is typical of tables saved with row numbers, which as scores would dominate.
            others = [name for name in names if name]
            hint = f"; name the scores by {request.call(others)}" if others else ""
            raise ValueError(
                f"line {number}: column {names.index('') + 1} has no name; does it hold row numbers?{hint}"
            )
        return None
    held = dict.fromkeys(filter(None, names), "column")
    chosen = choose_columns("it", "column", request, (), list(held), held)
    for name in chosen.names:
        if names.count(name) > 1:
            raise ValueError(f"line {number} has {names.count(name)} columns {name!r}, which key names; rename them")
    return [names.index(name) for name in chosen.names]


def _no_number(
    cells: Sequence[str], wanted: Sequence[int] | None, names: Sequence[str], request: MatrixRequest, number: int
) -> str:
    """Returns the message for the first cell that is not a number."""
    column = next(
        j for j in (range(len(cells)) if wanted is None else wanted)
        if not _is_number(cells[j]) and cells[j].strip().lower() not in MISSING
    )  # fmt: skip
    message = f"line {number}, column {column + 1}: {cells[column]!r} is not a number"
    others = [name for name, cell in zip(names, cells, strict=False) if _is_number(cell) and not like_identifier(name)]
    return f"{message}; name the scores by {request.call(others)}" if wanted is None and others else message


def _number(cell: str) -> float:
    """Converts a cell to a number, NaN for a missing value; raises ValueError for text."""
    return float("nan") if cell.strip().lower() in MISSING else float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _rows(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number and the object of each line; empty lines are allowed at the end only."""
    empty = 0
    for number, line in enumerate(lines, 1):
        if line.isspace():
            empty = empty or number
            continue
        if empty:
            raise ValueError(f"line {empty} is empty; it must have one row a line")
        try:
            row = json.loads(line.removeprefix(MARK) if number == 1 else line)
        except ValueError as error:
            raise ValueError(f"line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is {_kind(row)}; it must be an object with fields")
        yield number, row


def _kind(value: Any) -> str:
    """Classifies a JSON value: "null", "number", "numbers", "list", "text" or "object"."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return "number"
    if isinstance(value, list):
        return "numbers" if value and all(_kind(part) in ("number", "null") for part in value) else "list"
    return "text" if isinstance(value, str) else "object"


def _fields(row: dict[str, Any], origin: Origin, number: int, width: int) -> list[float]:
    """Returns the values of a line, NaN for null; `width` is the number of values of the lines before, 0 if unknown."""
    found: list[float] = []
    for name in origin.names:
        if name not in row:
            raise ValueError(f"line {number} has no field {name!r}")
        value, wanted = row[name], "numbers" if origin.matrix else "number"
        if value is None and (width or not origin.matrix):
            found.extend([float("nan")] * (width if origin.matrix else 1))
            continue
        if _kind(value) != wanted:
            raise ValueError(
                f"line {number}: field {name!r} is {json.dumps(value):.40}; it must be "
                f"{'a list of numbers' if origin.matrix else 'a number'}, as in the first line"
            )
        try:
            found.extend(
                float("nan") if part is None else float(part) for part in (value if origin.matrix else (value,))
            )
        except OverflowError as error:
            raise ValueError(f"line {number}: field {name!r} holds an {error}") from None
    return found
