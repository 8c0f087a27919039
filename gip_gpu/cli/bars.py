"""Progress bars of commands, one for each stage."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

Report = Callable[[int, int], None]
# Stages with progress, and what they count.
UNITS = {"embed": "text", "perplexity": "row", "ifd": "sequence", "judge": "row", "select": "pick"}


def terminal() -> bool:
    """Returns whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def bar(stage: str, unit: str, *, shown: bool) -> Iterator[Report | None]:
    """Yields a function of (done, total) that shows a bar on standard error; None if not shown, or no terminal."""
    if not shown or not terminal():
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
        # A stage that found all its work done shows no bar.
        shown_bar.leave = shown_bar.total is not None


@contextmanager
def stage_bars(*, shown: bool) -> Iterator[Callable[[str], Report | None]]:
    """Yields a function that is called when a stage begins, and returns its progress function; one bar at a time."""
    with ExitStack() as bars:

        def notify(stage: str) -> Report | None:
            bars.pop_all().close()
            return bars.enter_context(bar(stage, UNITS[stage], shown=shown))

        yield notify


def hide_bars_of_transformers() -> None:
    """Hides the bars that transformers shows while it loads a model."""
    with suppress(ImportError):
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
