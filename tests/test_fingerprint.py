"""Fingerprints of matrices: any change shows, the way they are read does not."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gip_gpu import fingerprint
from gip_gpu.interop import DeviceMatrix


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(["f2", "f4", ">f8", "i1", "bool", "u8", "g"]))
def test_fingerprints(seed, dtype):
    rng = np.random.default_rng(seed)
    m, d = int(rng.integers(1, 50)), int(rng.integers(1, 20))
    F = rng.integers(0, 2, (m, d)).astype(dtype) if dtype == "bool" else rng.integers(0, 9, (m, d)).astype(dtype)
    known = fingerprint.of_rows(F, 0)
    assert int(fingerprint.of_matrix(F), 16) == known[0] << 64 | known[1]
    # Whatever the blocks and strides.
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
    from gip_gpu import fingerprint as module

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
