"""DSIR: log importance weights of texts for a target, from hashed n-grams, and a seeded sample by these weights.

Source: Xie et al. 2023, Data Selection for Language Models via Importance Resampling, arXiv 2302.03169.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gip_gpu.data.user_arrays import as_columns
from gip_gpu.signals.progress import Progress, reporting
from gip_gpu.system.surrogates import encodable
from gip_gpu.validation.settings import LARGEST, as_count, as_whole

# Runs of letters, digits and _, and runs of other characters that are no blanks.
TOKENS = re.compile(r"\w+|[^\w\s]+")
# Added to both probabilities, so that a bucket which one side lacks has a finite ratio.
FLOOR = 1e-8
# Frequent n-grams whose buckets are kept, some 30 MB.
KEPT = 1 << 17

# A count for each fits memory.
MOST_BUCKETS = 1 << 26

Tick = Callable[[], None]


def dsir(
    texts: Iterable[str],
    target: Iterable[str],
    *,
    order: int = 2,
    buckets: int = 10_000,
    smoothing: float = 0.0,
    min_tokens: int | None = None,
    progress: Progress = None,
) -> NDArray[np.float64]:
    """Computes log importance weights of texts: high for texts whose words and word pairs are those of the target.

    `log w = counts . (log(p_target + 1e-8) - log(p_raw + 1e-8))`, with the counts of a text's n-grams by their bucket,
    and the shares of each bucket in the n-grams of the target and of `texts`. Tokens are runs of word characters and
    runs of punctuation, in lower case; n-grams of 1 to `order` tokens, joined by blanks, are hashed by SHA-256. Texts
    are read twice, one at a time, so that a data set larger than memory can be scored.

    Args:
        texts: m texts, any object that can be iterated twice: a list, or `gip_gpu.records.Texts`.
        target: texts of the target, such as validation examples; read once.
        order: longest n-gram, in tokens.
        buckets: number of buckets.
        smoothing: pseudo-count of each bucket of the target, for a small target.
        min_tokens: texts with fewer tokens have the weight NaN; they count in the shares. The authors leave out texts
            under 100 tokens, a limit for web pages.
        progress: True for a bar, or a function of (done, total); shown if `texts` has a length.

    Returns:
        (m,) float64. Each weight is a correctly rounded sum, so texts with the same n-grams have bit-identical weights.
        A text without tokens has the weight 0, the sum of none, above nearly all others: `min_tokens=1` gives it none.
        As a sum over n-grams, a weight grows with the length of its text.

    Raises:
        TypeError: texts or target is one text, or no iterable of texts; texts can be read only once.
        ValueError: texts or target has no tokens; a setting is out of range.

    Source: Xie et al. 2023, arXiv 2302.03169.

    >>> pool = ["the cat sat on the mat", "2 + 2 = 4", "a dog and a cat"]
    >>> dsir(pool, ["the cat", "the dog"]).argsort().tolist()
    [1, 2, 0]
    >>> dsir(pool, ["1 + 2 = 3"], min_tokens=6).round(1)
    array([-167.7,    nan,    nan])
    """
    _check_texts("texts", texts)
    _least(min_tokens)
    total = 2 * len(texts) if isinstance(texts, Sized) else 0
    with reporting(progress if total else None, total, 0, "dsir", "text") as report:
        tick = _counter(report, total)
        model = _fit(texts, target, order, buckets, smoothing, tick)
        return model._weights(texts, min_tokens, tick)


@dataclass(frozen=True, eq=False)
class DsirModel:
    """Log ratios of the n-gram shares of a target and of raw texts; `fit` computes them, and pickle keeps them.

    Attributes:
        log_ratio: (buckets,) float64, `log(p_target + 1e-8) - log(p_raw + 1e-8)`.
        order: longest n-gram, in tokens.

    Source: Xie et al. 2023, arXiv 2302.03169.

    >>> model = DsirModel.fit(["a cat", "a dog", "2 + 2"], ["one cat", "two cats"])
    >>> model.weights(["the cat", "the dog"]).round(2)
    array([  0.61, -16.02])
    """

    log_ratio: NDArray[np.float64]
    order: int = 2

    @classmethod
    def fit(
        cls, raw: Iterable[str], target: Iterable[str], *, order: int = 2, buckets: int = 10_000, smoothing: float = 0.0
    ) -> "DsirModel":
        """Reads raw texts and the texts of the target once each; the arguments are those of `gip_gpu.signals.dsir`.

        Raises:
            TypeError, ValueError: as there.
        """
        return _fit(raw, target, order, buckets, smoothing)

    def weights(self, texts: Iterable[str], *, min_tokens: int | None = None) -> NDArray[np.float64]:
        """Returns the log importance weights of texts, (m,) float64, as `gip_gpu.signals.dsir`; reads them once.

        Raises:
            TypeError: texts is one text, or no iterable of texts.
            ValueError: `min_tokens` is out of range.
        """
        return self._weights(texts, min_tokens)

    def _weights(self, texts: Iterable[str], min_tokens: int | None, tick: Tick = lambda: None) -> NDArray[np.float64]:
        least = _least(min_tokens)
        found = []
        for tokens in _tokens("texts", texts):
            if len(tokens) < least:
                found.append(math.nan)
            else:
                places = _buckets(tokens, self.order, len(self.log_ratio))
                found.append(math.fsum(self.log_ratio[places].tolist()))
            tick()
        return np.array(found, np.float64)


def gumbel_top_k(weights: ArrayLike, k: int | float | str, seed: int | np.random.Generator) -> NDArray[np.int64]:
    """Draws k rows without replacement, each with a probability proportional to exp(weight) among those left.

    Gumbel noise is added to the log weights, and the k largest sums are taken. The noise of row i depends on the seed
    and on i alone.

    Args:
        weights: (m,) log weights, such as those of `gip_gpu.signals.dsir`; rows with NaN or -inf are never drawn.
        k: number of rows, or a share of m, as in `gip_gpu.select`; at most the number of rows with a finite weight.
        seed: seed, or generator, which is advanced.

    Returns:
        (k,) int64 row numbers, in the order drawn.

    Raises:
        TypeError, ValueError: weights is no column of real numbers, or holds +inf; k is out of range.

    Source: Xie et al. 2023, arXiv 2302.03169; Kool et al. 2019, arXiv 1903.06059, for the identity.

    >>> gumbel_top_k([0.0, 50.0, float("nan"), 100.0], 3, seed=0)
    array([3, 1, 0])
    """
    columns = as_columns(weights, "weights")
    if columns.shape[1] != 1:
        raise ValueError(f"weights has shape {columns.shape}; it must be one column, (m,)")
    column = columns[:, 0]
    if (infinite := np.flatnonzero(column == np.inf)).size:
        raise ValueError(
            f"weights has inf in row {infinite[0]}; log weights must be finite, or NaN or -inf to leave out"
        )
    if not isinstance(seed, np.random.Generator):
        seed = as_whole(seed, "seed", 0)
    count, eligible = as_count(k, len(column)), int(np.isfinite(column).sum())
    if count > eligible:
        raise ValueError(
            f"k is {count}, and {eligible} of {len(column)} rows have a finite weight; k must be at most that"
        )
    noised = column + np.random.default_rng(seed).gumbel(size=len(column))
    # Ascending, so that rows to leave out come last: NaN sorts behind +inf.
    chosen: NDArray[np.int64] = np.argsort(-noised, kind="stable")[:count].astype(np.int64)
    return chosen


def tokens_of(text: str) -> list[str]:
    """Returns the tokens of a text: runs of word characters and runs of punctuation, in lower case.

    >>> tokens_of("Alice's cat (2)?!")
    ['alice', "'", 's', 'cat', '(', '2', ')?!']
    """
    return TOKENS.findall(encodable(text).lower())


@lru_cache(KEPT)
def bucket_of(ngram: str, buckets: int = 10_000) -> int:
    """Returns the bucket of an n-gram: its SHA-256, as a number, modulo the number of buckets.

    >>> bucket_of("alice"), bucket_of("alice went")
    (6720, 114)
    """
    return int.from_bytes(hashlib.sha256(ngram.encode()).digest(), "big") % buckets


def _buckets(tokens: list[str], order: int, buckets: int) -> list[int]:
    """Returns the bucket of each n-gram of 1 to `order` tokens."""
    return [
        bucket_of(" ".join(tokens[start : start + length]), buckets)
        for length in range(1, min(order, len(tokens)) + 1)
        for start in range(len(tokens) - length + 1)
    ]


def _fit(
    raw: Iterable[str], target: Iterable[str], order: int, buckets: int, smoothing: float, tick: Tick = lambda: None
) -> DsirModel:
    order, buckets = as_whole(order, "order", 1), as_whole(buckets, "buckets", 1, MOST_BUCKETS)
    pseudo = _pseudo_count(smoothing)
    wanted = _counts("target", target, order, buckets) + pseudo
    found = _counts("texts", raw, order, buckets, tick)
    return DsirModel(np.log(wanted / wanted.sum() + FLOOR) - np.log(found / found.sum() + FLOOR), order)


def _counts(name: str, texts: Iterable[str], order: int, buckets: int, tick: Tick = lambda: None) -> NDArray[np.int64]:
    """Returns the number of n-grams in each bucket, (buckets,)."""
    found: Counter[int] = Counter()
    for tokens in _tokens(name, texts):
        found.update(_buckets(tokens, order, buckets))
        tick()
    if not found:
        raise ValueError(f"{name} has no text with a token, so its n-grams have no shares")
    counts = np.zeros(buckets, np.int64)
    counts[list(found)] = list(found.values())
    return counts


def _tokens(name: str, texts: Iterable[str]) -> Iterator[list[str]]:
    """Yields the tokens of each text."""
    _check_iterable(name, texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name}[{row}] is {text!r:.60}, a {type(text).__name__}; {name} must hold texts")
        yield tokens_of(text)


def _check_iterable(name: str, texts: Any) -> None:
    # Iterating over a table or a mapping yields its keys.
    keyed = isinstance(texts, Mapping) or hasattr(texts, "columns") or hasattr(texts, "column_names")
    if isinstance(texts, (str, bytes)) or keyed or not isinstance(texts, Iterable):
        raise TypeError(f"{name} is a {type(texts).__name__}; it must be a list of texts, or another iterable of them")


def _check_texts(name: str, texts: Any) -> None:
    """Raises TypeError if texts cannot be iterated twice."""
    _check_iterable(name, texts)
    if isinstance(texts, Iterator):
        raise TypeError(
            f"{name} is a {type(texts).__name__}, which can be read once; it must be a list of texts, or another "
            "object that each iteration reads from the start"
        )


def _least(min_tokens: int | None) -> int:
    """Returns the fewest tokens of a text that has a weight."""
    return 0 if min_tokens is None else as_whole(min_tokens, "min_tokens", 0)


def _pseudo_count(smoothing: Any) -> float:
    wanted = f"smoothing must be a pseudo-count, a number from 0 to {LARGEST:g}"
    if isinstance(smoothing, bool) or not isinstance(smoothing, Real):
        raise TypeError(f"smoothing is {smoothing!r}, a {type(smoothing).__name__}; {wanted}")
    try:
        number = float(smoothing)
    except OverflowError:
        number = math.inf
    if not 0 <= number <= LARGEST:
        raise ValueError(f"smoothing is {smoothing!r}; {wanted}")
    return number


def _counter(report: Callable[[int, int], None] | None, total: int) -> Tick:
    """Returns a function that reports one more text done."""
    if report is None:
        return lambda: None
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        report(done, total)

    return tick
