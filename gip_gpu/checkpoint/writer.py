"""Writer of the checkpoints of a run, by picks or seconds, when it ends, and when a signal ends it."""

import time
from pathlib import Path
from typing import Any

from gip_gpu.checkpoint import file
from gip_gpu.greedy.state import State, Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.system.atomic_write import remove_leftovers
from gip_gpu.system.deferred_signals import Deferred

# Settings that are digests, in the words of a message.
OTHERS = {"initial": "initial items", "prior": "picks before these rows joined"}
# Seconds between two looks at the clock and at signals, about.
LOOK = 0.25


class CheckpointWriter:
    """Writes the checkpoints of a run, and finds the one to go on from.

    Args:
        path: of the file.
        every: picks (int) or seconds (float) between two checkpoints.
        of: what the run is of, as `subject` says.

    Attributes:
        stored: what the file held, or None without one.

    Raises:
        ValueError: the file is no whole checkpoint, or one of another selection; the message says which.
    """

    def __init__(self, path: Path, every: int | float, of: Stored) -> None:
        self.path, self.every, self.of = path, every, of
        remove_leftovers(path)
        self.stored: Stored | None = file.read(path) if path.exists() else None
        if self.stored is not None:
            self._compare(self.stored["of"])
        self.signals = Deferred()
        self.saved = 0 if self.stored is None else len(self.stored["indices"])
        self.stride, self.before = 1, (self.saved, time.monotonic())
        self.written = self.before[1]

    def _compare(self, stored: Stored) -> None:
        names = {"m": "items", "d": "columns of F", "n": "signals"}
        differing = [name for name in self.of if stored.get(name) != self.of[name]]
        sizes = [f"of {stored[name]} {names[name]}, not {self.of[name]}" for name in differing if name in names]
        matrices = [f"of another {name}" for name in differing if name in ("F", "G")]
        settings = [
            f"of other {OTHERS[name]}" if name in OTHERS else f"of {name} {stored[name]!r}, not {self.of[name]!r}"
            for name in differing
            if name not in (*names, "F", "G")
        ]
        if differing:
            raise ValueError(
                f"the checkpoint {self.path} is of another selection: {'; '.join(sizes or matrices)}"
                f"{'; ' * bool(settings and (sizes or matrices))}{'; '.join(settings)}; "
                "delete it or give another path"
            )

    def holds(self, k: int) -> bool:
        """Whether the file has the first k picks, those of `initial` included, or all that there will be."""
        return self.stored is not None and (self.saved >= k or self.stored["ending"] == "exhausted")

    def __enter__(self) -> "CheckpointWriter":
        """Signals wait until the file is written."""
        self.signals.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.signals.__exit__(*raised)

    def recall(self, state: State) -> Stored | None:
        """Enters the picks of a file that holds all that are wanted; returns what they project out, None where the file
        has more picks than those."""
        assert self.stored is not None
        state.restore(self.stored)
        return self.stored if state.t == self.saved else None

    def resumed(self, first: int, k: int) -> int:
        """How many of the picks `first` to k of a run came from the file; those before `first` are of `initial`."""
        return 0 if self.stored is None else max(0, min(len(self.stored["indices"]), k) - first)

    def until(self, state: State) -> int:
        """How far to go before the next `look`."""
        until = state.t + self.stride
        return min(until, max(self.saved + self.every, state.t + 1)) if isinstance(self.every, int) else until

    def look(self, state: State, stepper: Stepper) -> None:
        """Saves where it is time to, or where a signal came, which then has its effect."""
        now, (t, since) = time.monotonic(), self.before
        if now - since > 2 * LOOK:
            self.stride = max(1, self.stride // 2)
        elif now - since < LOOK and state.t - t >= self.stride:
            self.stride *= 2
        self.before = state.t, now
        passed = state.t - self.saved if isinstance(self.every, int) else now - self.written
        if passed >= self.every or self.signals.arrived is not None:
            self.save(state, stepper)
            self.signals.deliver()

    def save(self, state: State, stepper: Stepper) -> None:
        """Writes the file."""
        parts = stepper.snapshot(state) if state.projecting else {}
        file.write(self.path, {"of": self.of, **state.snapshot(), **parts})
        self.saved, self.written = state.t, time.monotonic()
