"""Append-only files of results by key, so that a killed run loses only the results in flight."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from types import TracebackType
from typing import Any

from gip_gpu.system.files import AnyPath, reading
from gip_gpu.system.locks import lock

VERSION = 1


def content_key(*parts: Any) -> str:
    """Returns 128 bits that identify values of JSON, as 32 hexadecimal digits.

    >>> content_key("a", 1) == content_key("a", 1) != content_key("a", "1")
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


class Ledger:
    """File of JSON lines that grows at its end, used in a `with` block by one process at a time.

    The first line names the kind of content. A last line that a kill has cut off is removed when the file is opened.

    Args:
        path: the file, created if it does not exist; None keeps nothing.
        kind: kind of content, such as "answers of a judge"; a file of another kind is refused.
        read: called with each stored record when the file is opened.

    Raises:
        ValueError: the file is of another kind, has a line that is not JSON, or is in use by another process.
        OSError: it cannot be read or written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with Ledger(folder + "/losses.jsonl", "losses", print) as ledger:
    ...         ledger.add([{"key": "a", "loss": 0.5}])
    ...     with Ledger(folder + "/losses.jsonl", "losses", print):
    ...         pass
    {'key': 'a', 'loss': 0.5}
    """

    def __init__(self, path: AnyPath | None, kind: str, read: Callable[[dict[str, Any]], object]) -> None:
        self.path, self.kind = path, kind
        self._file: io.FileIO | None = None
        if path is None:
            return
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by close)
        try:
            lock(self._file, f"{path} is in use by another process; give another file, or wait for it")
            self._load(read)
        except BaseException:
            self.close()
            raise

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Appends records by one write."""
        if self._file is not None:
            self._write(b"".join(_line(record) for record in records))

    def close(self) -> None:
        """Flushes the file to disk and closes it."""
        file, self._file = self._file, None
        if file is not None:
            with file:
                os.fsync(file.fileno())

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, text: bytes) -> None:
        assert self._file is not None
        while text:
            text = text[self._file.write(text) :]

    def _load(self, read: Callable[[dict[str, Any]], object]) -> None:
        assert self._file is not None
        header = _line({"gip_gpu": self.kind, "version": VERSION})
        end = 0
        self._file.seek(0)
        with (
            reading(os.fspath(self.path or "")),
            contextlib.closing(io.BufferedReader(_Kept(self._file))) as lines,
        ):
            for number, line in enumerate(lines, 1):
                whole = line.endswith(b"\n")
                # The header itself may have been cut off.
                if number == 1 and line != header and (whole or not header.startswith(line)):
                    raise ValueError(f"it holds no {self.kind} of version {VERSION}; give another file")
                if not whole:
                    break
                if number > 1:
                    read(_record(line, number))
                end += len(line)
        self._file.truncate(end)
        if not end:
            self._write(header)


class _Kept(io.RawIOBase):
    """View of an open file that leaves it open when the view is closed."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return self._file.readinto(buffer)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=True).encode() + b"\n"


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        raise ValueError(f"line {number} has no key")
    return record
