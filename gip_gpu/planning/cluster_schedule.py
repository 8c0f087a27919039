"""Time of the steps of a run on several devices, in closed form; `bench schedule` compares it with a simulation.

Rank 0 decides. In an exchange, rank 0 asks, the asked ranks work and answer, and rank 0 continues after the last
answer. Exchanges follow one another without overlap, as in `gip_gpu.distributed`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gip_gpu.planning.hardware import Link

# Smallest size of a message of `gip_gpu.distributed`, in bytes; the rest of a longer one follows in a second message.
FIRST = 4096
# Most bytes of a pickle in addition to its numbers.
ENVELOPE = 400
# Fewest items that a rank nominates for a lookahead, and the share of nominees with rows that rank 0 does not have,
# measured on Alpaca with three ranks.
NOMINEES, FRESH = 64, 0.7


def pickled(numbers: float) -> float:
    """Returns the bytes of a message with this many numbers of 8 bytes.

    >>> pickled(2)
    416
    """
    return ENVELOPE + 8 * numbers


def busy(link: Link, size: float) -> float:
    """Returns the seconds that either end is busy with a message of `size` bytes, sent in one or two parts.

    >>> link = Link("example", 1e9, 5e-6, 1e-6)
    >>> round(busy(link, 100) * 1e6, 3), round(busy(link, 10_000) * 1e6, 3)
    (5.096, 12.008)
    """
    size += 8
    return link.seconds(FIRST) if size <= FIRST else link.seconds(FIRST) + link.seconds(size - FIRST)


@dataclass(frozen=True)
class Exchange:
    """One exchange: rank 0 asks, and the other ranks answer.

    Attributes:
        down: bytes of each message to a rank.
        up: bytes of each answer.
        work: seconds of work of each rank, rank 0 included.
        others: number of asked ranks, without rank 0.
    """

    down: tuple[float, ...]
    up: float
    work: float
    others: int


def slowest(spread: Sequence[float], ranks: int) -> float:
    """Returns the expected maximum of `ranks` independent draws from the values of `spread`; 1 for no values.

    The i-th of N sorted values, from 1, is the maximum with probability (i / N)^ranks - ((i - 1) / N)^ranks.

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
    """Returns times with a mean of 1 and an exponential part of `share`: most are a little less, few are much more.

    >>> round(sum(tailed(0.05)) / 2048, 3), round(slowest(tailed(0.05), 64), 2)
    (1.0, 1.19)
    """
    return tuple(1 - share - share * math.log((i + 0.5) / values) for i in range(values))


