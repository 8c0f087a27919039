"""Progress bar of one stage."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Report = Callable[[int, int], None]


def terminal() -> bool:
    """Returns whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def bar(stage: str, unit: str) -> Iterator[Report]:
    """Yields a function of (done, total) that shows a bar on standard error."""
    from tqdm import tqdm

    with tqdm(desc=stage, unit=unit) as shown_bar:

        def report(done: int, total: int) -> None:
            if shown_bar.total is None:
                # Work of an earlier run, and the loading of a model, do not count for the rate.
                shown_bar.reset(total)
                shown_bar.n = shown_bar.initial = shown_bar.last_print_n = done
                shown_bar.refresh()
            shown_bar.update(done - shown_bar.n)

        yield report
        # A stage that found all its work done shows no bar.
        shown_bar.leave = shown_bar.total is not None


def hide_bars_of_transformers() -> None:
    """Hides the bars that transformers shows while it loads a model."""
    with suppress(ImportError):
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
