"""Selections by the processes that torchrun starts; each takes its share of the rows of a file."""

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

# Seconds that the other ranks wait for rank 0 to print the error: torchrun ends all processes once one has ended.
BEHIND = 1.0
# Seconds that each process takes to end after torchrun's SIGTERM; torchrun kills it after 30.
LAST = 5


def select_launched(
    k: int | float | str,
    options: dict[str, Any],
    read: Callable[[bool], tuple[Any, Any]],
    finish: Callable[[Selection], None],
) -> None:
    """Selects in each process of `torchrun ... -m -- gip_gpu select`.

    Args:
        k, options: arguments of `gip_gpu.select`.
        read: returns F and G of the whole pool, arrays or sources of which each process reads its share; its argument
            is whether this process will call `finish`.
        finish: function that rank 0 calls with the result before any process ends.

    Raises:
        TypeError, ValueError, OSError: on rank 0, and on a rank whose error rank 0 does not know; the other ranks exit
            without a message.
    """
    _end_later()
    try:
        dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT))
    except RuntimeError as error:
        raise OSError(f"rank {os.environ['RANK']} cannot connect to the other ranks: {brief(error)}") from error
    communicator = None
    try:
        communicator = Communicator(None, TIMEOUT)
        run(communicator, k, *_inputs(communicator, options, read), finish)
    except Exception as error:
        if communicator is not None and communicator.told and communicator.rank:
            time.sleep(BEHIND)
            raise SystemExit(2 if isinstance(error, (ValueError, TypeError)) else 1) from None
        if type(error) is RuntimeError:
            raise OSError(str(error)) from error
        raise
    except KeyboardInterrupt:
        if communicator is not None and communicator.rank:
            raise SystemExit(130) from None
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _end_later() -> None:
    """Delays SIGTERM by `LAST` seconds: the next message detects a dead rank, and the error must name it first."""
    ends = signal.getsignal(signal.SIGTERM)
    if callable(ends) and hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, lambda _, frame: ends(signal.SIGTERM, frame))
        # A signal deferred for a checkpoint is delivered without a frame, and has already waited.
        signal.signal(
            signal.SIGTERM, lambda number, frame: ends(number, frame) if frame is None else signal.alarm(LAST)
        )


def _inputs(
    communicator: Communicator, options: dict[str, Any], read: Callable[[bool], tuple[Any, Any]]
) -> tuple[dict[str, Any], Callable[[], tuple[Any, Any]]]:
    """Returns the settings, and the function that reads this process's share of the pool."""

    def share() -> tuple[Any, Any]:
        F, G = read(communicator.rank == 0)
        start, stop = (len(F) * rank // communicator.size for rank in (communicator.rank, communicator.rank + 1))
        return _rows(F, start, stop), None if G is None else _rows(G, start, stop)

    return {**options, "device": _device(options["device"], options["backend"])}, share


def _rows(matrix: Any, start: int, stop: int) -> Any:
    # A pool of few items leaves some processes without any.
    return Part(matrix, start, stop) if isinstance(matrix, Source) and start < stop else matrix[start:stop]


def _device(device: str, backend: str | None) -> str:
    """Returns the device of this process: if none is named, processes of one machine take its CUDA devices in turn."""
    if device not in ("auto", "cuda"):
        return device
    with suppress(TypeError, ValueError, RuntimeError):
        if resolve(device, backend, None).startswith("cuda"):
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device
