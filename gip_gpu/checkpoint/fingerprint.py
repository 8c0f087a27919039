"""Fingerprints of matrices: 128 bits that depend on every value and the order of rows, but not on the block size."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import BLOCK_VALUES

Words = NDArray[np.uint64]

# All arithmetic is on uint64 arrays, which wrap around.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEPS = (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB))
LAST_SHIFT = np.uint64(31)
# Most blocks that wait for the thread of `Background`.
WAITING = 3
# Bytes of rows that it hashes at a time.
PIECE = 1 << 17
SEEDS = 0x6769705F67707531, 0x6769705F67707532


def of_rows(block: NDArray[Any], first_index: int) -> tuple[int, int]:
    """Returns the part of a matrix's fingerprint that comes from consecutive rows; the parts add up modulo 2**64.

    Each row is hashed as stored: its bytes as 64-bit words, padded with zeros. Each word is mixed with a constant of
    its position, so that each of its bits affects about half of all bits, before the words of a row are added. The sum
    is mixed with the dtype and length, and then with the index of the row. A second sum uses the words mixed again.

    Args:
        block: (rows, d) of any real dtype.
        first_index: index of its first row in the matrix.

    >>> import numpy as np
    >>> F = np.arange(12.0).reshape(4, 3)
    >>> parts = of_rows(F[:1], 0), of_rows(F[1:], 1)
    >>> tuple(sum(part) % 2**64 for part in zip(*parts)) == of_rows(F, 0) != of_rows(F[[1, 0, 2, 3]], 0)
    True
    """
    if block.dtype.itemsize > 8:
        # The padding bytes of a long double are arbitrary; it is rounded to float64 everywhere else too.
        block = block.astype(np.float64)
    count, d = block.shape
    words = _words(np.ascontiguousarray(block))
    # If words were added unmixed, or times constants, an even number of flipped highest bits would cancel, such as the
    # signs of two numbers.
    words = words + _keys(words.shape[1])
    _mix(words)
    first = words.sum(axis=1, dtype=np.uint64)
    _mix(words)
    places = np.arange(first_index, first_index + count, dtype=np.uint64) * GOLDEN
    sums = []
    for seed, hashed in zip(SEEDS, (first, words.sum(axis=1, dtype=np.uint64)), strict=True):
        hashed += _salt(seed, f"{block.dtype.str} {d}")
        _mix(hashed)
        hashed += places
        _mix(hashed)
        sums.append(int(hashed.sum(dtype=np.uint64)))
    return sums[0], sums[1]


def of_matrix(matrix: Any) -> str:
    """Returns the fingerprint of a whole matrix on the host or a GPU, read in blocks: 32 hexadecimal digits.

    Args:
        matrix: (m, d) array, memory map or `gip_gpu.data.device_arrays.DeviceMatrix`.

    >>> import numpy as np
    >>> of_matrix(np.eye(3)) == of_matrix(np.eye(3)) != of_matrix(np.eye(3, dtype=np.float32))
    True
    """
    return joined([of_part(matrix, 0)])


def of_part(matrix: Any, first_index: int) -> tuple[int, int]:
    """As `of_rows`, for rows on the host or a GPU, read in blocks."""
    m, d = matrix.shape
    step = max(1, BLOCK_VALUES // max(d, 1))
    parts = [of_rows(matrix[start : start + step], first_index + start) for start in range(0, m, step)]
    return _sum(parts)


def joined(parts: Iterable[tuple[int, int]]) -> str:
    """Returns the fingerprint of a matrix from all its parts.

    >>> import numpy as np
    >>> F = np.arange(12.0).reshape(4, 3)
    >>> joined([of_part(F[1:], 1), of_part(F[:1], 0)]) == of_matrix(F)
    True
    """
    first, second = _sum(parts)
    return f"{first:016x}{second:016x}"


class Background:
    """Fingerprint of a matrix that a thread computes while its blocks are used for other work.

    >>> import numpy as np
    >>> F, found = np.arange(12.0).reshape(4, 3), Background()
    >>> found.add(F[:1], 0)
    >>> found.add(F[1:], 1)
    >>> found.result() == of_matrix(F)
    True
    """

    def __init__(self) -> None:
        self._parts: list[Future[tuple[int, int]]] = []

    def add(self, block: NDArray[Any], first_index: int) -> None:
        """Adds consecutive rows, as `of_rows`; they must not change before `result`."""
        if len(self._parts) >= WAITING:
            # Blocks of a file are freed once they are hashed.
            self._parts[-WAITING].result()
        self._parts.append(_thread(os.getpid()).submit(_of_block, block, first_index))

    def result(self) -> str:
        """Returns the fingerprint of all rows added."""
        return joined(part.result() for part in self._parts)


def _of_block(block: NDArray[Any], first_index: int) -> tuple[int, int]:
    """As `of_rows`, some rows at a time, which stay in a cache and need little memory."""
    step = max(1, PIECE // max(1, block.shape[1] * block.itemsize))
    return _sum(of_rows(block[i : i + step], first_index + i) for i in range(0, len(block), step))


@cache
def _thread(process: int) -> ThreadPoolExecutor:
    """Returns the thread of a process, its own after a fork."""
    return ThreadPoolExecutor(1, thread_name_prefix="gip_gpu-fingerprint")


def _sum(parts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    first = second = 0
    for part in parts:
        first, second = (first + part[0]) % 2**64, (second + part[1]) % 2**64
    return first, second


def _words(block: NDArray[Any]) -> Words:
    """Returns contiguous rows as (rows, words) uint64, padded with zeros."""
    count, width = len(block), block.shape[1] * block.itemsize
    words = -(-width // 8)
    if width % 8:
        padded = np.zeros((count, words * 8), np.uint8)
        padded[:, :width] = block.view(np.uint8).reshape(count, width)
        block = padded
    return block.view(np.uint64).reshape(count, words)


def _mix(values: Words) -> None:
    """Applies the finaliser of splitmix64 in place; it is one to one, so every change of a single value changes it."""
    shifted = np.empty_like(values)
    for shift, factor in STEPS:
        np.right_shift(values, shift, out=shifted)
        values ^= shifted
        values *= factor
    np.right_shift(values, LAST_SHIFT, out=shifted)
    values ^= shifted


@lru_cache(maxsize=8)
def _keys(count: int) -> Words:
    """Returns the constants added to the words of a row, by splitmix64, so that the position of a zero counts too."""
    keys = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    _mix(keys)
    return keys


def _salt(seed: int, text: str) -> np.uint64:
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return np.uint64(int.from_bytes(digest, "little"))
