"""Residual: the arrays of matching pursuit on the host's side, one value a signal and item, with its passes."""

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A window of this many rows costs little beside the passes over the residual.
USUAL_WINDOW = 8


class Pending(Protocol):
    """A pick whose Gram column is wanted.

    Attributes:
        index: the item.
        row: (d,) float64, its exact row.
        residual: (n,) float64, its exact residual.
    """

    index: int
    row: Floats
    residual: Floats


class Residual(ABC):
    """The residual W~ of all items in float32, for matching pursuit whose picks the host decides.

    W = G - F A, in the unit of the round's scores. A stored Gram entry times `square`, the square of the rows' common
    scale, is a true one.
    """

    @abstractmethod
    def refresh(
        self, scores: Floats, unit: float, A: Floats, pool: NDArray[np.bool_], left: NDArray[np.bool_]
    ) -> float:
        """Recomputes W~ = G - F A in float64 for all items and rounds it.

        Args:
            scores: (m, n) G as given.
            unit: what they are divided by.
            A: (n, d) what was projected out, in that unit.
            pool: (m,) the items that were left when the round began; scores of others may be beyond float32.
            left: (m,) the items that may be picked.

        Returns:
            The largest exact ||W_j|| of the items left.
        """

    @abstractmethod
    def best(self) -> float:
        """The largest ||W~_j|| over the items left; its square was summed in float32."""

    @abstractmethod
    def window(self, floor: float) -> NDArray[np.int64]:
        """Ascending indices of the items left with ||W~_j||^2 >= floor; all that are left for a floor of 0."""

    @abstractmethod
    def update(self, index: int | None, column: Any, residual: Floats) -> float:
        """W~ -= column * square * residual.

        Args:
            index: the pick, no longer eligible; None where it is another process's.
            column: (m,) its Gram column as stored.
            residual: (n,) its exact residual.

        Returns:
            ||W~||^2 over the pool of the round.
        """

    def prepare(self, count: int) -> None:  # noqa: B027
        """Told before a batch of `count` columns is chosen by `speculate`: time for what is done once a round."""

    def nominees(self, count: int) -> tuple[NDArray[np.int64], Any]:
        """About `count` items of the highest scores, ascending, and their residuals (n, c) in float32: of a backend
        that `shards`."""
        raise NotImplementedError

    @abstractmethod
    def speculate(self, pick: Pending, known: Container[int], count: int, most: int) -> list[int]:
        """The pending pick and up to `count` - 1 more items, none of them `known`, that will probably be picked next.

        Only the time depends on how good the guess is, never the answer.

        Args:
            pick: whose column is missing.
            known: items that have a column.
            count: columns that are wanted.
            most: picks to come, the pending one included.
        """
