"""Progress reports of a selection."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gip_gpu.greedy import loop

# True for a bar, or the caller's function of (picks made, picks requested).
Progress = bool | Callable[[int, int], None] | None


def check_progress(progress: Any) -> None:
    """Raises TypeError unless progress is None, a bool or a function."""
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress is {progress!r}; it must be None, a bool, or a function of (done, total)")


@contextmanager
def reporting(progress: Progress, total: int, resumed: int = 0) -> Iterator[loop.Notify | None]:
    """Yields the function that reports picks: the caller's own, a bar on standard error for True, or None.

    Args:
        progress: as in `gip_gpu.select`.
        total: number of picks of the result.
        resumed: number of picks from a checkpoint, which the bar's speed leaves out.
    """
    if not isinstance(progress, bool) or not progress:
        yield progress or None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=resumed, unit="pick", desc="select") as bar:
        yield lambda done, _: bar.update(done - bar.n)
