"""Batches hold texts of similar length; each text is in one."""

from __future__ import annotations

import numpy as np

from gip_gpu.embedding.batches import BLOCK, batches
from gip_gpu.embedding.encoder import BatchLimits


def test_each_text_is_in_one_batch_of_similar_length() -> None:
    rng = np.random.default_rng(0)
    texts = ["x" * int(n) for n in rng.integers(0, 500, 3 * BLOCK * 4 + 7)]
    made = list(batches(texts, BatchLimits(4, 1200)))
    assert sorted(np.concatenate([batch.rows for batch in made]).tolist()) == list(range(len(texts)))
    for batch in made:
        assert [texts[i] for i in batch.rows] == batch.texts
        assert (np.diff(batch.rows) > 0).all()
        assert len(batch.rows) <= 4
        assert len(batch.rows) * max(map(len, batch.texts)) <= 1200
    padded = sum(len(batch.texts) * max(map(len, batch.texts)) for batch in made)
    assert padded < 1.05 * sum(map(len, texts))


def test_a_text_longer_than_a_batch_is_one_alone() -> None:
    made = list(batches(["x" * 5000, "a", "b"], BatchLimits(4, 1000)))
    assert [batch.rows.tolist() for batch in made] == [[0], [1, 2]]
    # A text that is cut off counts as long as what is left of it.
    assert len(list(batches(["x" * 5000, "a", "b"], BatchLimits(4, 1000, longest=100)))) == 1


def test_no_text_gives_no_batch() -> None:
    assert list(batches([], BatchLimits(4))) == []
