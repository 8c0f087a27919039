"""Signals that end a run, deferred until its state is consistent."""

import signal
import threading
import time
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class DeferredSignals:
    """A `with` block that records SIGINT, SIGTERM and SIGHUP instead of acting on them; a second signal acts at once.

    Threads other than the main one defer nothing, as Python handles signals only in the main thread. Ignored signals
    stay ignored. The end of the block delivers a recorded signal that was not delivered before. If an exception leaves
    the block, the signal is dropped: it would hide the exception.

    Args:
        patience: seconds in which a second signal counts as the first; a launcher may send a process both.

    Attributes:
        arrived: number of the recorded signal, or None.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.patience, self.since = patience, 0.0
        self.arrived: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "DeferredSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)):
                handler = signal.getsignal(number)
                # None: Python did not install the handler and must not replace it.
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
        """Delivers the recorded signal to its previous handler; does nothing if no signal was recorded."""
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
