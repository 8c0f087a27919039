"""Results of the suite: checks, measurements with their floors, failures, and what was left out."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Phase:
    """Work that the device finishes before it begins the next phase."""

    bytes: float = 0  # bytes of device memory read and written
    flops: float = 0  # flops of products with factors in `format`
    format: str = "fp32"  # format of the factors
    # Number of dependent barriers and launches.
    barriers: int = 0
    launches: int = 0


@dataclass
class Check:
    """One selection compared with the right indices; `difference` is the first pick, from 0, that differs."""

    case: str
    backend: str
    precision: str
    columns: str
    k: int
    against: str
    difference: int | None
    seconds: float


@dataclass
class Entry:
    """One measurement."""

    # Table, measured pool and sizes, and the way of the measurement.
    part: str
    case: str
    variant: str
    backend: str  # backend of gip_gpu, or "" for code that it is compared with
    seconds: float  # the median
    phases: tuple[Phase, ...] = ()  # the work, for the floor
    peak: int | None = None  # peak bytes of device memory, None if not measured
    model: float | None = None  # seconds that the cost model predicts for an A100
    picks: bool = False  # whether it picks items, so that there are indices to compare
    difference: int | None = None  # the first pick, from 0, that is not the right one; None if all are
    unchecked: str = ""  # the reason why the result was not compared with the right one; "" if it was
    group: str = ""  # entries of the same group select the same picks, so their times are comparable
    notes: dict[str, Any] = field(default_factory=dict)  # further figures


@dataclass
class Failure:
    """A failed piece of the run: its name, its backend ("" for none), the first line of the error, the traceback."""

    what: str
    backend: str
    message: str
    traceback: str


@dataclass
class Results:
    """All results of a run."""

    sizes: str  # the label of the sizes
    machine: dict[str, Any] = field(default_factory=dict)  # GPU, driver, versions and host
    ceilings: dict[str, float] = field(default_factory=dict)  # rates and latencies by name, for the floors
    # In the order of the run.
    checks: list[Check] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # measurements that were left out, each with the reason
    spent: dict[str, float] = field(default_factory=dict)  # seconds of each part

    def troubles(self, backend: str) -> list[str]:
        """Returns the reasons to withhold a backend's speed-ups; empty if all its indices were right."""
        wrong = [check for check in self.checks if check.backend == backend and check.difference is not None]
        differing = [entry for entry in self.entries if entry.backend == backend and entry.difference is not None]
        return [
            *(f"{each.case}, {each.precision}, {each.columns}: pick {each.difference} differs" for each in wrong),
            *(f"{each.part}, {each.case}, {each.variant}: pick {each.difference} differs" for each in differing),
            *(f"{each.what}: {each.message}" for each in self.failures if each.backend == backend),
        ]

    def wrong(self) -> bool:
        """Returns whether anything failed or gave other indices."""
        return bool(self.failures) or any(
            found.difference is not None for found in (*self.checks, *self.entries) if found.backend
        )

    def floor(self, phases: tuple[Phase, ...]) -> float | None:
        """Returns the seconds of the work at the measured ceilings; None if one of them is missing."""
        try:
            return sum(map(self._floor, phases)) if phases else None
        except KeyError:
            return None

    def _floor(self, phase: Phase) -> float:
        limits, seconds = self.ceilings, 0.0
        if phase.bytes:
            seconds = phase.bytes / limits["copy bandwidth"]
        if phase.flops:
            seconds = max(seconds, phase.flops / limits[f"GEMM {phase.format}"])
        for count, name in ((phase.barriers, "grid barrier"), (phase.launches, "launch in a graph")):
            seconds += count * limits[name] if count else 0
        return seconds

    def as_json(self) -> dict[str, Any]:
        """Returns the results as plain values, with floors and the verdict."""
        entries = [{**asdict(entry), "floor": self.floor(entry.phases)} for entry in self.entries]
        return {**asdict(self), "entries": entries, "wrong": self.wrong()}
