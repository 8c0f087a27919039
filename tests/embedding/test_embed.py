"""Vectors of texts in a file: right, resumed after a kill, shared by processes, never made twice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gip_gpu.embedding import BatchLimits, Encoder, HashingEncoder, Ranks, embed, load_encoder
from gip_gpu.embedding.encoder import unit_rows
from tests.support.data_sets import rows

TEXTS = [f"{row['question']} {row['answer']}" for row in rows(150)]


class CountingEncoder:
    """Encoder that counts its texts and stops after some batches, as a kill would."""

    identity = "counting"
    width = 16
    batch = BatchLimits(4)

    def __init__(self, most: int = 1 << 30) -> None:
        self.batches: list[list[str]] = []
        self.most = most
        self.inner = HashingEncoder(self.width)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.batches) == self.most:
            raise KeyboardInterrupt
        self.batches.append(list(texts))
        return self.inner.encode(texts)


def test_vectors_are_unit_rows_of_float16(tmp_path: Path) -> None:
    encoder = HashingEncoder(64)
    made = embed(TEXTS, 150, "f", encoder, tmp_path / "v.npy")
    stored = np.load(tmp_path / "v.npy")
    assert (stored.shape, stored.dtype, made.shape, made.resumed) == ((150, 64), np.float16, (150, 64), 0)
    assert np.array_equal(stored, unit_rows(encoder.encode(TEXTS)))
    assert np.abs(np.linalg.norm(stored.astype(np.float64), axis=1) - 1).max() < 2e-3
    assert sorted(os.listdir(tmp_path)) == ["v.npy", "v.npy.json"]
    assert json.loads((tmp_path / "v.npy.json").read_text())["fingerprint"] == made.fingerprint


@pytest.mark.parametrize("most", [0, 1, 7, 37])
def test_a_run_that_ended_goes_on_and_gives_the_same_file(most: int, tmp_path: Path) -> None:
    embed(TEXTS, 150, "f", CountingEncoder(), tmp_path / "whole.npy")
    first, second = CountingEncoder(most), CountingEncoder()
    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, 150, "f", first, tmp_path / "v.npy")
    assert not (tmp_path / "v.npy").exists()
    made = embed(TEXTS, 150, "f", second, tmp_path / "v.npy")
    assert made.resumed == sum(map(len, first.batches))
    assert sorted(chain(*first.batches, *second.batches)) == sorted(TEXTS)
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_complete_file_is_left_as_it_is(tmp_path: Path) -> None:
    embed(TEXTS, 150, "f", CountingEncoder(), tmp_path / "v.npy")
    again = CountingEncoder()
    assert embed(TEXTS, 150, "f", again, tmp_path / "v.npy").resumed == 150
    assert not again.batches
    other = CountingEncoder()
    # Other texts, or another encoder.
    assert embed(TEXTS, 150, "g", other, tmp_path / "v.npy").resumed == 0
    other.identity = "another"
    assert embed(TEXTS, 150, "g", other, tmp_path / "v.npy").resumed == 0
    assert sum(map(len, other.batches)) == 300


def test_rows_of_other_texts_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, 150, "f", CountingEncoder(5), tmp_path / "v.npy")
    assert embed(TEXTS[::-1], 150, "g", CountingEncoder(), tmp_path / "v.npy").resumed == 0
    assert np.array_equal(np.load(tmp_path / "v.npy"), unit_rows(HashingEncoder(16).encode(TEXTS[::-1])))


def test_damaged_rows_are_made_again(tmp_path: Path) -> None:
    """After a power failure a row may be marked as written whose values are not."""
    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, 150, "f", CountingEncoder(20), tmp_path / "v.npy")
    part = np.load(tmp_path / "v.npy.part", mmap_mode="r+")
    written = np.flatnonzero(part.any(axis=1))
    part[written[3]] = 0
    part.flush()
    again = CountingEncoder()
    made = embed(TEXTS, 150, "f", again, tmp_path / "v.npy")
    assert made.resumed == len(written) - 1 == 79
    assert np.array_equal(np.load(tmp_path / "v.npy"), unit_rows(HashingEncoder(16).encode(TEXTS)))


def test_ranks_share_the_batches(tmp_path: Path) -> None:
    encoders = [CountingEncoder() for _ in range(3)]
    whole = embed(TEXTS, 150, "f", CountingEncoder(), tmp_path / "whole.npy")
    with pytest.raises(ValueError, match="is not written"):
        embed(TEXTS, 150, "f", encoders[0], tmp_path / "v.npy", ranks=Ranks(0, 3))
    for rank in (1, 2):
        embed(TEXTS, 150, "f", encoders[rank], tmp_path / "v.npy", ranks=Ranks(rank, 3))
    made = embed(TEXTS, 150, "f", encoders[0], tmp_path / "v.npy", ranks=Ranks(0, 3))
    assert [len(encoder.batches) for encoder in encoders] == [13, 13, 12]
    assert sorted(chain(*(text for encoder in encoders for text in encoder.batches))) == sorted(TEXTS)
    assert made.fingerprint == whole.fingerprint
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_progress_counts_texts(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    embed(TEXTS, 150, "f", CountingEncoder(), tmp_path / "v.npy", progress=lambda *at: seen.append(at))
    assert seen[-1] == (150, 150)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_errors(tmp_path: Path) -> None:
    class Broken(CountingEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            vectors = super().encode(texts)
            vectors[1, 3] = np.nan
            return vectors

    with pytest.raises(ValueError, match=r"texts \d+ to \d+: text 1 of a batch has a vector that is not finite"):
        embed(TEXTS, 150, "f", Broken(), tmp_path / "v.npy")
    with pytest.raises(ValueError, match="there are 150 texts; count says 151"):
        embed(TEXTS, 151, "f", CountingEncoder(), tmp_path / "v.npy")
    with pytest.raises(ValueError, match="width after the colon must be a count"):
        load_encoder("hashing:many")
    with pytest.raises(ValueError, match="width is 0"):
        load_encoder("hashing:0")


def test_hashing_counts_words_of_any_language() -> None:
    encoder = HashingEncoder(4096)
    assert isinstance(encoder, Encoder)
    texts = ["The cat sat", "sat cat THE", "cat", "\u732b\u304c\u5ea7\u308b", "\u732b", "", " \n", "...", "a\x00b"]
    rows = encoder.encode(texts).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    assert cosines[0, 1] == pytest.approx(1)
    assert 0.3 < cosines[0, 2] < 0.8
    assert 0.3 < cosines[3, 4] < 0.8
    # Texts without words have one direction, which no word has.
    assert cosines[5, 6] == cosines[5, 7] == pytest.approx(1)
    assert abs(cosines[5, [0, 2, 3, 8]]).max() < 1e-9
    assert encoder.identity != HashingEncoder(64).identity


def test_large_texts() -> None:
    assert HashingEncoder(32).encode(["word " * 40_000, "x" * 200_000]).shape == (2, 32)
