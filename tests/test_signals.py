"""Self-compression: the row sums of the Gram matrix, equal for equal rows, without F in float64."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gip_gpu.rows import BLOCK_VALUES
from gip_gpu.signals import self_compression

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
@pytest.mark.parametrize("normalize", [True, False])
def test_is_the_row_sums_of_the_gram_matrix(dtype: type, normalize: bool) -> None:
    F = (RNG.normal(size=(300, 17)) * 20).astype(dtype)
    F[~F.any(axis=1), 0] = 1
    # Extended precision: what is left is the float64 rounding of the code under test.
    rows = F.astype(np.longdouble)
    if normalize:
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    wanted = (rows @ rows.T).sum(axis=1)
    scale = np.abs(rows @ rows.T).sum(axis=1).max()
    found = self_compression(F, normalize=normalize)
    assert found.dtype == np.float64
    assert found.shape == (300,)
    assert np.abs(found - wanted).max() <= 300 * 2.0**-53 * scale


def test_sums_over_many_blocks() -> None:
    F = RNG.normal(size=(2 * (BLOCK_VALUES // 512) + 3, 512))
    np.testing.assert_allclose(self_compression(F, normalize=False), (F @ F.T).sum(axis=1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 64, 384])
def test_equal_rows_have_equal_scores_wherever_they_stand(d: int) -> None:
    step = BLOCK_VALUES // d
    m = 2 * min(step, 20_000) + 1  # for wide rows: two whole blocks, and one of a single row
    F = RNG.normal(size=(m, d)).astype(np.float32)
    places = np.unique(np.r_[RNG.choice(m, 50, replace=False), 0, m // 2 - 1, m // 2, m - 1])
    F[places] = F[places[0]]
    assert len(np.unique(self_compression(F)[places])) == 1
    assert len(np.unique(self_compression(np.asfortranarray(F), normalize=False)[places])) == 1


@given(st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_scores_follow_a_permutation(m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    F = rng.integers(-3, 4, size=(m, d)) + 0.5  # sums of halves are exact in any order
    order = rng.permutation(m)
    assert (self_compression(F[order], normalize=False) == self_compression(F, normalize=False)[order]).all()


def test_a_memory_mapped_file_never_exists_whole_in_float64(tmp_path: Path) -> None:
    m, d = 120_000, 64
    np.save(tmp_path / "F.npy", RNG.normal(size=(m, d)).astype(np.float16))
    F = np.load(tmp_path / "F.npy", mmap_mode="r")
    tracemalloc.start()
    scores = self_compression(F)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scores) == m
    assert peak < 0.3 * m * d * 8, f"{peak / 1e6:.0f} MB"


def test_input_stays_as_it_was() -> None:
    F = RNG.normal(size=(50, 4))
    before = F.copy()
    self_compression(F)
    assert (before == F).all()


@pytest.mark.parametrize(
    ("F", "message"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], "F has a zero row, row 1"),
        ([[1.0, np.nan]], "F has a value that is not finite in row 0"),
        ([1.0, 2.0], "F has shape"),
    ],
)
def test_bad_input_is_named(F: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_compression(F)  # type: ignore[arg-type]
