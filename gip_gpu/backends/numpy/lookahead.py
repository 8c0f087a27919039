"""Lookahead of the NumPy backend: a simulation of the greedy loop that predicts which Gram columns to batch.

The simulation runs on the items that matter most. It affects the time of a selection, never its result.
"""

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.numpy.products import Products
from gip_gpu.backends.numpy.simulation import highest, simulate
from gip_gpu.backends.residual import Pending
from gip_gpu.data.single_rows import SingleRows

Array = NDArray[Any]

# A first short run of SCOUTED picks inside 1 / SCOUTS of the working set precedes the choice of a new one.
SCOUTED, SCOUTS = 16, 4
# At most 1 / RENEWED of the working set is replaced with a batch.
RENEWED = 16
# Rows form a cone if their mean cosine exceeds this; below it, common shifts are not worth the first run.
CONE = 0.1
# Sample of rows; its mean estimates the direction that all items share.
SAMPLE = 4096
# Items that one pass covers, so that its arrays stay in cache.
BLOCK = 1 << 14
# Share of the working set to fill: the number of items above a threshold is only an estimate.
FILLED = 0.95


class Lookahead:
    """Simulation of the next picks inside a working set of the items that will have the highest scores.

    Inside the working set the simulation equals the selection up to rounding. It errs once an item from outside
    overtakes, and most of its later predictions are wrong, because the greedy sequence is chaotic. Embeddings form a
    cone, more or less: a pick moves the residuals of all items along the direction that they share, and so lifts items
    of the other sign that a ranking by scores leaves out. If the cone is narrow, a first short run inside the highest
    scores of the working set measures these shifts; the working set is then refilled with the items that have the
    highest scores now or after the farthest shifts.

    Rows of the working set stay in memory as float32 from batch to batch; only those of new items are read.

    Args:
        single, products: the rows.
        size: items in the working set.
    """

    def __init__(self, single: SingleRows, products: Products, size: int) -> None:
        m = single.shape[0]
        self.single = single
        self.items = np.arange(size)
        self.rows = single.take(self.items)
        self.slots = np.full(m, -1, np.int32)
        self.slots[:size] = self.items
        sample = single.take(np.arange(0, m, -(-m // SAMPLE)))
        mean = sample.mean(axis=0)
        self.cone = float(mean @ mean) > CONE * float(np.einsum("jd,jd->", sample, sample)) / len(sample)
        if self.cone:
            self.common = mean / np.linalg.norm(mean)
            self.along, self.reach = np.empty((2, m), np.float32)
            products.column(self.common, self.along)

    def settle(self, score: Array) -> None:
        """Gathers a whole working set by the scores (m,) of all items, so that the first batch need not wait for it."""
        self._gather(highest(score, int(FILLED * len(self.items)))[: len(self.items)])

    def picks(
        self,
        pick: Pending,
        known: Container[int],
        residual: Array,
        score: Array,
        square: float,
        count: int,
        most: int,
        weights: Array | None = None,
    ) -> list[int]:
        """Returns the pending pick and up to count - 1 simulated picks that are not `known`, in order.

        Args:
            pick: the pending pick.
            known: items that have a column.
            residual, score: (n, m) residual and (m,) weighted squared norms, zero for items that are taken.
            weights: (m,) factors of the squared norms; None for 1.
            square: factor from products of stored rows to true ones.
            count: columns to compute.
            most: picks to come, the pending one included.
        """
        found = [pick.index]
        weights = np.ones(len(score), np.float32) if weights is None else weights
        self._gather(self._working_set(pick, residual, score, weights, square))
        ahead = residual[:, self.items]
        open_ = np.where(score[self.items] > 0, weights[self.items], np.float32(0))
        open_[self.items == pick.index] = 0
        for place in simulate(self.rows, ahead, open_, pick, square, min(most, 4 * count) - 1):
            index = int(self.items[place])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _working_set(self, pick: Pending, residual: Array, score: Array, weights: Array, square: float) -> Array:
        """Returns the items with the highest scores now or after the shifts of the next picks."""
        reach = score
        if self.cone:
            reach = self._reach(residual, score, weights, self._shifts(pick, residual, score, weights, square))
        members = highest(reach, int(FILLED * len(self.items)))[: len(self.items)]
        missing = members[self.slots[members] < 0]
        most = len(self.items) // RENEWED
        if len(missing) > most:
            # Reading rows takes as long as computing columns: only the most important new items replace the least.
            missing = missing[np.argpartition(-reach[missing], most)[:most]]
            stay = np.argpartition(-reach[self.items], len(self.items) - most - 1)[: len(self.items) - most]
            members = np.concatenate([self.items[stay], missing])
        return members

    def _shifts(
        self, pick: Pending, residual: Array, score: Array, weights: Array, square: float
    ) -> tuple[Array, Array]:
        """Returns the farthest shifts of all residuals along the common direction by the next picks, (n,) each way."""
        known = score[self.items]
        places = np.argpartition(-known, len(known) // SCOUTS)[: len(known) // SCOUTS + 1]
        rows, ahead = self.rows[places], residual[:, self.items[places]]
        open_ = ((known[places] > 0) & (self.items[places] != pick.index)) * weights[self.items[places]]
        # Sum of the shifts by the picks so far, along the common direction.
        taken = np.zeros((SCOUTED, len(residual)), np.float32)
        taking, row, steps = pick.residual, (pick.row / np.sqrt(square)).astype(np.float32), 0
        for place in simulate(rows, ahead, open_, pick, square, SCOUTED - 1):
            taken[steps + 1] = taken[steps] + taking * (square * float(row @ self.common))
            taking, row, steps = ahead[:, place].copy(), rows[place], steps + 1
        far = taken[int(np.einsum("hn,hn->h", taken, taken).argmax())]
        across = taken - far
        other = taken[int(np.einsum("hn,hn->h", across, across).argmax())]
        return far, other

    def _reach(self, residual: Array, score: Array, weights: Array, shifts: tuple[Array, Array]) -> Array:
        """Returns the largest score of each item, now or after these shifts; zero for items that are taken."""
        for start in range(0, len(score), BLOCK):
            part = slice(start, start + BLOCK)
            reach, along = self.reach[part], self.along[part]
            reach[:] = score[part]
            for shift in shifts:
                if shift.any():
                    moved = residual[:, part] - shift[:, None] * along
                    np.maximum(reach, np.einsum("nm,nm->m", moved, moved) * weights[part], out=reach)
            np.multiply(reach, score[part] > 0, out=reach)
        return self.reach

    def _gather(self, members: Array) -> None:
        """Reads the rows of these items into the slots of items that are no longer members."""
        missing = members[self.slots[members] < 0]
        if not len(missing):
            return
        wanted = np.zeros(len(self.items), bool)
        wanted[self.slots[members[self.slots[members] >= 0]]] = True
        places = np.flatnonzero(~wanted)[: len(missing)]
        self.slots[self.items[places]] = -1
        self.rows[places] = self.single.take(missing)
        self.items[places] = missing
        self.slots[missing] = places
