"""One file as it was when it was opened; errors that name it."""

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

# What the readers of file formats raise on a file that is cut off, damaged or of another format.
UNREADABLE = (
    *(ValueError, TypeError, EOFError, SyntaxError, OverflowError, RuntimeError),
    *(csv.Error, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def suffix_of(path: AnyPath) -> str:
    """The end of a file's name that says its format, in lower case.

    >>> suffix_of("/pools/F.NPY"), suffix_of("rows.jsonl.gz"), suffix_of("folder.v2/F")
    ('.npy', '.gz', '')
    """
    return os.path.splitext(os.fspath(path))[1].lower()


class NoRows(ValueError):
    """A file has no rows: an error by itself, skipped among the shards of a folder and the ranks of a selection."""


@contextlib.contextmanager
def reading(path: AnyPath, hint: str = "") -> Iterator[None]:
    """Turns all that reading can raise into a ValueError of one line that names the file."""
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
    """A file that must stay as it is.

    Nothing is held open: each use opens the file anew, so a folder may have more shards than a process may have
    handles, threads share no position, and a copy in another process reads the same file.

    Args:
        path: of a file that exists.

    Attributes:
        name: the path as given, for messages.
        path: the absolute path.
        state: as `state_of`, when it was first seen.

    Raises:
        ValueError: there is no such file, or it is a pipe, a device or a folder.
    """

    def __init__(self, path: AnyPath) -> None:
        self.name = os.fspath(path)
        self.path = os.path.abspath(self.name)
        with reading(self.name):
            status = os.stat(self.path)
            # To open a pipe would wait for somebody who writes to it.
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
            self.state = state_of(status)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.state[0]

    @contextlib.contextmanager
    def opened(self, hint: str = "") -> Iterator[io.FileIO]:
        """The file, open for reading, unbuffered; what goes wrong inside is a ValueError that names it.

        Args:
            hint: what else may be wrong, for the message.

        Raises:
            ValueError: also where it has changed since it was first seen.
        """
        with reading(self.name, hint), open(self.path, "rb", buffering=0) as file:
            self._compare(os.fstat(file.fileno()))
            yield file

    def check(self) -> None:
        """Raises ValueError where there is no such file any more, or it has changed since it was first seen."""
        with reading(self.name):
            self._compare(os.stat(self.path))

    def _compare(self, status: os.stat_result) -> None:
        if state_of(status) != self.state:
            raise OSError("it has changed since it was opened")


def read_at(file: io.FileIO, offset: int, out: NDArray[Any]) -> None:
    """Fills a C-contiguous array with the bytes from `offset` on; EOFError where the file ends before."""
    target = out.reshape(-1).view(np.uint8).data
    file.seek(offset)
    done = 0
    while done < len(target):  # a single read gives at most 2 GiB
        count = file.readinto(target[done:])
        if not count:
            raise EOFError("it ends before its last row")
        done += count


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """Size in bytes, time of the last write in ns and inode: what shows that a file was written to or replaced."""
    # Not the time of change of the inode: a new name, link or permission leaves the content as it is.
    return status.st_size, status.st_mtime_ns, status.st_ino
