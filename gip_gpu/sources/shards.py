"""Folders of shards: one matrix in several files."""

import logging
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from gip_gpu.sources.base import Pieces, Source
from gip_gpu.system.files import NoRows, suffix_of

log = logging.getLogger("gip_gpu")


class ShardedSource(Source):
    """The concatenated rows of several sources of equal row length and type.

    Raises:
        ValueError: a shard differs from the first in row length, type or columns.
    """

    def __init__(self, name: str, shards: Sequence[Source]) -> None:
        first = shards[0]
        for shard in shards:
            if (shard.shape[1], shard.dtype) != (first.shape[1], first.dtype):
                raise ValueError(
                    f"{shard.name} has rows of {shard.shape[1]} {shard.dtype}, and {first.name} of {first.shape[1]} "
                    f"{first.dtype}; the shards of a matrix must agree"
                )
            if _columns(shard) != _columns(first):
                raise ValueError(
                    f"{shard.name} is read from columns {', '.join(_columns(shard))}, and {first.name} from "
                    f"{', '.join(_columns(first))}; the shards of a matrix must agree"
                )
        self.shards = tuple(shards)
        self.starts = np.cumsum([0, *map(len, shards)])
        super().__init__(name, (int(self.starts[-1]), first.shape[1]), first.dtype, sum(s.nbytes for s in shards))
        self.gap = min(shard.gap for shard in shards)
        self.origin = first.origin

    def _fill(self, pieces: Pieces) -> None:
        parts: dict[int, list[tuple[int, np.ndarray]]] = {}
        for first, out in pieces:
            stop = first + len(out)
            begin, end = np.searchsorted(self.starts, [first, stop - 1], side="right") - 1
            cuts = [first, *self.starts[begin + 1 : end + 1].tolist(), stop]
            for number, (a, b) in enumerate(pairwise(cuts), int(begin)):
                parts.setdefault(number, []).append((a - int(self.starts[number]), out[a - first : b - first]))
        for number, part in sorted(parts.items()):
            self.shards[number]._fill(part)

    def places(self) -> list[str]:
        return [*super().places(), *(place for shard in self.shards for place in shard.places())]

    def close(self) -> None:
        super().close()
        for shard in self.shards:
            shard.close()


def _columns(shard: Source) -> tuple[str, ...]:
    """Returns the names of the columns or fields that a shard is read from; none for an array."""
    return () if shard.origin is None or shard.origin.what not in ("column", "field") else shard.origin.names


def open_folder(path: Path, open_shard: Callable[[Path], Source], suffixes: Sequence[str]) -> Source:
    """Opens the matrix with the shards of `shard_paths`; skips shards without rows.

    Raises:
        NoRows: no shard has rows.
        ValueError: there is no shard; a shard cannot be read or differs from the first.
    """
    shards = shard_paths(path, suffixes)
    sources = [source for shard in shards if (source := _unless_empty(shard, open_shard)) is not None]
    if not sources:
        raise NoRows(f"cannot read {path}: none of its {len(shards)} shards has rows")
    return ShardedSource(str(path), sources)


def shard_paths(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """Lists the files of a folder with these suffixes in the natural order of their names; ValueError if none."""
    # Spark's own files begin with an underscore; the datasets library stores its caches in a data set's folder.
    names = [
        name for name in sorted(entry.name for entry in path.iterdir()) if not name.startswith((".", "_", "cache-"))
    ]
    shards = sorted((name for name in names if suffix_of(name) in suffixes), key=_natural)
    if not shards:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        # Subfolders may be the splits of a data set or the parts of a partitioned table.
        inner = next((name for name in names if (path / name).is_dir()), None)
        hint = "" if inner is None else f"; if a folder in it is meant, give its path: {path / inner}"
        raise ValueError(f"cannot read {path}: it is a folder without a {' or '.join(suffixes)} file; "
                         f"it holds {shown or 'nothing'}{hint}")  # fmt: skip
    return [path / name for name in shards]


def _unless_empty(path: Path, open_shard: Callable[[Path], Source]) -> Source | None:
    try:
        return open_shard(path)
    except NoRows:
        log.debug("%s has no rows; the shard is skipped", path)
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a sort key that compares numbers in a name by value: shard-2 before shard-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]
