"""A rank of a real exchange over gloo: `python -m bench.schedule.exchange RANK RANKS FILE ROUNDS`, JSON from rank 0."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import click

from gip_gpu.schedule import record_bytes

# Messages in a row, whose number times the overhead of one is what a burst takes beyond the first.
BURST = 64


@click.command()
@click.argument("rank", type=int)
@click.argument("ranks", type=int)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("rounds", type=int)
def main(rank: int, ranks: int, file: Path, rounds: int) -> None:
    """Prints the seconds of star exchanges of records, and between two ranks those of bursts of records."""
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=file.as_uri(), rank=rank, world_size=ranks)
    record = torch.zeros(record_bytes(1) // 8, dtype=torch.float64)
    table = torch.zeros((max(ranks, BURST), len(record)), dtype=torch.float64)

    def star() -> None:
        if rank:
            distributed.send(record, 0)
            distributed.recv(table[:ranks], 0)
        else:
            for works in (
                [distributed.irecv(table[other], other) for other in range(1, ranks)],
                [distributed.isend(table[:ranks], other) for other in range(1, ranks)],
            ):
                for work in works:
                    work.wait()

    def burst() -> None:
        if rank:
            distributed.recv(record, 0)
            for work in [distributed.isend(row, 0) for row in table[:BURST]]:
                work.wait()
        else:
            distributed.send(record, 1)
            for work in [distributed.irecv(row, 1) for row in table[:BURST]]:
                work.wait()

    told = {"star": seconds(star, rounds)}
    if ranks == 2:
        told["burst"] = seconds(burst, rounds // 4)
    if rank == 0:
        print(json.dumps(told))
    distributed.barrier()
    distributed.destroy_process_group()


def seconds(action: Callable[[], None], rounds: int) -> list[float]:
    """What each of so many rounds took, after some that do not count."""
    spans = []
    for _ in range(rounds + 20):
        began = time.perf_counter()
        action()
        spans.append(time.perf_counter() - began)
    return spans[20:]


if __name__ == "__main__":
    main()
