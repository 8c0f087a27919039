"""Cost model of a run with rows split over many devices: whether it fits, and its memory and time.

All times are model predictions, from datasheets and from assumptions stated next to each constant; `bench schedule`
simulates the schedule of steps and messages. The objective is matching pursuit with columns in batches.
`gip_gpu.distributed` has batches on CPUs; on GPUs it computes one column a pick so far (`ClusterPlan.as_built`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gip_gpu.numerics import error_bounds
from gip_gpu.planning.batches import LADDER, UNFORESEEN
from gip_gpu.planning.cluster_schedule import NOMINEES, Schedule, tailed
from gip_gpu.planning.cpu_costs import EXACT_PICKS, HOST_PRECISIONS, HostCosts, Layout
from gip_gpu.planning.gpu_costs import GIVEN_BYTES, GPU_AUTOMATIC, GPU_PRECISIONS, GpuCosts
from gip_gpu.planning.hardware import STORAGE, DeviceKind, Link, device_kind, network
from gip_gpu.planning.plan import CACHE
from gip_gpu.system import memory
from gip_gpu.validation.settings import as_bytes, as_count, one_of

# Large pools store rows in 16 bits: 1.5 TB for a billion rows of length 768.
GIVEN = "fp16"
# Share of a device's work that varies from step to step; an assumption.
SPREAD = tailed(0.05)
# Array operations of a simulated pick in the lookahead, and picks simulated for each column.
LOOKAHEAD_CALLS, SIMULATED = 50, 1.25
# Copies of the nominees' rows that rank 0 stores, working sets included.
KEPT = 6


@dataclass(frozen=True)
class Local:
    """Memory and work of one device for its rows.

    Attributes:
        m, d, n: rows of this device, their length, signals.
        kind: kind of device.
        given: input dtype of the rows.
    """

    m: int
    d: int
    n: int
    kind: DeviceKind
    given: str = GIVEN

    @property
    def costs(self) -> GpuCosts | HostCosts:
        """Cost model of the device alone."""
        if self.kind.chip is None:
            return HostCosts(self.m, self.d, self.n)
        return GpuCosts(self.m, self.d, self.n, self.given, graph=True, chip=self.kind.chip)

    def memory(self, slots: int, precision: str, devices: int) -> dict[str, int]:
        """Returns the bytes by part with `slots` columns; rank 0's arrays for the others count on every CPU."""
        parts = self.costs.lazy(slots, Layout(), precision)
        if devices > 1 and self.kind.chip is None:
            parts["lookahead"] = KEPT * 4 * self.d * self.nominees(devices) + 8 * slots * self.d
        return parts

    def nominees(self, devices: int) -> int:
        """Returns the items in rank 0's lookahead: a working set of the whole pool, at least some from each device."""
        pool = HostCosts(devices * self.m, self.d, self.n)
        return max(pool.layouts()[0].lookahead, NOMINEES * devices)

    def load_seconds(self) -> float:
        """Returns the seconds to load the rows from storage to the device."""
        read = self.m * self.d * GIVEN_BYTES[self.given]
        if self.kind.chip is not None:
            return max(read / STORAGE, read / self.kind.chip.upload)
        return read / STORAGE + 30 * self.m * self.d / self.kind.host.copy

    def schedule(self, devices: int, link: Link, batch: int, precision: str, unforeseen: float) -> Schedule:
        """Returns the pieces of a run in which each batch serves until the first unforeseen pick."""
        costs, host = self.costs, self.kind.host
        if isinstance(costs, GpuCosts):
            chip = costs.chip
            step = costs.step_bytes(precision, in_shared=False) / chip.memory + costs.host_seconds()
            product = costs.columns_seconds(batch, precision) + chip.visit
            # A copy of the scores and of the order of the items, in four passes.
            nominate = 4 * 16 * self.m / chip.memory + chip.visit
            refresh, every = costs.refresh_seconds() + chip.visit, costs.picks_a_refresh(precision)
        else:
            step, product = costs.step_seconds(host), costs.columns_seconds(batch, host)
            nominate = 2 * 4 * self.m / host.copy
            refresh, every = costs.refresh_seconds(host), EXACT_PICKS
        # Each simulated pick reads the nominated rows.
        nominees = self.nominees(devices)
        ahead = batch * SIMULATED * (4 * nominees * self.d / host.gemv + LOOKAHEAD_CALLS * host.call)
        return Schedule(
            ranks=devices, d=self.d, n=self.n, link=link, step=step, batch=batch, product=product,
            nominees=nominees, nominate=nominate if batch > 1 else 0.0, lookahead=ahead if batch > 1 else 0.0,
            served=(1 - (1 - unforeseen) ** batch) / unforeseen, refresh=refresh, every=every,
            spread=SPREAD if devices > 1 else (),
        )  # fmt: skip


