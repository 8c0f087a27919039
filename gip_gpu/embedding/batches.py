"""Batches of texts of similar length, in an order that depends on the texts alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gip_gpu.embedding.encoder import BatchLimits

# Batches in a block, whose texts are in memory together and sorted by length.
BLOCK = 64


@dataclass(frozen=True)
class Batch:
    """Texts that are encoded together.

    Attributes:
        rows: (texts,) int64, their numbers, ascending.
        texts: the texts.
    """

    rows: NDArray[np.int64]
    texts: list[str]


def batches(texts: Iterable[str], size: BatchLimits) -> Iterator[Batch]:
    """Groups texts into batches of similar length, so that few tokens are padding.

    Texts are sorted within blocks of `BLOCK` batches; ties keep their order.

    >>> made = batches(["aaaa", "b", "cccc", "d"], BatchLimits(2))
    >>> [(batch.rows.tolist(), batch.texts) for batch in made]
    [([0, 2], ['aaaa', 'cccc']), ([1, 3], ['b', 'd'])]
    """
    source, first = iter(texts), 0
    while block := list(islice(source, BLOCK * size.texts)):
        for rows in _grouped(block, size):
            yield Batch(rows + first, [block[i] for i in rows])
        first += len(block)


def _grouped(block: Sequence[str], size: BatchLimits) -> Iterator[NDArray[np.int64]]:
    lengths = np.array([min(len(text), size.longest) for text in block], dtype=np.int64)
    # The longest first: if memory does not suffice, it shows at once.
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        count = max(1, min(size.texts, size.characters // longest))
        yield np.sort(order[start : start + count])
        start += count
