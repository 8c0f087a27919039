"""A matrix to write to files, and checks that a source gives the rows of an array."""

from __future__ import annotations

import threading

import numpy as np

from gip_gpu.sources import Source

F = np.random.default_rng(5).standard_normal((101, 7)) * 10
G = np.random.default_rng(6).random((101, 2))


def same(source: Source, array: np.ndarray) -> None:
    """Asserts that every way to index rows gives those of the array, in its dtype."""
    m, d = array.shape
    assert (source.shape, source.dtype, len(source), source.ndim) == ((m, d), array.dtype, m, 2)
    for start, stop in ((0, m), (0, 1), (m - 1, m), (3, 50), (33, 34), (40, 97), (5, 5)):
        np.testing.assert_array_equal(source.read(start, stop), array[start:stop])
        out = np.full((stop - start, d), 7, array.dtype)
        assert source.read(start, stop, out) is out
        np.testing.assert_array_equal(out, array[start:stop])
    mask = np.arange(m) % 3 == 1
    mixed = [5, 6, 7, 3, 3, m - 1, 0, -1, -m, 40, 41, 2]
    for key in (
        mixed,
        np.array(mixed, np.int32),
        mask,
        np.arange(m)[::-1],
        slice(None),
        slice(3, -3),
        slice(9, 2, -2),
    ):
        np.testing.assert_array_equal(source[key], array[key])  # type: ignore[index]
    assert source[[]].shape == (0, d)
    np.testing.assert_array_equal(source[-2], array[-2])
    np.testing.assert_array_equal(source.as_float64(), array.astype(np.float64))
    assert source[3:9].flags.owndata or source[3:9].base.flags.owndata


def asked_by_threads(source: Source, array: np.ndarray, times: int) -> bool:
    """Returns whether four threads that read blocks and take rows at the same time all get those of the array."""
    right = []

    def ask(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(times):
            indices = rng.integers(0, len(array), 50)
            start = int(indices.min())
            np.testing.assert_array_equal(source.take(indices), array[indices])
            np.testing.assert_array_equal(source.read(start, len(array) - 3), array[start:-3])
        right.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(right) == 4
