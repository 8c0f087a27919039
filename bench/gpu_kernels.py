"""The parts of a selection by themselves: Gram kernels, steps, batches of columns on demand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import gip_gpu
from bench.gpu_cases import Case, LeftOut, alpaca_or_cone, cone, with_signals
from bench.gpu_ceilings import FORMATS
from bench.gpu_device import Library
from bench.gpu_results import Entry, Phase, Session
from bench.model import step_seconds
from bench.runs import first_difference
from gip_gpu import backends
from gip_gpu.costs import entry_bytes
from gip_gpu.costs_gpu import GpuCosts
from gip_gpu.interop import format_of
from gip_gpu.plan import make_plan
from gip_gpu.rows import Rows

# Rows of a strip of the vendor's Gram matrix: as large a product as a GPU can use.
STRIP = 8192
# Rows and columns of a Gram matrix that are compared with float64 products.
SAMPLED = 64
STEP_PRECISIONS = ("tf32", "fp16")


def grams(session: Session) -> None:
    """The Gram matrix by our kernels and by the vendor's GEMM, for each format of the factors."""
    counts, lengths = session.sizes.gram
    for m in counts:
        for d in lengths:
            # float32 rows: those given in 16 bits are multiplied as they are, whatever precision is asked for.
            rows = session.do(f"gram: pool of {m:,} x {d}", _rows, m, d)
            for precision in FORMATS if rows is not None else ():
                for name in session.libraries:
                    session.do(
                        f"gram: {m:,} x {d}, {precision}, {name}",
                        gram,
                        session,
                        rows,
                        name,
                        precision,
                        backend=name,
                    )


def _rows(m: int, d: int) -> Rows:
    return Rows(cone(m, d, "fp32"))


def gram(session: Session, rows: Rows, name: str, precision: str) -> None:
    """Our kernel; with the first backend also the vendor's GEMM, strip by strip, on the same rows."""
    library, (m, d) = session.libraries[name], rows.shape
    release(session)
    told = library.watch()
    backend = opened(session, name, rows, precision, "gram")
    out = library.arrays.empty((m, m), backend.storage)
    size = f"{m:,} x {d}, factors {backend.multiply}, entries {backend.storage}"
    work = (Phase(bytes=m * m * entry_bytes(precision), flops=m * m * d, format=backend.multiply),)
    repeats = session.sizes.repeats
    seconds = library.timer.seconds(lambda: backend._gram(backend.products, out), repeats, lambda: library.poison(out))
    _compare(backend, out)
    model = GpuCosts(m, d, 1, "fp32").gram_kernel_seconds(precision)
    session.results.entries.append(Entry("gram", size, f"kernel of {name}", name, seconds, work, told(), model))
    if library is not session.library:
        return

    def strips() -> None:
        for start in range(0, m, STRIP):
            part = slice(start, min(start + STRIP, m))
            library.matmul(backend.products[part], backend.products, out[part], backend.multiply)

    seconds = library.timer.seconds(strips, repeats, lambda: library.poison(out))
    session.results.entries.append(Entry("gram", size, f"vendor's GEMM in strips of {STRIP:,}", "", seconds, work))


def _compare(backend: Any, out: Any) -> None:
    """Raises AssertionError where rows of a Gram matrix are not finite, or entries off by more than their bound."""
    items = np.unique(np.linspace(0, backend.m - 1, SAMPLED).astype(np.int64))
    found = backend.arrays.get(backend.arrays.take(out, items)).astype(np.float64)
    if not np.isfinite(found).all():
        raise AssertionError("the Gram matrix has entries that were not written")
    rows = backend.rows(items)
    off = float(np.abs(found[:, items] - rows @ rows.T).max())
    if off > backend.gamma:
        raise AssertionError(f"an entry of the Gram matrix is off by {off:.2g}, the bound is {backend.gamma:.2g}")


def steps(session: Session) -> None:
    """The time of a step, from the launches of a run of many."""
    m, d, k = session.sizes.step
    case = session.do(f"steps: pool of {m:,} x {d}", alpaca_or_cone, m, d, session.sizes.real)
    for n in session.sizes.signals if case is not None else ():
        scored = with_signals(case, n)
        for name in session.libraries:
            for precision in STEP_PRECISIONS:
                session.do(
                    f"steps: n = {n}, {precision}, {name}",
                    step,
                    session,
                    scored,
                    k,
                    name,
                    precision,
                    backend=name,
                )


