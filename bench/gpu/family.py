"""The other objectives: time, check of the picks, and the floor of reading the rows once a pick."""

from typing import Any

import gip_gpu
from bench.gpu.cases import Case, family_cases
from bench.gpu.results import Phase
from bench.gpu.session import Session, proof_of
from gip_gpu.data.device_arrays import format_of
from gip_gpu.planning.cpu_costs import Layout
from gip_gpu.planning.gpu_costs import GIVEN_BYTES, GpuCosts

# Dependent kernels of a pick: four products with S, three passes over the items or the window.
LAUNCHES = 10


def family(session: Session) -> None:
    """Measures every objective by every backend, and compares with the right indices."""
    m, d, _ = session.sizes.family
    cases = session.do(f"family: pool of {m:,} x {d}", lambda: list(family_cases(session.sizes)))
    for case in cases or ():
        for name in session.libraries:
            session.do(f"family: {case.title}, {case.objective}, {name}", selection, session, case, name, backend=name)


def selection(session: Session, case: Case, name: str) -> None:
    """Times a selection from host arrays, upload included."""
    options = {"device": session.device, "backend": name, "objective": case.objective, **case.options}

    def told(chosen: Any) -> Any:
        (m, d), plan = case.shape, chosen.plan
        costs = GpuCosts(m, d, plan.n, format_of(case.F))
        work = Phase(bytes=case.k * m * d * GIVEN_BYTES[costs.given], launches=LAUNCHES * case.k)
        model = costs.stepwise_seconds(case.k, plan.precision, Layout(), None)
        return (work,), model, {**proof_of(chosen), "rounds": list(chosen.certificate.rounds)}

    names = ("family", f"{case.title}, k = {case.k:,}", f"{case.objective}, {name}")
    session.selection(names, name, case, case.k, lambda: gip_gpu.select(case.F, case.scores, case.k, **options), told)
