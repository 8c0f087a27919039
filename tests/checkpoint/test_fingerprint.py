"""Fingerprints of matrices: any change of values changes them, block sizes and strides do not."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.device_arrays import DeviceMatrix


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["f2", "f4", ">f8", "i1", "bool", "u8", "g"]))
def test_fingerprints(seed, dtype):
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(1, 50)), int(rng.integers(1, 20))
    F = rng.integers(0, 2, (m, d)).astype(dtype) if dtype == "bool" else rng.integers(0, 9, (m, d)).astype(dtype)
    known = fingerprint.of_rows(F, 0)
    assert int(fingerprint.of_matrix(F), 16) == known[0] << 64 | known[1]
    # Blocks and strides do not matter.
    cut = int(rng.integers(0, m + 1))
    parts = fingerprint.of_rows(F[:cut], 0), fingerprint.of_rows(np.asfortranarray(F)[cut:], cut)
    assert tuple(sum(part) % 2**64 for part in zip(*parts, strict=True)) == known
    row, column = rng.integers(m), rng.integers(d)
    other = F.copy()
    other[row, column] = not other[row, column] if dtype == "bool" else other[row, column] + 1
    assert all(a != b for a, b in zip(fingerprint.of_rows(other, 0), known, strict=True))
    swapped = F[np.roll(np.arange(m), 1)]
    if (swapped != F).any():
        assert fingerprint.of_rows(swapped, 0) != known
    assert fingerprint.of_rows(F.reshape(-1, 1), 0) != known or d == 1
    if dtype == "f4":
        assert fingerprint.of_rows(F.view("i4"), 0) != known


def test_fingerprint_of_a_device_matrix(monkeypatch):
    torch = pytest.importorskip("torch")
    from gip_gpu.checkpoint import fingerprint as module

    monkeypatch.setattr(module, "BLOCK_VALUES", 64)
    F = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    assert fingerprint.of_matrix(DeviceMatrix(torch.from_numpy(F))) == fingerprint.of_matrix(F)
    monkeypatch.undo()
    assert len({fingerprint.of_matrix(F), fingerprint.of_matrix(F[::-1]), fingerprint.of_matrix(F * 2)}) == 3
    assert fingerprint.of_matrix(DeviceMatrix(torch.from_numpy(F))) == fingerprint.of_matrix(F)


def test_parts_of_a_matrix_add_up():
    F = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float16)
    whole = fingerprint.of_matrix(F)
    for starts in ([0, 50], [0, 1, 50], [0, 20, 21, 50]):
        parts = [fingerprint.of_part(F[a:b], a) for a, b in pairwise(starts)]
        assert fingerprint.joined(parts) == whole
    assert fingerprint.joined([fingerprint.of_part(F[:20], 0), fingerprint.of_part(F[20:], 0)]) != whole


def alterations(F):
    """Yields matrices of the values of F, moved and negated in ways that do not change plain sums."""
    d = F.shape[1]
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64, 1: np.uint8}[F.itemsize]
    highest = np.array(1 << 8 * F.itemsize - 1, bits)
    per_word = 8 // F.itemsize
    last = [per_word - 1 + per_word * word for word in range(d // per_word)]
    for rows in (slice(None), slice(0, None, 2), slice(3, 4)):
        for columns in (slice(None), last[:2], last, slice(0, 2), [0, d - 1]):
            other = F.copy()
            part = other[rows].view(bits)
            part[:, columns] ^= highest
            yield other
    for bit in range(8 * F.itemsize):
        # The same bit of two words, set in one and cleared in the other, or flipped in both.
        for change in (lambda x, one: (x[0] | one, x[1] & ~one), lambda x, one: (x[0] ^ one, x[1] ^ one)):
            other = F.copy()
            pair = other.view(bits)[5, [0, per_word]]
            other.view(bits)[5, [0, per_word]] = change(pair, np.array(1 << bit, bits))
            yield other
    for shift in (1, per_word):
        yield np.roll(F, shift, axis=1)
    words = np.arange(d)
    words[: 2 * per_word] = np.roll(words[: 2 * per_word], per_word)
    yield F[:, words]
    yield F[:, ::-1]
    yield F[::-1]
    other = F.copy()
    other[[5, 6]] = other[[6, 5]]
    yield other
    for value in (1, 2, 64):
        other = F.copy()
        other[5, 0], other[5, per_word] = other[5, 0] + value, other[5, per_word] - value
        yield other
        other = F.copy()
        other[5, 0], other[6, 0] = other[5, 0] + value, other[6, 0] - value
        yield other
    other = np.zeros_like(F)
    yield other
    other = other.copy()
    other[5] = F[5]
    yield other
    yield np.roll(other, 1, axis=0)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1"])
@pytest.mark.parametrize("kind", ["random", "one", "zero"])
def test_changes_that_cancel_in_sums(dtype, kind):
    """For example flips of the highest bits of two words, which are the signs of their last numbers."""
    F = np.random.default_rng(0).integers(-60, 60, (12, 16)).astype(dtype)
    if kind != "random":
        F[:] = kind == "one"
    seen = {}
    for other in (F, *alterations(F)):
        found = fingerprint.of_rows(other, 0)
        for place, number in enumerate(found):
            assert seen.setdefault((place, number), other.tobytes()) == other.tobytes()
    assert len({content for (place, _), content in seen.items() if not place}) > 20


def test_negated_matrices():
    rng = np.random.default_rng(0)
    for shape, dtype in (((50, 8), "f8"), ((50, 2), "f8"), ((50, 16), "f2"), ((50, 8), "f4")):
        F = rng.standard_normal(shape).astype(dtype)
        assert all(a != b for a, b in zip(fingerprint.of_rows(F, 0), fingerprint.of_rows(-F, 0), strict=True))
