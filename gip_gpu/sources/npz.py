"""Arrays of a .npz file: uncompressed arrays are read in blocks, compressed arrays whole."""

import math
import zipfile
from typing import Any

import numpy as np

from gip_gpu.sources.base import NUMERIC_KINDS, Source
from gip_gpu.sources.in_memory import InMemorySource
from gip_gpu.sources.names import MatrixRequest, choose_array
from gip_gpu.sources.raw import RawSource, npy_header
from gip_gpu.system import memory
from gip_gpu.system.files import File, reading

DAMAGED = "; it may be cut off, or no .npz file"
# Local header before each ZIP member: its fixed length, and the bytes with the lengths of its name and extra field.
LOCAL, LENGTHS = 30, slice(26, 30)
ENCRYPTED = 1


def open_npz(file: File, request: MatrixRequest) -> Source:
    """Opens the requested array of a .npz file, or the only one that fits."""
    with file.opened(DAMAGED) as opened, zipfile.ZipFile(opened) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        headers = {info.filename.removesuffix(".npy"): (info, *_header(archive, info)) for info in members}
    numbers = {name: len(shape) for name, (_, shape, _, dtype, _) in headers.items() if dtype.kind in NUMERIC_KINDS}
    held = {name: f"{dtype} {shape}" for name, (_, shape, _, dtype, _) in headers.items()}
    matrices, plain = ([name for name, n in numbers.items() if n == wanted] for wanted in (2, 1))
    origin = choose_array(file.name, "array", request, matrices, plain, held)
    info, shape, by_columns, dtype, begin = headers[origin.names[0]]
    nbytes = math.prod(shape) * dtype.itemsize
    stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & ENCRYPTED
    with file.opened(DAMAGED) as opened:
        if begin + nbytes > info.file_size:
            raise ValueError(
                f"array {origin.names[0]!r} has {info.file_size - begin} bytes of values, too few for {dtype} {shape}"
            )
        opened.seek(info.header_offset)
        lengths = np.frombuffer(opened.read(LOCAL)[LENGTHS], "<u2")
        first = info.header_offset + LOCAL + int(lengths.sum()) + begin
        if stored and first + nbytes > file.size:
            raise ValueError(f"array {origin.names[0]!r} goes beyond its end")
    if stored:
        source = RawSource(file, first, shape, dtype, by_columns=by_columns)
        source.origin = origin
        return source
    if nbytes > request.room:
        raise ValueError(
            f"cannot read {file.name}: array {origin.names[0]!r}, {dtype} {shape}, is compressed and takes "
            f"{memory.readable(nbytes)} in memory, but the limit is {memory.readable(request.room)}; saved by np.save "
            "as .npy, or by np.savez, it is read in blocks"
        )
    with reading(file.name, DAMAGED), np.load(file.path, allow_pickle=False) as arrays:
        array = arrays[origin.names[0]]
    file.check()
    return InMemorySource(file.name, array, origin)


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Returns `npy_header` of a member, and the offset of the first value in it."""
    with archive.open(info) as member:
        return *npy_header(member), member.tell()
