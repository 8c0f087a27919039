"""Session of the suite: all measurements of one call, and the figures that the report may show."""

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
# Largest lead of a pick, relative to its gain, at which two float64 programs may choose different items.
TIE = 1e-12


@dataclass
class Session:
    """All measurements of one call.

    Attributes:
        entries: the requested entries.
        gemv, read: seconds of one float32 product of the pool and a vector, and of reading the same number of bytes, by
            round.
        found: runs by name of the entry, or `TEXTBOOK`.
        references: picks of the float64 reference to compare with, by name of the entry.
    """

    entries: Sequence[Entry]
    gemv: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    found: dict[str, Runs] = field(default_factory=dict)
    references: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def objectives(self) -> list[Entry]:
        """Entries whose picks are compared with the reference."""
        return [entry for entry in self.entries if entry.name != DPP]

    @property
    def dpp(self) -> Entry | None:
        """Entry that is compared with the textbook, if it was requested."""
        return next((entry for entry in self.entries if entry.name == DPP), None)

    @property
    def matvec(self) -> float:
        """Seconds of one product of the pool and a vector."""
        return statistics.median(self.gemv)

    @property
    def limit(self) -> float:
        """Shortest measured seconds to read the pool, by the read benchmark or by a product of the pool."""
        return min(statistics.median(self.read), self.matvec)

    def wrong(self, name: str) -> str:
        """Returns the reason to withhold an objective's times; "" if all its runs gave the picks of the reference."""
        expected = self.references[name]
        return self.found[name].wrong(expected, len(expected))

    def picks(self, entry: Entry) -> list[float]:
        """Returns the seconds a pick of each run."""
        return [seconds / entry.case.k for seconds in self.found[entry.name].figures("picking")]

    def parting(self) -> tuple[int, float, int] | None:
        """Returns the first pick, from 0, in which gip_gpu and the textbook differ, its lead and its ties; or None."""
        found = [
            (first, float(ours.notes["margins"][first]), int(ours.notes["ties"][first]))
            for ours in self.found[DPP].runs
            for theirs in self.found[TEXTBOOK].runs
            if (first := first_difference(ours.indices, theirs.indices)) is not None
        ]
        return min(found, default=None)

    def withheld(self) -> str:
        """Returns the reason to withhold the speed-up over the textbook; "" if all runs of both made the same picks."""
        for name, shown in ((DPP, "gip_gpu"), (TEXTBOOK, TEXTBOOK)):
            if trouble := self.found[name].trouble:
                return f"{shown} {trouble}"
        if (parting := self.parting()) is None:
            return ""
        first, margin, tied = parting
        return (
            f"the picks first differ at pick {first}, where gip_gpu's leads by {margin:.2g} of its gain; "
            f"items that tie there, itself included: {tied}"
        )

    def failures(self) -> list[str]:
        """Lists failed selections, and picks that differ from the reference's or the textbook's."""
        found = [f"{entry}: {reason}" for entry in self.objectives if (reason := self.wrong(entry.name))]
        if self.dpp is not None:
            parting = self.parting()
            # The textbook's rounding decides ties, so it may differ there.
            if self.found[DPP].trouble or (parting is not None and parting[1] > TIE):
                found.append(f"{self.dpp}: {self.withheld()}")
        return found


def measure(request: Request, verified: int | None) -> Session:
    """Measures the entries, and compares `verified` picks of each with the float64 reference; None: all."""
    session = Session([entries.find(name, request.quick) for name in request.names])
    jobs = {entry.name: Job(entries.run, (entry.name, request.quick)) for entry in session.entries}
    if session.dpp is not None:
        case = session.dpp.case
        jobs[TEXTBOOK] = Job(textbook.run, (request.quick,), textbook.needed_bytes(case.m, case.d, case.k))
    case = session.entries[0].case
    session.found = {name: Runs() for name in jobs}
    for _ in range(request.runs):
        # In each round, so that drift affects the ceilings too; the rate of the large product is not used.
        rates = child.call(ceilings, case.m, case.d, 256)
        session.gemv.append(rates["gemv"])
        session.read.append(rates["read"])
        in_turn(jobs, 1, request.done, found=session.found)
    for entry in session.objectives:
        session.references[entry.name] = entry.reference(min(verified or entry.case.k, entry.case.k))
        request.done(f"{entry.name}: reference")
    return session
