"""Columns on demand, from a pool too large for its Gram matrix: whole selections and single batches, in bf16."""

from typing import Any

import numpy as np

import gip_gpu
from bench.gpu_cases import Case, lazy_case
from bench.gpu_kernels import opened
from bench.gpu_results import Entry, Phase
from bench.gpu_selections import work_of
from bench.gpu_session import Session, worst
from bench.model import selection_seconds
from gip_gpu import backends
from gip_gpu.data.device_arrays import format_of
from gip_gpu.planning.gpu_costs import A100, GpuCosts
from gip_gpu.system import memory

# Host memory that the part needs, in float32 copies of the pool: the pool, and what a library makes of it.
COPIES = 2


def lazy(session: Session) -> None:
    """Selections by all backends, then batches of columns by all backends."""
    m, d, _ = session.sizes.lazy
    needed, free = 4 * COPIES * m * d, memory.available()
    if needed > free:
        found = f"{memory.readable(needed)} of host memory, {memory.readable(free)} is free"
        session.results.left_out.append(f"lazy: the pool needs {found}")
        return
    case = session.do(f"lazy: pool of {m:,} x {d}", lazy_case, session.sizes)
    if case is None:
        return
    arrays = {}
    for name in session.libraries:
        F = session.do(f"lazy: upload, {name}", _upload, session, case, name, backend=name)
        if F is not None:
            arrays[name] = F
    for name, F in arrays.items():
        session.do(f"lazy: selection, {name}", selection, session, case, name, F, backend=name)
    for name, F in arrays.items():
        session.do(f"lazy: columns, {name}", columns, session, name, F, backend=name)


def _upload(session: Session, case: Case, name: str) -> Any:
    library = session.libraries[name]
    # CuPy has no bfloat16.
    return library.put(case.F, "bf16" if library.name == "torch" and library.cuda else "fp32")


def selection(session: Session, case: Case, name: str, F: Any) -> None:
    """A selection with columns on demand; every run of it has to be right."""
    library, (m, d), k = session.libraries[name], case.shape, case.k
    right, unchecked = session.known(case, k)
    session.release()
    told, chosen = library.watch(), []
    options = {"device": session.device, "backend": name, "precision": "bf16", "columns": "lazy"}
    seconds = library.timer.seconds(
        lambda: chosen.append(gip_gpu.select(F, case.G, k, **options)), session.sizes.repeats
    )
    plan, proof = chosen[-1].plan, chosen[-1].certificate
    costs = GpuCosts(m, d, 1, "bf16")
    model = selection_seconds(costs, name, "lazy", "bf16", k) - 2 * m * d / A100.upload
    difference = None if right is None else worst([found.indices for found in chosen], right)
    notes = {"refreshes": proof.refreshes, "candidates": float(proof.candidates.mean()), **chosen[-1].timings}
    session.results.entries.append(
        Entry(
            "lazy", f"{case.title}, k = {k:,}", f"{name}, device arrays", name, seconds,
            work_of(costs, plan, name, k, False), told(), model, True, difference, unchecked, notes=notes,
        )
    )  # fmt: skip


def columns(session: Session, name: str, F: Any) -> None:
    """A batch of Gram columns, as a lazy run computes them; other items each time."""
    library = session.libraries[name]
    session.release()
    rows = backends.load(name, session.device).open(F, normalize=True)
    (m, d), given = rows.shape, format_of(rows.values)
    count, repeats = min(session.sizes.batch, m), session.sizes.repeats
    told = library.watch()
    backend = opened(session, name, rows, "bf16", "lazy")
    out = backend.empty_columns(count)
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.choice(m, count, replace=False)).tolist() for _ in range(repeats + 1)]
    seconds = library.timer.seconds(lambda: backend.columns(batches.pop(), out), repeats, lambda: library.poison(out))
    costs = GpuCosts(m, d, 1, given)
    work = (Phase(2.0 * m * d + count * costs.column("bf16"), 2.0 * count * m * d, backend.multiply),)
    model = costs.columns_seconds(count, "bf16")
    session.results.entries.append(
        Entry(
            "lazy", f"{m:,} x {d}, {count} columns", f"{name}, rows given in {given}", name, seconds, work, told(),
            model,
        )
    )  # fmt: skip
