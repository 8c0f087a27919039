"""Writer of a run's checkpoints: every few picks or seconds, at the end, and when a signal ends the run."""

import time
from pathlib import Path
from typing import Any

from gip_gpu.checkpoint import file
from gip_gpu.exceptions import CheckpointError
from gip_gpu.greedy.state import State, Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.system.atomic_write import remove_leftovers
from gip_gpu.system.deferred_signals import DeferredSignals

# Names in messages of settings that are stored as digests.
OTHERS = {
    "initial": "initial items",
    "constraints": "constraints on the picks, or of another number of picks under group minimums",
    "prior": "picks before these rows joined",
    "center": "centring: rows are centred in one and not in the other, or by another mean row",
}
# Approximate seconds between two checks of the clock and of signals.
LOOK = 0.25


class CheckpointWriter:
    """Writer of a run's checkpoints, which also reads the one to resume from.

    Args:
        path: path of the file.
        every: picks (int) or seconds (float) between two checkpoints.
        of: identity of the run, from `subject`.

    Attributes:
        stored: content of the file, or None without a file.

    Raises:
        CheckpointError: the file is damaged, or of another selection; the message names the difference.
    """

    def __init__(self, path: Path, every: int | float, of: Stored) -> None:
        self.path, self.every, self.of = path, every, of
        remove_leftovers(path)
        self.stored: Stored | None = file.read(path) if path.exists() else None
        if self.stored is not None:
            self._compare(self.stored["of"])
        self.signals = DeferredSignals()
        self.saved = 0 if self.stored is None else len(self.stored["indices"])
        self.stride, self.before = 1, (self.saved, time.monotonic())
        self.written = self.before[1]

    def _compare(self, stored: Stored) -> None:
        names = {"m": "items", "d": "columns of F", "n": "signals"}
        differing = [name for name in {**self.of, **stored} if stored.get(name) != self.of.get(name)]
        sizes = [f"of {stored[name]} {names[name]}, not {self.of[name]}" for name in differing if name in names]
        matrices = [f"of another {name}" for name in differing if name in ("F", "G")]
        settings = [
            f"of other {OTHERS[name]}"
            if name in OTHERS
            else f"of {name} {stored.get(name)!r}, not {self.of.get(name)!r}"
            for name in differing
            if name not in (*names, "F", "G")
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint {self.path} is of another selection: {'; '.join(sizes or matrices)}"
                f"{'; ' * bool(settings and (sizes or matrices))}{'; '.join(settings)}; "
                "delete it or give another path"
            )

    def holds(self, k: int) -> bool:
        """Returns whether the file has the first k picks, those of `initial` included, or an exhausted selection."""
        return self.stored is not None and (self.saved >= k or self.stored["ending"] == "exhausted")

    def __enter__(self) -> "CheckpointWriter":
        """Defers signals until the file is written."""
        self.signals.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.signals.__exit__(*raised)

    def recall(self, state: State) -> Stored | None:
        """Restores `state` from a file that holds all its picks; returns the file's content, which includes their
        projection, or None if the file has more picks."""
        assert self.stored is not None
        state.restore(self.stored)
        return self.stored if state.t == self.saved else None

    def resumed(self, first: int, k: int) -> int:
        """Returns how many of the picks `first` to k came from the file; those before `first` are `initial`."""
        return 0 if self.stored is None else max(0, min(len(self.stored["indices"]), k) - first)

    def until(self, state: State) -> int:
        """Returns the number of picks at which to call `look` next."""
        until = state.t + self.stride
        return min(until, max(self.saved + self.every, state.t + 1)) if isinstance(self.every, int) else until

    def look(self, state: State, stepper: Stepper) -> None:
        """Saves if the interval has passed or a signal has arrived, and then delivers the signal."""
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
