"""One rank of real exchanges, with the messages of a selection but without its work.

The messages are those of `gip_gpu.distributed`, pickled and sent through its `Communicator` over gloo: a pick to each
rank and a report from each. The ranks do no work on rows.
"""

from pathlib import Path

import numpy as np

from bench.runner.ceilings import spans

# Messages in a burst: it takes one round trip, and the overhead of a message for each further one.
BURST = 64
# Warm-up rounds.
WARM = 20


def run(rank: int, ranks: int, file: str, rounds: int) -> dict[str, list[float]]:
    """Takes part in the exchanges as one rank, in its own process; rank 0 returns "star", the seconds of each exchange,
    and for two ranks "burst", the seconds of bursts of picks with one report at the end."""
    import torch
    from torch import distributed

    from gip_gpu.distributed.exchange import Communicator
    from gip_gpu.distributed.shard import Found, Report

    class Shard:
        """A shard that reports without reading rows."""

        picks = 0
        report = Report(1.0, 1e-6, 100.0, Found(np.array([10**6]), np.ones((1, 1)), 0.5, 3))

        def update(self, index: int, residual: object, gain: float) -> Report:
            return self.report

        def release(self) -> None:
            """Accepts the last call."""

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

            told["star"] = spans(lambda: star.ask("update", *pick), rounds, WARM)
            if ranks == 2:
                told["burst"] = spans(burst, rounds // 4, WARM)
            star.ask("release")
    distributed.destroy_process_group()
    return told
