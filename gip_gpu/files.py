"""Files of the command line, read: whatever is wrong with one is said with its name."""

import csv
import zipfile
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gip_gpu.sources import SUFFIXES, Source, known_suffix, open_matrix
from gip_gpu.sources.base import NUMERIC_KINDS
from gip_gpu.sources.file import AnyPath, reading, state_of
from gip_gpu.sources.names import NO_NAMES, choose
from gip_gpu.sources.raw import npy_header
from gip_gpu.writing import check_suffix

Header = tuple[tuple[int, ...], np.dtype[Any]]


def read_embeddings(path: AnyPath, key: str | None = None) -> NDArray[Any] | Source:
    """Embeddings from a .npz file, read into memory, or from what `gip_gpu.sources.open_matrix` opens.

    Args:
        path: .npz; or .npy, .safetensors, .parquet, .arrow, .feather, or a folder of these.
        key: name of the array, tensor or column; needed where there are several matrices of numbers.

    Returns:
        (m, d) array of the dtype in a .npz; a `Source`, of which rows are read when they are asked for, from others.

    Raises:
        ValueError: unreadable, truncated, of another format, Python objects inside, or not 2-d.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.savez(folder + "/pool.npz", F=np.eye(3), ids=np.arange(3))
    ...     read_embeddings(folder + "/pool.npz").shape
    (3, 3)
    """
    return _read_array(Path(path), key, dimensions=(2,), suffixes=(".npy", ".npz"))


def read_scores(path: AnyPath, key: str | None = None) -> NDArray[Any] | Source:
    """Scores from the files of `read_embeddings`, or from comma-separated .csv.

    A .csv has one row an item and one or several columns of numbers; a first row with a cell that is no
    number is taken as the header.

    Args:
        path: .csv, or as above.
        key: name of the array, tensor or column, or names of columns, "a,b,c"; needed where there are several of
            numbers.

    Returns:
        (m,) or (m, n) array from a .npz, (m, n) float64 from a .csv, a `Source` (m, n) from others.

    Raises:
        ValueError: as above; in a .csv also the line and column of the first cell that is no number, a row of
            another length, an empty line inside, or a column without a name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "scores.csv").write_text("quality,length\\n1,2\\n3,4.5\\n")
    ...     read_scores(folder + "/scores.csv")
    array([[1. , 2. ],
           [3. , 4.5]])
    """
    path = Path(path)
    if path.suffix == ".csv" and key is None:
        with reading(path), open(path, encoding="utf-8-sig", newline="") as source:
            return _parse_csv(csv.reader(source, strict=True))
    return _read_array(path, key, dimensions=(1, 2), suffixes=(".npy", ".npz", ".csv"))


@dataclass(frozen=True)
class JsonlRows:
    """Rows of a .jsonl file by number: only where each begins is held in memory.

    Attributes:
        path: the file.
        offsets: (rows + 1,) int64, byte where each row begins, and where the last one ends.
        state: as `state_of`, when the file was scanned.
    """

    path: Path
    offsets: NDArray[np.int64]
    state: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def copy(self, indices: Iterable[int], target: BinaryIO) -> None:
        """Write the rows with these indices to an open file, byte for byte, in this order.

        Raises:
            ValueError: the file has changed since it was scanned.
        """
        with reading(self.path):
            if state_of(self.path.stat()) != self.state:
                raise ValueError("it has changed since its rows were counted")
        with open(self.path, "rb") as source:
            for i in indices:
                source.seek(self.offsets[i])
                row = source.read(self.offsets[i + 1] - self.offsets[i])
                target.write(row if row.endswith(b"\n") else row + b"\n")


