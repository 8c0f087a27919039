"""A selection by many processes from beginning to end: what they agree on, who does what, the result on all of them."""

import hashlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu import backends, checkpoint, engine, fingerprint, memory
from gip_gpu.backends.items import Rules
from gip_gpu.backends.numpy_ import NumpyBackend
from gip_gpu.columns import Columns, NoColumns
from gip_gpu.device import resolve
from gip_gpu.distributed.columns import ShardedColumns, kept_bytes
from gip_gpu.distributed.exchange import Star
from gip_gpu.distributed.items import ShardedPool
from gip_gpu.distributed.keeping import SharedKeeper
from gip_gpu.distributed.shard import ColumnShard, ItemShard, Shard
from gip_gpu.distributed.sharded import ShardedRows, ShardedState, ShardedSteps
from gip_gpu.family import Family
from gip_gpu.interop import DeviceMatrix, format_of, on_gpu
from gip_gpu.objectives import Objective
from gip_gpu.plan import CACHE, PRECISIONS, Plan, log, make_plan, stepwise
from gip_gpu.pool import Progress, as_saving, check_progress, first_squares, reporting
from gip_gpu.problem import Options, pose
from gip_gpu.projection import Projection
from gip_gpu.selection import Certificate, Selection
from gip_gpu.state import State, Stored
from gip_gpu.validate import as_bytes, as_count, as_initial, as_matrix, as_scores, one_of

# The whole Gram matrix lies on no single process.
COLUMNS = ("auto", "lazy")
ON_EXHAUSTED = ("restart", "stop")


@dataclass(frozen=True)
class Settings:
    """The arguments of `gip_gpu.distributed.select`, all that are no arrays; checked by `Member`."""

    k: Any
    device: str = "auto"
    backend: str | None = None
    objective: str | None = None
    epsilon: float = 0.0
    precision: str = "auto"
    columns: str = "auto"
    memory_limit: int | float | str | None = None
    normalize: bool = True
    sign: str = "any"
    on_exhausted: str = "restart"
    initial: Any = None
    checkpoint: Any = None
    checkpoint_every: Any = 60.0
    progress: Progress = None

    # What may differ from rank to rank: where each runs, and who watches and writes.
    OWN = ("device", "backend", "precision", "memory_limit", "checkpoint", "checkpoint_every", "progress")


@dataclass(frozen=True)
class Hello:
    """What a rank brings.

    Attributes:
        settings: by name, which must be equal on all ranks.
        m: rows.
        largest: norm of a row.
        host: where it runs.
        columns: whether its backend can keep Gram columns; on a GPU the host decides each pick, its column made then.
    """

    settings: dict[str, Any]
    m: int
    largest: float
    host: str
    columns: bool


