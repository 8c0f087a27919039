"""Whole selections: by default beside plain loops, lazily, by the other objectives, and a sample of the equivalence.

`pytest -m gpu` compares many more pools.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import gip_gpu
from bench.gpu.budget import LeftOut
from bench.gpu.cases import Case, family_cases, lazy_case, sample_case, select_case
from bench.gpu.ceilings import FORMATS
from bench.gpu.kernels import opened
from bench.gpu.naive import LOOPS, naive_bytes
from bench.gpu.results import Check, Entry, Phase
from bench.gpu.right import expected
from bench.gpu.session import Session, proof_of
from bench.model.a100 import selection_seconds
from bench.runner.runs import first_difference
from gip_gpu import backends
from gip_gpu.data.device_arrays import format_of
from gip_gpu.planning.cpu_costs import Layout, Steps, entry_bytes
from gip_gpu.planning.gpu_costs import A100, GIVEN_BYTES, PICK_KERNELS, GpuCosts, multiplied_as
from gip_gpu.planning.plan import Plan
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.system import memory

COLUMNS = ("gram", "lazy")
# Host memory of the part "lazy", in float32 copies of the pool: the pool, and a library's conversion of it.
COPIES = 2
# Dependent kernels of a pick that the host decides: four products with S, three passes over the items or the window.
LAUNCHES = 10


class Placed(NamedTuple):
    """A case with its arrays on the device of one backend."""

    case: Case
    name: str
    F: Any
    G: Any


def selections(session: Session) -> None:
    """Measures gip_gpu from device arrays, plain loops, and gip_gpu from host arrays and from a prepared pool.

    Shorter lists come first. Each kind of measurement covers all pools and backends before the next kind. The longest
    lists are selected from device arrays only: the shorter ones show the cost of an upload.
    """
    pools = []
    for m, d in session.sizes.select:
        case = session.do(f"selections: pool of {m:,} x {d}", select_case, m, d)
        if case is not None:
            pools += [pool for pool in session.each("selections: upload", _placed, case).values() if pool is not None]
    for share in session.sizes.shares:
        for variant, action in (("device arrays", defaults), ("plain loop", plain), ("host arrays", defaults)):
            for pool in pools:
                k = _picks(pool, share)
                if variant == "host arrays" and k > session.sizes.once:
                    continue
                what = f"selections: {pool.case.title}, k = {k:,}, {pool.name}, {variant}"
                # A failure of a plain loop does not count against the backend.
                session.do(what, action, session, pool, k, variant, backend="" if action is plain else pool.name)
    for pool in pools:
        what = f"selections: {pool.case.title}, {pool.name}, prepared pool"
        session.do(what, prepared, session, pool, backend=pool.name)


def _placed(session: Session, case: Case, name: str) -> Placed:
    library = session.libraries[name]
    return Placed(case, name, library.put(case.F, format_of(case.F)), library.put(case.G, "fp64"))


def _picks(pool: Placed, share: float) -> int:
    return max(1, round(share * pool.case.shape[0]))


def defaults(session: Session, pool: Placed, k: int, variant: str) -> None:
    """Times a selection from device or host arrays."""
    arrays, options = pool.case if variant == "host arrays" else pool, {"device": session.device, "backend": pool.name}
    selection(session, pool, k, variant, lambda: gip_gpu.select(arrays.F, arrays.G, k, **options))


def prepared(session: Session, placed: Placed) -> None:
    """Times selections from a pool whose columns were computed by the largest selection."""
    counts = [k for share in session.sizes.shares if (k := _picks(placed, share)) <= session.sizes.once]
    session.release()
    pool = gip_gpu.Pool(placed.F, device=session.device, backend=placed.name)
    pool.select(placed.G, max(counts))
    for k in counts:
        selection(session, placed, k, "prepared pool", lambda k=k: pool.select(placed.G, k))


def selection(session: Session, pool: Placed, k: int, variant: str, action: Callable[[], gip_gpu.Selection]) -> None:
    """Times a selection; `variant` names its input."""
    case, name = pool.case, pool.name

    def told(chosen: gip_gpu.Selection) -> Any:
        plan = chosen.plan
        costs = GpuCosts(plan.m, plan.d, plan.n, format_of(case.F))
        model = selection_seconds(costs, name, plan.columns, plan.precision, k)
        if variant != "host arrays":
            model -= plan.m * plan.d * GIVEN_BYTES[costs.given] / A100.upload
        if variant == "prepared pool" and plan.columns == "gram":
            model -= costs.gram_kernel_seconds(plan.precision)
        work = work_of(costs, plan, name, k, variant == "prepared pool")
        how = {"columns": plan.columns, "precision": plan.precision, "rounds": list(chosen.certificate.rounds)}
        return work, model, {**how, **proof_of(chosen)}

    names = ("selections", f"{case.title}, k = {k:,}", f"{name}, {variant}")
    group = f"{case.title}, k = {k}" if variant == "device arrays" else ""
    session.selection(names, name, case, k, action, told, group=group)


def work_of(costs: GpuCosts, plan: Plan, name: str, k: int, prepared: bool) -> tuple[Phase, ...]:
    """Returns the unavoidable work of a selection: its columns and its steps, without the upload of host arrays."""
    m, d, multiply = costs.m, costs.d, multiplied_as(plan.precision, costs.given)[0]
    waits = {"barriers" if name == "cupy" else "launches": 2 * k}
    steps = Phase(bytes=k * costs.step_bytes(plan.precision, name == "cupy"), **waits)
    if prepared:
        return (steps,)
    if plan.columns == "gram":
        return Phase(m * m * entry_bytes(plan.precision), m * m * d, multiply), steps
    return Phase(k * costs.column(plan.precision), 2.0 * k * m * d, multiply), steps


def plain(session: Session, pool: Placed, k: int, _: str) -> None:
    """Times the plain loop of a library."""
    case, library = pool.case, session.libraries[pool.name]
    (m, d), n = case.shape, case.signals
    session.release()
    needed, free = naive_bytes(m, d, n), library.arrays.free()
    if needed > free:
        raise LeftOut(f"it needs {memory.readable(needed)}, {memory.readable(free)} is free")
    scores, loop = pool.G.reshape(m, -1), LOOPS[library.name]
    work = (Phase(4.0 * m * m, 2.0 * m * m * d, "fp32"), Phase(bytes=4.0 * k * m * (1 + 2 * n)))
    names = ("selections", f"{case.title}, k = {k:,}", f"plain {library.name} loop")
    action, group = lambda: loop(pool.F, scores, k), f"{case.title}, k = {k}"
    session.selection(names, pool.name, case, k, action, lambda picks: (work, None, {}), ours=False, group=group)


def lazy(session: Session) -> None:
    """Measures columns on demand, from a pool too large for its Gram matrix, in bf16: selections by all backends, then
    batches of columns by all backends."""
    m, d, _ = session.sizes.lazy
    needed, free = 4 * COPIES * m * d, memory.available()
    if needed > free:
        found = f"{memory.readable(needed)} of host memory, {memory.readable(free)} is free"
        session.results.left_out.append(f"lazy: the pool needs {found}")
        return
    if (case := session.do(f"lazy: pool of {m:,} x {d}", lazy_case, session.sizes)) is None:
        return
    arrays = {name: F for name, F in session.each("lazy: upload", upload, case).items() if F is not None}
    for name, F in arrays.items():
        session.do(f"lazy: selection, {name}", from_upload, session, case, name, F, backend=name)
    for name, F in arrays.items():
        session.do(f"lazy: columns, {name}", batch, session, name, F, backend=name)


def upload(session: Session, case: Case, name: str) -> Any:
    library = session.libraries[name]
    # CuPy has no bfloat16.
    return library.put(case.F, "bf16" if library.name == "torch" and library.cuda else "fp32")


def from_upload(session: Session, case: Case, name: str, F: Any) -> None:
    """Times a selection with columns on demand."""
    (m, d), k = case.shape, case.k
    costs = GpuCosts(m, d, 1, "bf16")
    options = {"device": session.device, "backend": name, "precision": "bf16", "columns": "lazy"}

    def told(chosen: Any) -> Any:
        model = selection_seconds(costs, name, "lazy", "bf16", k) - 2 * m * d / A100.upload
        return work_of(costs, chosen.plan, name, k, False), model, proof_of(chosen)

    names = ("lazy", f"{case.title}, k = {k:,}", f"{name}, device arrays")
    session.selection(names, name, case, k, lambda: gip_gpu.select(F, case.G, k, **options), told)


def batch(session: Session, name: str, F: Any) -> None:
    """Times a batch of Gram columns, as a lazy run computes them, with different items each time."""
    library = session.libraries[name]
    session.release()
    rows = backends.load(name, session.device).open(F, normalize=True)
    (m, d), given = rows.shape, format_of(rows.values)
    count, repeats = min(session.sizes.batch, m), session.sizes.repeats
    peak = library.watch()
    backend = opened(session, name, rows, "bf16", "lazy")
    out = backend.empty_columns(count)
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.choice(m, count, replace=False)).tolist() for _ in range(repeats + 1)]
    seconds = library.timer.seconds(lambda: backend.columns(batches.pop(), out), repeats, lambda: library.poison(out))
    costs = GpuCosts(m, d, 1, given)
    work = (Phase(2.0 * m * d + count * costs.column("bf16"), 2.0 * count * m * d, backend.multiply),)
    names = ("lazy", f"{m:,} x {d}, {count} columns", f"{name}, rows given in {given}")
    model = costs.columns_seconds(count, "bf16")
    session.results.entries.append(Entry(*names, name, seconds, work, peak(), model))


def family(session: Session) -> None:
    """Measures every other objective by every backend, and compares with the right indices."""
    m, d, _ = session.sizes.family
    cases = session.do(f"family: pool of {m:,} x {d}", lambda: list(family_cases(session.sizes)))
    for case in cases or ():
        session.each(f"family: {case.title}, {case.objective}", by_objective, case)


def by_objective(session: Session, case: Case, name: str) -> None:
    """Times a selection from host arrays, upload included; its floor is that of reading the rows once a pick."""
    options = {"device": session.device, "backend": name, "objective": case.objective, **case.options}

    def told(chosen: Any) -> Any:
        (m, d), plan = case.shape, chosen.plan
        costs = GpuCosts(m, d, plan.n, format_of(case.F))
        steps = Steps.of(OBJECTIVES[case.objective], case.options.get("sign", "any"))
        launches = LAUNCHES if steps.metric else PICK_KERNELS[steps.project]
        work = Phase(bytes=case.k * m * d * GIVEN_BYTES[costs.given], launches=launches * case.k)
        model = costs.stepwise_seconds(case.k, plan.precision, Layout(), None, steps)
        return (work,), model, {**proof_of(chosen), "rounds": list(chosen.certificate.rounds)}

    names = ("family", f"{case.title}, k = {case.k:,}", f"{case.objective}, {name}")
    session.selection(names, name, case, case.k, lambda: gip_gpu.select(case.F, case.scores, case.k, **options), told)


def equivalence(session: Session) -> None:
    """Compares every backend, precision and kind of columns with the right indices of one pool."""
    m, d, _ = session.sizes.sample
    case = session.do(f"equivalence: pool of {m:,} x {d}", sample_case, session.sizes)
    if case is None or session.do("equivalence: right indices", expected, case, case.k, session.budget) is None:
        return
    session.release()
    for precision, columns in product(FORMATS, COLUMNS):
        for name in session.libraries:
            what = f"equivalence: {case.title}, {name}, {precision}, {columns}"
            session.do(what, check, session, case, name, precision, columns, backend=name)


def check(session: Session, case: Case, name: str, precision: str, columns: str) -> None:
    """Compares one selection with the right indices."""
    right, against = expected(case, case.k, session.budget)
    options = {"device": session.device, "backend": name, "precision": precision, "columns": columns}
    chosen = gip_gpu.select(case.F, case.G, case.k, **options)
    difference, seconds = first_difference(chosen.indices.tolist(), right), chosen.timings["total"]
    session.results.checks.append(Check(case.title, name, precision, columns, case.k, against, difference, seconds))
