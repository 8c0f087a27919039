"""Texts of a report: what a reader sees of an example, of any size and content."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Characters kept of the text of a pick, and at most of any other row.
PICK, OTHER = 4_000, 400
# Characters of all rows that were not chosen, together.
TOTAL = 16_000_000
# Control characters but tab and line feed, made visible as symbols: U+2400 and after.
CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
WORD = re.compile(r"[^\W\d_]{3,}")
# Texts read to name a group.
NAMING = 300


@dataclass(frozen=True)
class Blob:
    """Texts as UTF-8, one after another.

    Attributes:
        data: the bytes of all texts.
        ends: (p,) uint32, offset behind each text.
        cut: (p,) uint32, characters left out at the end of each text.
    """

    data: bytes
    ends: NDArray[np.uint32]
    cut: NDArray[np.uint32]


def as_text(value: Any) -> str:
    """Returns the text of an example: text as it is, the fields of a mapping under their names, other values as JSON.

    >>> as_text({"question": "1 + 1?", "answer": "2"})
    'question: 1 + 1?\\n\\nanswer: 2'
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        if len(value) == 1:
            return as_text(next(iter(value.values())))
        return "\n\n".join(f"{name}: {as_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, Mapping) for part in value):
        return "\n\n".join(as_text(part) for part in value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def readable(text: str, most: int) -> tuple[str, int]:
    """Returns at most `most` characters of a text, with visible control characters, and the number left out."""
    kept = text[:most].replace("\r\n", "\n")
    return kept.translate(CONTROLS), max(0, len(text) - most)


def blob(texts: Sequence[Any], picks: NDArray[np.int64]) -> Blob:
    """Joins the texts of the shown rows; those of picks (places among the rows) keep more characters."""
    chosen = set(picks.tolist())
    other = min(OTHER, max(40, TOTAL // max(1, len(texts))))
    parts: list[bytes] = []
    cut = np.zeros(len(texts), np.uint32)
    for i, value in enumerate(texts):
        text, left = readable(as_text(value), PICK if i in chosen else other)
        parts.append(text.encode("utf-8", "replace"))
        cut[i] = min(left, 2**32 - 1)
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64).astype(np.uint32)
    return Blob(b"".join(parts), ends, cut)


def group_names(texts: Sequence[Any], groups: NDArray[np.int64], count: int) -> list[str]:
    """Names each group by three words that are more frequent in it than elsewhere; "" if it has no words.

    Args:
        texts: p texts.
        groups: (p,) number of the group of each.
        count: number of groups.
    """
    generator = np.random.default_rng(0)
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    found: list[Counter[str]] = []
    sizes: list[int] = []
    for group in range(count):
        read = generator.permutation(np.flatnonzero(groups == group))[:NAMING]
        words: Counter[str] = Counter()
        for i in read.tolist():
            words.update(set(WORD.findall(as_text(texts[i])[:2_000].lower())) - ENGLISH_STOP_WORDS)
        found.append(words)
        sizes.append(max(1, len(read)))
    shares = [{word: times / size for word, times in words.items() if times > 1} for words, size in
              zip(found, sizes, strict=True)]  # fmt: skip
    everywhere: Counter[str] = Counter()
    for inside in shares:
        everywhere.update({word: share / count for word, share in inside.items()})
    names = []
    for inside in shares:
        # Share of a group's texts with the word, times the logarithm of its ratio to the mean of the groups.
        weights = {word: share * math.log(share / everywhere[word]) for word, share in inside.items()}
        best = sorted((word for word in weights if weights[word] > 0), key=lambda word: (-weights[word], word))
        names.append(", ".join(word[:24] for word in best[:3]))
    return names
