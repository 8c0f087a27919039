"""Gram columns in float64, less what picks have explained of them: one a pick, or several by one product."""

import numpy as np
from numpy.typing import NDArray

from gip_gpu.planning.float64_costs import FEW

Floats = NDArray[np.float64]

# Columns of one product, and columns that are kept. Where distances are the scores, 58 % of 16 were wanted (GSM8K,
# 7,473 x 384, 300 picks), at a quarter of the time of one. Of those for the best residuals 17 to 23 % were, and 27 to
# 40 % of 8: no gain.
BATCH, SLOTS = 16, 128
# Once so many are made, less than this share of them wanted ends it.
TRIAL, WANTED = 64, 0.3
# Sets of items whose best ones are taken for the best of all.
SETS = 512


class Float64Columns:
    """Columns of K - C'C for the picks, K = X X'.

    How many are made together does not depend on times, so that a selection is the same to the last bit each time.

    Args:
        X: (m, d) rows.
        C: (most, m) rows of the Cholesky factor, filled as picks are made; None where nothing is explained.
        ahead: whether the items of the largest scores will probably be picked soon.
    """

    def __init__(self, X: Floats, C: Floats | None, ahead: bool) -> None:
        self.X, self.C = X, C
        slots = min(SLOTS, len(X) // BATCH * BATCH) if ahead and X.size >= FEW else 0
        self.table = np.empty((slots, len(X)))
        self.single, self.spare = np.empty(len(X)), np.empty(len(X))
        self.begin(X)

    def begin(self, X: Floats) -> None:
        """Begins anew with these rows, of which nothing is explained."""
        self.X = X
        self.slot_of: dict[int, int] = {}
        self.items = [-1] * len(self.table)
        # Picks whose part is out of each column.
        self.since = [0] * len(self.table)
        self.next = self.made = self.used = 0

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
            score: (m,) of all items.
        """
        slot = self.slot_of.get(index)
        if slot is None:
            paying = self.made < TRIAL or self.used >= WANTED * self.made
            if not (len(self.table) and wanted >= BATCH and paying):
                return self._less(np.matmul(self.X, self.X[index], out=self.single), index, 0, t)
            slot = self._make(index, t, score)
        self.used += 1
        column = self._less(self.table[slot], index, self.since[slot], t)
        self.since[slot] = t
        return column

    def _less(self, column: Floats, index: int, begun: int, t: int) -> Floats:
        """This column less what the picks from `begun` to t explain."""
        if self.C is not None and begun < t:
            column -= np.matmul(self.C[begun:t, index], self.C[begun:t], out=self.spare)
        return column

    def _make(self, index: int, t: int, score: Floats) -> int:
        """Computes the column of this item and of others that may follow; returns its slot."""
        found = [item for item in _largest(score, 2 * BATCH) if item != index and item not in self.slot_of]
        items = [index, *found[: BATCH - 1]]
        first, count = self._claim(), len(items)
        table = self.table[first : first + count]
        np.matmul(self.X[items], self.X.T, out=table)
        if self.C is not None and t:
            table -= self.C[:t, items].T @ self.C[:t]
        for slot, item in enumerate(items, first):
            self.items[slot], self.since[slot], self.slot_of[item] = item, t, slot
        self.made += count
        return first

    def _claim(self) -> int:
        """The first of the slots of a batch, emptied."""
        first = self.next
        for slot in range(first, first + BATCH):
            if self.items[slot] >= 0:
                del self.slot_of[self.items[slot]]
                self.items[slot] = -1
        self.next = (first + BATCH) % len(self.table)
        return first


def _largest(score: Floats, count: int) -> list[int]:
    """About `count` items of the largest scores: the best of those of as many sets, which takes one pass."""
    rows = max(1, len(score) // SETS)
    sets = score[: len(score) // rows * rows].reshape(rows, -1)
    tops = sets.max(axis=0)
    chosen = np.argpartition(tops, -count)[-count:] if count < len(tops) else np.arange(len(tops))
    chosen = chosen[tops[chosen].argsort()[::-1]]
    found: list[int] = (sets[:, chosen].argmax(axis=0) * sets.shape[1] + chosen).tolist()
    return found
