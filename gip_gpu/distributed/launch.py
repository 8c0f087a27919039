"""Selections by the processes that torchrun starts: each takes its share of the rows of a file."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from gip_gpu.api.selection import Selection
from gip_gpu.backends.devices import resolve
from gip_gpu.distributed import TIMEOUT
from gip_gpu.distributed.exchange import Communicator, brief
from gip_gpu.distributed.job import run
from gip_gpu.sources import Part, Source

# Seconds that the other ranks leave rank 0 to say what is wrong: torchrun ends all once one of them has ended.
BEHIND = 1.0
# Seconds that each leaves itself when torchrun asks it to end; it kills after 30.
LAST = 5


def select_launched(
    k: int | float | str,
    options: dict[str, Any],
    read: Callable[[bool], tuple[Any, Any]],
    finish: Callable[[Selection], None],
) -> None:
    """Called by each process of `torchrun ... -m -- gip_gpu select`.

    Args:
        k, options: of `gip_gpu.select`.
        read: F and G of the whole pool, arrays or sources of which each process reads its share; told whether this
            process will `finish`.
        finish: what rank 0 does with the result before any of the processes ends.

    Raises:
        TypeError, ValueError, OSError: on rank 0 and on ranks that it does not know of; the other ranks end without a
            word.
    """
    _end_later()
    try:
        dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT))
    except RuntimeError as error:
        raise OSError(f"rank {os.environ['RANK']} cannot connect to the other ranks: {brief(error)}") from error
    star = None
    try:
        star = Communicator(None, TIMEOUT)
        run(star, k, *_inputs(star, options, read), finish)
    except Exception as error:
        if star is not None and star.told and star.rank:
            time.sleep(BEHIND)
            raise SystemExit(2 if isinstance(error, (ValueError, TypeError)) else 1) from None
        if type(error) is RuntimeError:
            raise OSError(str(error)) from error
        raise
    except KeyboardInterrupt:
        if star is not None and star.rank:
            raise SystemExit(130) from None
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _end_later() -> None:
    """A rank that died is found out by the next message; a signal to end must not come before it is said which."""
    ends = signal.getsignal(signal.SIGTERM)
    if callable(ends) and hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, lambda _, frame: ends(signal.SIGTERM, frame))
        # What was put off for a checkpoint comes without a frame, and has waited.
        signal.signal(
            signal.SIGTERM, lambda number, frame: ends(number, frame) if frame is None else signal.alarm(LAST)
        )


def _inputs(
    star: Communicator, options: dict[str, Any], read: Callable[[bool], tuple[Any, Any]]
) -> tuple[dict[str, Any], Callable[[], tuple[Any, Any]]]:
    """The settings, and what reads this process's share of the pool."""

    def share() -> tuple[Any, Any]:
        F, G = read(star.rank == 0)
        start, stop = (len(F) * rank // star.size for rank in (star.rank, star.rank + 1))
        return _rows(F, start, stop), None if G is None else _rows(G, start, stop)

    return {**options, "device": _device(options["device"], options["backend"])}, share


def _rows(matrix: Any, start: int, stop: int) -> Any:
    # A pool of few items leaves some processes without any.
    return Part(matrix, start, stop) if isinstance(matrix, Source) and start < stop else matrix[start:stop]


def _device(device: str, backend: str | None) -> str:
    """Processes of one machine take its CUDA devices in turn, where none is named."""
    if device not in ("auto", "cuda"):
        return device
    with suppress(TypeError, ValueError, RuntimeError):
        if resolve(device, backend, None).startswith("cuda"):
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device
