"""Separate parts of a selection: steps and Gram kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np

import gip_gpu
from bench.gpu.budget import LeftOut
from bench.gpu.cases import Case, step_cases
from bench.gpu.library import Library
from bench.gpu.pools import cone
from bench.gpu.results import Entry, Phase
from bench.gpu.session import Session, proof_of, worst
from bench.model.a100 import step_seconds
from gip_gpu import backends
from gip_gpu.data.device_arrays import format_of
from gip_gpu.data.rows import Rows
from gip_gpu.planning.cpu_costs import entry_bytes
from gip_gpu.planning.gpu_costs import GpuCosts
from gip_gpu.strategies.choose import make_plan

# Rows of a strip of the vendor's Gram matrix: enough to use the whole GPU.
STRIP = 8192
# Rows and columns of a Gram matrix that are compared with float64 products.
SAMPLED = 64
# Precisions, the most used first.
STEP_PRECISIONS = ("tf32", "fp16")
GRAM_PRECISIONS = ("tf32", "bf16", "fp16", "fp32")


def steps(session: Session) -> None:
    """Measures the time of a step, from the launches of a run of many steps."""
    m, d, _ = session.sizes.step
    cases = session.do(f"steps: pool of {m:,} x {d}", step_cases, session.sizes)
    for precision, case in product(STEP_PRECISIONS, cases or ()):
        session.each(f"steps: {case.title}, {precision}", step, case, precision)


def step(session: Session, case: Case, precision: str, name: str) -> None:
    """Times the steps of all picks of a case, and compares every run with the right indices."""
    library, (m, d), k = session.libraries[name], case.shape, case.k
    right, unchecked = session.known(case, k)
    session.release()
    peak = library.watch()
    pool = gip_gpu.Pool(case.F, device=session.device, backend=name, precision=precision, columns="gram")
    # The first selection prepares the pool and compiles the remaining kernels.
    chosen = [pool.select(case.G, k)]
    backend, spans = pool._prepared.backend, []
    for _ in range(session.sizes.repeats):
        with launches(backend, library) as marks:
            chosen.append(pool.select(case.G, k))
        spans.append(sum(library.timer.between(*pair) for pair in marks) / k)
    held = peak()
    difference = None if right is None else worst([found.indices for found in chosen], right)
    in_shared, costs = bool(getattr(backend, "shared", 0)), GpuCosts(m, d, case.signals, format_of(case.F))
    waits = {"barriers": 2} if name == "cupy" else {"launches": 2}
    work = (Phase(bytes=costs.step_bytes(precision, in_shared), **waits),)
    proof = proof_of(chosen[-1])
    notes = {"steps": k, "refreshes": proof["refreshes"], "candidates": proof["candidates"],
             "seconds a pick, host included": proof["total"] / k, "residual in shared memory": in_shared}  # fmt: skip
    names, seconds = ("steps", case.title, f"{name}, {precision}"), float(np.median(spans))
    model = step_seconds(costs, name, precision)
    entry = Entry(*names, name, seconds, work, held, model, True, difference, unchecked, notes=notes)
    session.results.entries.append(entry)


@contextmanager
def launches(backend: Any, library: Library) -> Iterator[list[tuple[Any, Any]]]:
    """Yields the list of marks before and after each launch of steps."""
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


def grams(session: Session) -> None:
    """Measures the Gram matrix by our kernels and by the vendor's GEMM, for each format of the factors."""
    for m, d in session.sizes.gram:
        # float32 rows: 16-bit rows would be multiplied unchanged in every precision.
        rows = session.do(f"gram: pool of {m:,} x {d}", lambda m=m, d=d: Rows(cone(m, d, "fp32")))
        for precision in GRAM_PRECISIONS if rows is not None else ():
            session.each(f"gram: {m:,} x {d}, {precision}", gram, rows, precision)


def gram(session: Session, rows: Rows, precision: str, name: str) -> None:
    """Times our kernel; with the first backend also the vendor's GEMM, strip by strip, on the same rows."""
    library, (m, d) = session.libraries[name], rows.shape
    session.release()
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
    """Raises AssertionError if entries of sampled rows of a Gram matrix are not finite, or off by more than allowed."""
    items = np.unique(np.linspace(0, backend.m - 1, SAMPLED).astype(np.int64))
    found = backend.arrays.get(backend.arrays.take(out, items)).astype(np.float64)
    if not np.isfinite(found).all():
        raise AssertionError("the Gram matrix has entries that were not written")
    rows = backend.rows(items)
    off = float(np.abs(found[:, items] - rows @ rows.T).max())
    if off > backend.gamma:
        raise AssertionError(f"an entry of the Gram matrix is off by {off:.2g}, the bound is {backend.gamma:.2g}")


def opened(session: Session, name: str, rows: Rows, precision: str, columns: str) -> Any:
    """Opens the backend with these rows, as a Pool does."""
    m, d = rows.shape
    kind = backends.load(name, session.device)
    how = {"device": session.device, "backend": name, "precision": precision, "columns": columns}
    try:
        plan = make_plan(m, d, 1, m, given=format_of(rows.values), **how)
    except ValueError as error:
        raise LeftOut(str(error)) from error
    return kind(rows, plan)