@dataclass(frozen=True)
class Schedule:
    """Pieces of a run of matching pursuit on several ranks: mean seconds and bytes.

    Attributes:
        ranks: processes, one for each device.
        d, n: length of a row, signals.
        link: the link between any two ranks.
        step: local work of a step: window, exact rescoring, the pass over W~.
        batch: columns computed at once.
        product: local work of a batch's product.
        nominees: items in rank 0's lookahead; each rank nominates its part of them.
        nominate: local work to find the nominees.
        lookahead: work of rank 0 for a batch, while the others wait.
        served: picks that a batch serves.
        refresh: local work of a refresh.
        every: picks from one refresh to the next.
        spread: times of the same local work, as multiples of their mean; empty if all are equal.
        by_items: whether no columns are kept: rank 0 asks for candidates, then for the pick's row, and each rank
            computes the column in the step, as `gip_gpu.distributed` does on GPUs.
        tree: whether messages pass from rank to rank along a binomial tree, which is not implemented; else all go to
            rank 0 and back, a star.
    """

    ranks: int
    d: int
    n: int
    link: Link
    step: float
    batch: int
    product: float
    nominees: int
    nominate: float
    lookahead: float
    served: float
    refresh: float
    every: float
    spread: tuple[float, ...] = field(default=(), repr=False)
    by_items: bool = False
    tree: bool = False

    @property
    def stepping(self) -> Exchange:
        """Exchange of a step: rank 0 sends the pick to all; each projects it out and reports its best."""
        if self.by_items:
            down = (pickled(self.d + 2 * self.n), pickled(self.n))
            return Exchange(down, pickled(2), self.product + self.step, self.ranks - 1)
        # Index and gain; best, bound, energy, the best item, the bound on its other items, the width of the window.
        return Exchange((pickled(2 + self.n),), pickled(6 + self.n), self.step, self.ranks - 1)

    @property
    def refreshing(self) -> Exchange:
        """Exchange of a refresh: rank 0 sends A to all; each recomputes its residual and reports."""
        return Exchange((pickled(self.d * self.n + 3),), pickled(6 + self.n), self.refresh, self.ranks - 1)

    @property
    def before(self) -> tuple[Exchange, ...]:
        """Exchanges before the lookahead of a batch, or before a pick by items."""
        others = self.ranks - 1
        row = Exchange((pickled(1),), pickled(self.d), 0.0, min(1, others))
        if self.by_items:
            return Exchange((pickled(1),), pickled(2 + self.n), 0.0, others), row
        if self.batch == 1:
            return (row,)
        # Items and their residuals, and the rows that rank 0 does not have; all in float32 except the indices.
        numbers = 1 + self.n / 2 + FRESH * (1 + self.d / 2)
        up = pickled(self.nominees / self.ranks * numbers)
        return row, Exchange((pickled(2),), up, self.nominate, others)

    @property
    def after(self) -> tuple[Exchange, ...]:
        """Exchanges after it: rank 0 gets the rows of a batch from their owners and sends them to all."""
        if self.by_items:
            return ()
        columns = Exchange((pickled(self.batch * (self.d + 1)),), pickled(0), self.product, self.ranks - 1)
        if self.batch == 1:
            return (columns,)
        wanted, others = self.batch - 1, self.ranks - 1
        owners = others if self.tree else round(others * (1 - (1 - 1 / self.ranks) ** wanted))
        each = wanted / max(1, owners)
        return Exchange((pickled(each),), pickled(each * self.d), 0.0, owners), columns

    def messages(self, exchange: Exchange) -> float:
        """Returns the seconds of an exchange without its work.

        In the star, rank i has its message after i of rank 0's sends, and rank 0 takes answers one at a time. In the
        tree, all others wait first for the answer of the last rank reached; a rank passes up its answer with those that
        it received. Exact if the number of ranks of a tree is a power of two.
        """
        others, latency = exchange.others, self.link.latency
        if not others:
            return 0.0
        send, take = sum(busy(self.link, size) for size in exchange.down), busy(self.link, exchange.up)
        if self.tree:
            levels = range(others.bit_length())
            gathered = sum(latency + 2 * busy(self.link, exchange.up * 2**level) for level in levels)
            return len(levels) * (2 * send + latency) + gathered
        queue = max(send + others * take, others * send + take)
        return max(others * (send + take), 2 * latency + send + take + queue)

    @property
    def slowest(self) -> float:
        """Expected time of the slowest rank's work, as a multiple of the mean."""
        return slowest(self.spread, self.ranks)

    @property
    def step_messages(self) -> float:
        """Seconds of messages in a step."""
        return self.messages(self.stepping)

    @property
    def batch_messages(self) -> float:
        """Seconds of messages that a batch adds."""
        return sum(self.messages(exchange) for exchange in (*self.before, *self.after))

    def parts(self, k: int) -> dict[str, float]:
        """Returns the seconds of k picks by part; waiting for the slowest rank is a part of its own."""
        batches, refreshes = k / self.served, k / self.every
        columns = batches * (self.product + self.nominate)
        working = k * self.step + columns + refreshes * self.refresh
        messages = k * self.step_messages + batches * self.batch_messages
        return {
            "steps": k * self.step,
            "columns": columns,
            "lookahead": batches * self.lookahead,
            "refreshes": refreshes * self.refresh,
            "communication": messages + refreshes * self.messages(self.refreshing),
            "waiting for the slowest": working * (self.slowest - 1),
        }

    def seconds(self, k: int) -> float:
        """Returns the seconds of k picks."""
        return sum(self.parts(k).values())
