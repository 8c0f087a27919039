"""Residual of matching pursuit: its arrays, one value for each signal and item, and the passes over them."""

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A window of this many rows costs little compared with the passes over the residual.
USUAL_WINDOW = 8


class Pending(Protocol):
    """Pick that needs its Gram column.

    Attributes:
        index: the item.
        row: (d,) float64, its exact row.
        residual: (n,) float64, its exact residual.
    """

    index: int
    row: Floats
    residual: Floats


class Residual(ABC):
    """Residual W~ of all items in float32, for matching pursuit with picks decided on the host.

    W = G - F A, in the unit of the round's scores. A true Gram entry is a stored one times `square`, the square of the
    rows' common scale.
    """

    @abstractmethod
    def refresh(
        self, scores: Floats, unit: float, A: Floats, pool: NDArray[np.bool_], weights: NDArray[np.float32]
    ) -> float:
        """Recomputes W~ = G - F A in float64 for all items and rounds it.

        Args:
            scores: (m, n) G as given.
            unit: divisor of the scores.
            A: (n, d) the projection, in that unit.
            pool: (m,) the items that were left when the round began; scores of others may overflow float32.
            weights: (m,) factors of the scores, at most 1; 0 for items that may not be picked.

        Returns:
            The largest exact ||W_j|| of the items that may be picked.
        """

    @abstractmethod
    def best(self) -> float:
        """Returns the largest ||W~_j|| over the items left, times the root of its weight; summed in float32."""

    @abstractmethod
    def window(self, floor: float) -> NDArray[np.int64]:
        """Returns the ascending indices of the items left with a weighted ||W~_j||^2 >= floor; all of them for 0."""

    def block(self, indices: NDArray[np.int64]) -> None:
        """Makes these items ineligible; only a selection with constraints needs it."""
        raise ValueError("these arrays take no constraints on the picks")

    @abstractmethod
    def update(self, index: int | None, column: Any, residual: Floats) -> float:
        """Updates W~ -= column * square * residual.

        Args:
            index: the pick, no longer eligible; None if another process has it.
            column: (m,) its Gram column as stored.
            residual: (n,) its exact residual.

        Returns:
            ||W~||^2 over the pool of the round.
        """

    def prepare(self, count: int) -> None:  # noqa: B027
        """Does the work of once a round, before `speculate` chooses a batch of `count` columns."""

    def nominees(self, count: int) -> tuple[NDArray[np.int64], Any]:
        """Returns about `count` items with the highest scores, ascending, and their residuals (n, c) in float32.

        Only a backend that `shards` needs it.
        """
        raise ValueError("these arrays do not nominate items; only those of a backend that shards do")

    @abstractmethod
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        """Returns the pending pick and up to `count` - 1 more items, none `known`, that will probably be picked next.

        The quality of the prediction affects only the time, never the result.

        Args:
            pick: the pick without a column.
            known: items that have a column.
            count: columns to compute.
            most: picks to come, the pending one included.
        """
