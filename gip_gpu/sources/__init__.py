"""Matrices that lie in files: opened by path, read in blocks of rows, never whole in memory."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.sources.arrow import ArrowSource
from gip_gpu.sources.base import Matrix, Source
from gip_gpu.sources.file import AnyPath, File
from gip_gpu.sources.mapped import MemmapSource, mappable
from gip_gpu.sources.parquet import open_parquet
from gip_gpu.sources.part import Part
from gip_gpu.sources.raw import open_npy, open_safetensors
from gip_gpu.sources.shards import open_folder

__all__ = ["Matrix", "Part", "Source", "as_source", "open_matrix", "places"]

FORMATS = {
    ".npy": open_npy,
    ".safetensors": open_safetensors,
    ".parquet": open_parquet,
    ".arrow": ArrowSource,
    ".feather": ArrowSource,
}
SUFFIXES = tuple(FORMATS)


def open_matrix(path: AnyPath, key: str | None = None, *, dimensions: tuple[int, ...] = (1, 2)) -> Source:
    """A matrix in a file or a folder of files, of which rows are read when they are asked for.

    Args:
        path: .npy of any float or integer type; .safetensors; .parquet, .arrow or .feather (extra "data") with a column
            of lists of one length, or columns of numbers; or a folder of such files, the shards of one matrix, in the
            natural order of their names (shard-2 before shard-10). Rows of a large Parquet row group cost decoding what
            stands before them.
        key: name of the tensor or column where there are several; "a,b,c" for columns of numbers.
        dimensions: 2 for a matrix only; with 1, also a vector (m,), which is read as (m, 1).

    Returns:
        A `Source` of shape (m, d); bfloat16 is read as float32, which holds each of its values.

    Raises:
        ValueError: there is no such file, it is truncated, damaged, or of another kind; no or several arrays fit; there
            are no rows; the shards of a folder do not agree. The path is named.
        ImportError: Parquet and Arrow need pyarrow.

    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(folder + "/shard-10.npy", np.full((1, 2), 10.0))
    ...     np.save(folder + "/shard-9.npy", np.full((3, 2), 9.0))
    ...     source = open_matrix(folder)
    ...     source.shape, source.read(2, 4).tolist(), source.take([3, 0]).tolist()
    ((4, 2), [[9.0, 9.0], [10.0, 10.0]], [[10.0, 10.0], [9.0, 9.0]])
    """
    if not os.fspath(path):
        raise ValueError("an empty path names no file")
    place = Path(path)
    if place.is_dir():
        return open_folder(place, partial(open_matrix, key=key, dimensions=dimensions), SUFFIXES)
    known_suffix(place, SUFFIXES)
    return FORMATS[place.suffix](File(path), key, dimensions)


def as_source(value: Any, *, dimensions: tuple[int, ...] = (1, 2)) -> Source | None:
    """A source as it is, a path opened, an np.memmap whose rows lie one behind the other; None for all else.

    Raises:
        ValueError, ImportError: as `open_matrix`.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, os.PathLike)):
        return open_matrix(value, dimensions=dimensions)
    return MemmapSource(value) if mappable(value, dimensions) else None


def places(value: Any) -> list[str]:
    """Real paths of the files and folders that a matrix is read from; none for what lies in memory.

    >>> import numpy as np
    >>> places("/pools/F.npy"), places(np.eye(2))
    (['/pools/F.npy'], [])
    """
    if isinstance(value, Source):
        return value.places()
    if isinstance(value, np.memmap):
        value = value.filename
    return [os.path.realpath(value)] if isinstance(value, (str, os.PathLike)) else []


def known_suffix(path: Path, known: tuple[str, ...]) -> None:
    """Raises ValueError where a path ends in none of these, or is none of a file."""
    if path.suffix in known:
        return
    if not path.suffix and not path.exists():
        raise ValueError(f"cannot read {path}: No such file or directory")
    hint = "; load it by np.load(path)[name], or name it in the command line" if path.suffix == ".npz" else ""
    raise ValueError(
        f"{path} has suffix {path.suffix!r}; it must be {' or '.join(known)}, or a folder of .npy, .safetensors, "
        f".parquet, .arrow or .feather files{hint}"
    )
