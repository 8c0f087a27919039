"""Rows of JSON files: JSON lines, and one array of objects."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gip_gpu.records.base import Record, RecordFile, TextRecordFile, as_record
from gip_gpu.records.lines import UTF16, Lines, parsed, scan
from gip_gpu.sources.lines import MARK
from gip_gpu.system import compressed
from gip_gpu.system.files import AnyPath, File, NoRows, reading

BLANKS = re.compile(r"[ \t\n\r]*")


class JsonLinesFile(TextRecordFile):
    r"""A JSON object on each line of a file, which may be compressed; lines end at \n alone.

    Raises:
        NoRows: the file has no rows.
        ValueError: it cannot be read, or an empty line stands between others.
    """

    format = "jsonl"

    def __init__(self, path: AnyPath) -> None:
        self.lines: Lines = scan(Path(path), None, lambda line, number: None)
        self.name = self.lines.file.name

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        for number, line in enumerate(self.lines, 1):
            yield self._record(line, number)

    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        for i, line in zip(indices, self.lines.take(indices), strict=True):
            yield self._record(line, i + 1)

    def raw(self, indices: Sequence[int]) -> Iterator[bytes]:
        for line in self.lines.take(indices):
            yield line.strip()

    def place(self, row: int) -> str:
        return f"{self.name}, line {row + 1}"

    def _record(self, line: bytes, number: int) -> Record:
        with reading(self.name):
            return as_record(parsed(line, number), f"line {number}")


class JsonArrayFile(TextRecordFile):
    """One array of JSON objects. The text of the file is in memory; its rows are parsed in each pass.

    Raises:
        NoRows: the array is empty.
        ValueError: the text is no array of objects.
    """

    format = "json"

    def __init__(self, file: File, text: str) -> None:
        self.name, self.text = file.name, text
        self.spans: list[tuple[int, int]] = []
        with reading(self.name):
            self._find()
            if not self.spans:
                raise NoRows("it has no rows")

    def __len__(self) -> int:
        return len(self.spans)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Record]:
        return self.take(range(len(self)))

    def take(self, indices: Sequence[int]) -> Iterator[Record]:
        for i in indices:
            start, stop = self.spans[i]
            yield json.loads(self.text[start:stop])

    def raw(self, indices: Sequence[int]) -> Iterator[bytes]:
        for i in indices:
            start, stop = self.spans[i]
            yield self.text[start:stop].encode()

    def _find(self) -> None:
        """Finds the rows, each parsed once."""
        decoder, at = json.JSONDecoder(), self._skip(0) + 1
        if self.text[self._skip(at) : self._skip(at) + 1] == "]":
            at = self._skip(at)
        else:
            while True:
                start, number = self._skip(at), len(self.spans)
                try:
                    value, at = decoder.raw_decode(self.text, start)
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"row {number} is no JSON: {error.msg} at line {error.lineno} column {error.colno}"
                    ) from None
                except RecursionError as error:
                    raise ValueError(f"row {number} is no JSON: {error}") from None
                as_record(value, f"row {number}")
                self.spans.append((start, at))
                at = self._skip(at)
                if self.text[at : at + 1] != ",":
                    break
                at += 1
        if self.text[at : at + 1] != "]":
            raise ValueError(f"after row {len(self.spans) - 1} there is {self._seen(at)}; it must be a comma or ]")
        if self._skip(at + 1) < len(self.text):
            raise ValueError(f"after the array there is {self._seen(self._skip(at + 1))}; it must be one array of rows")

    def _skip(self, at: int) -> int:
        found = BLANKS.match(self.text, at)
        return at if found is None else found.end()

    def _seen(self, at: int) -> str:
        return repr(self.text[at : at + 10]) if at < len(self.text) else "nothing: the file may be cut off"


def open_json(path: AnyPath) -> RecordFile:
    """Opens a .json file: an array of objects, or JSON lines under that name.

    Raises:
        NoRows: the file has no rows.
        ValueError: it is neither; the message names the keys of a single object.
    """
    file = File(path)
    with reading(file.name):
        with compressed.open_plain(file.path) as source:
            head = source.read(1 << 16).removeprefix(MARK).lstrip()
        if not head:
            raise NoRows("it has no rows")
        if head.startswith(b"["):
            with compressed.open_plain(file.path) as source:
                content = source.read().removeprefix(MARK)
            try:
                text = str(content, "utf-8")
            except UnicodeDecodeError as error:
                line = content.count(b"\n", 0, error.start) + 1
                raise ValueError(
                    f"line {line} is no text in UTF-8: {error.reason} {content[error.start]:#04x}"
                ) from None
            file.check()
    if head.startswith(b"["):
        return JsonArrayFile(file, text)
    with reading(file.name):
        if head.startswith(UTF16):
            raise ValueError("the file seems to be UTF-16: convert it to UTF-8")
        if not head.startswith(b"{"):
            raise ValueError(f"it begins with {head[:10]!r}; it must be an array of objects, or one object a line")
        whole = _single(file)
        if whole is not None:
            lists = [key for key, value in whole.items() if isinstance(value, list) and value]
            hint = f"; if the rows are its field {lists[0]!r}, write that list alone" if lists else ""
            raise ValueError(
                f"it is one object with fields {', '.join(map(repr, whole))}; it must be an array of objects, or one "
                f"object a line{hint}"
            )
    return JsonLinesFile(path)


def _single(file: File) -> dict[str, Any] | None:
    """Returns the object that the whole file is, if it spans several lines; None for JSON lines."""
    with compressed.open_plain(file.path) as source:
        first = source.readline().removeprefix(MARK)
        try:
            json.loads(first)
        except ValueError:
            try:
                value = json.loads(first + source.read())
            except (ValueError, RecursionError):
                return None
            return value if isinstance(value, dict) else None
        except RecursionError:
            return None
    return None
