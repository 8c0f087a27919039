"""Matrices in files: opened by path and read in blocks of rows, never whole in memory."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.sources.arrow import ArrowSource
from gip_gpu.sources.base import Matrix, Source
from gip_gpu.sources.lines import open_csv, open_jsonl, open_tsv
from gip_gpu.sources.mapped import MemmapSource, mappable
from gip_gpu.sources.names import MatrixRequest
from gip_gpu.sources.npz import open_npz
from gip_gpu.sources.parquet import open_parquet
from gip_gpu.sources.part import Part
from gip_gpu.sources.raw import open_npy, open_safetensors
from gip_gpu.sources.shards import open_folder
from gip_gpu.system import memory
from gip_gpu.system.files import AnyPath, File, suffix_of
from gip_gpu.validation.settings import as_bytes

__all__ = ["Matrix", "Part", "Source", "as_source", "open_matrix", "places"]

Opener = Callable[[File, MatrixRequest], Source]

# File formats that a folder may hold as shards.
SHARDS: dict[str, Opener] = {
    ".npy": open_npy,
    ".safetensors": open_safetensors,
    ".parquet": open_parquet,
    ".arrow": ArrowSource,
    ".feather": ArrowSource,
}
MATRICES: dict[str, Opener] = {".npy": open_npy, ".npz": open_npz, **SHARDS}
# Text formats are accepted for scores only.
TEXT: dict[str, Opener] = {".csv": open_csv, ".tsv": open_tsv, ".jsonl": open_jsonl, ".ndjson": open_jsonl}


def open_matrix(
    path: AnyPath,
    key: str | None = None,
    *,
    dimensions: tuple[int, ...] = (1, 2),
    memory_limit: int | float | str | None = None,
) -> Source:
    """Opens a matrix in a file or a folder of files; rows are read on request.

    Args:
        path: one of

            - .npy of any float or integer type, .npz, or .safetensors;
            - .parquet, .arrow or .feather (extra "data") with a column of lists of equal length, or columns of numbers.
              Reading rows of a large Parquet row group decodes all rows before them in the group;
            - a folder of such files except .npz: the shards of one matrix, in the natural order of their names (shard-2
              before shard-10). Shards without rows are skipped;
            - with 1 among `dimensions`, also .csv and .tsv, columns of numbers with or without a line of names, and
              .jsonl and .ndjson, fields of numbers.

            Text files and compressed arrays of a .npz are read whole.
        key: name of the array, tensor, column or field if there are several; "a,b,c" for columns of numbers.
        dimensions: 2 for a matrix only; with 1, also a vector (m,), which is read as (m, 1).
        memory_limit: largest size of a compressed array of a .npz, as in `gip_gpu.select`; at most the free memory.

    Returns:
        A `Source` of shape (m, d). bfloat16 and 8-bit floats are read as float32, which represents all their values.
        Missing values are read as NaN: nulls (except in lists of integers), empty cells, "NA". Without a key the source
        is the only array, or the only column of lists, or the only column of numbers; of .csv and .tsv, all columns.
        `gip_gpu.select` accepts scores that may be embeddings, an identifier or row numbers only if `key` names them.

    Raises:
        ValueError: there is no such file; it is truncated, damaged or of another kind; no array or several arrays fit;
            there are no rows; the shards of a folder disagree; it needs too much memory. The message names the path.
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
    free = memory.available()
    limit = as_bytes(memory_limit, free)
    request = MatrixRequest(os.fspath(path), key, dimensions, free if limit is None else min(limit, free))
    if os.path.isdir(path):
        return open_folder(Path(path), partial(_open_file, request=request), tuple(SHARDS))
    return _open_file(path, request)


def _open_file(path: AnyPath, request: MatrixRequest) -> Source:
    place = Path(path)
    known = MATRICES | (TEXT if 1 in request.dimensions else {})
    if suffix_of(place) not in known:
        if not place.suffix and not place.exists():
            raise ValueError(f"cannot read {path}: No such file or directory")
        raise ValueError(
            f"{path} has suffix {place.suffix!r}; it must be {' or '.join(known)}, or a folder of "
            f"{', '.join(SHARDS)} files"
        )
    return known[suffix_of(place)](File(path), request)


def as_source(
    value: Any, *, dimensions: tuple[int, ...] = (1, 2), memory_limit: int | float | str | None = None
) -> Source | None:
    """Returns a source unchanged, opens a path, and wraps an np.memmap with contiguous rows; None for anything else.

    Raises:
        ValueError, ImportError: as `open_matrix`.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, (str, os.PathLike)):
        return open_matrix(value, dimensions=dimensions, memory_limit=memory_limit)
    return MemmapSource(value) if mappable(value, dimensions) else None


def places(value: Any) -> list[str]:
    """Returns the real paths of the files and folders that a matrix is read from; none for an array in memory.

    >>> import numpy as np
    >>> places("/pools/F.npy"), places(np.eye(2))
    (['/pools/F.npy'], [])
    """
    if isinstance(value, Source):
        return value.places()
    if isinstance(value, np.memmap):
        value = value.filename
    return [os.path.realpath(value)] if isinstance(value, (str, os.PathLike)) else []
