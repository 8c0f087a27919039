"""Compressed files, recognised by suffix: .gz by the standard library, .zst by the standard library or pyarrow."""

import contextlib
import gzip
import importlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from gip_gpu.system.files import AnyPath, suffix_of

SUFFIXES = (".gz", ".zst")


def check_codec(path: AnyPath) -> None:
    """Raises ImportError if the suffix of a file needs a codec that is not installed."""
    if suffix_of(path) == ".zst":
        _zstd()


def open_plain(path: AnyPath) -> BinaryIO:
    """Opens a file for reading its decompressed bytes.

    Raises:
        ImportError: .zst, with a Python before 3.14 and without pyarrow.
        OSError: the file cannot be opened. Damage raises OSError, EOFError, zlib.error or ValueError on reading.
    """
    if suffix_of(path) == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix_of(path) == ".zst":
        library = _zstd()
        if hasattr(library, "ZstdFile"):
            return cast(BinaryIO, library.ZstdFile(path))
        return cast(BinaryIO, io.BufferedReader(library.input_stream(os.fspath(path), compression="zstd"), 1 << 20))
    return open(path, "rb")


@contextlib.contextmanager
def compressing(file: BinaryIO, path: AnyPath) -> Iterator[BinaryIO]:
    """Yields a file that takes plain bytes and compresses them into `file` by the suffix of `path`; `file` stays open.

    >>> buffer = io.BytesIO()
    >>> with compressing(buffer, "rows.jsonl.gz") as target:
    ...     _ = target.write(b"hello")
    >>> gzip.decompress(buffer.getvalue())
    b'hello'
    """
    if suffix_of(path) == ".gz":
        # No name and no time in the header, so that the same rows give the same file.
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as target:
            yield cast(BinaryIO, target)
    elif suffix_of(path) == ".zst":
        library = _zstd()
        if hasattr(library, "ZstdFile"):
            with library.ZstdFile(file, "wb") as target:
                yield target
        else:
            with library.CompressedOutputStream(library.PythonFile(_Kept(file), "w"), "zstd") as target:
                yield target
    else:
        yield file


class _Kept:
    """File whose `close` does nothing, so that pyarrow leaves the underlying file open."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.flush = file.write, file.flush

    def close(self) -> None:
        """Does nothing: the owner closes the file."""


def _zstd() -> Any:
    """Returns the library that has the codec: compression.zstd, or pyarrow."""
    for name in ("compression.zstd", "pyarrow"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise ImportError('.zst files need Python 3.14, or pyarrow: pip install "gip_gpu[data]"')
