"""Running it: every run in a fresh process, one at a time, all in turn, so that drift hits the ratios' halves alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.family.entries import DPP, Entry
from bench.family.textbook import needed_bytes
from bench.runs import Run, child_output, first_difference
from gip_gpu.system import memory

TEXTBOOK = "textbook"
# Relative lead of a pick, in its gain, within which two float64 programs may part.
TIE = 1e-12


@dataclass
class Session:
    """All that was measured in one go.

    Attributes:
        entries: what was asked for.
        gemv, read: seconds of one float32 product of the pool with a vector, and of reading as many bytes; by round.
        runs, trouble: by name of the entry, or `TEXTBOOK`: its runs, or why there are none.
        references: by name of the entry, the picks of the float64 reference that it was compared with.
    """

    entries: Sequence[Entry]
    gemv: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    references: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def objectives(self) -> list[Entry]:
        """The entries whose picks are compared with the reference."""
        return [entry for entry in self.entries if entry.name != DPP]

    @property
    def dpp(self) -> Entry | None:
        """The entry whose rival is the textbook, if it was asked for."""
        return next((entry for entry in self.entries if entry.name == DPP), None)

    def wrong(self, name: str) -> str | None:
        """Why the times of an objective do not count, or None where all its runs gave the picks of the reference."""
        if name in self.trouble:
            return f"gip_gpu {self.trouble[name]}"
        expected = self.references[name]
        found = [first_difference(run.indices[: len(expected)], expected) for run in self.runs[name]]
        differing = [first for first in found if first is not None]
        return f"gip_gpu differs from float64 at pick {min(differing)}" if differing else None

    def parting(self) -> tuple[int, float, int] | None:
        """Where gip_gpu and the textbook part, if they do: the pick, from 0, its lead and the items tied there."""
        found = [
            (first, float(ours.notes["margins"][first]), int(ours.notes["ties"][first]))
            for ours in self.runs[DPP]
            for theirs in self.runs[TEXTBOOK]
            if (first := first_difference(ours.indices, np.array(theirs.indices))) is not None
        ]
        return min(found) if found else None

    def withheld(self) -> str | None:
        """Why there is no speed-up over the textbook, or None where every run of both made the same picks."""
        for name, shown in ((DPP, "gip_gpu"), (TEXTBOOK, TEXTBOOK)):
            if name in self.trouble:
                return f"{shown} {self.trouble[name]}"
        parting = self.parting()
        if parting is None:
            return None
        first, margin, tied = parting
        return (
            f"the picks part at pick {first}, where gip_gpu's leads by {margin:.2g} of its gain; "
            f"items that tie there, itself included: {tied}"
        )

    def failures(self) -> list[str]:
        """What must not happen: a selection that failed, other picks than the reference's or the textbook's."""
        found = [f"{entry}: {reason}" for entry in self.objectives if (reason := self.wrong(entry.name))]
        if self.dpp is not None and (DPP in self.trouble or self._beyond_ties()):
            found.append(f"{self.dpp}: {self.withheld()}")
        return found

    def _beyond_ties(self) -> bool:
        """Whether gip_gpu and the textbook part where the pick leads by more than rounding."""
        parting = None if TEXTBOOK in self.trouble else self.parting()
        return parting is not None and parting[1] > TIE

    def matvec(self) -> float:
        """Seconds of one product of the pool with a vector."""
        return statistics.median(self.gemv)

    def limit(self) -> float:
        """Seconds in which this machine was seen to read the pool: those of a product of it, if that was faster."""
        return min(statistics.median(self.read), self.matvec())

    def picks(self, name: str) -> list[float]:
        """Seconds a pick, by run."""
        return [picking(run) / len(run.indices) for run in self.runs[name]]


def picking(run: Run) -> float:
    """Seconds of a selection without its preparation and its query."""
    timings = run.notes["timings"]
    return float(timings["total"] - timings["prepare"] - timings["query"])


def measure(
    entries: Sequence[Entry], runs: int, verified: int | None, quick: bool, done: Callable[[str], object]
) -> Session:
    """Measures entries of `entries.ENTRIES`, or their quick forms.

    Args:
        verified: how many picks of each are compared with the float64 reference; None: all.
        done: hears of each finished piece of work.
    """
    session = Session(entries)
    size = [str(length) for length in (entries[0].case.m, entries[0].case.d)]
    # The large product is not used here.
    for _ in range(runs):
        session.gemv.append(child_output("bench.ceiling", *size, "--size", "256")["gemv"])
        session.read.append(child_output("bench.family.bandwidth", *size)["read"])
        done("ceilings")
        for entry in entries:
            _run(session, entry.name, "bench.family.child", entry.name, *_flags(quick))
            done(entry.name)
        if session.dpp is not None:
            _run_textbook(session, session.dpp, quick)
            done(TEXTBOOK)
    for entry in session.objectives:
        session.references[entry.name] = entry.reference(min(verified or entry.case.k, entry.case.k))
        done(f"{entry.name}: reference")
    return session


def steps(entries: Sequence[Entry], runs: int) -> int:
    """How often `measure` will call `done`."""
    session = Session(entries)
    return runs * (1 + len(entries) + (session.dpp is not None)) + len(session.objectives)


def _flags(quick: bool) -> tuple[str, ...]:
    return ("--quick",) if quick else ()


def _run_textbook(session: Session, entry: Entry, quick: bool) -> None:
    case = entry.case
    needed, free = needed_bytes(case.m, case.d, case.k), memory.available()
    if needed > free:
        session.trouble[TEXTBOOK] = f"not run: needs {memory.readable(needed)}, {memory.readable(free)} free"
    _run(session, TEXTBOOK, "bench.family.textbook", *_flags(quick))


def _run(session: Session, name: str, module: str, *arguments: str) -> None:
    """Adds a run, or the reason why there is none; then it is not tried again."""
    if name in session.trouble:
        return
    began = time.perf_counter()
    try:
        told = child_output(module, *arguments)
    except RuntimeError as error:
        session.trouble[name] = str(error)
        return
    told["process"] = time.perf_counter() - began
    session.runs.setdefault(name, []).append(Run(told.pop("seconds"), told.pop("peak"), told.pop("indices"), told))
