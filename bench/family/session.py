"""Session of the suite: what was measured in one go, and what may be told of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.family import entries, textbook
from bench.family.entries import DPP, Entry
from bench.runner import child
from bench.runner.ceilings import ceilings
from bench.runner.command import Request
from bench.runner.runs import Job, Runs, first_difference, in_turn

TEXTBOOK = "textbook"
# Relative lead of a pick, in its gain, within which two float64 programs may part.
TIE = 1e-12


@dataclass
class Session:
    """All that was measured in one go.

    Attributes:
        entries: what was asked for.
        gemv, read: seconds of one float32 product of the pool with a vector, and of reading as many bytes; by round.
        found: by name of the entry, or `TEXTBOOK`.
        references: by name of the entry, the picks of the float64 reference that it was compared with.
    """

    entries: Sequence[Entry]
    gemv: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    found: dict[str, Runs] = field(default_factory=dict)
    references: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def objectives(self) -> list[Entry]:
        """The entries whose picks are compared with the reference."""
        return [entry for entry in self.entries if entry.name != DPP]

    @property
    def dpp(self) -> Entry | None:
        """The entry whose rival is the textbook, if it was asked for."""
        return next((entry for entry in self.entries if entry.name == DPP), None)

    @property
    def matvec(self) -> float:
        """Seconds of one product of the pool with a vector."""
        return statistics.median(self.gemv)

    @property
    def limit(self) -> float:
        """Seconds in which this machine was seen to read the pool: those of a product of it, if that was faster."""
        return min(statistics.median(self.read), self.matvec)

    def wrong(self, name: str) -> str:
        """Why the times of an objective do not count; "" where all its runs gave the picks of the reference."""
        expected = self.references[name]
        return self.found[name].wrong(expected, len(expected))

    def picks(self, entry: Entry) -> list[float]:
        """Seconds a pick, by run."""
        return [seconds / entry.case.k for seconds in self.found[entry.name].figures("picking")]

    def parting(self) -> tuple[int, float, int] | None:
        """Where gip_gpu and the textbook part, if they do: the pick, from 0, its lead and the items tied there."""
        found = [
            (first, float(ours.notes["margins"][first]), int(ours.notes["ties"][first]))
            for ours in self.found[DPP].runs
            for theirs in self.found[TEXTBOOK].runs
            if (first := first_difference(ours.indices, theirs.indices)) is not None
        ]
        return min(found, default=None)

    def withheld(self) -> str:
        """Why there is no speed-up over the textbook; "" where every run of both made the same picks."""
        for name, shown in ((DPP, "gip_gpu"), (TEXTBOOK, TEXTBOOK)):
            if trouble := self.found[name].trouble:
                return f"{shown} {trouble}"
        if (parting := self.parting()) is None:
            return ""
        first, margin, tied = parting
        return (
            f"the picks part at pick {first}, where gip_gpu's leads by {margin:.2g} of its gain; "
            f"items that tie there, itself included: {tied}"
        )

    def failures(self) -> list[str]:
        """What must not happen: a selection that failed, other picks than the reference's or the textbook's."""
        found = [f"{entry}: {reason}" for entry in self.objectives if (reason := self.wrong(entry.name))]
        if self.dpp is not None:
            parting = self.parting()
            # Where items tie, the textbook's rounding decides.
            if self.found[DPP].trouble or (parting is not None and parting[1] > TIE):
                found.append(f"{self.dpp}: {self.withheld()}")
        return found


def measure(request: Request, verified: int | None) -> Session:
    """Measures the entries, `verified` picks of each against the float64 reference; None: all."""
    session = Session([entries.find(name, request.quick) for name in request.names])
    jobs = {entry.name: Job(entries.run, (entry.name, request.quick)) for entry in session.entries}
    if session.dpp is not None:
        case = session.dpp.case
        jobs[TEXTBOOK] = Job(textbook.run, (request.quick,), textbook.needed_bytes(case.m, case.d, case.k))
    case = session.entries[0].case
    session.found = {name: Runs() for name in jobs}
    for _ in range(request.runs):
        # In each round, so that drift hits the ceilings too; the large product is not used here.
        rates = child.call(ceilings, case.m, case.d, 256)
        session.gemv.append(rates["gemv"])
        session.read.append(rates["read"])
        in_turn(jobs, 1, request.done, found=session.found)
    for entry in session.objectives:
        session.references[entry.name] = entry.reference(min(verified or entry.case.k, entry.case.k))
        request.done(f"{entry.name}: reference")
    return session
