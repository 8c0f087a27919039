"""A selection by many processes from beginning to end: what they agree on, who does what, the result on all of them."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.progress import reporting
from gip_gpu.api.request import counted
from gip_gpu.api.result import selection_of
from gip_gpu.api.score_checks import check_order
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.missing_values import Kept
from gip_gpu.data.preparation import Preparation
from gip_gpu.distributed import scores
from gip_gpu.distributed.columns import ShardedColumns
from gip_gpu.distributed.exchange import Star
from gip_gpu.distributed.foresight import kept_bytes
from gip_gpu.distributed.items import ShardedPool
from gip_gpu.distributed.keeping import SharedKeeper
from gip_gpu.distributed.member import Hello, Member, Settings
from gip_gpu.distributed.shard import Shard
from gip_gpu.distributed.sharded import ShardedPursuit
from gip_gpu.distributed.sharded_pool import ShardedRows, ShardedState
from gip_gpu.greedy import loop
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.greedy.state import Stored
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.planning.plan import CACHE, Plan, log, stepwise
from gip_gpu.problem.objectives import Objective


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
    with ExitStack() as outer, star:
        member = Member(star, *read(), settings)
        star.target = member
        if star.rank:
            star.answer(member.hello())
            with loop.unchecked():
                return _follow(star, member, outer)
        selection = _lead(star, member, settings, began)
        star.ask("finish", selection)
        if conclude is not None:
            conclude(selection)
        star.tell("release")
        return selection


def _follow(star: Star, member: Member, outer: ExitStack) -> Selection:
    """Another rank's part; where there is a checkpoint, its signals wait until rank 0 has written."""
    star.serve("build")
    own = star.target
    assert isinstance(own, Shard)
    if member.keeping:
        outer.enter_context(own.signals)
    try:
        selection: Selection = star.serve("finish")
        star.serve("release")
    except Exception:
        own.signals.deliver()
        raise
    return selection


def _lead(star: Star, member: Member, settings: Settings, began: float) -> Selection:
    """Rank 0's part up to the result."""
    hellos: list[Hello] = star.gather(member.hello())
    star.common()
    shared = _compare(hellos)
    sizes = [hello.m for hello in hellos]
    m = sum(sizes)
    if not m:
        left = "; on_nan='drop' leaves none" if any(len(hello.dropped) for hello in hellos) else ""
        raise ValueError(f"F has no rows on any rank; there must be at least one{left}")
    d, n = shared["the columns of F"], shared["the columns of G"]
    if not all(sizes):
        star.ask_each([None if size else ("stand_in", (d, n)) for size in sizes])
    finite = _finite(hellos)
    k, initial = counted(settings.k, member.initial, m if finite is None else finite.m, finite)
    total = len(initial) + k
    sign_given, method = settings.sign is not None, member.options.standardize
    done = None if method is None else scores.standardize(star, method, sizes)
    traits = scores.check(star, sizes, member.options, sign_given=sign_given) if n else None
    offsets = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    keeper = None if member.saving is None else _keeper(star, member, offsets, initial)
    largest = max(hello.largest for hello in hellos)
    by_items = stepwise(member.objective.name, member.options.sign) or not all(hello.columns for hello in hellos)
    hosts = [hello.host for hello in hellos]
    plans: list[Plan] = star.ask_each([("prepare", (k, largest, by_items, hosts.count(host))) for host in hosts])
    slots = 0 if by_items else _slots(plans, m)
    stored = keeper.stored if keeper is not None and keeper.holds(total) else None
    kept = None if stored is not None else slots
    built = star.ask_each([("build", (offset, kept, keeper is not None)) for offset in offsets[:-1]])
    gamma, exponent = max(gamma for gamma, _ in built), built[0][1]
    plan = _plan_of_all(plans, sizes, k, slots)
    log.info("plan: %s", plan)
    prepared = time.perf_counter()

    rows = ShardedRows(star, sizes, d, normalize=settings.normalize, largest=largest)
    own = star.target
    assert isinstance(own, Shard)
    objective: Objective = own.state.objective
    state = ShardedState(scores=np.empty((0, member.n)), k=total, d=d, objective=objective, initial=initial, rows=rows)
    computed, resumed = 0, 0 if keeper is None else keeper.resumed(state.first, total)
    if stored is not None:
        state.restore(stored)
        timings = {"columns": 0.0, "refresh": 0.0, "steps": 0.0}
        carried: Stored | None = stored if state.t == len(stored["indices"]) else None
    else:
        stepper: Stepper
        if by_items:
            stepper = Projecting(ShardedPool(star, state, rows, exponent), state, settings.epsilon, member.options.sign)
        else:
            columns = ShardedColumns(star, rows, slots)
            stepper = MatchingPursuit(ShardedPursuit(star, rows, gamma, float(4.0**exponent)), columns)
        with reporting(settings.progress, k, resumed) as report, keeper.signals if keeper else nullcontext():
            timings = loop.run(stepper, state, settings.on_exhausted, report, keeper)
        carried = stepper.carry(state) if state.projecting else None
        computed = 0 if by_items else columns.computed
    check_order(state, traits)
    preparation = Preparation.of(m if finite is None else finite.m, 0 if finite is None else len(finite.dropped), done)
    return selection_of(
        state,
        carried,
        plan=plan,
        options=member.options,
        normalize=settings.normalize,
        exponent=exponent,
        rows_of=(lambda places: places) if finite is None else finite.rows_of,
        preparation=preparation,
        timings={"prepare": prepared - began, **timings, "total": time.perf_counter() - began},
        computed=computed,
        resumed=resumed,
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


def _finite(hellos: Sequence[Hello]) -> Kept | None:
    """The rows of all ranks that take part, None where all do."""
    given = [hello.m + len(hello.dropped) for hello in hellos]
    starts = np.concatenate([[0], np.cumsum(given)[:-1]])
    dropped = np.concatenate([start + hello.dropped for start, hello in zip(starts, hellos, strict=True)])
    return Kept(dropped.astype(np.int64), sum(given)) if len(dropped) else None


def _compare(hellos: Sequence[Hello]) -> dict[str, Any]:
    """The settings that all ranks share; ValueError where a rank has another than the first that has it."""
    shared: dict[str, tuple[int, Any]] = {}
    for rank, hello in enumerate(hellos):
        for name, value in hello.settings.items():
            first, wanted = shared.setdefault(name, (rank, value))
            if value != wanted or type(value) is not type(wanted):
                raise ValueError(
                    f"{name}: rank {rank} has {value!r} and rank {first} has {wanted!r}; all ranks must have the same"
                )
    return {name: value for name, (_, value) in shared.items()}


def _slots(plans: Sequence[Plan], m: int) -> int:
    """Columns that each rank keeps: as many as the one with the least memory can."""
    # A plan for few rows has no use for more columns than those, and room for as many as there ever are.
    return min([CACHE, m, *(plan.cache for plan in plans if plan.cache < plan.m)])


def _plan_of_all(plans: Sequence[Plan], sizes: Sequence[int], k: int, slots: int) -> Plan:
    """The plan that the result shows: rank 0's, for the whole pool."""
    own, m = plans[0], sum(sizes)
    parts = dict(own.memory)
    if slots:
        parts["lookahead"] = kept_bytes(m, own.d, own.n)
    held = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    what = "process holds" if len(plans) == 1 else "processes hold"
    reason = f"{len(plans)} {what} {held} rows each; the memory is what the first takes"
    return replace(own, m=m, k=k, cache=slots, memory=parts, reason=reason)
