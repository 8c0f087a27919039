"""Encoder "hashing": counts of hashed words, without a model or a download."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.embedding.encoder import BatchLimits

# Letters of languages without blanks between words count as words.
SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
TOKEN = rf"(?u)[{SINGLE}]|[^\W{SINGLE}]+"
# Stands for a text without words, which would have no direction.
NO_WORDS = "\x00"
# Default length of a vector, and size of a batch.
WIDTH, TEXTS, CHARACTERS = 1024, 1024, 1 << 24


class HashingEncoder:
    """Counts the words of a text in `width` signed buckets, log(1 + count) each (scikit-learn's HashingVectorizer).

    It needs no model, no pass over the data and no download, and works on any language. It sees words, not meaning: a
    sentence encoder is the better choice wherever there is one.

    Args:
        width: number of buckets, the length of a vector.
        batch_size: most texts in a batch; None for 1024.

    Raises:
        ImportError: scikit-learn is missing.

    >>> encoder = HashingEncoder(64)
    >>> a, b, c = encoder.encode(["two apples", "apples: two", "a train"])
    >>> bool((a == b).all()), bool((a == c).all()), a.shape
    (True, False, (64,))
    """

    def __init__(self, width: int = WIDTH, batch_size: int | None = None) -> None:
        if width < 1:
            raise ValueError(f"width is {width}; it must be a count of buckets, such as 1024")
        self.width, self.batch = width, BatchLimits(batch_size or TEXTS, CHARACTERS)
        self.identity = f"hashing: {width} buckets, words {TOKEN!r} in lower case, log(1 + count)"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors, (texts, width) float32."""
        counts = self._vectorizer.transform(texts)
        counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
        vectors: NDArray[np.float32] = counts.toarray().astype(np.float32)
        # A text without words, or one whose words cancel in their buckets.
        empty = ~vectors.any(axis=1)
        if empty.any():
            vectors[empty] = self._marker
        return vectors

    @cached_property
    def _vectorizer(self) -> Any:
        try:
            from sklearn.feature_extraction.text import HashingVectorizer
        except ImportError as error:
            raise ImportError('encoder "hashing" needs scikit-learn: pip install "gip_gpu[embed]"') from error
        return HashingVectorizer(n_features=self.width, token_pattern=TOKEN, norm=None, alternate_sign=True)

    @cached_property
    def _marker(self) -> NDArray[np.float32]:
        from sklearn.feature_extraction import FeatureHasher

        hasher = FeatureHasher(self.width, input_type="string")
        marker: NDArray[np.float32] = hasher.transform([[NO_WORDS]]).toarray()[0].astype(np.float32)
        return marker
