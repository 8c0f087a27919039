"""The share of a process among those that torchrun started."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from gip_gpu.system.launched import launched


def _no_wait() -> None:
    pass


@dataclass(frozen=True)
class Ranks:
    """This process among several that share a work.

    Attributes:
        rank: its number, from 0.
        size: number of processes.
        wait: returns once all processes have called it.
    """

    rank: int = 0
    size: int = 1
    wait: Callable[[], None] = _no_wait


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Joins the processes that torchrun started for the `with` block; without torchrun this process is alone.

    Raises:
        OSError: the others cannot be reached.
    """
    if not launched():
        yield Ranks()
        return
    import torch.distributed as dist

    try:
        dist.init_process_group("gloo")
    except RuntimeError as error:
        raise OSError(f"rank {os.environ['RANK']} cannot connect to the other ranks: {error}") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), dist.barrier)
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
