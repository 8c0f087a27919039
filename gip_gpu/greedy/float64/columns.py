"""Gram columns in float64, less the part that picks explain: one for each pick, or several by one product."""

import numpy as np
from numpy.typing import NDArray

from gip_gpu.planning.float64_costs import FEW

Floats = NDArray[np.float64]

# Columns of one product, and columns that are kept. With distances as scores, 58 % of 16 columns were used (GSM8K,
# 7,473 x 384, 300 picks), each at a quarter of the time of a single one. With residuals, 17 to 23 % of 16 and 27 to
# 40 % of 8 were used: no gain.
BATCH, SLOTS = 16, 128
# After TRIAL columns, batches end if less than the share WANTED of them was used.
TRIAL, WANTED = 64, 0.3
# Sets of items; the best of each set approximate the best of all.
SETS = 512


class Float64Columns:
    """Columns of K - C'C for the picks, K = X X'.

    The batch size does not depend on measured times, so a repeated selection is the same to the last bit.

    Args:
        X: (m, d) rows.
        C: (most, m) rows of the Cholesky factor, filled as picks are made; None if nothing is explained.
        ahead: whether the items of the largest scores will probably be picked soon.
    """

    def __init__(self, X: Floats, C: Floats | None, ahead: bool) -> None:
        self.X, self.C = X, C
        slots = min(SLOTS, len(X) // BATCH * BATCH) if ahead and X.size >= FEW else 0
        self.table = np.empty((slots, len(X)))
        self.single, self.spare = np.empty(len(X)), np.empty(len(X))
        self.begin(X)

    def begin(self, X: Floats) -> None:
        """Drops all columns and begins with these rows, of which nothing is explained."""
        self.X = X
        self.slot_of: dict[int, int] = {}
        self.items = [-1] * len(self.table)
        # For each column, how many picks are projected out of it.
        self.since = [0] * len(self.table)
        self.next = self.made = self.used = 0

    def forget(self, picks: int) -> None:
        """Drops the columns out of which more than the first `picks` picks are projected."""
        for index in [index for index, slot in self.slot_of.items() if self.since[slot] > picks]:
            self.items[self.slot_of.pop(index)] = -1

    def of(self, index: int, t: int, wanted: int, score: Floats) -> Floats:
        """Returns the column (m,) of this item less the part that t picks explain; valid until the next call.

        Args:
            index: the item.
            t: picks made.
            wanted: picks to come, this one included.
            score: (m,) scores of all items.
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
        """Subtracts from this column the part that the picks from `begun` to t explain."""
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
        """Empties the slots of a batch and returns the first."""
        first = self.next
        for slot in range(first, first + BATCH):
            if self.items[slot] >= 0:
                del self.slot_of[self.items[slot]]
                self.items[slot] = -1
        self.next = (first + BATCH) % len(self.table)
        return first


def _largest(score: Floats, count: int) -> list[int]:
    """Returns up to `count` items of about the largest scores: the best of that many sets, found in one pass."""
    rows = max(1, len(score) // SETS)
    sets = score[: len(score) // rows * rows].reshape(rows, -1)
    tops = sets.max(axis=0)
    chosen = np.argpartition(tops, -count)[-count:] if count < len(tops) else np.arange(len(tops))
    chosen = chosen[tops[chosen].argsort()[::-1]]
    found: list[int] = (sets[:, chosen].argmax(axis=0) * sets.shape[1] + chosen).tolist()
    return found