def step(session: Session, case: Case, k: int, name: str, precision: str) -> None:
    library, (m, d) = session.libraries[name], case.shape
    expected, unchecked = known(session, case, k)
    release(session)
    told = library.watch()
    pool = gip_gpu.Pool(case.F, device=session.device, backend=name, precision=precision, columns="gram")
    # This prepares the pool and compiles what is not compiled yet.
    chosen = [pool.select(case.G, k)]
    backend, spans = pool._backend, []
    for _ in range(session.sizes.repeats):
        with launches(backend, library) as marks:
            chosen.append(pool.select(case.G, k))
        spans.append(sum(library.timer.between(*pair) for pair in marks) / k)
    peak = told()
    difference = None if expected is None else worst([found.indices for found in chosen], expected)
    in_shared = bool(getattr(backend, "shared", 0))
    costs = GpuCosts(m, d, case.signals, format_of(case.F))
    waits = {"barriers": 2} if name == "cupy" else {"launches": 2}
    work = (Phase(bytes=costs.step_bytes(precision, in_shared), **waits),)
    proof, total = chosen[-1].certificate, chosen[-1].timings["total"]
    notes = {
        "steps": k,
        "refreshes": proof.refreshes,
        "candidates": float(proof.candidates.mean()),
        "seconds a pick, host included": total / k,
        "residual in shared memory": in_shared,
    }
    session.results.entries.append(
        Entry(
            "steps", case.title, f"{name}, {precision}", name, float(np.median(spans)), work, peak,
            step_seconds(costs, name, precision), True, difference, unchecked, notes=notes,
        )
    )  # fmt: skip


@contextmanager
def launches(backend: Any, library: Library) -> Iterator[list[tuple[Any, Any]]]:
    """The marks before and after each launch of steps."""
    run, marks = backend._run, []

    def noted(columns: Any) -> None:
        start = library.timer.mark()
        run(columns)
        marks.append((start, library.timer.mark()))

    backend._run = noted
    try:
        yield marks
    finally:
        del backend._run


def columns(session: Session, name: str, rows: Rows) -> None:
    """A batch of Gram columns in bf16, as a lazy run computes them; other items each time."""
    library, (m, d) = session.libraries[name], rows.shape
    count = min(session.sizes.batch, m)
    release(session)
    told = library.watch()
    backend = opened(session, name, rows, "bf16", "lazy")
    out = backend.empty_columns(count)
    rng = np.random.default_rng(0)
    repeats = session.sizes.repeats
    batches = [np.sort(rng.choice(m, count, replace=False)).tolist() for _ in range(repeats + 1)]
    seconds = library.timer.seconds(lambda: backend.columns(batches.pop(), out), repeats, lambda: library.poison(out))
    given = format_of(rows.values)
    costs = GpuCosts(m, d, 1, given)
    work = (Phase(2.0 * m * d + count * costs.column("bf16"), 2.0 * count * m * d, backend.multiply),)
    model = costs.columns_seconds(count, "bf16")
    session.results.entries.append(
        Entry(
            "lazy",
            f"{m:,} x {d}, {count} columns",
            f"{name}, rows given in {given}",
            name,
            seconds,
            work,
            told(),
            model,
        )
    )


def opened(session: Session, name: str, rows: Rows, precision: str, columns: str) -> Any:
    """The backend with these rows, as a Pool makes it."""
    m, d = rows.shape
    kind = backends.load(name, session.device)
    try:
        plan = make_plan(
            m, d, 1, m, device=session.device, backend=name, precision=precision, columns=columns,
            given=format_of(rows.values),
        )  # fmt: skip
    except ValueError as error:
        raise LeftOut(str(error)) from error
    return kind(rows, plan)


def known(session: Session, case: Case, k: int) -> tuple[Any, str]:
    """The right indices, or None and why they are not known."""
    try:
        return case.expected(k, session.budget)[0], ""
    except LeftOut as reason:
        return None, str(reason)


def worst(found: list[Any], expected: Any) -> int | None:
    """The earliest first difference of several runs; None where all are right."""
    differences = [first_difference(indices, expected) for indices in found]
    return min((place for place in differences if place is not None), default=None)


def release(session: Session) -> None:
    """One library's cache is no other's memory."""
    for library in session.libraries.values():
        library.release()
