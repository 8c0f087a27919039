"""Runs of variants: each in a fresh process, one at a time, all in turn, so that drift hits the halves of ratios alike.

No ratio is given before the picks were compared: `Runs.wrong` and `parted` say why one is withheld.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.runner import child
from bench.runner.report import spread
from gip_gpu.system import memory


@dataclass(frozen=True)
class Run:
    """What one process told: seconds, peak bytes, indices, and notes such as the timings of `gip_gpu.select`."""

    seconds: float
    peak: int
    indices: list[int]
    notes: dict[str, Any] = field(default_factory=dict)

    def figure(self, part: str) -> float:
        """A figure by name: seconds, a part of the timings, or a note."""
        if part == "seconds":
            return self.seconds
        timings = self.notes.get("timings", {})
        return float(timings[part] if part in timings else self.notes[part])


@dataclass(frozen=True)
class Job:
    """A call that is measured in a process of its own.

    Attributes:
        function: of a module under bench/; returns what `bench.runner.child.timed` does, and notes.
        arguments: plain values.
        needed: bytes without which it is not run.
        runs: at most; None: as many as the others.
    """

    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...] = ()
    needed: int = 0
    runs: int | None = None


@dataclass
class Runs:
    """The runs of one variant.

    Attributes:
        runs: in order.
        trouble: why there are none; then no other is tried.
        failed: whether one failed, and not only the memory was missing.
    """

    runs: list[Run] = field(default_factory=list)
    trouble: str = ""
    failed: bool = False

    def add(self, job: Job) -> None:
        """Adds a run, or the reason why there can be none."""
        if self.trouble:
            return
        if job.needed > (free := memory.available()):
            self.trouble = f"not run: needs {memory.readable(job.needed)}, {memory.readable(free)} free"
            return
        began = time.perf_counter()
        try:
            told = child.call(job.function, *job.arguments)
        except RuntimeError as error:
            self.trouble, self.failed = str(error), True
            return
        told["process"] = time.perf_counter() - began
        self.runs.append(Run(told.pop("seconds"), told.pop("peak"), told.pop("indices"), told))

    @property
    def notes(self) -> dict[str, Any]:
        """Those of the first run."""
        return self.runs[0].notes

    @property
    def peak(self) -> int:
        """The largest resident size of all runs, in bytes."""
        return max(run.peak for run in self.runs)

    @property
    def size(self) -> str:
        """The peak, for people."""
        return memory.readable(self.peak)

    def figures(self, part: str = "seconds") -> list[float]:
        """A figure of each run, as `Run.figure` names them."""
        return [run.figure(part) for run in self.runs]

    def median(self, part: str = "seconds") -> float:
        """The median of a figure."""
        return statistics.median(self.figures(part))

    def spread(self, part: str = "seconds") -> str:
        """The median of a figure and its range, for people."""
        return spread(self.figures(part))

    def first(self, expected: NDArray[np.int64], count: int | None = None) -> int | None:
        """The first of `count` picks, from 0, in which any run differs from the expected ones; None: none does."""
        found = [first_difference(run.indices[:count], expected) for run in self.runs]
        return min((first for first in found if first is not None), default=None)

    def wrong(self, expected: NDArray[np.int64], count: int | None = None) -> str:
        """Why no time of gip_gpu counts; "" where all runs made the expected picks."""
        if self.trouble:
            return f"gip_gpu {self.trouble}"
        first = self.first(expected, count)
        return "" if first is None else f"gip_gpu differs from float64 at pick {first}"


def first_difference(indices: Sequence[int], reference: Sequence[int] | NDArray[np.int64]) -> int | None:
    """The first position where two sequences differ, or None."""
    shared = min(len(indices), len(reference))
    differ = np.flatnonzero(np.asarray(indices[:shared], np.int64) != np.asarray(reference[:shared], np.int64))
    if len(differ):
        return int(differ[0])
    return None if len(indices) == len(reference) else shared


def parted(*found: Runs) -> str:
    """Why variants cannot be compared; "" where all their runs made the same picks."""
    expected = np.array(found[0].runs[0].indices)
    firsts = [first for each in found if (first := each.first(expected)) is not None]
    return f"the picks differ from pick {min(firsts)} on" if firsts else ""


def ratio(slow: Runs, fast: Runs) -> float:
    """How often the median of one goes into that of the other."""
    return slow.median() / fast.median()


def in_turn(
    jobs: Mapping[str, Job], runs: int, done: Callable[[str], object], found: dict[str, Runs] | None = None,
    strict: bool = False,
) -> dict[str, Runs]:  # fmt: skip
    """Runs of each job, all in turn; `done` hears of each, and they are added to those `found` before.

    Raises:
        RuntimeError: a run failed, and `strict`.
    """
    found = {name: Runs() for name in jobs} if found is None else found
    for turn in range(runs):
        for name, job in jobs.items():
            if turn < (runs if job.runs is None else job.runs):
                found[name].add(job)
                done(name)
                if strict and found[name].trouble:
                    raise RuntimeError(found[name].trouble)
    return found
