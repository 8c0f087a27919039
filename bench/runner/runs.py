"""Runs of variants, each in a fresh process, one at a time and in turn, so that drift affects both halves of a ratio.

A ratio is shown only after a comparison of the picks: `Runs.wrong` and `parted` return the reason to withhold it.
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
    """Result of one process: seconds, peak bytes, indices, and notes such as the timings of `gip_gpu.select`."""

    seconds: float
    peak: int
    indices: list[int]
    notes: dict[str, Any] = field(default_factory=dict)

    def figure(self, part: str) -> float:
        """Returns a figure by name: seconds, a part of the timings, or a note."""
        if part == "seconds":
            return self.seconds
        timings = self.notes.get("timings", {})
        return float(timings[part] if part in timings else self.notes[part])


@dataclass(frozen=True)
class Job:
    """A call that is measured in its own process."""

    # Function of a module under bench/; returns the result of `bench.runner.child.timed`, and notes.
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...] = ()  # plain values, for JSON
    needed: int = 0  # bytes of free memory without which it is not run
    runs: int | None = None  # largest number of runs; None: as many as the others


@dataclass
class Runs:
    """The runs of one variant."""

    runs: list[Run] = field(default_factory=list)  # finished runs, in order
    trouble: str = ""  # the reason why runs stopped; no further run is tried
    failed: bool = False  # whether a run failed, rather than lacked memory

    def add(self, job: Job) -> None:
        """Runs the job and adds the run, or the reason why it cannot run."""
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
        """Notes of the first run."""
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
        """Returns `Run.figure` of each run."""
        return [run.figure(part) for run in self.runs]

    def median(self, part: str = "seconds") -> float:
        """Returns the median of a figure."""
        return statistics.median(self.figures(part))

    def spread(self, part: str = "seconds") -> str:
        """Formats the median of a figure and its range."""
        return spread(self.figures(part))

    def first(self, expected: NDArray[np.int64], count: int | None = None) -> int | None:
        """Returns the first of `count` picks, from 0, in which a run differs from the expected picks, or None."""
        found = [first_difference(run.indices[:count], expected) for run in self.runs]
        return min((first for first in found if first is not None), default=None)

    def wrong(self, expected: NDArray[np.int64], count: int | None = None) -> str:
        """Returns the reason to withhold gip_gpu's times; "" if all runs made the expected picks."""
        if self.trouble:
            return f"gip_gpu {self.trouble}"
        first = self.first(expected, count)
        return "" if first is None else f"gip_gpu differs from float64 at pick {first}"


def first_difference(indices: Sequence[int], reference: Sequence[int] | NDArray[np.int64]) -> int | None:
    """Returns the first position where two sequences differ, or None."""
    shared = min(len(indices), len(reference))
    differ = np.flatnonzero(np.asarray(indices[:shared], np.int64) != np.asarray(reference[:shared], np.int64))
    if len(differ):
        return int(differ[0])
    return None if len(indices) == len(reference) else shared


def parted(*found: Runs) -> str:
    """Returns the reason why variants cannot be compared; "" if all their runs made the same picks."""
    expected = np.array(found[0].runs[0].indices)
    firsts = [first for each in found if (first := each.first(expected)) is not None]
    return f"the picks differ from pick {min(firsts)} on" if firsts else ""


def ratio(slow: Runs, fast: Runs) -> float:
    """Returns the speed-up: the median seconds of `slow` over those of `fast`."""
    return slow.median() / fast.median()


def in_turn(
    jobs: Mapping[str, Job], runs: int, done: Callable[[str], object], found: dict[str, Runs] | None = None,
    strict: bool = False,
) -> dict[str, Runs]:  # fmt: skip
    """Runs all jobs in turn, calls `done` after each run, and adds the runs to `found`; raises RuntimeError if `strict`
    and a run failed or could not start."""
    found = {name: Runs() for name in jobs} if found is None else found
    for turn in range(runs):
        for name, job in jobs.items():
            if turn < (runs if job.runs is None else job.runs):
                found[name].add(job)
                done(name)
                if strict and found[name].trouble:
                    raise RuntimeError(found[name].trouble)
    return found