@dataclass(frozen=True)
class ClusterPlan:
    """Memory and time of a run on many devices; all times are model predictions.

    Attributes:
        m, d, n, k: items in all, length of a row, signals, picks.
        devices, kind: number and kind of the devices.
        given, precision: input dtype of the rows, and precision in which Gram columns are computed and stored.
        columns: Gram columns that each device stores for its rows.
        memory: bytes by part that the device with the most rows needs.
        limit: bytes that a device has.
        schedule: the pieces of the run.
        seconds: total seconds by part.
        as_built: total seconds with one column a pick, if `gip_gpu.distributed` has no batches there; else None.
    """

    m: int
    d: int
    n: int
    k: int
    devices: int
    kind: DeviceKind
    given: str
    precision: str
    columns: int
    memory: dict[str, int] = field(repr=False)
    limit: int
    schedule: Schedule = field(repr=False)
    seconds: dict[str, float] = field(repr=False)
    as_built: float | None = None

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())

    @property
    def bottleneck(self) -> str:
        """Part that takes the most time."""
        return max(self.seconds, key=self.seconds.__getitem__)

    def table(self) -> list[tuple[str, str]]:
        """Returns rows of (quantity, readable value)."""
        run, total = self.schedule, self.total
        rows = -(-self.m // self.devices)
        batch, share = run.batch, run.served / run.batch
        told = {part: f"{duration(seconds)} in all" for part, seconds in self.seconds.items()}
        single = self.devices == 1
        built = "in all: gip_gpu.distributed makes a column a pick there so far"
        return [
            ("pool", f"{self.m:,} items of length {self.d:,} in {self.given}, {self.n} signal{'s' * (self.n != 1)}"),
            ("picks", f"{self.k:,} ({self.k / self.m:.3g} of the pool), objective mp"),
            ("devices", f"{self.devices:,} x {self.kind.name}, {rows:,} items each"),
            ("network", "none" if single else f"{run.link}; a star around rank 0"),
            *((f"memory per device: {part}", memory.readable(size)) for part, size in self.memory.items()),
            (
                "memory per device in all",
                f"{memory.readable(sum(self.memory.values()))} (limit: {memory.readable(self.limit)})",
            ),
            ("Gram columns", f"lazy, {self.precision}, {self.columns} columns kept"),
            ("batch", f"{batch} columns at once, of which {run.served:.3g} are used ({share:.0%})"),
            ("column GEMM", f"{duration(run.product)} a batch, {told['columns']} with the ranking of items"),
            ("look ahead", f"{duration(run.lookahead)} a batch, {told['lookahead']}"),
            ("step (passes over W~)", f"{duration(run.step)} a pick, {told['steps']}"),
            ("communication", f"{duration(self.seconds['communication'] / self.k)} a pick, {told['communication']}"),
            ("waiting for the slowest", told["waiting for the slowest"]),
            ("refresh", f"{duration(run.refresh)} each {run.every:,.0f} picks, {told['refreshes']}"),
            ("load", duration(self.seconds["load"])),
            ("total", f"{duration(total)}, {duration(total / self.k)} a pick"),
            ("bottleneck", f"{self.bottleneck}, {self.seconds[self.bottleneck] / total:.0%} of the total"),
            *([] if self.as_built is None else [("as built on GPUs", f"{duration(self.as_built)} {built}")]),
            (
                "source",
                "a model's figures, from datasheets and assumptions; a message's ends and a GPU's host were measured",
            ),
        ]


def estimate(
    m: int,
    d: int,
    n: int,
    k: int | float | str,
    *,
    devices: int = 1,
    kind: str = "A100-80GB",
    network_link: str | Link | None = None,
    precision: str = "auto",
    given: str = GIVEN,
    memory_limit: Any = None,
    unforeseen: float = UNFORESEEN,
) -> ClusterPlan:
    """Predicts the memory and time of matching pursuit with rows split evenly over devices.

    Args:
        m, d, n: items in all, length of a row, signals.
        k: picks, or a share of m: a float in (0, 1), or text such as "5%".
        devices, kind: number of devices, and one of `gip_gpu.planning.hardware.DEVICE_KINDS`.
        network_link: the link between devices, or its text, as in `gip_gpu.planning.hardware.network`.
        precision: precision in which Gram columns are computed and stored, as in `gip_gpu.select`.
        given: input dtype of the rows: "fp16", "bf16", "fp32" or "fp64".
        memory_limit: bytes, text such as "70GB", or a share of the device's memory; None: all of it.
        unforeseen: share of the picks that the lookahead does not foresee; each such pick ends a batch.

    Raises:
        TypeError, ValueError: an unknown value, or too few devices for the rows (the message gives the minimum).

    >>> plan = estimate(10**9, 768, 1, 10**6, devices=64)
    >>> plan.precision, plan.columns, sum(plan.memory.values()) < 80e9
    ('tf32', 256, True)
    >>> estimate(10**9, 768, 1, 10**6, devices=8)
    Traceback (most recent call last):
    ValueError: devices is 8, and 1,000,000,000 x 768 embeddings in fp16 need at least 22 x A100-80GB
    """
    for name, value in (("m", m), ("d", d), ("n", n), ("devices", devices)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if devices > m:
        raise ValueError(f"devices is {devices:,}; there are {m:,} items, and each device must have one")
    if not 0 < unforeseen < 1:
        raise ValueError(f"unforeseen is {unforeseen!r}; it must be a share in (0, 1)")
    hardware, count = device_kind(kind), as_count(k, m)
    host = hardware.chip is None
    known = HOST_PRECISIONS if host else GPU_PRECISIONS
    one_of("precision", precision, ("auto", *known))
    one_of("given", given, tuple(GIVEN_BYTES))
    error_bounds.dot_error(d, error_bounds.U32)
    link = network_link if isinstance(network_link, Link) else network(network_link, devices, hardware)
    precisions = (known if host else GPU_AUTOMATIC) if precision == "auto" else (precision,)
    asked = as_bytes(memory_limit, hardware.capacity)
    limit = hardware.capacity if asked is None else min(asked, hardware.capacity)
    layout = Local(m, d, n, hardware, given).costs.layouts()[0]

    def need(ranks: int, slots: int, kept: str) -> int:
        return sum(Local(-(-m // ranks), d, n, hardware, given).memory(slots, kept, ranks).values())

    fitting = [kept for kept in precisions if need(devices, layout.least, kept) <= limit]
    if not fitting:
        pool, least = f"{m:,} x {d:,} embeddings in {given}", layout.least
        enough = [_fewest(m, limit, partial(need, slots=least, kept=kept)) for kept in precisions]
        if not any(enough):
            raise ValueError(f"{memory.readable(limit)} of {kind} hold not even one row of {pool} and its batch")
        within = "" if asked is None else f" with a memory_limit of {memory.readable(limit)} each"
        least = min(filter(None, enough))
        raise ValueError(f"devices is {devices:,}, and {pool} need at least {least:,} x {kind}{within}")
    local, kept = Local(-(-m // devices), d, n, hardware, given), fitting[0]
    column = need(devices, 2, kept) - need(devices, 1, kept)
    slots = min(CACHE, local.m, layout.least + (limit - need(devices, layout.least, kept)) // column)
    schedule = min(
        (local.schedule(devices, link, batch, kept, unforeseen) for batch in LADDER if batch <= max(1, slots // 2)),
        key=lambda schedule: schedule.seconds(count),
    )
    seconds = {"load": local.load_seconds(), **schedule.parts(count)}
    # A run begins with a refresh.
    seconds["refreshes"] += schedule.refresh
    as_built = None
    if devices > 1 and not host:
        single = replace(local.schedule(devices, link, 1, kept, unforeseen), by_items=True)
        as_built = local.load_seconds() + single.refresh + single.seconds(count)
    return ClusterPlan(
        m, d, n, count, devices, hardware, given, kept, slots, local.memory(slots, kept, devices), limit, schedule,
        seconds, as_built,
    )  # fmt: skip


def _fewest(m: int, limit: int, need: Callable[[int], int]) -> int | None:
    """Returns the smallest number of devices with a need within the limit, None if even m are too few."""
    few, many = 0, 1
    while need(many) > limit:
        if many == m:
            return None
        few, many = many, min(2 * many, m)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if need(middle) <= limit else (middle, many)
    return many


def duration(seconds: float) -> str:
    """Formats seconds in a readable unit.

    >>> duration(0.00123), duration(95), duration(7200), duration(0)
    ('1.23 ms', '95 s', '2 h', '0 s')
    """
    if seconds >= 86400:
        return f"{seconds / 86400:.3g} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    if seconds >= 120:
        return f"{seconds / 60:.3g} min"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns" if seconds else "0 s"
