"""Locks of files among processes, which end with the process that holds them."""

import contextlib
import errno
from collections.abc import Iterator
from typing import IO, Any

from gip_gpu.system.files import AnyPath

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None  # type: ignore[assignment]

# Errors of file systems without locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def lock(file: IO[Any], message: str) -> None:
    """Locks an open file until it is closed; does nothing where the system or the file system has no locks.

    Raises:
        ValueError: another process, or another open file of this one, holds the lock; with this message.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(message) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise


@contextlib.contextmanager
def locked(path: AnyPath, message: str) -> Iterator[None]:
    """Holds the lock of a file, which is created if it does not exist and stays.

    Raises:
        ValueError: as `lock`.
        OSError: the file cannot be created.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with locked(folder + "/.lock", "in use"):
    ...         try:
    ...             with locked(folder + "/.lock", "in use"):
    ...                 pass
    ...         except ValueError as error:
    ...             print(error)
    in use
    """
    with open(path, "ab") as file:
        lock(file, message)
        yield
