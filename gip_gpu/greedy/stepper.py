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
        stride: number of picks that it makes together; fewer take as long.
    """

    empty_rounds: ClassVar[bool]
    stride: ClassVar[int]

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def rows_of(self) -> Rows:
        """The exact rows."""

    @property
    def column_seconds(self) -> float:
        """Seconds spent on Gram columns so far."""

    def begin(self, state: State) -> None:
        """Allocates the arrays of a selection."""

    def refresh(self, state: State) -> None:
        """Recomputes the approximate arrays in float64, and their bounds."""

    def advance(self, state: State, until: int) -> Reason:
        """Takes as many whole steps as it can, up to `until` picks in all, and returns the reason why it stopped."""

    def block(self, state: State, indices: NDArray[np.int64]) -> None:
        """Makes these items, which are not left any more, ineligible; no pick is pending."""

    def take(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects these items out before the first refresh of a round, whatever their scores, and records them."""

    def replay(self, state: State, indices: NDArray[np.int64]) -> None:
        """Projects out items that are already recorded as picks; else as `take`."""

    def carry(self, state: State) -> Stored:
        """Returns what this round has projected out."""

    def snapshot(self, state: State) -> Stored:
        """Returns the state that `restore` needs to resume from here, for a file."""

    def restore(self, state: State, stored: Stored) -> None:
        """Resumes from a snapshot, or from the projection of another pool, before the first refresh."""

    def rows(self, indices: Any) -> NDArray[np.float64]:
        """Returns exact rows (len(indices), d), float64."""