class Member:
    """A process before the selection begins.

    Args:
        star: whose target becomes the shard that `build` makes.
        F, G: (m, d) rows and (m, n) scores of this process; G None for no scores.

    Raises:
        TypeError, ValueError: bad input.
    """

    picks = 0

    def __init__(self, star: Star, F: Any, G: Any, settings: Settings) -> None:
        self.star, self.settings = star, settings
        one_of("precision", settings.precision, PRECISIONS)
        one_of("columns", settings.columns, COLUMNS)
        one_of("on_exhausted", settings.on_exhausted, ON_EXHAUSTED)
        check_progress(settings.progress)
        # Whether they are rows of the pool is for rank 0 to say.
        self.initial = as_initial(settings.initial, sys.maxsize, 0)
        self.saving = None if star.rank else as_saving(settings.checkpoint, settings.checkpoint_every)
        self.keeping = False
        matrix = DeviceMatrix(F) if on_gpu(F) else as_matrix(F, "F")
        self.scores = None if G is None else as_scores(G, matrix.shape)
        self.options = Options(settings.objective, settings.epsilon, "direct", settings.sign, settings.on_exhausted)
        self.objective = self.options.choose(self.scores is not None)
        self.n = 0 if self.scores is None else self.scores.shape[1]
        if self.objective.metric and self.n > 1:
            raise ValueError(
                f"objective is {self.objective.name!r} with {self.n} signals, whose query is fitted to all rows in one "
                "process; many processes have 'mp', 'omp', 'lr' and 'entropy', and 'mi' with one signal"
            )
        self.device = resolve(settings.device, settings.backend, F)
        self.kind = backends.load(settings.backend, self.device)
        as_bytes(settings.memory_limit, self.kind.available(self.device))
        self.rows = self.kind.open(F if isinstance(matrix, DeviceMatrix) else matrix, normalize=settings.normalize)

    def hello(self) -> Hello:
        own = {name: value for name, value in vars(self.settings).items() if name not in Settings.OWN}
        own["initial"] = f"{len(self.initial)} items, SHA-256 {hashlib.sha256(self.initial.tobytes()).hexdigest()}"
        m, d = self.rows.shape
        return Hello(
            {**own, "the columns of F": d, "the columns of G": self.n},
            m,
            self.rows.largest,
            platform.node(),
            issubclass(self.kind, NumpyBackend),
        )

    def prepare(self, k: int, largest: float, by_items: bool, neighbours: int) -> Plan:
        """What this process will do and take.

        Args:
            k: picks.
            largest: norm of a row of any rank.
            by_items: the host decides each pick, its column made in the step.
            neighbours: processes on this host, which share its memory.
        """
        self.rows.largest = largest
        m, d = self.rows.shape
        limit = self.settings.memory_limit
        if limit is None:
            limit = max(1, self.kind.available(self.device) // neighbours)
        # Columns that are made in the step are planned for where the sign counts.
        self.plan = make_plan(
            m, d, self.n, min(k, m), given=format_of(self.rows.values), device=self.device, backend=self.kind.name,
            precision=self.settings.precision, columns="lazy", memory_limit=limit, objective=self.objective.name,
            sign="positive" if by_items and self.objective.signs else self.settings.sign,
        )  # fmt: skip
        return self.plan

    def fingerprints(self, offset: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The parts of F and G, the first row of which has this place in the pool, in their fingerprints."""
        return fingerprint.of_part(self.rows.values, offset), (
            (0, 0) if self.scores is None else fingerprint.of_part(self.scores, offset)
        )

    def build(self, offset: int, slots: int | None, keeping: bool) -> tuple[float, int]:
        """Allocates; the bound on the error of a Gram entry, and the exponent of the rows.

        Args:
            offset: of its first row in the pool.
            slots: columns to keep; 0 where they are made in the step, None where no step will be taken.
            keeping: whether rank 0 writes checkpoints.
        """
        self.keeping = keeping
        problem = pose(self.rows, self.scores, self.options, self.rows.exponent)
        state = State(problem.scores, 0, self.rows.shape[1], problem.objective, first_squares(problem, self.rows))
        if slots is None:
            self.star.target = Shard(self.rows, state, offset)
            return 0.0, self.rows.exponent
        # Rank 0 looks ahead, for all.
        backend = self.kind(self.rows, replace(self.plan, lookahead=0))
        if slots:
            assert isinstance(backend, NumpyBackend)
            self.star.target = ColumnShard(backend, state, offset, slots)
        else:
            rules = Rules(
                problem.objective.measure,
                problem.objective.projects,
                problem.sign == "positive",
                problem.epsilon / backend.square,
            )
            self.star.target = ItemShard(backend, state, offset, rules)
        return backend.gamma if slots else 0.0, backend.exponent


def run(
    star: Star,
    settings: Settings,
    read: Callable[[], tuple[Any, Any]],
    conclude: Callable[[Selection], None] | None = None,
) -> Selection:
    """Selects; called on all ranks.

    Args:
        star: of the processes.
        settings: how to select.
        read: returns this rank's rows and scores; its errors reach the other ranks.
        conclude: rank 0 calls it with the result once all ranks have that, before any of them returns.
    """
    began = time.perf_counter()
    with star:
        member = Member(star, *read(), settings)
        star.target = member
        if star.rank:
            star.answer(member.hello())
            with engine.unchecked():
                star.serve("build")
                selection = _follow(star, member.keeping)
            star.serve("release")
            return selection
        selection = _lead(star, member, settings, began)
        star.ask("finish", selection)
        if conclude is not None:
            conclude(selection)
        star.tell("release")
        return selection


def _follow(star: Star, keeping: bool) -> Selection:
    """Another rank's part up to the result; where there is a checkpoint, its signals wait until rank 0 has written."""
    own = star.target
    assert isinstance(own, Shard)
    with own.signals if keeping else nullcontext():
        try:
            selection: Selection = star.serve("finish")
        except Exception:
            own.signals.deliver()
            raise
    return selection


def _lead(star: Star, member: Member, settings: Settings, began: float) -> Selection:
    """Rank 0's part up to the result."""
    hellos: list[Hello] = star.gather(member.hello())
    star.common()
    _compare(hellos)
    sizes = [hello.m for hello in hellos]
    m, d = sum(sizes), member.rows.shape[1]
    k = as_count(settings.k, m)
    initial = as_initial(member.initial, m, k)
    total = len(initial) + k
    offsets = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    keeper = None if member.saving is None else _keeper(star, member, offsets, initial)
    largest = max(hello.largest for hello in hellos)
    by_items = stepwise(member.objective.name, settings.sign) or not all(hello.columns for hello in hellos)
    hosts = [hello.host for hello in hellos]
    plans: list[Plan] = star.ask_each([("prepare", (k, largest, by_items, hosts.count(host))) for host in hosts])
    slots = 0 if by_items else _slots(plans, m)
    stored = keeper.stored if keeper is not None and keeper.holds(total) else None
    kept = None if stored is not None else slots
    built = star.ask_each([("build", (offset, kept, keeper is not None)) for offset in offsets[:-1]])
    gamma, exponent = max(gamma for gamma, _ in built), built[0][1]
    plan = _plan_of_all(plans, m, k, slots)
    log.info("plan: %s", plan)
    prepared = time.perf_counter()

    rows = ShardedRows(star, sizes, d, normalize=settings.normalize, largest=largest)
    own = star.target
    assert isinstance(own, Shard)
    objective: Objective = own.state.objective
    state = ShardedState(scores=np.empty((0, member.n)), k=total, d=d, objective=objective, initial=initial, rows=rows)
    if stored is not None:
        state.restore(stored)
        timings = {"columns": 0.0, "refresh": 0.0, "steps": 0.0}
        carried: Stored | None = stored if state.t == len(stored["indices"]) else None
    else:
        columns: Columns
        stepper: engine.Stepper
        if by_items:
            pool = ShardedPool(star, state, rows, exponent)
            columns, stepper = NoColumns(), Family(pool, state, settings.epsilon, settings.sign)
        else:
            square = float(4.0**exponent)
            stepper, columns = ShardedSteps(star, rows, gamma, square), ShardedColumns(star, rows, slots, square)
        with reporting(settings.progress, k) as report, keeper.signals if keeper else nullcontext():
            timings = engine.run(stepper, columns, state, settings.on_exhausted, report, keeper)
        carried = stepper.carry(state) if state.projecting else None
    projection = None
    if carried is not None and state.projecting:
        projection = Projection.of(state, carried, member.options, settings.normalize, exponent)
    picks = slice(state.first, state.t)
    return Selection(
        indices=state.indices[picks],
        gains=state.gains[picks],
        weights=state.weights[picks],
        explained=state.explained[picks],
        certificate=Certificate(
            state.margins[picks], state.candidates[picks], state.ties[picks], state.refreshes, state.chosen_rounds
        ),
        plan=plan,
        timings={"prepare": prepared - began, **timings, "total": time.perf_counter() - began},
        peak_bytes=memory.peak(),
        projection=projection,
    )


def _keeper(star: Star, member: Member, offsets: Sequence[int], initial: NDArray[np.int64]) -> SharedKeeper:
    """What writes the checkpoints of this selection, and has found the one to go on from."""
    assert member.saving is not None
    parts = star.ask_each([("fingerprints", (offset,)) for offset in offsets[:-1]])
    F, G = (fingerprint.joined(of_ranks) for of_ranks in zip(*parts, strict=True))
    sizes = offsets[-1], member.rows.shape[1], member.n
    scored = None if member.scores is None else G
    of = checkpoint.described(sizes, F, scored, member.options, member.rows.normalize, initial)
    return SharedKeeper(star, *member.saving, of)


def _compare(hellos: Sequence[Hello]) -> None:
    """Raises ValueError where a rank's settings are not those of rank 0."""
    first = hellos[0].settings
    for rank, hello in enumerate(hellos):
        for name, value in hello.settings.items():
            if value != first[name] or type(value) is not type(first[name]):
                raise ValueError(
                    f"{name}: rank {rank} has {value!r} and rank 0 has {first[name]!r}; all ranks must have the same"
                )


def _slots(plans: Sequence[Plan], m: int) -> int:
    """Columns that each rank keeps: as many as the one with the least memory can."""
    # A plan for few rows has no use for more columns than those, and room for as many as there ever are.
    return min([CACHE, m, *(plan.cache for plan in plans if plan.cache < plan.m)])


def _plan_of_all(plans: Sequence[Plan], m: int, k: int, slots: int) -> Plan:
    """The plan that the result shows: rank 0's, for the whole pool."""
    own, sizes = plans[0], [plan.m for plan in plans]
    parts = dict(own.memory)
    if slots:
        parts["lookahead"] = kept_bytes(m, own.d, own.n)
    held = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    what = "process holds" if len(plans) == 1 else "processes hold"
    reason = f"{len(plans)} {what} {held} rows each; the memory is what the first takes"
    return replace(own, m=m, k=k, cache=slots, memory=parts, reason=reason)
