"""Progress bars of commands, one for each stage."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]


@contextmanager
def bar(stage: str, unit: str, *, shown: bool) -> Iterator[Report | None]:
    """Yields a function of (done, total) that shows a bar on standard error; None if not shown, or no terminal."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=stage, unit=unit) as shown_bar:

        def report(done: int, total: int) -> None:
            if shown_bar.total is None:
                # Work of an earlier run does not count for the rate.
                shown_bar.reset(total)
            shown_bar.update(done - shown_bar.n)

        yield report
