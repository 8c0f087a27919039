"""Files that are written whole or not at all."""

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
    """A new file, open for writing bytes, that becomes `path` when the `with` block ends well.

    Until then it stands beside `path` under a hidden temporary name; at the end it is flushed to disk and
    renamed. On any exception it is removed, and what stood at `path` stays as it was. A link is followed: the
    file that it points to is replaced. Only a process killed without notice leaves the temporary file behind.

    Raises:
        OSError: the file cannot be made, written or renamed.

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
    """Several files that are all written, or none of them: a `with` block whose end gives all of them their names.

    Each is as in `atomic_write`, but keeps its temporary name until the block ends well. On any exception all are
    removed; where the last step fails for one of them, those that had not existed before are taken back.

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
        """A new file, open for writing bytes, on disk when its own `with` block ends.

        Raises:
            OSError: it cannot be made or written.
        """
        target = Path(os.path.realpath(path))
        temporary = _temporary(target)
        self._written.append((temporary, target))
        # The tempfile module would make the result readable by its owner only, whatever the umask.
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
    """Removes the temporary files that killed processes left when they wrote to `path`.

    Args:
        path: the file that they would have become.
        older: seconds since the last change; a younger one may be another process's that is still at it.
    """
    target = Path(os.path.realpath(path))
    name = re.compile(rf"\.{re.escape(target.name[:40])}\.[0-9a-f]{{16}}\.tmp")
    # A folder that files may be made in and not listed keeps them.
    with contextlib.suppress(PermissionError), os.scandir(target.parent) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > older:
                        os.unlink(entry.path)


def check_target(path: AnyPath, suffixes: Sequence[str], *, overwrite: bool) -> None:
    """Find out now whether `path` can be written later.

    Raises:
        ValueError: another suffix, no such folder, not writable, no name that a file can have, no regular file, or it
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
        # Permission bits do not tell of read-only disks and access lists; making a file does.
        probe = _temporary(target)
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error


def check_suffix(path: Path, known: Sequence[str]) -> None:
    """ValueError where the name of a file does not end in one of these."""
    if suffix_of(path) not in known and "".join(path.suffixes[-2:]).lower() not in known:  # as in rows.jsonl.gz
        raise ValueError(f"{path} has suffix {path.suffix!r}; it must be {' or '.join(known)}")


def _temporary(target: Path) -> Path:
    """A name beside a file for what will become it; `remove_leftovers` knows it."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
