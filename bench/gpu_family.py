"""The other objectives of the family on a GPU: are they right, and how far a pick is from reading the rows once."""

from typing import Any

import gip_gpu
from bench.gpu_cases import Case, checks
from bench.gpu_kernels import release, worst
from bench.gpu_results import Check, Entry, Phase, Session
from bench.runs import first_difference
from gip_gpu import Selection
from gip_gpu.costs import Layout
from gip_gpu.costs_gpu import GIVEN_BYTES, GpuCosts
from gip_gpu.interop import format_of

OBJECTIVES: dict[str, dict[str, Any]] = {
    "lr": {},
    "omp": {},
    "mi": {"query": "ridge", "epsilon": 0.1},
    "entropy": {},
    "mp": {"sign": "positive"},
}
# Kernels of a pick that wait for one another: four products with S, three passes over the items or the window.
LAUNCHES = 10


def family(session: Session) -> None:
    """Every backend and objective against the NumPy backend, which the tests compare with the float64 reference."""
    timed = set[str]()
    largest = max(m for m, _, _ in session.sizes.checks)
    for case in checks(session.sizes):
        for objective, options in OBJECTIVES.items():
            large = case.shape[0] >= largest
            # mi of one column is lr, and of the large pools one suffices.
            if (objective == "mi" and case.signals == 1) or (large and objective in timed):
                continue
            what = f"family: {case.title}, {objective}"
            expected = session.do(f"{what}, right indices", _select, case, objective, options, "cpu")
            release(session)
            if expected is None:
                continue
            arguments = session, case, objective, options, expected
            for name in session.libraries:
                session.do(f"{what}, {name}", check, *arguments, name, backend=name)
                if large:
                    session.do(f"{what}, {name}, time", time_one, *arguments, name, backend=name)
            if large:
                timed.add(objective)


def _select(case: Case, objective: str, options: dict[str, Any], device: str, backend: str | None = None) -> Selection:
    G = None if objective == "entropy" else case.G
    return gip_gpu.select(case.F, G, case.k, objective=objective, device=device, backend=backend, **options)


def check(
    session: Session, case: Case, objective: str, options: dict[str, Any], expected: Selection, name: str
) -> None:
    """One selection against the right indices."""
    chosen = _select(case, objective, options, session.device, name)
    difference = first_difference(chosen.indices.tolist(), expected.indices)
    found = Check(
        f"{case.title}, {objective}", name, chosen.plan.precision, chosen.plan.columns, case.k, "NumPy backend",
        difference, chosen.timings["total"],
    )  # fmt: skip
    session.results.checks.append(found)


def time_one(
    session: Session, case: Case, objective: str, options: dict[str, Any], expected: Selection, name: str
) -> None:
    """Times a selection from host arrays, the upload of which is part of it; every run of it has to be right."""
    library, chosen = session.libraries[name], []
    told = library.watch()

    def run() -> None:
        chosen.append(_select(case, objective, options, session.device, name))

    seconds = library.timer.seconds(run, session.sizes.repeats)
    (m, d), plan, proof = case.shape, chosen[-1].plan, chosen[-1].certificate
    costs = GpuCosts(m, d, plan.n, format_of(case.F))
    work = Phase(bytes=case.k * m * d * GIVEN_BYTES[costs.given], launches=LAUNCHES * case.k)
    notes = {
        "refreshes": proof.refreshes, "candidates": float(proof.candidates.mean()), "rounds": list(proof.rounds),
        **chosen[-1].timings,
    }  # fmt: skip
    session.results.entries.append(
        Entry(
            "family", f"{case.title}, k = {case.k:,}", f"{objective}, {name}", name, seconds, (work,), told(),
            costs.stepwise_seconds(case.k, plan.precision, Layout(), None), True,
            worst([found.indices for found in chosen], expected.indices), notes=notes,
        )
    )  # fmt: skip
