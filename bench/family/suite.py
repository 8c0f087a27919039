"""`python -m bench family`: a pick against one matrix-vector product, memory by part, and the textbook's loop."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
import numpy as np
from numpy.typing import NDArray

from bench.family import entries
from bench.family.entries import DPP, ENTRIES, Entry
from bench.runner import child
from bench.runner.ceilings import ceilings
from bench.runner.command import Request, suite
from bench.runner.report import Report, heading, listed, paragraphs, spread, table
from bench.runner.runs import Job, Runs, first_difference, in_turn, ratio
from gip_gpu.system import memory

# Objectives that project picks out of the rows, and the claimed cost of a pick in products of the pool and a vector.
CLAIMED, CLAIM = ("lr", "mi", "entropy"), 4
TEXTBOOK = "textbook"
# Largest lead of a pick, relative to its gain, at which two float64 programs may choose different items.
TIE = 1e-12

PICK_HEADER = (
    *("objective", "scores", "a pick, ms, median (min to max)", "/ matrix-vector product", "state overhead, ms"),
    *("share of the bandwidth", "candidates a pick, mean (median)", "refreshes", "rounds"),
)
RUN_HEADER = (
    *("objective", "whole process, s", "select, s", "preparation, s", "query, s", "picks, s", "peak memory"),
    "equal to float64 in the first",
)
DPP_HEADER = ("variant", "select, s", "speed-up of gip_gpu", "whole process, s", "peak memory")
NOTES = """\
Every run is a separate process, one at a time, all in turn with the ceilings; ratios are of medians of this one
session. The time of a pick is that of the selection without its preparation (cast, norms, plan) and without the query
that fits the scores, divided by the number of picks; it includes refreshes and rounds, and the first pick, which
without scores is a tie of all items. State overhead: the time of a pick beyond one float32 BLAS product of the pool and
a vector, for the passes over residuals and distances, the float64 projector and the rescored candidates. Share of the
bandwidth: the shortest measured time to read the float32 pool once, over that of a pick. mp computes Gram columns in
batches, which read the pool once for several picks; the others need a new column a pick. A whole process also starts
Python, and loads and scores the data."""
MEMORY_NOTES = """\
The parts are the plan's predictions of a selection's memory beyond its input; measured is the largest resident size of
the process, Python, NumPy and the input included. No part depends on k: mp stores a fixed number of Gram
columns, the others none. The last line, for comparison, is the additional memory of an algorithm that stores a row of
m values a pick."""
VERIFY = click.Option(
    ["--verify"], type=click.IntRange(min=1), metavar="PICKS",
    help="Picks of each objective to compare with float64, minutes for hundreds.  [default: all]",
)  # fmt: skip


@dataclass
class Session:
    """All measurements of one call."""

    entries: Sequence[Entry]
    # Seconds of one float32 product of the pool and a vector, and of reading the same number of bytes, by round.
    gemv: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    # Runs, and picks of the float64 reference to compare with, by name of the entry, or `TEXTBOOK`.
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
    case = session.entries[0].case
    if session.dpp is not None:
        needed = entries.textbook_bytes(case.m, case.d, session.dpp.case.k)
        jobs[TEXTBOOK] = Job(entries.run_textbook, (request.quick,), needed)
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


@suite("family", "family.md", names=[entry.name for entry in ENTRIES], runs=(3, 1), options=[VERIFY])
def main(request: Request, verify: int | None) -> Report:
    """Measure the cost of a pick, by objective; failure: gip_gpu failed or made other picks."""
    session = measure(request, verify)
    parts = [heading("What the objectives of the family cost", request.quick, f"Runs: {request.runs} each.")]
    if session.objectives:
        case = session.objectives[0].case
        parts += [f"## A pick\n\n{case.pool}, k = {case.k:,}.", picks(session), claim(session), limit(session), NOTES]
        parts += ["## Whole runs", whole_runs(session), checked(session)]
        parts += ["## Memory", memory_parts(session), MEMORY_NOTES]
    if session.dpp is not None:
        parts += ["## More picks than dimensions, against the textbook", dpp(session, session.dpp)]
    return Report(paragraphs(*parts), session.failures())


def picks(session: Session) -> str:
    """Returns the table of the cost of a pick."""
    rows = []
    for entry in session.objectives:
        first = [str(entry), entry.scores]
        if reason := session.wrong(entry.name):
            rows.append([*first, f"withheld: {reason}"])
            continue
        seconds, notes = session.picks(entry), session.found[entry.name].notes
        median, candidates = statistics.median(seconds), notes["candidates"]
        shares = (f"{median / session.matvec:.2f}", f"{1e3 * (median - session.matvec):.3g}")
        told = f"{statistics.mean(candidates):.3g} ({statistics.median(candidates):.3g})"
        counts = (f"{notes['refreshes']:,}", f"{len(notes['rounds']):,}")
        spent = spread([1e3 * value for value in seconds])
        rows.append([*first, spent, *shares, f"{session.limit / median:.0%}", told, *counts])
    return table(rows, PICK_HEADER)


def claim(session: Session) -> str:
    """States whether the objectives that project rows out stay within `CLAIM` products a pick."""
    counted = [each for each in session.objectives if each.name in CLAIMED and not session.wrong(each.name)]
    ratios = {entry.name: statistics.median(session.picks(entry)) / session.matvec for entry in counted}
    beyond = [name for name, value in ratios.items() if value > CLAIM]
    missing = [name for name in CLAIMED if name not in ratios]
    shown = ", ".join(f"{name} {value:.2f}" for name, value in ratios.items())
    told = f"Claim: {listed(CLAIMED)} cost at most {CLAIM} matrix-vector products a pick."
    if ratios:
        holds = f"It does not hold for {listed(beyond)}" if beyond else f"It holds for {listed(list(ratios))}"
        told += f" {holds} ({shown})."
    return told + (f" No figure for {listed(missing)}." if missing else "")


def limit(session: Session) -> str:
    """States the physical limit of a pick."""
    case, matvec, read = session.entries[0].case, session.matvec, session.limit
    size = 4 * case.m * case.d
    return (
        f"One matrix-vector product takes {1e3 * matvec:.3g} ms. The pool is {memory.readable(size)} in float32. This "
        f"machine reads that at {size / read / 1e9:.3g} GB/s, in {1e3 * read:.3g} ms: the lower bound of a pick that "
        f"needs a new column. The product reaches {read / matvec:.0%} of that rate."
    )


def whole_runs(session: Session) -> str:
    """Returns the table of whole processes: parts of their time, memory, and the number of compared picks."""
    rows = []
    for entry in session.objectives:
        if reason := session.wrong(entry.name):
            rows.append([str(entry), f"withheld: {reason}"])
            continue
        runs, count = session.found[entry.name], len(session.references[entry.name])
        times = [runs.spread(part) for part in ("process", "seconds", "prepare", "query", "picking")]
        rows.append([str(entry), *times, runs.size, f"{count:,} of {entry.case.k:,} picks"])
    return table(rows, RUN_HEADER)


def checked(session: Session) -> str:
    """States which picks were compared with the reference."""
    counts = sorted({len(reference) for reference in session.references.values()})
    return (
        f"The first {listed([f'{count:,}' for count in counts])} picks of every run were compared, element by element, "
        "with the float64 reference: `gip_gpu.reference.greedy`, for mp `matching_pursuit`. Times are given only where "
        "they are equal."
    )


def memory_parts(session: Session) -> str:
    """Returns the table of bytes by part of the plan, and the bytes of C (k, m)."""
    entries = [entry for entry in session.objectives if session.found[entry.name].runs]
    found = [session.found[entry.name] for entry in entries]
    plans = [runs.notes["memory"] for runs in found]
    parts = dict.fromkeys(part for plan in plans for part in plan)
    rows = [[part, *(memory.readable(plan[part]) if part in plan else "" for plan in plans)] for part in parts]
    rows.append(["in all, planned", *(memory.readable(sum(plan.values())) for plan in plans)])
    rows.append(["measured", *(runs.size for runs in found)])
    stored = (memory.readable(8 * entry.case.k * entry.case.m) for entry in entries)
    rows.append(["a k x m matrix in float64", *stored])
    return table(rows, ("bytes", *map(str, entries)))


def dpp(session: Session, entry: Entry) -> str:
    """Returns time and memory of both variants, and the speed-up if their picks are equal."""
    reason, case = session.withheld(), entry.case
    rows = []
    for name, shown in ((DPP, "gip_gpu"), (TEXTBOOK, "textbook, float64, C kept")):
        runs = session.found[name]
        if runs.trouble:
            rows.append([shown, runs.trouble])
            continue
        speed_up = f"withheld: {reason}" if reason else f"{ratio(runs, session.found[DPP]):.1f} x"
        rows.append([shown, runs.spread(), "" if name == DPP else speed_up, runs.spread("process"), runs.size])
    return "\n\n".join(
        [
            f"{case.pool}, {entry}, k = {case.k:,}: greedy MAP of a determinantal point process with the kernel "
            f"F F' + {entry.epsilon:g} I of unit rows. The textbook is algorithm 1 of Chen, Zhang and Zhou (2018): it "
            f"stores C, k x m in float64 ({memory.readable(8 * case.k * case.m)}), and computes a row of the kernel "
            "when its item is picked; gip_gpu stores at most d x d values in addition to the items' own state.",
            table(rows, DPP_HEADER),
            f"Compared, element by element: {reason or f'all {case.k:,} picks are equal in every run'}. A lead is that "
            "of gip_gpu's certificate; between equal gains rounding decides in the textbook, and the lowest index in "
            "gip_gpu.",
        ]
    )
