"""Atomic writes: a file is written completely or not at all."""

import contextlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gip_gpu.system.files import AnyPath, suffix_of


@contextlib.contextmanager
def atomic_write(path: AnyPath) -> Iterator[BinaryIO]:
    """Opens a new file for writing bytes; it becomes `path` when the `with` block ends without an exception.

    Until then it has a hidden temporary name in the folder of `path`; at the end it is flushed to disk and renamed. On
    any exception it is removed, and an existing file at `path` stays unchanged. A link is followed: its target is
    replaced. The temporary file remains only if the process is killed.

    Raises:
        OSError: the file cannot be created, written or renamed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_write(folder + "/hello.txt") as file:
    ...         _ = file.write(b"hello")
    ...     os.listdir(folder)
    ['hello.txt']
    """
    with Together() as together, together.open(path) as file:
        yield file


class Together:
    """Several files that are all written, or none: a `with` block that renames all of them at its end.

    Each file is written as in `atomic_write`, but keeps its temporary name until the block ends without an exception.
    On any exception all are removed; if a rename fails, the files that are new are removed too.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with Together() as together:
    ...         for name in ("a.txt", "b.txt"):
    ...             with together.open(f"{folder}/{name}") as file:
    ...                 _ = file.write(b"hello")
    ...         before = [entry.startswith(".") for entry in os.listdir(folder)]
    ...     before, sorted(os.listdir(folder))
    ([True, True], ['a.txt', 'b.txt'])
    """

    def __init__(self) -> None:
        self._written: list[tuple[Path, Path]] = []

    @contextlib.contextmanager
    def open(self, path: AnyPath) -> Iterator[BinaryIO]:
        """Opens a new file for writing bytes; it is flushed to disk when its own `with` block ends.

        Raises:
            OSError: the file cannot be created or written.
        """
        target = Path(os.path.realpath(path))
        temporary = _temporary(target)
        self._written.append((temporary, target))
        # The tempfile module would make the file readable by its owner only, whatever the umask.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "Together":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        new: list[Path] = []
        try:
            if kind is None:
                for temporary, target in self._written:
                    if target.exists():
                        shutil.copymode(target, temporary)
                    else:
                        new.append(target)
                    os.replace(temporary, target)
                new = []
        finally:
            for leftover in (*new, *(temporary for temporary, _ in self._written)):
                leftover.unlink(missing_ok=True)


def remove_leftovers(path: AnyPath, older: float = 600.0) -> None:
    """Removes temporary files of killed processes that were writing `path`.

    Args:
        path: the file that the temporary files were to replace.
        older: least age in seconds since the last change; another process may still be writing a younger file.
    """
    target = Path(os.path.realpath(path))
    name = re.compile(rf"\.{re.escape(target.name[:40])}\.[0-9a-f]{{16}}\.tmp")
    # A folder may allow creating files but not listing them; the leftovers then stay.
    with contextlib.suppress(PermissionError), os.scandir(target.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > older:
                        os.unlink(entry.path)


def check_target(path: AnyPath, suffixes: Sequence[str], *, overwrite: bool) -> None:
    """Checks now whether `path` can be written later.

    Raises:
        ValueError: another suffix, no such folder, not writable, an invalid file name, not a regular file, or the file
            exists and `overwrite` is false.
    """
    path = Path(path)
    check_suffix(path, suffixes)
    target = Path(os.path.realpath(path))
    try:
        if not target.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {target.parent}")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ValueError(f"cannot write {path}: it is no regular file")
            if not overwrite:
                raise ValueError(f"cannot write {path}: it exists; --force overwrites it")
        # Permission bits do not show read-only disks and access lists; creating a file does.
        probe = _temporary(target)
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error


def check_suffix(path: Path, known: Sequence[str]) -> None:
    """Raises ValueError if the file name ends in none of the known suffixes."""
    if suffix_of(path) not in known and "".join(path.suffixes[-2:]).lower() not in known:  # as in rows.jsonl.gz
        raise ValueError(f"{path} has suffix {path.suffix!r}; it must be {' or '.join(known)}")


def _temporary(target: Path) -> Path:
    """Returns a temporary name in the folder of `target`, of the form that `remove_leftovers` matches."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
