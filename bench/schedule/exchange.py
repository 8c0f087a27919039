"""A rank of real exchanges, as selections have them.

The messages are those of `gip_gpu.distributed`: through its `Communicator`, by gloo, pickled, a pick for each rank and
a report from each. What a rank does with its rows is left out.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

# Messages in a row, whose number times the overhead of one is what a burst takes beyond the first.
BURST = 64


def run(rank: int, ranks: int, file: str, rounds: int) -> dict[str, list[float]]:
    """Takes part in the exchanges, for a process of its own.

    Returns:
        On rank 0: "star", the seconds of each exchange, and between two ranks "burst", those of bursts of picks with
        one report at the end.
    """
    import torch
    from torch import distributed

    from gip_gpu.distributed.exchange import Communicator
    from gip_gpu.distributed.shard import Found, Report

    class Shard:
        """Reports without a look at any rows."""

        picks = 0
        report = Report(1.0, 1e-6, 100.0, Found(np.array([10**6]), np.ones((1, 1)), 0.5, 3))

        def update(self, index: int, residual: object, gain: float) -> Report:
            return self.report

        def release(self) -> None:
            """The last call."""

    told: dict[str, list[float]] = {}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=Path(file).as_uri(), rank=rank, world_size=ranks)
    with Communicator(None, timeout=120.0) as star:
        star.target = Shard()
        if rank:
            star.serve("release")
        else:
            pick = (10**6, np.ones(1), 1.0)

            def burst() -> None:
                for _ in range(BURST - 1):
                    star.tell("update", *pick)
                star.ask("update", *pick)

            told["star"] = seconds(lambda: star.ask("update", *pick), rounds)
            if ranks == 2:
                told["burst"] = seconds(burst, rounds // 4)
            star.ask("release")
    distributed.destroy_process_group()
    return told


def seconds(action: Callable[[], object], rounds: int) -> list[float]:
    """What each of so many rounds took, after some that do not count."""
    spans = []
    for _ in range(rounds + 20):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return spans[20:]
