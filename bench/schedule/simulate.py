"""Simulation of a run, message by message: each rank has a clock, and work takes a time drawn from measured ones."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gip_gpu.planning.cluster_schedule import Exchange, Schedule, busy
from gip_gpu.planning.hardware import Link

Clocks = NDArray[np.float64]
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass
class Run:
    """A simulated run."""

    schedule: Schedule  # the schedule
    seed: int = 0  # seed of the drawn times
    drawn: bool = True  # draw times and picks a batch at random; False: use their means

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.clocks: Clocks = np.zeros(self.schedule.ranks)
        self.hazard = _hazard(self.schedule.served, self.schedule.batch)
        self.quantile = float(self.rng.random())
        self.spread = np.array(self.schedule.spread if self.drawn and self.schedule.spread else (1.0,))

    def seconds(self, k: int) -> float:
        """Returns the time at which rank 0 has decided k picks; a pick that was not foreseen begins a batch."""
        plan, until = self.schedule, 0.0
        refresh = plan.every
        for t in range(k):
            if t >= until:
                for exchange in plan.before:
                    self._exchange(exchange)
                self.clocks[0] += plan.lookahead
                for exchange in plan.after:
                    self._exchange(exchange)
                until = t + self._served() if self.drawn else until + plan.served
            self._exchange(plan.stepping)
            if t + 1 >= refresh:
                self._exchange(plan.refreshing)
                refresh += plan.every
        return float(self.clocks[0])

    def _served(self) -> int:
        """Draws the number of picks until one is not foreseen or the batch is used up; its mean is the model's number.

        Successive quantiles differ by the golden section, which fills (0, 1) evenly: independent draws would need ten
        times the picks for the same average.
        """
        self.quantile = (self.quantile + GOLDEN) % 1
        if not self.hazard:
            return self.schedule.batch
        return min(1 + int(math.log1p(-self.quantile) / math.log1p(-self.hazard)), self.schedule.batch)

    def _exchange(self, exchange: Exchange) -> None:
        """Simulates an exchange: rank 0 sends to the ranks it asks, all work, all send to rank 0."""
        plan, ranks = self.schedule, exchange.others + 1
        clocks = self.clocks[:ranks]
        down = sum(busy(plan.link, size) for size in exchange.down)
        (_tree_down if plan.tree else _star_down)(clocks, plan.link, down)
        if exchange.work:
            clocks += exchange.work * self.rng.choice(self.spread, ranks)
        (_tree_up if plan.tree else _star_up)(clocks, plan.link, exchange.up)


def _hazard(served: float, batch: int) -> float:
    """Returns the probability of an unforeseen pick for which a batch serves `served` picks on average."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - (1 - middle) ** batch) / middle > served else (low, middle)
    return min(high, 1 - 1e-12) if served < batch else 0.0


def _star_down(clocks: Clocks, link: Link, send: float) -> None:
    for rank in range(1, len(clocks)):
        clocks[0] += send
        # A waiting rank receives a message when it arrives.
        clocks[rank] = max(clocks[rank], clocks[0] + link.latency) + send


def _star_up(clocks: Clocks, link: Link, size: float) -> None:
    clocks[1:] += busy(link, size)
    for arrival in sorted((clocks[1:] + link.latency).tolist()):
        clocks[0] = max(clocks[0], arrival) + busy(link, size)


def _tree_down(clocks: Clocks, link: Link, send: float) -> None:
    ranks = len(clocks)
    for level in reversed(range((ranks - 1).bit_length())):
        for sender in range(0, ranks, 2 << level):
            if (receiver := sender + (1 << level)) < ranks:
                clocks[sender] += send
                clocks[receiver] = max(clocks[receiver], clocks[sender] + link.latency) + send


def _tree_up(clocks: Clocks, link: Link, size: float) -> None:
    ranks = len(clocks)
    for level in range((ranks - 1).bit_length()):
        for receiver in range(0, ranks, 2 << level):
            if (sender := receiver + (1 << level)) < ranks:
                end = busy(link, size * min(1 << level, ranks - sender))
                clocks[sender] += end
                clocks[receiver] = max(clocks[receiver], clocks[sender] + link.latency) + end
