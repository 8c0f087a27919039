"""Files that must not change while they are read, and read errors that name the file."""

import contextlib
import csv
import io
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyPath = str | os.PathLike[str]

# Exceptions that file format readers raise on a truncated or damaged file, or on one of another format.
UNREADABLE = (
    *(ValueError, TypeError, EOFError, SyntaxError, OverflowError, RuntimeError),
    *(csv.Error, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def suffix_of(path: AnyPath) -> str:
    """Returns the last suffix of a file name, in lower case.

    >>> suffix_of("/pools/F.NPY"), suffix_of("rows.jsonl.gz"), suffix_of("folder.v2/F")
    ('.npy', '.gz', '')
    """
    return os.path.splitext(os.fspath(path))[1].lower()


class NoRows(ValueError):
    """A file has no rows: an error for a single file; empty shards of a folder and empty ranks are skipped."""


@contextlib.contextmanager
def reading(path: AnyPath, hint: str = "") -> Iterator[None]:
    """Converts every exception of a read into a one-line ValueError that names the file."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise ValueError(f"cannot read {path}: not enough memory{f': {error}' if str(error) else ''}") from error
    except UNREADABLE as error:
        if isinstance(error, NoRows):
            raise NoRows(f"cannot read {path}: {error}") from error
        raise ValueError(f"cannot read {path}: {str(error) or type(error).__name__}{hint}") from error


class File:
    """A file that must not change.

    No handle stays open: each use opens the file again. So a folder may have more shards than a process may have
    handles, threads share no file position, and a pickled copy in another process reads the same file.

    Args:
        path: path of an existing file.

    Attributes:
        name: the path passed in, for messages.
        path: the absolute path.
        state: `state_of` the file when the object was created.

    Raises:
        ValueError: there is no such file, or it is a pipe, a device or a folder.
    """

    def __init__(self, path: AnyPath) -> None:
        self.name = os.fspath(path)
        self.path = os.path.abspath(self.name)
        with reading(self.name):
            status = os.stat(self.path)
            # Opening a pipe would block until another process writes to it.
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
            self.state = state_of(status)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.state[0]

    @contextlib.contextmanager
    def opened(self, hint: str = "") -> Iterator[io.FileIO]:
        """Opens the file for unbuffered reading; errors inside the `with` block become a ValueError that names it.

        Args:
            hint: possible cause, appended to the message.

        Raises:
            ValueError: reading fails, or the file has changed since the object was created.
        """
        with reading(self.name, hint), open(self.path, "rb", buffering=0) as file:
            self._compare(os.fstat(file.fileno()))
            yield file

    def check(self) -> None:
        """Raises ValueError if the file is gone or has changed since the object was created."""
        with reading(self.name):
            self._compare(os.stat(self.path))

    def _compare(self, status: os.stat_result) -> None:
        if state_of(status) != self.state:
            raise OSError("it has changed since it was opened")


def read_at(file: io.FileIO, offset: int, out: NDArray[Any]) -> None:
    """Fills a C-contiguous array with the bytes from `offset` on; raises EOFError if the file ends too early."""
    target = out.reshape(-1).view(np.uint8).data
    file.seek(offset)
    done = 0
    while done < len(target):  # a single read returns at most 2 GiB
        count = file.readinto(target[done:])
        if not count:
            raise EOFError("it ends before its last row")
        done += count


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """Returns size in bytes, time of the last write in ns and inode: they change if a file is written or replaced."""
    # Not the change time of the inode: a new name, link or permission does not change the content.
    return status.st_size, status.st_mtime_ns, status.st_ino
