"""The other objectives: time, right or wrong, and the distance from reading the rows once a pick."""

import gip_gpu
from bench.gpu_cases import Case, family_cases
from bench.gpu_results import Entry, Phase
from bench.gpu_session import Session, worst
from gip_gpu import Selection
from gip_gpu.data.device_arrays import format_of
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.gpu_costs import GIVEN_BYTES, GpuCosts

# Kernels of a pick that wait for one another: four products with S, three passes over the items or the window.
LAUNCHES = 10


def family(session: Session) -> None:
    """Every objective by every backend, against the right indices."""
    m, d, _ = session.sizes.family
    cases = session.do(f"family: pool of {m:,} x {d}", lambda: list(family_cases(session.sizes)))
    for case in cases or ():
        for name in session.libraries:
            session.do(f"family: {case.title}, {case.objective}, {name}", selection, session, case, name, backend=name)


def selection(session: Session, case: Case, name: str) -> None:
    """Times a selection from host arrays, the upload of which is part of it; every run of it has to be right."""
    library, chosen = session.libraries[name], list[Selection]()
    right, unchecked = session.known(case, case.k)
    session.release()
    told = library.watch()

    def run() -> None:
        chosen.append(
            gip_gpu.select(
                case.F, case.scores, case.k, device=session.device, backend=name, objective=case.objective,
                **case.options,
            )
        )  # fmt: skip

    seconds = library.timer.seconds(run, session.sizes.repeats)
    (m, d), plan, proof = case.shape, chosen[-1].plan, chosen[-1].certificate
    costs = GpuCosts(m, d, plan.n, format_of(case.F))
    work = Phase(bytes=case.k * m * d * GIVEN_BYTES[costs.given], launches=LAUNCHES * case.k)
    difference = None if right is None else worst([found.indices for found in chosen], right)
    notes = {
        "refreshes": proof.refreshes, "candidates": float(proof.candidates.mean()), "rounds": list(proof.rounds),
        **chosen[-1].timings,
    }  # fmt: skip
    session.results.entries.append(
        Entry(
            "family", f"{case.title}, k = {case.k:,}", f"{case.objective}, {name}", name, seconds, (work,), told(),
            costs.stepwise_seconds(case.k, plan.precision, Layout(), None), True, difference, unchecked, notes=notes,
        )
    )  # fmt: skip
