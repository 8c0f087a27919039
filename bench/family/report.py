"""The report in Markdown: a pick against one matrix-vector product, memory by part, and the textbook's loop."""

import statistics
from collections.abc import Sequence

from bench import machine
from bench.family.entries import Entry
from bench.family.runs import TEXTBOOK, Session, picking
from bench.paper.section import table
from bench.runs import Run
from gip_gpu.system import memory

# What is claimed of the objectives that project picks out of the rows: products of the pool with a vector, a pick.
CLAIMED, CLAIM = ("lr", "mi", "entropy"), 4

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
Every run is a process of its own, one at a time, all in turn, the two ceilings among them; ratios are of medians of
this one session. A pick is the selection without its preparation (cast, norms, plan) and without the query that fits
the scores, divided by the number of picks; refreshes and rounds are part of it, and so is the first pick, which without
scores is a tie of all items. State overhead: what a pick takes beyond one float32 product of the pool with a vector,
by BLAS: the passes over residuals and distances, the float64 projector, the candidates rescored. Share of the
bandwidth: the time in which this machine was seen to read the float32 pool once, over that of a pick. mp makes Gram
columns in batches, which read the pool once for several picks; the others need a new column a pick. A whole process
starts Python, loads the data and scores it too."""
MEMORY_NOTES = """\
The parts are the plan's, a model's figures of what a selection allocates beyond its input; measured is the largest
resident size of the process, Python, NumPy and the input included. No part depends on k: mp keeps a fixed number of
Gram columns, the others none. The last line, what an algorithm that keeps a row of m values a pick would add, is for
comparison alone."""


def report(session: Session, runs: int, quick: bool) -> str:
    """All of it."""
    sizes = ", quick sizes: the figures say nothing about real ones" if quick else ""
    parts = [
        f"# What the objectives of the family cost{sizes}",
        f"Machine: {machine.line()}. Runs: {runs} each.",
    ]
    if session.objectives:
        case = session.objectives[0].case
        parts += [
            f"## A pick\n\n{pool(session.objectives[0])}, k = {case.k:,}.",
            picks(session),
            claim(session),
            limit(session),
            NOTES,
            "## Whole runs",
            whole_runs(session),
            checked(session),
            "## Memory",
            memory_parts(session),
            MEMORY_NOTES,
        ]
    if session.dpp is not None:
        parts += ["## More picks than dimensions, against the textbook", dpp(session, session.dpp)]
    return "\n\n".join(parts) + "\n"


def pool(entry: Entry) -> str:
    """The pool of an entry, for people."""
    case = entry.case
    return f"{case.title}{' sizes, synthetic' * case.synthetic}: {case.m:,} x {case.d}"


def picks(session: Session) -> str:
    """The table of what a pick costs."""
    matvec, read = session.matvec(), session.limit()
    rows = []
    for entry in session.objectives:
        if reason := session.wrong(entry.name):
            rows.append([str(entry), entry.scores, f"withheld: {reason}", *[""] * (len(PICK_HEADER) - 3)])
            continue
        seconds = session.picks(entry.name)
        median, notes = statistics.median(seconds), session.runs[entry.name][0].notes
        candidates = notes["candidates"]
        rows.append(
            [
                *(str(entry), entry.scores, _spread([1e3 * value for value in seconds]), f"{median / matvec:.2f}"),
                *(f"{1e3 * (median - matvec):.3g}", f"{read / median:.0%}"),
                f"{statistics.mean(candidates):.3g} ({statistics.median(candidates):.3g})",
                *(f"{notes['refreshes']:,}", f"{len(notes['rounds']):,}"),
            ]
        )
    return table(rows, PICK_HEADER)


def claim(session: Session) -> str:
    """Whether the objectives that project rows out stay within `CLAIM` products a pick."""
    asked = [entry for entry in session.objectives if entry.name in CLAIMED]
    counted = [entry.name for entry in asked if session.wrong(entry.name) is None]
    ratios = {name: statistics.median(session.picks(name)) / session.matvec() for name in counted}
    beyond = [name for name, ratio in ratios.items() if ratio > CLAIM]
    missing = [name for name in CLAIMED if name not in ratios]
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    text = f"Claim: {_listed(CLAIMED)} cost at most {CLAIM} matrix-vector products a pick."
    if ratios:
        holds = f"It does not hold for {_listed(beyond)}" if beyond else f"It holds for {_listed(list(ratios))}"
        text += f" {holds} ({shown})."
    return text + (f" No figure for {_listed(missing)}." if missing else "")


def limit(session: Session) -> str:
    """The physical limit of a pick, in words."""
    case, matvec, read = session.entries[0].case, session.matvec(), session.limit()
    size = 4 * case.m * case.d
    return (
        f"One matrix-vector product takes {1e3 * matvec:.3g} ms. The pool is {memory.readable(size)} in float32, and "
        f"this machine was seen to read as many bytes at {size / read / 1e9:.3g} GB/s, in {1e3 * read:.3g} ms: at that "
        f"rate a pick that needs a new column cannot take less. The product reaches {read / matvec:.0%} of it."
    )


def whole_runs(session: Session) -> str:
    """The table of whole processes: parts of their time, memory, and what was checked."""
    rows = []
    for entry in session.objectives:
        if reason := session.wrong(entry.name):
            rows.append([str(entry), f"withheld: {reason}", *[""] * (len(RUN_HEADER) - 2)])
            continue
        runs = session.runs[entry.name]
        rows.append(
            [
                *(str(entry), _process(runs), _spread([run.seconds for run in runs])),
                *(_spread([run.notes["timings"][part] for run in runs]) for part in ("prepare", "query")),
                *(_spread([picking(run) for run in runs]), _peak(runs)),
                f"{len(session.references[entry.name]):,} of {entry.case.k:,} picks",
            ]
        )
    return table(rows, RUN_HEADER)


def checked(session: Session) -> str:
    """What the picks were compared with."""
    counts = sorted({len(reference) for reference in session.references.values()})
    shown = _listed([f"{count:,}" for count in counts])
    return (
        f"The first {shown} picks of every run were compared, element by element, with the float64 reference: "
        "`gip_gpu.reference.greedy`, for mp `matching_pursuit`. Times are given only where they are equal."
    )


def memory_parts(session: Session) -> str:
    """The table of bytes by part of the plan, and what C (k, m) would take."""
    entries = [entry for entry in session.objectives if entry.name in session.runs]
    plans = [session.runs[entry.name][0].notes["memory"] for entry in entries]
    parts = list(dict.fromkeys(part for plan in plans for part in plan))
    rows = [[part, *(memory.readable(plan[part]) if part in plan else "" for plan in plans)] for part in parts]
    rows += [
        ["in all, planned", *(memory.readable(sum(plan.values())) for plan in plans)],
        ["measured", *(_peak(session.runs[entry.name]) for entry in entries)],
        ["a k x m matrix in float64", *(memory.readable(8 * entry.case.k * entry.case.m) for entry in entries)],
    ]
    return table(rows, ("bytes", *map(str, entries)))


def dpp(session: Session, entry: Entry) -> str:
    """Both variants' time and memory, and the speed-up where their picks are equal."""
    reason = session.withheld()
    rows = []
    for name, shown in ((entry.name, "gip_gpu"), (TEXTBOOK, "textbook, float64, C kept")):
        if name in session.trouble:
            rows.append([shown, session.trouble[name], "", "", ""])
            continue
        runs = session.runs[name]
        speed_up = "" if name == entry.name else f"withheld: {reason}" if reason else _speed_up(session, entry.name)
        rows.append([shown, _spread([run.seconds for run in runs]), speed_up, _process(runs), _peak(runs)])
    case = entry.case
    verdict = reason or f"all {case.k:,} picks are equal in every run"
    return "\n\n".join(
        [
            f"{pool(entry)}, {entry}, k = {case.k:,}: greedy MAP of a determinantal point process with the kernel "
            f"F F' + {entry.epsilon:g} I of unit rows. The textbook is algorithm 1 of Chen, Zhang and Zhou (2018): it "
            f"keeps C, k x m in float64 ({memory.readable(8 * case.k * case.m)}), and computes a row of the kernel "
            "when its item is picked; gip_gpu keeps no more than d x d beside the items' own state.",
            table(rows, DPP_HEADER),
            f"Compared, element by element: {verdict}. A lead is that of gip_gpu's certificate; between equal gains "
            "rounding decides in the textbook, and the lowest index in gip_gpu.",
        ]
    )


def _speed_up(session: Session, name: str) -> str:
    ours, theirs = (statistics.median(run.seconds for run in session.runs[each]) for each in (name, TEXTBOOK))
    return f"{theirs / ours:.1f} x"


def _process(runs: Sequence[Run]) -> str:
    return _spread([run.notes["process"] for run in runs])


def _peak(runs: Sequence[Run]) -> str:
    return memory.readable(statistics.median_high(run.peak for run in runs))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
