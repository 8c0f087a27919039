"""A sample of the equivalence: one pool, every backend, every precision, both kinds of columns.

`pytest -m gpu` compares many more pools.
"""

from itertools import product

import gip_gpu
from bench.gpu.cases import Case, sample_case
from bench.gpu.ceilings import FORMATS
from bench.gpu.results import Check
from bench.gpu.right import expected
from bench.gpu.session import Session
from bench.runner.runs import first_difference

COLUMNS = ("gram", "lazy")


def equivalence(session: Session) -> None:
    """Compares every backend, precision and kind of columns with the right indices."""
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