def read_jsonl_rows(path: AnyPath, count: int | None = None) -> JsonlRows:
    """Find the rows of a .jsonl (or .ndjson) file, one an item; what is inside a row is not looked at.

    Args:
        path: the file, UTF-8; empty lines at its end do not count.
        count: how many rows there must be: those of the embeddings.

    Raises:
        ValueError: unreadable, no row, an empty line inside (it is named), or not `count` rows.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data.jsonl").write_text('{"a": 1}\\n{"a": 2}\\n')
    ...     len(read_jsonl_rows(folder + "/data.jsonl"))
    2
    """
    path = Path(path)
    check_suffix(path, (".jsonl", ".ndjson"))
    offsets, empty = array("q"), 0
    with reading(path), open(path, "rb") as source:
        state = state_of(path.stat())
        mark = b"\xef\xbb\xbf"  # some editors begin a UTF-8 file with it; it belongs to no row
        start = end = len(mark) if source.read(len(mark)) == mark else 0
        source.seek(start)
        for number, line in enumerate(source, 1):
            if line.isspace():
                empty = empty or number
            elif empty:
                raise ValueError(f"line {empty} is empty; it must have one row a line")
            else:
                offsets.append(start)
                end = start + len(line)
            start += len(line)
        rows = len(offsets)
        if count is not None and rows != count:
            raise ValueError(f"it has {rows} rows and the embeddings have {count}; row i belongs to row i")
        if not rows:
            raise ValueError("it has no rows")
    offsets.append(end)
    return JsonlRows(path, np.array(offsets, dtype=np.int64), state)


def _read_array(
    path: Path, key: str | None, *, dimensions: tuple[int, ...], suffixes: tuple[str, ...]
) -> NDArray[Any] | Source:
    if path.suffix == ".npz":
        return _read_npz(path, key, dimensions)
    if not path.is_dir():
        known_suffix(path, (*suffixes, *SUFFIXES[1:]))
        if path.suffix == ".csv":
            raise ValueError(NO_NAMES.format(key=key, path=path))
    return open_matrix(path, key, dimensions=dimensions)


def _read_npz(path: Path, key: str | None, dimensions: tuple[int, ...]) -> NDArray[Any]:
    damaged = "; it may be cut off, or no .npz file"
    with reading(path, hint=damaged), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        headers = {name.removesuffix(".npy"): _header(archive, name) for name in members}
    fitting = [name for name, header in headers.items() if _fits(header, dimensions)]
    held = {name: f"{dtype} {shape}" for name, (shape, dtype) in headers.items()}
    chosen = choose(str(path), "array", key, fitting, held, dimensions)
    with reading(path, hint=damaged), np.load(path, allow_pickle=False) as arrays:
        found: NDArray[Any] = arrays[chosen]
    return found


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as file:
        shape, _, dtype = npy_header(file)
    return shape, dtype


def _fits(header: Header, dimensions: tuple[int, ...]) -> bool:
    return len(header[0]) in dimensions and header[1].kind in NUMERIC_KINDS


def _parse_csv(lines: Any) -> NDArray[np.float64]:
    values, width, empty = array("d"), 0, 0
    for cells in lines:
        number = lines.line_num
        numeric = [_is_number(cell) for cell in cells]
        if not any(map(str.strip, cells)):
            empty = empty or number
            continue
        if empty:
            raise ValueError(f"line {empty} is empty; every item needs a row")
        if width and len(cells) != width:
            raise ValueError(f"line {number} has {len(cells)} columns and the lines above have {width}")
        if all(numeric):
            values.extend(map(float, cells))
        elif width:
            column = numeric.index(False)
            raise ValueError(f"line {number}, column {column + 1}: {cells[column]!r} is not a number")
        elif not all(map(str.strip, cells)):
            # Tables written with row numbers look like this; taken as scores, they would rule the choice.
            column = [cell.strip() for cell in cells].index("")
            raise ValueError(f"line {number}: column {column + 1} has no name; does it hold row numbers?")
        width = len(cells)
    if not values:
        raise ValueError("it has no rows of numbers")
    return np.frombuffer(values, dtype=np.float64).reshape(-1, width)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
