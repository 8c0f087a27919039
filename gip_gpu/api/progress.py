"""What a selection reports its picks to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gip_gpu.greedy import loop

# True for a bar, or the caller's own function of picks made and asked for.
Progress = bool | Callable[[int, int], None] | None


def check_progress(progress: Any) -> None:
    """Raises TypeError where progress is nothing that can be reported to."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress is {progress!r}; it must be None, a bool, or a function of (done, total)")


@contextmanager
def reporting(progress: Progress, total: int, resumed: int = 0) -> Iterator[loop.Notify | None]:
    """The function to report picks to: the caller's own, a bar on standard error for True, or none.

    Args:
        progress: as in `gip_gpu.select`.
        total: picks of the result.
        resumed: those from a checkpoint, which say nothing of this run's speed.
    """
    if not isinstance(progress, bool) or not progress:
        yield progress or None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=resumed, unit="pick", desc="select") as bar:
        yield lambda done, _: bar.update(done - bar.n)
