"""Launches of kernels/pick/pick.cu on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gip_gpu.backends.gpu import layout
from gip_gpu.kernels.pick import tuning
from tests.support.cuda_on_cpu.emulator import build

FEW = replace(tuning.CUDA[80], threads=64)


def compiled(n, measure, projects, positive, **how):
    macros = {**layout.macros(), **FEW.macros(n, "fp32", measure, projects, positive)}
    return build("pick", macros, threads=how.get("sanitize") == "thread", **how)


def decide(decision, seed=1, **how):
    """Launches the decision of a pick."""
    arrays = decision.arrays
    program = compiled(decision.n, decision.measure, decision.projects, decision.positive, **how)
    args = [decision.m, decision.d, arrays["parts"].ravel(), len(arrays["parts"])]
    args += [arrays[name] for name in ("candidate_index", "candidate_value", "count", "row_squares")]
    args += [1, *(arrays[name] for name in ("weight", "weights", "picks_f64", "picks_i64", "record"))]
    program.launch("decide", 1, FEW.threads, args, seed=seed)


def project(case, measure="norm", **how):
    """Launches the projection; returns S, A and h."""
    program, d = compiled(case.n, measure, case.projects, not case.projects, **how), case.d
    h, (phi, g) = np.full(d, np.nan, np.float32), (np.full(d, np.nan) for _ in range(2))
    squares = np.full(FEW.parts(d), np.nan)
    given = [d, case.rows, case.norms]
    if case.projects:
        program.launch(
            "remaining", -(-d // FEW.columns), FEW.threads, [*given, case.S, phi, case.picks_i64, case.factor], seed=1
        )
        program.launch("lifted", len(squares), FEW.threads, [d, case.S, phi, g, squares, case.picks_i64], seed=2)
    args = [*given, case.S, case.A, phi, g, squares, h, case.record, case.picks_f64, case.picks_i64, len(squares)]
    program.launch("project", FEW.tiles(d, case.projects), FEW.threads, [*args, case.factor], seed=3)
    return case.S, case.A, h
