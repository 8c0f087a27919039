"""Whole selections: are they right, how long do they take, and how long do plain loops."""

from collections.abc import Callable
from itertools import product
from typing import Any

import gip_gpu
from bench import gpu_kernels
from bench.gpu_cases import Case, LeftOut, alpaca_or_cone, checks, cone
from bench.gpu_ceilings import FORMATS
from bench.gpu_kernels import known, release, worst
from bench.gpu_naive import LOOPS, naive_bytes
from bench.gpu_results import Check, Entry, Phase, Session
from bench.model import selection_seconds
from bench.runs import first_difference
from gip_gpu import backends, memory
from gip_gpu.costs import entry_bytes
from gip_gpu.costs_gpu import A100, GIVEN_BYTES, GpuCosts, multiplied_as
from gip_gpu.interop import format_of
from gip_gpu.plan import Plan
from gip_gpu.signals import self_compression

COLUMNS = ("gram", "lazy")
# Host memory that the comparison of the largest pool needs, in float32 copies of it.
COPIES = 5


def equivalence(session: Session) -> None:
    """Every backend, precision and kind of columns against the reference."""
    for case in checks(session.sizes):
        found = session.do(f"equivalence: right indices of {case.title}", case.expected, case.k, session.budget)
        release(session)
        for name in session.libraries if found is not None else ():
            for precision, columns in product(FORMATS, COLUMNS):
                what = f"equivalence: {case.title}, {name}, {precision}, {columns}"
                session.do(what, check, session, case, name, precision, columns, backend=name)


def check(session: Session, case: Case, name: str, precision: str, columns: str) -> None:
    """One selection against the right indices."""
    expected, against = case.expected(case.k, session.budget)
    options = {"device": session.device, "backend": name, "precision": precision, "columns": columns}
    chosen = gip_gpu.select(case.F, case.G, case.k, **options)
    difference, seconds = first_difference(chosen.indices, expected), chosen.timings["total"]
    session.results.checks.append(Check(case.title, name, precision, columns, case.k, against, difference, seconds))


def selections(session: Session) -> None:
    """gip_gpu with its defaults, from host and device arrays and from a prepared pool, and plain loops."""
    for m, d in session.sizes.select:
        case = session.do(f"selections: pool of {m:,} x {d}", alpaca_or_cone, m, d, session.sizes.real)
        counts = [max(1, round(share * m)) for share in session.sizes.shares]
        # Shorter lists first: where the longest take too long, these are known.
        for k in counts if case is not None else ():
            known(session, case, k)
        for name in session.libraries if case is not None else ():
            what = f"selections: {case.title}, {name}"
            session.do(what, of_backend, session, case, counts, name, backend=name)


def of_backend(session: Session, case: Case, counts: list[int], name: str) -> None:
    """All selections of one backend, and the plain loop of its library."""
    library = session.libraries[name]
    F, G = library.put(case.F, format_of(case.F)), library.put(case.G, "fp64")
    for k in counts:
        what = f"selections: {case.title}, k = {k:,}"
        for variant, arrays in (("device arrays", (F, G)), ("host arrays", (case.F, case.G))):
            action = _select(session, name, *arrays, k)
            session.do(f"{what}, {name}, {variant}", selection, session, case, k, name, variant, action, backend=name)
        session.do(f"{what}, plain loop of {library.name}", plain, session, case, k, library, F, G)
    what = f"selections: {case.title}, prepared pool, {name}"
    session.do(what, prepared, session, case, counts, name, F, G, backend=name)


def _select(session: Session, name: str, F: Any, G: Any, k: int) -> Callable[[], gip_gpu.Selection]:
    return lambda: gip_gpu.select(F, G, k, device=session.device, backend=name)


def selection(
    session: Session, case: Case, k: int, name: str, variant: str, action: Callable[[], gip_gpu.Selection]
) -> None:
    """Times a selection; every run of it has to be right."""
    library = session.libraries[name]
    expected, unchecked = known(session, case, k)
    release(session)
    told, chosen = library.watch(), []
    seconds = library.timer.seconds(lambda: chosen.append(action()), session.sizes.repeats)
    peak = told()
    plan, proof = chosen[-1].plan, chosen[-1].certificate
    costs = GpuCosts(plan.m, plan.d, plan.n, format_of(case.F))
    model = selection_seconds(costs, name, plan.columns, plan.precision, k)
    if variant != "host arrays":
        model -= plan.m * plan.d * GIVEN_BYTES[costs.given] / A100.upload
    if variant == "prepared pool" and plan.columns == "gram":
        model -= costs.gram_kernel_seconds(plan.precision)
    work = _work(costs, plan, name, k, variant == "prepared pool")
    difference = None if expected is None else worst([found.indices for found in chosen], expected)
    notes = {
        "columns": plan.columns, "precision": plan.precision, "refreshes": proof.refreshes,
        "candidates": float(proof.candidates.mean()), "rounds": list(proof.rounds), **chosen[-1].timings,
    }  # fmt: skip
    session.results.entries.append(
        Entry(
            "selections", f"{case.title}, k = {k:,}", f"{name}, {variant}", name, seconds, work, peak, model, True,
            difference, unchecked, f"{case.title}, k = {k}" if variant == "device arrays" else "", notes,
        )
    )  # fmt: skip


