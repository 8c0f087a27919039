"""`python -m bench schedule`: the model of a run on many ranks against a simulation with measured constants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.runner.command import Request, suite
from bench.runner.report import Report, heading, paragraphs, table
from bench.schedule import constants
from bench.schedule.constants import HELD_UP, Constants
from bench.schedule.simulate import Run
from gip_gpu.planning.cluster import ClusterPlan, Local, duration, estimate
from gip_gpu.planning.cluster_schedule import Schedule, tailed
from gip_gpu.planning.hardware import DEVICE_KINDS, END

# Largest accepted relative difference between model and simulation.
ALLOWED = 0.2
RANKS = (1, 2, 4, 8, 16, 32, 64, 256)
HEADER = ("", "messages", "batch", "model, a pick", "simulated, a pick", "simulated / model", "/ without waiting")
LINK = """\
Messages: those of `gip_gpu.distributed`, by its `Communicator`, between two processes over gloo on loopback: a pick of
one signal there, a report back, each a pickle in a message of 4,096 bytes; the fastest tenth of the exchanges. The ends
of a message include Python's time, and are at most a quarter of a round trip. The star is the median of runs with 2 to
4 real processes. If there are more processes than cores they wait for a core; ranks of a cluster do not, and the model
has no such wait. Steps and batches are those of real selections from Alpaca by the NumPy backend; the slowest
{left:.0%} of the steps, {share:.0%} of their time, were delayed by other programs and are excluded."""
NOTES = """\
Simulated: every rank has a clock; a message takes the time of its two ends and its latency; local work takes a time
drawn from the measured ones; a batch serves picks until a drawn pick is not foreseen. The model is the closed form of
`gip_gpu/planning/cluster_schedule.py`, which `gip-gpu plan --devices` uses, with the same constants; it uses the
expected maximum of the ranks' times. The last column divides by the same form with the mean time for every rank; the
difference is the wait for the slowest rank."""
PAPER = """\
Nothing in this table was measured: rates are those of datasheets, an end of a message takes {end} as on one machine
here, latencies and the spread of times (5 % of the work, exponential) are assumptions. "unforeseen", the share of picks
that end a batch, is that of runs on real data of 52,002 items; for a billion items it is unknown.
`gip_gpu.distributed` has batches only on CPUs so far, and no tree. Totals are the simulated ones, scaled from {picks:,}
picks."""


@dataclass(frozen=True)
class Compared:
    """A schedule's closed form beside its simulation."""

    title: str  # name of the variant
    schedule: Schedule  # the schedule
    simulated: float  # simulated seconds of a pick
    picks: int  # number of simulated picks

    @classmethod
    def of(cls, title: str, schedule: Schedule, picks: int) -> "Compared":
        return cls(title, schedule, Run(schedule).seconds(picks) / picks, picks)

    @property
    def modelled(self) -> float:
        """Seconds of a pick by the closed form."""
        return self.schedule.seconds(self.picks) / self.picks

    @property
    def ratio(self) -> float:
        """Simulated over modelled."""
        return self.simulated / self.modelled

    @property
    def way(self) -> str:
        """Topology of the messages: "none", "star" or "tree"."""
        return "none" if self.schedule.ranks == 1 else "tree" if self.schedule.tree else "star"

    def row(self) -> list[str]:
        even = replace(self.schedule, spread=()).seconds(self.picks) / self.picks
        times = (duration(self.modelled), duration(self.simulated), f"{self.ratio:.3f}", f"{self.simulated / even:.3f}")
        return [self.title, self.way, f"{self.schedule.batch}", *times]


@suite("schedule", "schedule.md")
def main(request: Request) -> Report:
    """Measure steps and messages on this machine, simulate many ranks, and compare with the model's closed form;
    failure: it is off by more than a fifth."""
    picks = 40 if request.quick else 2000
    found = constants.measure(request.quick, request.done)
    scaled = scaling(found, RANKS[:4] if request.quick else RANKS, picks, request.done)
    base, varied = paper(picks, request.done)
    off = [each for each in [*scaled, *varied] if abs(each.ratio - 1) > ALLOWED]
    # The few picks of a quick run do not average out.
    failures = [] if request.quick else [f"{each.title}: simulated / model is {each.ratio:.2f}" for each in off]
    return Report(report(found, scaled, base, varied, request.quick), failures)


