"""Matrices stored in a file in their memory layout: .npy and .safetensors."""

import json
import math
from typing import Any, BinaryIO, cast

import numpy as np

from gip_gpu.sources.base import NUMERIC_KINDS, Pieces, Source
from gip_gpu.sources.float8 import FLOAT8, float8_values
from gip_gpu.sources.names import NO_NAMES, MatrixRequest, choose_array, described
from gip_gpu.system.files import File, NoRows, read_at

# NumPy type of each safetensors type; for types that NumPy does not have, the unsigned integer with the same bits.
SAFETENSORS = {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}
SAFETENSORS |= {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?", "BF16": "<u2"} | dict.fromkeys(FLOAT8, "u1")
# Largest header that the safetensors library accepts, in bytes.
LARGEST_HEADER = 100_000_000


class RawSource(Source):
    """A matrix stored at an offset in a file.

    Args:
        file: the file.
        offset: byte of the first value.
        shape: (m,) or (m, d).
        stored: type of the values in the file.
        by_columns: the values are in Fortran order.
        kind: "BF16" or one of `FLOAT8`: `stored` is the type of their bits, and rows are float32. None for NumPy's own
            types.
    """

    gap = 1 << 15

    def __init__(
        self, file: File, offset: int, shape: tuple[int, ...], stored: Any, *, by_columns: bool = False,
        kind: str | None = None,
    ) -> None:  # fmt: skip
        self.stored = np.dtype(stored)
        nbytes = math.prod(shape) * self.stored.itemsize
        matrix = (shape[0], shape[1] if len(shape) == 2 else 1)
        super().__init__(file.name, matrix, self.stored if kind is None else np.dtype(np.float32), nbytes)
        self.file, self.offset, self.by_columns, self.kind = file, offset, by_columns, kind

    def _fill(self, pieces: Pieces) -> None:
        (m, d), size = self.shape, self.stored.itemsize
        with self.file.opened() as file:
            for first, out in pieces:
                if self.by_columns:
                    column = np.empty(len(out), self.stored)
                    for j in range(d):
                        read_at(file, self.offset + (j * m + first) * size, column)
                        out[:, j] = column
                elif self.kind is not None:
                    bits = np.empty(out.shape, self.stored)
                    read_at(file, self.offset + first * d * size, bits)
                    if self.kind == "BF16":
                        # The upper half of a float32.
                        np.left_shift(bits, 16, out=out.view(np.uint32), dtype=np.uint32)
                    else:
                        np.take(float8_values(self.kind), bits, out=out, mode="clip")
                else:
                    read_at(file, self.offset + first * d * size, out)


def npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads shape, Fortran order and dtype of an open .npy file, and leaves the file position at the first value."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its format has version {version[0]}.{version[1]}, and 1.0 to 3.0 are known")
    # Version 3.0 differs from 2.0 only in the encoding of field names, which arrays of numbers do not have.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def open_npy(file: File, request: MatrixRequest) -> Source:
    """Opens the matrix of a .npy file."""
    if request.key is not None:
        raise ValueError(NO_NAMES.format(key=request.key, path=file.name))
    with file.opened("; it may be cut off, or no .npy file") as opened:
        shape, by_columns, dtype = npy_header(opened)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        offset = opened.tell()
        if min(shape, default=0) < 0 or offset + math.prod(shape) * dtype.itemsize > file.size:
            raise ValueError(f"it has {file.size - offset} bytes of values, too few for {dtype} {shape}")
    if shape[:1] == (0,):
        raise NoRows(f"{file.name} holds {dtype} {shape}; it must have at least one row and one column")
    if len(shape) not in request.dimensions or dtype.kind not in NUMERIC_KINDS:
        raise ValueError(f"{file.name} holds {dtype} {shape}; it must be {described(request.dimensions)}")
    return RawSource(file, offset, shape, dtype, by_columns=by_columns)


def open_safetensors(file: File, request: MatrixRequest) -> Source:
    """Opens the requested tensor of a .safetensors file, or the only one that fits."""
    # Not the safetensors library: it maps the file, so that pages stay resident after reading (measured: all of a
    # 307 MB file), and its NumPy interface has no bfloat16. The header is its length in 8 bytes, then JSON.
    with file.opened("; it may be cut off, or no .safetensors file") as opened:
        start, tensors = _tensors(cast(BinaryIO, opened), file.size)
    numbers = {name: len(shape) for name, (kind, shape, _) in tensors.items() if kind in SAFETENSORS}
    held = {name: f"{kind} {shape}" for name, (kind, shape, _) in tensors.items()}
    matrices, plain = ([name for name, n in numbers.items() if n == wanted] for wanted in (2, 1))
    origin = choose_array(file.name, "tensor", request, matrices, plain, held)
    kind, shape, first = tensors[origin.names[0]]
    bits = kind if kind == "BF16" or kind in FLOAT8 else None
    source = RawSource(file, start + first, shape, SAFETENSORS[kind], kind=bits)
    source.origin = origin
    return source


def _tensors(file: BinaryIO, size: int) -> tuple[int, dict[str, tuple[str, tuple[int, ...], int]]]:
    """Returns the offset of the data, and the type, shape and first byte within the data of each tensor."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header of {length} bytes goes beyond its end")
    text = np.empty(length, np.uint8)
    read_at(cast(Any, file), 8, text)
    header = json.loads(text.tobytes())
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    tensors, held, last = {}, size - 8 - length, 0
    for name, entry in header.items():
        kind, shape, place = (entry[field] for field in ("dtype", "shape", "data_offsets")) if _is_entry(entry) else (
            None, [], [])  # fmt: skip
        if kind is None or len(place) != 2 or not 0 <= place[0] <= place[1] <= held:
            raise ValueError(f"its header has no place inside the file for tensor {name!r}")
        if kind in SAFETENSORS:
            needed = math.prod(shape) * np.dtype(SAFETENSORS[kind]).itemsize
            if place[1] - place[0] != needed:
                raise ValueError(
                    f"tensor {name!r}, {kind} {tuple(shape)}, has {place[1] - place[0]} bytes, not {needed}"
                )
        tensors[name] = (kind, tuple(shape), place[0])
        last = max(last, place[1])
    if last != held:
        raise ValueError(f"it has {held} bytes of data, and its header declares {last}")
    return 8 + length, tensors


def _is_entry(entry: Any) -> bool:
    """Returns whether a header entry has the fields of a tensor, with the right types."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("dtype"), str)
        and all(
            isinstance(entry.get(field), list) and all(type(value) is int and value >= 0 for value in entry[field])
            for field in ("shape", "data_offsets")
        )
    )
