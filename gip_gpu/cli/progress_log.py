"""Progress of a command: a bar for each stage, lines of JSON, or nothing."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import click

from gip_gpu.cli.bars import Report, bar, terminal
from gip_gpu.cli.streams import say
from gip_gpu.cli.summary import Summary

FLAG = "--log-json"
LOG_JSON = click.option(
    FLAG, is_flag=True, help="Stages, progress, summary, warnings and errors as JSON on standard error, one a line."
)
# Stages with a bar, and what they count.
UNITS = {"embed": "text", "dsir": "text", "perplexity": "row", "ifd": "sequence", "judge": "row", "select": "pick"}
# Seconds, and share of the whole, after which a line of progress follows the last one.
SECONDS, SHARE = 1.0, 0.01
# Variables by which libraries of Hugging Face leave out bars of their own; they read them when they are imported.
OTHER_BARS = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")


def log_line(event: str, **fields: Any) -> None:
    """Writes one object on standard error: the event, the time in seconds since 1970, and further fields."""
    line = json.dumps({"event": event, "time": round(time.time(), 3), **fields}, ensure_ascii=True, default=str)
    # A log that cannot be written does not end the work.
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)


class ProgressLog:
    """Progress of one command, in a `with` block; stages follow each other. Without bars, libraries show none either.

    Args:
        shown: whether anything is shown.
        as_json: lines of JSON instead of bars.
    """

    def __init__(self, *, shown: bool, as_json: bool = False) -> None:
        self.shown, self.as_json = shown, as_json
        self._bars, self._stage, self._began = ExitStack(), "", 0.0
        if not self.bars:
            for name in OTHER_BARS:
                os.environ.setdefault(name, "1")

    @property
    def bars(self) -> bool:
        """Whether bars are shown."""
        return self.shown and not self.as_json and terminal()

    def begin(self, stage: str) -> Report | None:
        """Begins a stage, which ends the one before; returns its progress function, None if none is shown."""
        self.end()
        self._stage, self._began = stage, time.perf_counter()
        if self.shown and self.as_json:
            log_line("begin", stage=stage)
            return _lines_of(stage)
        return self._bars.enter_context(bar(stage, UNITS[stage])) if self.bars and stage in UNITS else None

    def end(self) -> None:
        """Ends the stage."""
        self._bars.pop_all().close()
        if self._stage and self.shown and self.as_json:
            log_line("end", stage=self._stage, seconds=round(time.perf_counter() - self._began, 6))
        self._stage = ""

    def note(self, text: str) -> None:
        """Shows a line of text; the stage does not go on."""
        self._bars.pop_all().close()
        if not self.as_json:
            print(f"gip-gpu: {text}", file=sys.stderr)
        elif self.shown:
            log_line("note", message=text)

    def summary(self, made: Summary, *, err: bool = False, note: str = "") -> None:
        """Shows the summary of the command, `err` and `note` as in `gip_gpu.cli.streams.say`."""
        self.end()
        if self.shown and self.as_json:
            log_line("summary", fields=made.fields())
        elif self.shown:
            say(str(made), "the summary", err=err, note=note)

    def __enter__(self) -> "ProgressLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # A stage that failed does not end.
            self._stage = ""
        self.end()


def _lines_of(stage: str) -> Callable[[int, int], None]:
    """Returns a progress function that writes a line about every second, or each hundredth of the work."""
    # Time and count of the last line.
    last: list[float] = [time.monotonic(), 0]

    def report(done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or done - last[1] >= SHARE * total or now - last[0] >= SECONDS:
            last[:] = now, done
            log_line("progress", stage=stage, done=done, total=total)

    return report
