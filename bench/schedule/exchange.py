"""A rank of real exchanges, as selections have them: `python -m bench.schedule.exchange RANK RANKS FILE ROUNDS`.

Rank 0 prints JSON. The messages are those of `gip_gpu.distributed`: through its `Star`, by gloo, pickled, a pick for
each rank and a report from each. What a rank does with its rows is left out.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

# Messages in a row, whose number times the overhead of one is what a burst takes beyond the first.
BURST = 64


@click.command()
@click.argument("rank", type=int)
@click.argument("ranks", type=int)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("rounds", type=int)
def main(rank: int, ranks: int, file: Path, rounds: int) -> None:
    """Prints the seconds of star exchanges, and between two ranks those of bursts of picks, one report at the end."""
    import torch
    from torch import distributed

    from gip_gpu.distributed.exchange import Star
    from gip_gpu.distributed.shard import Found, Report

    class Shard:
        """Reports without a look at any rows."""

        picks = 0
        report = Report(1.0, 1e-6, 100.0, Found(np.array([10**6]), np.ones((1, 1)), 0.5, 3))

        def update(self, index: int, residual: object, gain: float) -> Report:
            return self.report

        def release(self) -> None:
            """The last call."""

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=file.as_uri(), rank=rank, world_size=ranks)
    with Star(None, timeout=120.0) as star:
        star.target = Shard()
        if rank:
            star.serve("release")
        else:
            pick = (10**6, np.ones(1), 1.0)

            def burst() -> None:
                for _ in range(BURST - 1):
                    star.tell("update", *pick)
                star.ask("update", *pick)

            told = {"star": seconds(lambda: star.ask("update", *pick), rounds)}
            if ranks == 2:
                told["burst"] = seconds(burst, rounds // 4)
            print(json.dumps(told))
            star.ask("release")
    distributed.destroy_process_group()


def seconds(action: Callable[[], object], rounds: int) -> list[float]:
    """What each of so many rounds took, after some that do not count."""
    spans = []
    for _ in range(rounds + 20):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return spans[20:]


if __name__ == "__main__":
    main()
