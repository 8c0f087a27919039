"""Lookahead of the NumPy backend: the greedy loop run ahead on the items that matter most, to learn which Gram columns
to compute together. It decides how long a selection takes, never what it selects."""

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.numpy.products import Products
from gip_gpu.backends.numpy.simulation import highest, simulate
from gip_gpu.backends.residual import Pending
from gip_gpu.data.single_rows import SingleRows

Array = NDArray[Any]

# The working set is chosen after a first short run of so many picks, inside this share of it.
SCOUTED, SCOUTS = 16, 4
# The part of the working set that is renewed with a batch at most.
RENEWED = 16
# Rows lie in a cone where their mean cosine exceeds this; below, common shifts are not worth the first run.
CONE = 0.1
# Rows whose mean tells the direction that all items share.
SAMPLE = 4096
# Items that one pass covers, so that its arrays stay in cache.
BLOCK = 1 << 14
# Share of the working set that is asked for: how many items exceed a threshold is estimated.
FILLED = 0.95


class Lookahead:
    """Simulates the next picks inside a working set of the items that will have the highest scores.

    Inside the working set the simulation is the selection itself up to rounding; it errs once an item from outside
    overtakes, and from there on most of what it foresees is wrong, for the greedy sequence is chaotic. Embeddings lie
    in a cone, more or less: a pick moves the residuals of all items the same way, along the direction that they share,
    and so lifts items of the other sign that a ranking by scores leaves out. Where the cone is narrow, a first short
    run, inside the highest scores of the working set, tells how far that goes; the working set is then renewed by what
    is highest now, or with the farthest such shifts.

    Rows of the working set are kept as float32 from batch to batch; only those of newcomers are read.

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
        """Gathers a whole working set by the scores of all items, (m,): what a first batch would have to wait for."""
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
    ) -> list[int]:
        """The pending pick and up to count - 1 simulated ones that are not `known`, in order.

        Args:
            pick: the pending one.
            known: items that have a column.
            residual, score: (n, m) residual and (m,) squared norms, zero for items that are taken.
            square: what products of stored rows are multiplied by.
            count: columns wanted.
            most: picks to come, the pending one included.
        """
        found = [pick.index]
        self._gather(self._working_set(pick, residual, score, square))
        ahead = residual[:, self.items]
        open_ = (score[self.items] > 0).astype(np.float32)
        open_[self.items == pick.index] = 0
        for place in simulate(self.rows, ahead, open_, pick, square, min(most, 4 * count) - 1):
            index = int(self.items[place])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found

    def _working_set(self, pick: Pending, residual: Array, score: Array, square: float) -> Array:
        """Items that have the highest scores, now or after the shifts that the next picks will bring."""
        reach = self._reach(residual, score, self._shifts(pick, residual, score, square)) if self.cone else score
        members = highest(reach, int(FILLED * len(self.items)))[: len(self.items)]
        missing = members[self.slots[members] < 0]
        most = len(self.items) // RENEWED
        if len(missing) > most:
            # To read rows takes as long as to compute columns: only those that matter most, in place of the least.
            missing = missing[np.argpartition(-reach[missing], most)[:most]]
            stay = np.argpartition(-reach[self.items], len(self.items) - most - 1)[: len(self.items) - most]
            members = np.concatenate([self.items[stay], missing])
        return members

    def _shifts(self, pick: Pending, residual: Array, score: Array, square: float) -> tuple[Array, Array]:
        """The farthest that the next picks will move all residuals along the common direction, (n,) each way."""
        known = score[self.items]
        places = np.argpartition(-known, len(known) // SCOUTS)[: len(known) // SCOUTS + 1]
        rows, ahead = self.rows[places], residual[:, self.items[places]]
        open_ = ((known[places] > 0) & (self.items[places] != pick.index)).astype(np.float32)
        # Along the common direction, what the picks so far take out of each residual.
        taken = np.zeros((SCOUTED, len(residual)), np.float32)
        weights, row, steps = pick.residual, (pick.row / np.sqrt(square)).astype(np.float32), 0
        for place in simulate(rows, ahead, open_, pick, square, SCOUTED - 1):
            taken[steps + 1] = taken[steps] + weights * (square * float(row @ self.common))
            weights, row, steps = ahead[:, place].copy(), rows[place], steps + 1
        far = taken[int(np.einsum("hn,hn->h", taken, taken).argmax())]
        across = taken - far
        other = taken[int(np.einsum("hn,hn->h", across, across).argmax())]
        return far, other

    def _reach(self, residual: Array, score: Array, shifts: tuple[Array, Array]) -> Array:
        """The largest score of each item, as it is and after these shifts; zero for items that are taken."""
        for start in range(0, len(score), BLOCK):
            part = slice(start, start + BLOCK)
            reach, along = self.reach[part], self.along[part]
            reach[:] = score[part]
            for shift in shifts:
                if shift.any():
                    moved = residual[:, part] - shift[:, None] * along
                    np.maximum(reach, np.einsum("nm,nm->m", moved, moved), out=reach)
            np.multiply(reach, score[part] > 0, out=reach)
        return self.reach

    def _gather(self, members: Array) -> None:
        """Reads the rows of these items into places of those that are no members."""
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
