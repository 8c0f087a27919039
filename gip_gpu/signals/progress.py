"""Progress reports of signals that take long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# True for a bar, or the caller's function of (done, total).
Progress = bool | Callable[[int, int], None] | None


@contextmanager
def reporting(
    progress: Any, total: int, resumed: int, name: str, unit: str
) -> Iterator[Callable[[int, int], None] | None]:
    """Yields the function that reports progress: the caller's own, a bar on standard error for True, or None.

    Args:
        progress: as `Progress`.
        total: number of units in all.
        resumed: units done by earlier runs, which the bar's rate and remaining time leave out.
        name, unit: labels of the bar.

    Raises:
        TypeError: progress is anything else.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress is {progress!r}; it must be None, a bool, or a function of (done, total)")
    if not isinstance(progress, bool) or not progress:
        yield progress or None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=resumed, unit=unit, desc=name) as bar:
        yield lambda done, _: bar.update(done - bar.n)
