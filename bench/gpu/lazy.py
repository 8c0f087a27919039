"""Columns on demand, from a pool too large for its Gram matrix: whole selections and single batches, in bf16."""

from typing import Any

import numpy as np

import gip_gpu
from bench.gpu.cases import Case, lazy_case
from bench.gpu.kernels import opened
from bench.gpu.results import Entry, Phase
from bench.gpu.selections import work_of
from bench.gpu.session import Session, proof_of
from bench.model.a100 import selection_seconds
from gip_gpu import backends
from gip_gpu.data.device_arrays import format_of
from gip_gpu.planning.gpu_costs import A100, GpuCosts
from gip_gpu.system import memory

# Host memory of the part, in float32 copies of the pool: the pool, and a library's conversion of it.
COPIES = 2


def lazy(session: Session) -> None:
    """Measures selections by all backends, then batches of columns by all backends."""
    m, d, _ = session.sizes.lazy
    needed, free = 4 * COPIES * m * d, memory.available()
    if needed > free:
        found = f"{memory.readable(needed)} of host memory, {memory.readable(free)} is free"
        session.results.left_out.append(f"lazy: the pool needs {found}")
        return
    case = session.do(f"lazy: pool of {m:,} x {d}", lazy_case, session.sizes)
    if case is None:
        return
    uploads = {name: session.do(f"lazy: upload, {name}", _upload, session, case, name, backend=name)
               for name in session.libraries}  # fmt: skip
    arrays = {name: F for name, F in uploads.items() if F is not None}
    for name, F in arrays.items():
        session.do(f"lazy: selection, {name}", selection, session, case, name, F, backend=name)
    for name, F in arrays.items():
        session.do(f"lazy: columns, {name}", columns, session, name, F, backend=name)


def _upload(session: Session, case: Case, name: str) -> Any:
    library = session.libraries[name]
    # CuPy has no bfloat16.
    return library.put(case.F, "bf16" if library.name == "torch" and library.cuda else "fp32")


def selection(session: Session, case: Case, name: str, F: Any) -> None:
    """Times a selection with columns on demand."""
    (m, d), k = case.shape, case.k
    costs = GpuCosts(m, d, 1, "bf16")
    options = {"device": session.device, "backend": name, "precision": "bf16", "columns": "lazy"}

    def told(chosen: Any) -> Any:
        model = selection_seconds(costs, name, "lazy", "bf16", k) - 2 * m * d / A100.upload
        return work_of(costs, chosen.plan, name, k, False), model, proof_of(chosen)

    names = ("lazy", f"{case.title}, k = {k:,}", f"{name}, device arrays")
    session.selection(names, name, case, k, lambda: gip_gpu.select(F, case.G, k, **options), told)


def columns(session: Session, name: str, F: Any) -> None:
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
