"""Handing a round over to the stepper of larger pools, where float64 alone does not decide."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gip_gpu.greedy.state import State, Stored
from gip_gpu.greedy.stepper import Stepper

Indices = NDArray[np.int64]


class HandOver:
    """Base of a stepper that hands rounds over to another one.

    Args:
        make: a function that returns the other stepper; called once at most.

    Attributes:
        active: the other stepper while it has the round, else None.
        round: rounds begun when the current one began; -1 before the first.
        begun: picks made when it began.
    """

    round: int
    begun: int

    def __init__(self, make: Callable[[], Stepper]) -> None:
        self.make = make
        self.made: Stepper | None = None
        self.active: Stepper | None = None

    @property
    def column_seconds(self) -> float:
        return 0.0 if self.made is None else self.made.column_seconds

    def take(self, state: State, indices: Indices) -> None:
        self._other(state).take(state, indices)

    def replay(self, state: State, indices: Indices) -> None:
        self._other(state).replay(state, indices)

    def restore(self, state: State, stored: Stored) -> None:
        self._other(state).restore(state, stored)

    def _other(self, state: State) -> Stepper:
        """Makes the other stepper active for this round and returns it."""
        self.round, self.begun = len(state.rounds), state.t
        if self.made is None:
            self.made = self.make()
        self.active = self.made
        self.active.begin(state)
        return self.active

    def _hand_over(self, state: State) -> None:
        picks = state.indices[self.begun : state.t]
        other = self._other(state)
        if len(picks):
            other.replay(state, picks)
            state.refreshes += 1
        other.refresh(state)