def here(found: Constants, m: int, ranks: int, tree: bool) -> Schedule:
    """Returns the schedule of m rows split over ranks that are each as fast as this machine."""
    rows = m / ranks
    nominees = Local(-(-m // ranks), found.d, 1, DEVICE_KINDS["cpu"]).nominees(ranks)
    return Schedule(
        ranks=ranks, d=found.d, n=1, link=found.link, step=found.step(rows), batch=found.batch,
        product=found.batch * found.column(rows), nominees=nominees, nominate=0.0,
        lookahead=found.batch * nominees * found.lookahead, served=min(found.served, found.batch),
        refresh=found.refresh(rows), every=2000, spread=found.spread, tree=tree,
    )  # fmt: skip


def scaling(found: Constants, ranks: Sequence[int], picks: int, done: Callable[[str], None]) -> list[Compared]:
    """Compares model and simulation by number of ranks, for the star and for a tree, which is not implemented."""
    rows: list[Compared] = []
    for count in ranks:
        title, ways = f"{count} rank{'s' * (count > 1)}", (False, True) if count > 2 else (False,)
        rows += [Compared.of(title, here(found, found.m, count, tree), picks) for tree in ways]
        done(title)
    return rows


def paper(picks: int, done: Callable[[str], None]) -> tuple[ClusterPlan, list[Compared]]:
    """Compares model and simulation for a billion rows on 64 devices by datasheet, and for varied latency, batch size,
    foresight and spread."""
    base = estimate(10**9, 768, 1, 10**6, devices=64)
    plain, link = base.schedule, base.schedule.link
    local = Local(-(-base.m // base.devices), base.d, base.n, base.kind, base.given)

    def planned(devices: int = 64, **rest: float) -> Schedule:
        return estimate(base.m, base.d, base.n, base.k, devices=devices, **rest).schedule

    def messages(factor: float) -> Schedule:
        return replace(plain, link=replace(link, latency=factor * link.latency, overhead=factor * link.overhead))

    def batch(size: int) -> Schedule:
        return local.schedule(64, link, size, base.precision, 1 / 30)

    cases = {
        "as planned, 64 devices": plain,
        "32 devices": planned(32),
        "256 devices": planned(256),
        "as built on GPUs: a column a pick": replace(batch(1), by_items=True),
        "a tree instead of a star": replace(plain, tree=True),
        "a tree of 256 devices": replace(planned(256), tree=True),
        "messages take a tenth": messages(0.1),
        "messages take ten times": messages(10),
        "ends of messages take 5 us": replace(plain, link=replace(link, overhead=5e-6)),
        "4,096 nominees": replace(plain, nominees=4096, lookahead=plain.lookahead * 4096 / plain.nominees),
        "unforeseen 1 in 100": planned(unforeseen=1 / 100),
        "unforeseen 1 in 10": planned(unforeseen=1 / 10),
        "a look ahead takes ten times": replace(plain, lookahead=10 * plain.lookahead),
        "batches of 1": batch(1),
        "batches of 16": batch(16),
        "batches of 128": batch(128),
        "no spread": replace(plain, spread=()),
        "spread of 20 %": replace(plain, spread=tailed(0.2)),
    }
    rows = []
    for title, schedule in cases.items():
        rows.append(Compared.of(title, schedule, picks))
        done(title)
    return base, rows


def report(found: Constants, scaled: list[Compared], base: ClusterPlan, varied: list[Compared], quick: bool) -> str:
    """Returns the whole report."""
    best = min(scaled, key=lambda entry: entry.simulated)
    rows = [[*entry.row()[:-1], duration(entry.simulated * base.k)] for entry in varied]
    return paragraphs(
        heading("The schedule of many ranks: model and simulation", quick, verdict=verdict([*scaled, *varied])),
        "## Measured on this machine",
        table(measured(found), ("quantity", "value")),
        LINK.format(left=1 - HELD_UP, share=found.held_up),
        f"## This machine's constants, {found.m:,} rows over many ranks",
        table([entry.row() for entry in scaled], HEADER),
        f"The fastest is {best.title} (messages: {best.way}), {duration(best.simulated)} a pick.",
        NOTES,
        f"## On paper: {base.m:,} x {base.d}, k = {base.k:,}, {base.devices} x {base.kind.name}",
        table(rows, (*HEADER[:-1], "k picks")),
        PAPER.format(end=duration(END), picks=varied[0].picks),
    )


def measured(found: Constants) -> list[tuple[str, str]]:
    """Formats the constants for the report."""
    link, step = found.link, found.step
    slowest = (f"{here(found, found.m, ranks, True).slowest:.3g}" for ranks in (1, 8, 64))
    rows = [("message: on its way", duration(link.latency)), ("message: at each end", duration(link.overhead))]
    for ranks, seconds in found.star.items():
        shown = f"{duration(seconds)} ({duration(here(found, found.m, ranks, False).step_messages)})"
        rows.append((f"star of {ranks} real processes, measured (model)", shown))
    rows += [(f"step, {m:,} rows", duration(seconds)) for m, seconds in found.pools.items()]
    return [
        *rows,
        ("step, by the line through them", f"{duration(step.fixed)} + {step.each * 1e9:.3g} ns a row"),
        (f"column in a batch, d = {found.d}", f"{found.column.each * 1e9:.3g} ns a row"),
        ("look ahead", f"{duration(found.lookahead)} a column and item of the working set"),
        ("batch", f"{found.batch} columns, of which {found.served:.3g} served a pick"),
        ("spread: slowest of 1, 8, 64 ranks", ", ".join(slowest)),
    ]


def verdict(compared: list[Compared]) -> str:
    """States the difference between model and simulation."""
    worst = max(compared, key=lambda entry: abs(entry.ratio - 1))
    within = "holds" if abs(worst.ratio - 1) <= ALLOWED else "does not hold"
    ratios = [entry.ratio for entry in compared]
    return (
        f"Claim: the closed form is within {ALLOWED:.0%} of the simulation. It {within}: simulated / model lies "
        f"between {min(ratios):.2f} and {max(ratios):.2f}, the farthest for {worst.title}."
    )
