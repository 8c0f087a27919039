"""The candidates of a pick, reduced to the deciding ones: at the start of a round millions of items may tie."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Roots of scores or nats, the slack of each within a tie, and an estimate of its float64 rounding: (c,) each.
Judged = tuple[Any, Any, Any]


@dataclass
class Window:
    """Candidates with their exact values.

    Attributes:
        indices: (c,) int64, ascending.
        W, distances, rows_squared: (c, n), (c,) and (c,) float64: residuals, distances, squared norms of the rows.
        count: candidates in all; only those in `indices` can be the argmax or are needed to decide it.
        dropped: dependent items among the candidates, no longer eligible; if there are any, nothing is decided yet.
        tied: how many candidates tie with the only item in the window, if the others are left out.
        top: the largest compared value among all candidates; 0 if the window was not reduced.
        rival: upper bound on the values of the candidates left out.
    """

    indices: NDArray[np.int64]
    W: Floats
    distances: Floats
    rows_squared: Floats
    count: int
    dropped: int = 0
    tied: int = 1
    top: float = 0.0
    rival: float = 0.0

    def some(self, places: NDArray[Any]) -> "Window":
        """Returns the window of the candidates at these places."""
        found = self.indices[places]
        return Window(found, self.W[places], self.distances[places], self.rows_squared[places], len(found))

    @staticmethod
    def joined(windows: "list[Window]") -> "Window":
        """Concatenates windows, at least one, in their order."""
        return Window(
            np.concatenate([window.indices for window in windows]),
            np.concatenate([window.W for window in windows]),
            np.concatenate([window.distances for window in windows]),
            np.concatenate([window.rows_squared for window in windows]),
            sum(window.count for window in windows),
        )


def narrowed(portions: Callable[[], Iterator[tuple[Window, Judged]]], most: int) -> Window:
    """Reduces all portions to one window, in two passes and with memory for one portion.

    The window holds the items that rounding leaves close to the best. If there are more than `most` of them, it holds
    only the first item that ties with the best.

    Args:
        portions: yields windows and the judged values of their items, in ascending order; called twice.
        most: largest number of close items to return.
    """
    count = dropped = 0
    top = bar = sure = -np.inf
    for portion, (norms, slacks, noises) in portions():
        count, dropped = count + portion.count, dropped + portion.dropped
        lower = norms - slacks
        top, bar = max(top, norms.max(initial=-np.inf)), max(bar, lower.max(initial=-np.inf))
        sure = max(sure, (lower - noises).max(initial=-np.inf))
    close, first, tied = list[Window](), list[Window](), 0
    behind = rival = 0.0
    for portion, (norms, slacks, noises) in portions() if count and not dropped else ():
        upper, reach = norms + slacks, norms + noises
        near = upper + noises >= sure
        behind = max(behind, float(reach.max(where=~near, initial=0.0)))
        if sum(window.count for window in close) <= most and near.any():
            close.append(portion.some(near.nonzero()[0][: most + 1]))
        ties = (upper >= bar).nonzero()[0]
        tied += len(ties)
        if len(ties) and not first:
            first = [portion.some(ties[:1])]
            reach[ties[0]] = 0
        rival = max(rival, float(reach.max(initial=0.0)))
    if not first:
        nothing = np.empty(0)
        return Window(np.empty(0, np.int64), nothing[:, None], nothing, nothing, count, dropped)
    window = Window.joined(close)
    if window.count <= most:
        window.rival = behind
    else:
        window = first[0]
        window.tied, window.rival = tied, rival
    window.count, window.top = count, float(top)
    return window
