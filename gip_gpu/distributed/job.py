"""Selection by many processes from beginning to end: agreement on settings, the parts of the ranks, the result."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gip_gpu.api.progress import reporting
from gip_gpu.api.request import counted
from gip_gpu.api.result import Input, Outcome, selection_of
from gip_gpu.api.score_checks import Traits, check_order
from gip_gpu.api.selection import Selection
from gip_gpu.checkpoint import file as checkpoint
from gip_gpu.checkpoint import fingerprint
from gip_gpu.data.center import Center, joined
from gip_gpu.data.missing_values import Kept
from gip_gpu.distributed import scores
from gip_gpu.distributed.columns import ShardedColumns
from gip_gpu.distributed.exchange import Communicator
from gip_gpu.distributed.foresight import kept_bytes
from gip_gpu.distributed.items import ShardedPool
from gip_gpu.distributed.keeping import SharedCheckpointWriter
from gip_gpu.distributed.member import Hello, Member
from gip_gpu.distributed.shard import Shard
from gip_gpu.distributed.sharded import ShardedPursuit
from gip_gpu.distributed.sharded_pool import ShardedRows, ShardedState
from gip_gpu.greedy import loop
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.greedy.stepper import Stepper
from gip_gpu.planning.plan import CACHE, Plan, log


def run(
    communicator: Communicator,
    k: Any,
    settings: Mapping[str, Any],
    read: Callable[[], tuple[Any, Any]],
    conclude: Callable[[Selection], None] | None = None,
) -> Selection:
    """Runs a selection; called on all ranks.

    Args:
        communicator: of the processes.
        k, settings: arguments of `gip_gpu.distributed.select`.
        read: returns this rank's rows and scores; its errors reach the other ranks.
        conclude: function that rank 0 calls with the result once all ranks have it, before any of them returns.
    """
    began = time.perf_counter()
    with ExitStack() as outer, communicator:
        member = Member(communicator, *read(), k, settings)
        communicator.target = member
        if communicator.rank:
            communicator.answer(member.hello())
            with loop.unchecked():
                return _follow(communicator, member, outer)
        selection = _lead(communicator, member, began)
        communicator.ask("finish", selection)
        if conclude is not None:
            conclude(selection)
        communicator.tell("release")
        return selection


def _follow(communicator: Communicator, member: Member, outer: ExitStack) -> Selection:
    """Runs the part of a rank other than 0; with a checkpoint, its signals wait until rank 0 has written the file."""
    communicator.serve("build")
    own = communicator.target
    assert isinstance(own, Shard)
    if member.keeping:
        outer.enter_context(own.signals)
    try:
        selection: Selection = communicator.serve("finish")
        communicator.serve("release")
    except Exception:
        own.signals.deliver()
        raise
    return selection


@dataclass(frozen=True)
class Agreed:
    """Facts that the ranks agree on before a selection.

    Attributes:
        sizes: number of rows of each rank that take part.
        d: length of a row.
        k, initial: number of picks, and positions of the initial rows among those that take part.
        largest: largest norm of a row.
        by_items: whether the host decides each pick and the step computes its column.
        hosts: host name of each rank.
        input: record of how the rows and scores of all ranks were prepared.
        traits: traits of the scores of all ranks, None without scores.
        fingerprints: of F and of the scores as given, None without scores.
        center: the center that was subtracted from the rows, None without.
    """

    sizes: list[int]
    d: int
    k: int
    initial: NDArray[np.int64]
    largest: float
    by_items: bool
    hosts: list[str]
    input: Input
    traits: Traits | None
    fingerprints: tuple[str, str | None]
    center: Center | None

    @property
    def offsets(self) -> list[int]:
        """Position in the pool of each rank's first row, and the number of all rows."""
        offsets: list[int] = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        return offsets


def _agree(communicator: Communicator, member: Member) -> Agreed:
    """Gathers and compares the settings of all ranks, and standardises and checks their scores."""
    hellos: list[Hello] = communicator.gather(member.hello())
    communicator.common()
    shared = _compare(hellos)
    sizes = [hello.m for hello in hellos]
    m = sum(sizes)
    if not m:
        left = "; on_nan='drop' leaves none" if any(len(hello.dropped) for hello in hellos) else ""
        raise ValueError(f"F has no rows on any rank; there must be at least one{left}")
    d, n = shared["the columns of F"], shared["the columns of G"]
    if not all(sizes):
        communicator.ask_each([None if size else ("stand_in", (d, n)) for size in sizes])
    finite, options = _finite(hellos), member.options
    k, initial = counted(member.k, member.initial, m if finite is None else finite.m, finite)
    if k is None:
        raise TypeError("k is None, which is for a budget; a selection among processes takes no constraints")
    F, G = _fingerprints(communicator, sizes)
    center, largest = _centre(communicator, sizes, options.center, max(hello.largest for hello in hellos))
    done = None if options.standardize is None else scores.standardize(communicator, options.standardize, sizes)
    traits = scores.check(communicator, sizes, options.how, sign_given=options.sign is not None) if n else None
    keeps_columns = member.objective.keeps_columns(options.how.sign)
    return Agreed(
        sizes=sizes,
        d=d,
        k=k,
        initial=initial,
        largest=largest,
        by_items=not keeps_columns or not all(hello.columns for hello in hellos),
        hosts=[hello.host for hello in hellos],
        input=Input(m if finite is None else finite.m, finite, done),
        traits=traits,
        fingerprints=(F, G if n else None),
        center=center,
    )


