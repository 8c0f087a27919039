"""Checked settings of checkpoints: path and interval."""

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gip_gpu.system.atomic_write import check_target
from gip_gpu.system.files import suffix_of

# Default seconds between two checkpoints.
EVERY = 60.0

# Path of the checkpoint file, and picks (int) or seconds (float) between two writes.
Saving = tuple[Path, int | float]


def as_saving(path: Any, every: Any, reads: Iterable[str]) -> Saving | None:
    """Returns the checked path and interval of checkpoints; None without checkpoints.

    Args:
        path, every: `checkpoint` and `checkpoint_every` of the call.
        reads: `gip_gpu.sources.places` of rows and scores.

    Raises:
        TypeError, ValueError: as `gip_gpu.select`.
    """
    interval = as_interval(every)
    if path is not None:
        return as_path(path, reads), interval
    if every is not None:
        raise ValueError(f"checkpoint_every is {every!r}, and there is no checkpoint to write; give checkpoint a path")
    return None


def as_interval(every: Any) -> int | float:
    """Returns the checked `checkpoint_every`: an int of picks or a float of seconds; 60 seconds for None.

    Raises:
        TypeError, ValueError: any other value.
    """
    if every is None:
        return EVERY
    wanted = "checkpoint_every must be an int of picks, 1 or more, or a float of seconds above 0"
    if isinstance(every, (bool, np.bool_)):
        raise TypeError(f"checkpoint_every is {every!r} (bool); {wanted}")
    if isinstance(every, (float, np.floating)):
        if not every > 0:
            raise ValueError(f"checkpoint_every is {every!r}; {wanted}")
        return float(every)
    try:
        count = operator.index(every)
    except TypeError:
        raise TypeError(f"checkpoint_every is {every!r} ({type(every).__name__}); {wanted}") from None
    if count < 1:
        raise ValueError(f"checkpoint_every is {count}; {wanted}")
    return count


def as_path(path: Any, reads: Iterable[str] = ()) -> Path:
    """Returns `checkpoint` as a path that can be written to.

    Args:
        path: `checkpoint` of the call.
        reads: real paths of the files and folders that rows and scores are read from.

    Raises:
        TypeError, ValueError: not a path, a missing folder, a file that is not writable or not regular, or one that
            rows or scores are read from.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"checkpoint is {path!r} ({type(path).__name__}); it must be a path")
    target = Path(path)
    taken, real = set(reads), os.path.realpath(target)
    for place, what in ((real, ""), (os.path.dirname(real), "is in a folder of shards that ")):
        if place in taken:
            raise ValueError(f"checkpoint is {target}, which {what}this run reads; give another path")
    try:
        check_target(target, (suffix_of(target),), overwrite=True)
    except ValueError as error:
        raise ValueError(f"checkpoint: {error}") from error
    return target