def _work(costs: GpuCosts, plan: Plan, name: str, k: int, prepared: bool) -> tuple[Phase, ...]:
    """What a selection cannot do without: its columns, and its steps. The upload of host arrays is left out."""
    m, d, multiply = costs.m, costs.d, multiplied_as(plan.precision, costs.given)[0]
    steps = Phase(
        bytes=k * costs.step_bytes(plan.precision, name == "cupy"),
        barriers=2 * k if name == "cupy" else 0,
        launches=0 if name == "cupy" else 2 * k,
    )
    if prepared:
        return (steps,)
    if plan.columns == "gram":
        return Phase(m * m * entry_bytes(plan.precision), m * m * d, multiply), steps
    return Phase(k * costs.column(plan.precision), 2.0 * k * m * d, multiply), steps


def prepared(session: Session, case: Case, counts: list[int], name: str, F: Any, G: Any) -> None:
    """Selections from a pool whose columns were computed by the largest of them."""
    release(session)
    pool = gip_gpu.Pool(F, device=session.device, backend=name)
    pool.select(G, counts[-1])
    for k in counts:
        selection(session, case, k, name, "prepared pool", lambda k=k: pool.select(G, k))


def plain(session: Session, case: Case, k: int, library: Any, F: Any, G: Any) -> None:
    """The plain loop of a library; where it leaves the right indices is told, and no fault of ours."""
    (m, d), n = case.shape, case.signals
    expected, unchecked = known(session, case, k)
    release(session)
    free = library.arrays.free()
    if naive_bytes(m, d, n) > free:
        raise LeftOut(f"it needs {memory.readable(naive_bytes(m, d, n))}, {memory.readable(free)} is free")
    scores, loop, chosen = G.reshape(m, -1), LOOPS[library.name], []
    told = library.watch()
    seconds = library.timer.seconds(lambda: chosen.append(loop(F, scores, k)), session.sizes.repeats)
    difference = None if expected is None else worst(chosen, expected)
    work = (Phase(4.0 * m * m, 2.0 * m * m * d, "fp32"), Phase(bytes=4.0 * k * m * (1 + 2 * n)))
    session.results.entries.append(
        Entry(
            "selections", f"{case.title}, k = {k:,}", f"plain {library.name} loop", "", seconds, work, told(), None,
            True, difference, unchecked, f"{case.title}, k = {k}",
        )
    )  # fmt: skip


def lazy(session: Session) -> None:
    """A pool too large for its Gram matrix: a batch of columns, and a selection, in bf16."""
    m, d, k = session.sizes.lazy
    needed, free = 4 * COPIES * m * d, memory.available()
    if needed > free:
        found = f"{memory.readable(needed)} of host memory, {memory.readable(free)} is free"
        session.results.left_out.append(f"lazy: the pool and the comparison need {found}")
        return
    case = session.do(f"lazy: pool of {m:,} x {d}", _large, m, d, k)
    for name in session.libraries if case is not None else ():
        session.do(f"lazy: {name}", lazy_of_backend, session, case, name, backend=name)


def _large(m: int, d: int, k: int) -> Case:
    F = cone(m, d, "bf16")
    return Case(f"synthetic {m:,} x {d}, self-compression", F, self_compression(F), k)


def lazy_of_backend(session: Session, case: Case, name: str) -> None:
    library = session.libraries[name]
    # CuPy has no bfloat16.
    F = library.put(case.F, "bf16" if library.name == "torch" and library.cuda else "fp32")
    rows = backends.load(name, session.device).open(F, normalize=True)
    session.do(f"lazy: columns, {name}", gpu_kernels.columns, session, name, rows, backend=name)
    del rows
    session.do(f"lazy: selection, {name}", lazy_selection, session, case, name, F, backend=name)


def lazy_selection(session: Session, case: Case, name: str, F: Any) -> None:
    """A selection with columns on demand, in bf16; its first picks are compared."""
    library, (m, d), k = session.libraries[name], case.shape, case.k
    compared = min(session.sizes.compared, k)
    expected, unchecked = known(session, case, compared)
    release(session)
    told, chosen = library.watch(), []
    options = {"device": session.device, "backend": name, "precision": "bf16", "columns": "lazy"}
    seconds = library.timer.seconds(
        lambda: chosen.append(gip_gpu.select(F, case.G, k, **options)), session.sizes.repeats
    )
    plan = chosen[-1].plan
    costs = GpuCosts(m, d, 1, "bf16")
    model = selection_seconds(costs, name, "lazy", "bf16", k) - 2 * m * d / A100.upload
    difference = None if expected is None else worst([found.indices[:compared] for found in chosen], expected)
    notes = {"compared picks": compared, "refreshes": chosen[-1].certificate.refreshes, **chosen[-1].timings}
    session.results.entries.append(
        Entry(
            "lazy", f"{case.title}, k = {k:,}, first {compared} picks compared", f"{name}, device arrays", name,
            seconds, _work(costs, plan, name, k, False), told(), model, True, difference, unchecked, notes=notes,
        )
    )  # fmt: skip
