"""Gram columns for `gip_gpu.direct`, less what the picks have explained of them: several by one product."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of fewer values a product with one vector finds the rows in a cache, and several at a time gain less than it takes to
# choose their items.
SMALL = 1 << 21
# Columns of one product: at first, at most, and at least, where a product with one vector takes less time.
FIRST, MOST, FEWEST = 8, 64, 4
# Batches that are kept.
BATCHES = 3
# A batch of which more than the first share of columns served is followed by a larger one, less than the second by a
# smaller one.
GOOD, POOR = 0.55, 0.3
# Picks with a column each, before a batch is tried again.
ALONE = 24
# Sets of items whose best ones are taken for the best of all.
SETS = 512


class DirectColumns:
    """Columns of K - C'C for the picks, K = X X'; one product makes them for a pick and for the best items after it.

    Sizes of batches follow from how many columns served, and not from times, so that a selection is the same to the
    last bit each time.

    Args:
        X: (m, d) rows.
        C: (most, m) rows of the Cholesky factor, filled as picks are made; None where nothing is explained.
    """

    def __init__(self, X: Floats, C: Floats | None) -> None:
        self.X, self.C = X, C
        self.table = np.empty((0, len(X)))
        self.scratch = np.empty((0, len(X)))
        # The column of one pick.
        self.single = np.empty(len(X))
        self.begin()

    def begin(self) -> None:
        """A round begins: nothing is explained."""
        self.slot_of: dict[int, int] = {}
        self.items = [-1] * len(self.table)
        # Picks whose part is out of each column.
        self.since = [0] * len(self.table)
        self.next, self.size = 0, FIRST
        # The columns of the last batch, and the picks since; those with a column each that are to come.
        self.batch = self.served = self.alone = 0

    def forget(self, picks: int) -> None:
        """Columns that more than the first `picks` picks are out of are computed anew."""
        for index in [index for index, slot in self.slot_of.items() if self.since[slot] > picks]:
            self.items[self.slot_of.pop(index)] = -1

    def of(self, index: int, t: int, wanted: int, score: Floats) -> Floats:
        """The column (m,) of this item less what t picks explain; good until the next call.

        Args:
            index: the item.
            t: picks made.
            wanted: picks to come, with this one.
            score: (m,) of all items, the next picks the largest.
        """
        if self.X.size < SMALL:
            return self._alone(index, t)
        slot = self.slot_of.get(index)
        if slot is None:
            slot = self._make(index, t, wanted, score)
        self.served += 1
        column = self.table[slot]
        if self.C is not None and self.since[slot] < t:
            begun = self.since[slot]
            column -= np.matmul(self.C[begun:t, index], self.C[begun:t], out=self.scratch[0])
            self.since[slot] = t
        return column

    def _alone(self, index: int, t: int) -> Floats:
        column = np.matmul(self.X, self.X[index], out=self.single)
        if self.C is not None and t:
            if not len(self.scratch):
                self.scratch = np.empty((1, len(self.X)))
            column -= np.matmul(self.C[:t, index], self.C[:t], out=self.scratch[0])
        return column

    def _make(self, index: int, t: int, wanted: int, score: Floats) -> int:
        """Computes the column of this item, and of others that may follow; returns its slot."""
        if not len(self.table):
            self._allocate(wanted)
        size = self._next_size(wanted)
        items = [index]
        if size > 1:
            found = (item for item in _largest(score, 2 * size) if item != index and item not in self.slot_of)
            items += list(found)[: size - 1]
        first = self._claim(len(items))
        table = self.table[first : first + len(items)]
        if len(items) < FEWEST:
            items, table = items[:1], table[:1]
            self.batch = 0
            np.matmul(self.X, self.X[index], out=table[0])
        else:
            np.matmul(self.X[items], self.X.T, out=table)
        if self.C is not None and t:
            C = self.C[:t]
            table -= np.matmul(C[:, items].T, C, out=self.scratch[: len(items)])
        for slot, item in enumerate(items, first):
            self.items[slot], self.since[slot], self.slot_of[item] = item, t, slot
        return first

    def _allocate(self, wanted: int) -> None:
        size = min(MOST, max(FIRST, wanted))
        self.table = np.empty((BATCHES * size, len(self.X)))
        self.scratch = np.empty((size if self.C is not None else 0, len(self.X)))
        self.items, self.since = [-1] * len(self.table), [0] * len(self.table)

    def _next_size(self, wanted: int) -> int:
        """Columns to compute now, by how many of the last batch served."""
        if self.batch:
            if self.served >= GOOD * self.batch:
                self.size = min(2 * self.size, MOST, len(self.table) // BATCHES)
            elif self.served < POOR * self.batch:
                self.size //= 2
        if self.size < FEWEST:
            self.alone, self.size = ALONE, FIRST
        size = min(self.size, wanted, len(self.X))
        if self.alone or size < FEWEST:
            self.alone = max(0, self.alone - 1)
            size = 1
        self.batch, self.served = size if size > 1 else 0, 0
        return size

    def _claim(self, count: int) -> int:
        """The first of `count` slots in a row, emptied."""
        first = self.next if self.next + count <= len(self.table) else 0
        for slot in range(first, first + count):
            if self.items[slot] >= 0:
                del self.slot_of[self.items[slot]]
                self.items[slot] = -1
        self.next = first + count
        return first


def _largest(score: Floats, count: int) -> list[int]:
    """About `count` items of the largest scores: the best of those of as many sets, which takes one pass."""
    rows = max(1, len(score) // SETS)
    sets = score[: len(score) // rows * rows].reshape(rows, -1)
    tops = sets.max(axis=0)
    if count < len(tops):
        chosen = np.argpartition(tops, -count)[-count:]
        chosen = chosen[tops[chosen].argsort()[::-1]]
    else:
        chosen = tops.argsort()[::-1]
    found: list[int] = (sets[:, chosen].argmax(axis=0) * sets.shape[1] + chosen).tolist()
    return found
