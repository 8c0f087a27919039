"""DSIR: against the formula with whole matrices of counts, in two passes, and a sample by the weights."""

from __future__ import annotations

import hashlib
import pickle
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gip_gpu.signals import DsirModel, dsir, gumbel_top_k
from gip_gpu.signals.dsir import bucket_of, tokens_of

RNG = np.random.default_rng(11)
LAW = ["court", "judge", "appeal", "statute", "plaintiff", "motion", "counsel", "verdict"]
FOOD = ["butter", "flour", "oven", "sugar", "whisk", "onion", "garlic", "simmer"]
COMMON = ["the", "a", "of", "and", "to", "in", "it", "is", ",", "."]


def text_of(words: list[str], rng: np.random.Generator, length: int = 40) -> str:
    """A text of two fifths of these words and three fifths of common ones."""
    return " ".join(rng.choice(words if rng.random() < 0.4 else COMMON) for _ in range(length))


TEXTS = ["Alice went to the store.", "", "?!", "ÉCOLE école", "a\ud800b", *(text_of(FOOD, RNG) for _ in range(30))]
TARGET = [text_of(LAW, RNG) for _ in range(9)] + ["Alice went out"]


class Stream:
    """Texts that can be iterated again and again, and are nowhere in a list."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.passes = texts, 0

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return (text for text in self.texts)


def counts_of(text: str, order: int, buckets: int) -> NDArray[np.float64]:
    """Counts of one text by the definition."""
    tokens = re.findall(r"\w+|[^\w\s]+", text.replace("\ud800", "\ufffd").lower())
    counts = np.zeros(buckets)
    for length in range(1, order + 1):
        for ngram in zip(*(tokens[start:] for start in range(length)), strict=False):
            counts[int(hashlib.sha256(" ".join(ngram).encode("utf-8")).hexdigest(), 16) % buckets] += 1
    return counts


def test_buckets_and_counts_are_those_of_the_authors() -> None:
    assert bucket_of("alice", 10_000) == 6720
    assert bucket_of("alice went", 10_000) == 114
    assert counts_of("Alice went to the store", 2, 10_000).sum() == 9
    assert tokens_of("Alice walked into\n\n()()($#%@?)@(#(*") == ["alice", "walked", "into", "()()($#%@?)@(#(*"]


@pytest.mark.parametrize(("order", "buckets"), [(1, 10_000), (2, 10_000), (2, 7), (3, 500), (5, 1)])
@pytest.mark.parametrize("smoothing", [0, 0.5])
def test_weights_are_those_of_the_formula(order: int, buckets: int, smoothing: float) -> None:
    counts, wanted = (np.array([counts_of(text, order, buckets) for text in texts]) for texts in (TEXTS, TARGET))
    raw, target = counts.sum(axis=0), wanted.sum(axis=0) + smoothing
    ratio = np.log(target / target.sum() + 1e-8) - np.log(raw / raw.sum() + 1e-8)
    found = dsir(TEXTS, TARGET, order=order, buckets=buckets, smoothing=smoothing)
    assert (found.shape, found.dtype) == ((len(TEXTS),), np.float64)
    # Products and sums of the plain formula round; a weight of the code is rounded once.
    np.testing.assert_allclose(found, counts @ ratio, rtol=0, atol=1e-13 * (counts @ np.abs(ratio)).max())
    assert found[1] == 0
    if buckets == 1:
        assert (found == 0).all()


def test_weights_do_not_depend_on_the_order_of_words_or_rows() -> None:
    model = DsirModel.fit(TEXTS, TARGET, order=1)
    words = text_of(LAW + FOOD, RNG, 200).split()
    shuffled = [" ".join(RNG.permutation(words)) for _ in range(20)]
    assert len(np.unique(model.weights(shuffled))) == 1
    order = RNG.permutation(len(TEXTS))
    assert (dsir([TEXTS[i] for i in order], TARGET) == dsir(TEXTS, TARGET)[order]).all()


def test_texts_are_streamed_in_two_passes_and_the_target_in_one() -> None:
    texts, target = Stream(TEXTS), Stream(TARGET)
    assert (dsir(texts, target) == dsir(TEXTS, TARGET)).all()
    assert (texts.passes, target.passes) == (2, 1)
    assert (dsir(TEXTS, iter(TARGET)) == dsir(TEXTS, TARGET)).all()
    model = DsirModel.fit(iter(TEXTS), iter(TARGET))
    # The weights of parts are those of the whole.
    parts = np.concatenate([model.weights(iter(TEXTS[start : start + 4])) for start in range(0, len(TEXTS), 4)])
    assert (parts == dsir(TEXTS, TARGET)).all()


def test_counts_of_many_texts_are_never_in_memory() -> None:
    class Many:
        def __iter__(self) -> Iterator[str]:
            return (TEXTS[-1] for _ in range(2000))

    tracemalloc.start()
    dsir(Many(), TARGET)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 10_000 * 8 / 50, f"{peak / 1e6:.0f} MB"


def test_short_texts_have_no_weight_and_count_in_the_shares() -> None:
    lengths = np.array([len(tokens_of(text)) for text in TEXTS])
    found, whole = dsir(TEXTS, TARGET, min_tokens=6), dsir(TEXTS, TARGET)
    assert (np.isnan(found) == (lengths < 6)).all()
    assert (lengths[:5] < 6).tolist() == [False, True, True, True, True]
    assert (found[lengths >= 6] == whole[lengths >= 6]).all()
    assert not np.isnan(dsir(TEXTS, TARGET, min_tokens=0)).any()


def test_a_model_is_pickled() -> None:
    model = DsirModel.fit(TEXTS, TARGET, order=3, buckets=64)
    again = pickle.loads(pickle.dumps(model))
    assert (again.weights(TEXTS) == dsir(TEXTS, TARGET, order=3, buckets=64)).all()


def test_progress_counts_both_passes() -> None:
    seen: list[tuple[int, int]] = []
    dsir(TEXTS, TARGET, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 2 * len(TEXTS)) for done in range(1, 2 * len(TEXTS) + 1)]


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_domain_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    planted = rng.random(600) < 0.1
    texts = [text_of(LAW if law else FOOD, rng) for law in planted]
    weights = dsir(texts, [text_of(LAW, rng) for _ in range(40)])
    assert weights[planted].min() > weights[~planted].max()
    chosen = gumbel_top_k(weights, int(planted.sum()), seed)
    assert planted[chosen].mean() > 0.95
    assert planted[rng.permutation(600)[: len(chosen)]].mean() < 0.3


def test_draws_have_the_probabilities_of_the_weights() -> None:
    weights = np.log([1.0, 2, 3, 4]) + 700
    pairs = [gumbel_top_k(weights, 2, seed) for seed in range(4000)]
    share = np.array([1, 2, 3, 4]) / 10
    first = np.bincount([pair[0] for pair in pairs], minlength=4) / len(pairs)
    # Six standard deviations of a share of 4000 draws.
    assert np.abs(first - share).max() < 6 * 0.5 / np.sqrt(4000)
    # The second draw is from the rows left: P(3 then 2) = 0.4 * 0.3 / 0.6.
    assert abs(np.mean([pair.tolist() == [3, 2] for pair in pairs]) - 0.2) < 6 * 0.4 / np.sqrt(4000)


def test_all_eligible_rows_can_be_drawn_and_no_others() -> None:
    weights = RNG.normal(size=50) * 300
    weights[[3, 8]], weights[[0, 49]] = np.nan, -np.inf
    for seed in range(20):
        chosen = gumbel_top_k(weights, 46, seed)
        assert (chosen.dtype, len(np.unique(chosen))) == (np.int64, 46)
        assert np.isfinite(weights[chosen]).all()
    with pytest.raises(ValueError, match="k is 47, and 46 of 50 rows have a finite weight"):
        gumbel_top_k(weights, 47, 0)


def test_draws_repeat_under_a_seed_and_the_noise_of_a_row_is_its_own() -> None:
    weights = RNG.normal(size=200)
    chosen = gumbel_top_k(weights, 20, 5)
    assert (gumbel_top_k(weights.tolist(), "10%", np.random.default_rng(5)) == chosen).all()
    assert (gumbel_top_k(weights, 20, 6) != chosen).any()
    assert (gumbel_top_k(weights, 40, 5)[:20] == chosen).all()
    # Rows that are not chosen may leave.
    weights[np.setdiff1d(np.arange(200), chosen)[:50]] = np.nan
    assert (gumbel_top_k(weights, 20, 5) == chosen).all()


@pytest.mark.parametrize(
    ("texts", "target", "options", "error", "message"),
    [
        ("one text", TARGET, {}, TypeError, "texts is a str; it must be a list of texts"),
        (iter(TEXTS), TARGET, {}, TypeError, "texts is a list_iterator, which can be read once"),
        (TEXTS, 3, {}, TypeError, "target is a int"),
        (TEXTS, "one text", {}, TypeError, "target is a str"),
        ([*TEXTS, 7], TARGET, {}, TypeError, r"texts\[35\] is 7, a int; texts must hold texts"),
        (TEXTS, [("a", "b")], {}, TypeError, r"target\[0\] is \('a', 'b'\), a tuple"),
        (TEXTS, [], {}, ValueError, "target has no text with a token"),
        (["", " \n"], TARGET, {}, ValueError, "texts has no text with a token"),
        (TEXTS, TARGET, {"order": 0}, ValueError, "order is 0; order must be an int of at least 1"),
        (TEXTS, TARGET, {"order": 1.5}, TypeError, "order is 1.5, a float"),
        (TEXTS, TARGET, {"buckets": True}, TypeError, "buckets is True, a bool"),
        (TEXTS, TARGET, {"min_tokens": -1}, ValueError, "min_tokens is -1"),
        (TEXTS, TARGET, {"smoothing": -1}, ValueError, "smoothing is -1; smoothing must be a pseudo-count"),
        (TEXTS, TARGET, {"smoothing": np.nan}, ValueError, "smoothing is nan"),
        (TEXTS, TARGET, {"smoothing": "1"}, TypeError, "smoothing is '1', a str"),
        (TEXTS, TARGET, {"progress": 3}, TypeError, "progress is 3"),
    ],
)
def test_bad_input_is_named(
    texts: Any, target: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dsir(texts, target, **options)


@pytest.mark.parametrize(
    ("weights", "k", "error", "message"),
    [
        ([1.0, np.inf], 1, ValueError, "weights has inf in row 1"),
        ([[1.0, 2.0]], 1, ValueError, r"weights has shape \(1, 2\); it must be one column"),
        (["x"], 1, TypeError, "weights has dtype <U1"),
        ([1.0, 2.0], 3, ValueError, "k is 3; k must be an int from 1 to m = 2"),
        ([1.0, 2.0], 0, ValueError, "k is 0"),
    ],
)
def test_bad_weights_are_named(weights: Any, k: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gumbel_top_k(weights, k, 0)


@pytest.mark.parametrize("target", [{"text": ["a b"]}, type("Table", (list,), {"columns": ["text"]})(["text"])])
def test_keys_of_a_table_are_no_texts(target):
    with pytest.raises(TypeError, match="must be a list of texts"):
        dsir(["a b"], target)


def test_long_orders_and_many_buckets():
    assert dsir(["a b c"], ["a b"], order=10**400).tolist() == dsir(["a b c"], ["a b"], order=3).tolist()
    with pytest.raises(ValueError, match="buckets is 1000000000000; buckets must be an int from 1 to"):
        dsir(["a b"], ["a"], buckets=10**12)
    with pytest.raises(TypeError, match="seed is None"):
        gumbel_top_k([0.0, 1.0], 1, None)