def _lead(communicator: Communicator, member: Member, began: float) -> Selection:
    """Runs the part of rank 0 up to the result."""
    agreed, options = _agree(communicator, member), member.options
    k, total = agreed.k, len(agreed.initial) + agreed.k
    writer = None if member.saving is None else _writer(communicator, member, agreed)
    plans: list[Plan] = communicator.ask_each(
        [("prepare", (k, agreed.largest, agreed.by_items, agreed.hosts.count(host))) for host in agreed.hosts]
    )
    slots = 0 if agreed.by_items else _slots(plans, sum(agreed.sizes))
    whole = writer is not None and writer.holds(total)
    kept = None if whole else slots
    built = communicator.ask_each([("build", (offset, kept, writer is not None)) for offset in agreed.offsets[:-1]])
    gamma = max(gamma for gamma, _ in built)
    plan = _plan_of_all(plans, agreed.sizes, k, slots)
    log.info("plan: %s", plan)
    prepared = time.perf_counter()

    rows = ShardedRows(communicator, agreed.sizes, agreed.d, normalize=options.normalize, largest=agreed.largest)
    rows.center = agreed.center
    state = _state(communicator, member, agreed, total, rows)
    computed, resumed = 0, 0 if writer is None else writer.resumed(state.first, total)
    if whole:
        assert writer is not None
        carried, timings = writer.recall(state), loop.NO_TIME
    else:
        stepper: Stepper
        square = float(4.0**rows.exponent)
        if agreed.by_items:
            pool = ShardedPool(communicator, state, rows, rows.exponent)
            stepper = Projecting(pool, state, options.how.epsilon, options.how.sign)
        else:
            columns = ShardedColumns(communicator, rows, slots)
            stepper = MatchingPursuit(ShardedPursuit(communicator, rows, gamma, square), columns)
        with reporting(options.progress, k, resumed) as report, writer or nullcontext():
            timings = loop.run(stepper, state, options.on_exhausted, report, writer)
        carried = stepper.carry(state) if state.projecting else None
        computed = 0 if agreed.by_items else columns.computed
    check_order(state, agreed.traits)
    timings = {"prepare": prepared - began, **timings, "total": time.perf_counter() - began}
    outcome = Outcome(carried, plan, timings, computed, resumed)
    return selection_of(state, None, outcome, options.how, rows, agreed.input, agreed.fingerprints)


def _state(communicator: Communicator, member: Member, agreed: Agreed, total: int, rows: ShardedRows) -> ShardedState:
    """Returns the state of a selection from the items of all ranks."""
    own = communicator.target
    assert isinstance(own, Shard)
    return ShardedState(
        scores=np.empty((0, member.n)),
        k=total,
        d=agreed.d,
        objective=own.state.objective,
        initial=agreed.initial,
        rows=rows,
    )


def _writer(communicator: Communicator, member: Member, agreed: Agreed) -> SharedCheckpointWriter:
    """Returns the checkpoint writer of this selection, which has read the checkpoint to resume from."""
    assert member.saving is not None
    F, G = agreed.fingerprints
    if member.options.standardize is not None:
        # A checkpoint names the standardised scores.
        G = _fingerprints(communicator, agreed.sizes)[1]
    sizes = agreed.offsets[-1], member.rows.shape[1], member.n
    scored = G if member.n else None
    options = member.options
    of = checkpoint.described(sizes, F, scored, options.how, options.normalize, agreed.initial, center=agreed.center)
    return SharedCheckpointWriter(communicator, *member.saving, of)


def _centre(
    communicator: Communicator, sizes: Sequence[int], center: bool | str, largest: float
) -> tuple[Center | None, float]:
    """Centres the rows of all ranks, `sizes` rows each; returns the center, if any, and the largest norm."""
    if center is False:
        return None, largest
    sums = communicator.ask_each([("center_sums", ()) if size else None for size in sizes])
    found = joined([part for part, size in zip(sums, sizes, strict=True) if size], center)
    log.info("center=%r: %s", center, found.said)
    norms = communicator.ask("centre", found)
    return (found if found.subtracted else None), max(norms)


def _fingerprints(communicator: Communicator, sizes: Sequence[int]) -> tuple[str, str]:
    """Returns the fingerprints of F and of the scores, as they are now, of all ranks, `sizes` rows each."""
    offsets: list[int] = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    parts = communicator.ask_each([("fingerprints", (offset,)) for offset in offsets])
    F, G = (fingerprint.joined(of_ranks) for of_ranks in zip(*parts, strict=True))
    return F, G


def _finite(hellos: Sequence[Hello]) -> Kept | None:
    """Returns the rows of all ranks that take part, None if all do."""
    given = [hello.m + len(hello.dropped) for hello in hellos]
    starts = np.concatenate([[0], np.cumsum(given)[:-1]])
    dropped = np.concatenate([start + hello.dropped for start, hello in zip(starts, hellos, strict=True)])
    return Kept(dropped.astype(np.int64), sum(given)) if len(dropped) else None


def _compare(hellos: Sequence[Hello]) -> dict[str, Any]:
    """Returns the settings that all ranks share; ValueError if a rank's value differs from the first rank's."""
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
    """Returns the number of columns that each rank keeps: as many as the rank with the least memory can."""
    # A plan never asks for more columns than it has rows; with that many, memory does not limit it.
    return min([CACHE, m, *(plan.cache for plan in plans if plan.cache < plan.m)])


def _plan_of_all(plans: Sequence[Plan], sizes: Sequence[int], k: int, slots: int) -> Plan:
    """Returns the plan that the result shows: that of rank 0, extended to the whole pool."""
    own, m = plans[0], sum(sizes)
    parts = dict(own.memory)
    if slots:
        parts["lookahead"] = kept_bytes(m, own.d, own.n)
    held = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    what = "process holds" if len(plans) == 1 else "processes hold"
    reason = f"{len(plans)} {what} {held} rows each; the memory is that of the first"
    return replace(own, m=m, k=k, cache=slots, memory=parts, reason=reason)
