"""Lookahead of the NumPy backend: the greedy loop run ahead on the items that matter most, to learn which Gram columns
to compute together. It decides how long a selection takes, never what it selects."""

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.backends.simulation import highest, simulate
from gip_gpu.state import State

Array = NDArray[Any]


class Lookahead:
    """Simulates the next picks inside a working set of the highest scores.

    Inside the working set the simulation is the selection itself up to rounding; it errs once an item from outside
    overtakes, and from there on most of what it foresees is wrong, for the greedy sequence is chaotic. On 52,002
    sentence embeddings about 4 of 5 columns computed get used (`bench/results`).

    Args:
        rows: (m, d) float32 rows, stored divided by a power of two.
        size: items in the working set.
    """

    def __init__(self, rows: Array, size: int) -> None:
        self.rows = rows
        self.size = size
        self.work = np.empty((2 * size, rows.shape[1]), np.float32)
        self.work.fill(np.nan)

    def picks(
        self, state: State, known: Container[int], residual: Array, score: Array, square: float, count: int
    ) -> list[int]:
        """The pending pick and up to count - 1 simulated ones that are not `known`, in order.

        Args:
            state: of the selection, with a pending pick.
            known: items that have a column.
            residual, score: (n, m) residual and (m,) squared norms, zero for items that are taken.
            square: what products of stored rows are multiplied by.
            count: columns wanted.
        """
        assert state.pending is not None
        found = [state.pending.index]
        members = highest(score, self.size)
        rows = np.take(self.rows, members, axis=0, out=self.work[: len(members)], mode="clip")
        ahead = residual[:, members]
        open_ = np.ones(len(members), np.float32)
        open_[members == found[0]] = 0
        for place in simulate(rows, ahead, open_, state.pending, square, min(state.k - state.t, 4 * count) - 1):
            index = int(members[place])
            if index not in known:
                found.append(index)
                if len(found) == count:
                    break
        return found
