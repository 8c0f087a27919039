"""Signals that end a run, put off until its state is whole."""

import signal
import threading
import time
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class DeferredSignals:
    """Inside its `with` block the signals that end a process are only noted; a second one acts at once.

    In threads other than the main one, where Python has no signals, nothing is put off. Signals that are ignored stay
    ignored. What came and was not delivered is delivered at the end of the block; where an exception leaves the block,
    that ends the run in place of the signal, which would hide what it says.

    Args:
        patience: seconds in which a second one counts as the first: those that start processes may send both to each.

    Attributes:
        arrived: the signal that was noted, or None.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.patience, self.since = patience, 0.0
        self.arrived: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "DeferredSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)):
                handler = signal.getsignal(number)
                # None: not Python's to change.
                if handler is not None and handler != signal.SIG_IGN:
                    self._previous[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is None:
            self.deliver()

    def deliver(self) -> None:
        """Lets the signal that was noted do what it would have done; that may be nothing."""
        number, self.arrived = self.arrived, None
        if number is None:
            return
        handler = self._previous[number]
        if callable(handler):
            handler(number, None)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.arrived is None:
            self.arrived, self.since = number, time.monotonic()
        elif time.monotonic() - self.since >= self.patience:
            self.deliver()
