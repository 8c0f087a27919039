"""Interface of the steppers that `gip_gpu.greedy.loop` drives."""

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gip_gpu.data.rows import Rows
from gip_gpu.greedy.state import Reason, State, Stored


class Stepper(Protocol):
    """Makes picks: `MatchingPursuit`, `DeviceMatchingPursuit`, `Projecting` and, for small pools, `Float64Stepper`.

    Attributes:
        empty_rounds: whether a round may find nothing to pick.
        stride: picks that it makes together; fewer take as long.
    """

    empty_rounds: ClassVar[bool]
    stride: ClassVar[int]

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def rows_of(self) -> Rows:
        """The exact rows."""

    @property
    def column_seconds(self) -> float:
        """Seconds spent on Gram columns so far."""

    def begin(self, state: State) -> None:
        """Allocates the arrays of a selection."""

    def refresh(self, state: State) -> None:
        """Recomputes in float64 what was approximate, and its bounds."""

    def advance(self, state: State, until: int) -> Reason:
        """Takes as many whole steps as it can, up to `until` picks, and says why it came back."""

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects these items out before the first refresh of a round, whatever their scores, and enters them."""

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """As `take`, of items that are entered as picks already."""

    def carry(self, state: State) -> Stored:
        """What is projected out in this round."""

    def snapshot(self, state: State) -> Stored:
        """What `restore` needs to go on from here, for a file."""

    def restore(self, state: State, stored: Stored) -> None:
        """Goes on from a snapshot, or from what another pool carries, before the first refresh."""

    def rows(self, indices: Any) -> NDArray[np.float64]:
        """Exact rows (len(indices), d), float64."""
