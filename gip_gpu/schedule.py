"""How long the steps of a run on several devices last: a closed form, compared with a simulation by `bench.schedule`.

Every rank has its rows and takes every step. A step is a cycle: the root sends to all, all compute, all send to the
root. So a cycle ends when the slowest rank has answered, and cycles follow one another without overlap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gip_gpu.hardware import Link

# A record: 8 numbers, and 16 candidates with a score and an index beside the residual, float64.
HEADER, CANDIDATES = 8, 16
# Items that the ranks together nominate for a look ahead.
NOMINEES = 4096


def record_bytes(n: int) -> int:
    """Bytes of what a rank says in a step, for n signals.

    >>> record_bytes(1)
    448
    """
    return 8 * (HEADER + CANDIDATES * (2 + n))


def slowest(spread: Sequence[float], ranks: int) -> float:
    """The expected maximum of `ranks` independent draws from the values of `spread`; 1 for an empty one.

    Of N sorted values the i-th, from 1, is the maximum with probability (i / N)^ranks - ((i - 1) / N)^ranks.

    >>> slowest([1.0, 3.0], 1), slowest([1.0, 3.0], 2), slowest([], 9)
    (2.0, 2.5, 1.0)
    """
    ordered, count = sorted(spread), len(spread)
    if not ordered:
        return 1.0
    return sum(
        value * ((i / count) ** ranks - ((i - 1) / count) ** ranks) for i, value in enumerate(ordered, 1)
    )  # fmt: skip


def tailed(share: float, values: int = 2048) -> tuple[float, ...]:
    """Times around a mean of 1 whose part `share` is exponential: most are a little less, few are much more.

    >>> round(sum(tailed(0.05)) / 2048, 3), round(slowest(tailed(0.05), 64), 2)
    (1.0, 1.19)
    """
    return tuple(1 - share - share * math.log((i + 0.5) / values) for i in range(values))


@dataclass(frozen=True)
class Schedule:
    """The pieces of a run of matching pursuit on several ranks, in seconds and bytes, all means.

    Attributes:
        ranks: processes, one a device.
        d, n: length of a row, signals.
        link: between any two of them.
        step: local work of a step: window, exact rescoring, the pass over W~.
        batch: columns computed at once.
        product: local work for that.
        nominate: local work to find the items that are nominated for a look ahead.
        lookahead: work of rank 0 for a batch, while the others wait.
        served: picks that a batch serves.
        refresh: local work of a refresh.
        every: picks from one refresh to the next.
        spread: times of the same local work, as multiples of their mean; empty where all are equal.
        tree: messages pass from rank to rank along a binomial tree; else all go to rank 0 and back, a star.
    """

    ranks: int
    d: int
    n: int
    link: Link
    step: float
    batch: int
    product: float
    nominate: float
    lookahead: float
    served: float
    refresh: float
    every: float
    spread: tuple[float, ...] = field(default=(), repr=False)
    tree: bool = False

    @property
    def levels(self) -> int:
        """Of the tree."""
        return (self.ranks - 1).bit_length()

    @property
    def answer(self) -> int:
        """Bytes of all records, which the root sends to everyone."""
        return self.ranks * record_bytes(self.n)

    @property
    def nominees(self) -> float:
        """Bytes of the items that a rank nominates for a batch: index and score, row and residual in float32."""
        return 0 if self.batch == 1 else NOMINEES / self.ranks * (16 + 4 * (self.d + self.n))

    @property
    def chosen(self) -> int:
        """Bytes of the rows of a batch, float64, which the root sends to everyone."""
        return 8 * self.batch * (self.d + 1)

    def messages(self, down: float, up: float) -> float:
        """Seconds of a cycle without the work in it, for `down` bytes to each rank and `up` bytes from each.

        In the star, rank i has its message after i of the root's sends, and the root takes answers one at a time. In
        the tree the last rank to be reached is the first whose answer all others wait for; what a rank passes up
        holds what it was given. Exact where the ranks of a tree are a power of two.
        """
        link, others = self.link, self.ranks - 1
        if not others:
            return 0.0
        if self.tree:
            way_down = self.levels * (link.seconds(down) + link.latency)
            return way_down + sum(link.latency + link.seconds(up * 2**level) for level in range(self.levels))
        send, take = link.seconds(down), link.seconds(up)
        queue = max(send + others * take, others * send + take)
        return max(others * (send + take), 2 * link.latency + queue)

    @property
    def slowest(self) -> float:
        """What the slowest rank's work is expected to take, as a multiple of the mean."""
        return slowest(self.spread, self.ranks)

    @property
    def step_messages(self) -> float:
        """Seconds of messages in a step."""
        return self.messages(self.answer, record_bytes(self.n))

    @property
    def batch_messages(self) -> float:
        """Seconds of messages that a batch adds: nominees to rank 0, and their rows in place of an answer."""
        up, down = self.messages(self.answer, self.nominees), self.messages(self.chosen, record_bytes(self.n))
        return up + down - self.step_messages

    def parts(self, k: int) -> dict[str, float]:
        """Seconds of k picks by part; what ranks wait for the slowest is a part of its own."""
        batches, refreshes = k / self.served, k / self.every
        columns = batches * (self.product + self.nominate)
        working = k * self.step + columns + refreshes * self.refresh
        return {
            "steps": k * self.step,
            "columns": columns,
            "lookahead": batches * self.lookahead,
            "refreshes": refreshes * self.refresh,
            "communication": (k + refreshes) * self.step_messages + batches * self.batch_messages,
            "waiting for the slowest": working * (self.slowest - 1),
        }

    def seconds(self, k: int) -> float:
        """Seconds of k picks."""
        return sum(self.parts(k).values())
