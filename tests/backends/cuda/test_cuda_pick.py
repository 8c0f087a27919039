"""kernels/pick/pick.cu, run on the CPU: the decision of a pick, its doubts, and its projection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gip_gpu.backends.gpu import layout
from gip_gpu.backends.gpu.layout import Code, PickI64
from gip_gpu.kernels.pick import tuning
from tests.support import picks
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT, build

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

FEW = replace(tuning.CUDA[80], threads=64)


def compiled(n, measure, projects, positive, **how):
    return build("pick", {**layout.macros(), **FEW.macros(n, "fp32", measure, projects, positive)}, **how)


def decide(decision, seed=1):
    arrays = decision.arrays
    program = compiled(decision.n, decision.measure, decision.projects, decision.positive)
    args = [decision.m, decision.d, arrays["parts"].ravel(), len(arrays["parts"])]
    args += [arrays[name] for name in ("candidate_index", "candidate_value", "count", "row_squares")]
    args += [1, *(arrays[name] for name in ("weight", "weights", "picks_f64", "picks_i64", "record"))]
    program.launch("decide", 1, FEW.threads, args, seed=seed)


@pytest.mark.parametrize("score", picks.SCORES)
@pytest.mark.parametrize("listed", [1, 40, 200])
def test_a_pick_beyond_doubt(score, listed):
    before = picks.Decision(*score, listed=listed)
    after = before.copy()
    decide(after)
    picks.check_made(before, after)


@pytest.mark.parametrize("score", picks.SCORES)
@pytest.mark.parametrize("doubt", picks.DOUBTS)
def test_a_pick_in_doubt_is_left_to_the_host(score, doubt):
    if doubt == "dependent" and not score[1]:
        pytest.skip("no rows are projected")
    before = picks.Decision(*score)
    picks.in_doubt(before, doubt)
    after = before.copy()
    decide(after)
    picks.check_left_to_the_host(before, after)


def project(case, **places):
    """Launches the projection; returns S, A and h."""
    case.picks_i64[[PickI64[name] for name in places]] = list(places.values())
    program, d = compiled(case.n, "norm", case.projects, not case.projects), case.d
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


@pytest.mark.parametrize(("projects", "ridge"), [(True, 0.0), (True, 0.05), (False, 0.0)])
@pytest.mark.parametrize("d", [1, 40, 133])
def test_the_projection_is_that_of_numpy(projects, ridge, d):
    case = picks.Projected(projects, ridge, d=d)
    case.check(*project(case))


@pytest.mark.slow
def test_long_rows_take_several_pieces_of_shared_memory():
    case = picks.Projected(True, 0.05, m=3, d=2100)
    case.check(*project(case))


def test_nothing_is_launched_twice_or_too_early():
    for reason in (code for code in Code if code is not Code.RUNNING):
        case = picks.Projected(True)
        S, A = case.S.copy(), case.A.copy()
        found = project(case, REASON=int(reason))
        np.testing.assert_array_equal(found[0], S)
        np.testing.assert_array_equal(found[1], A)
        assert np.isnan(found[2]).all()
        before = picks.Decision("ratio", True, False)
        before.arrays["picks_i64"][PickI64.REASON] = reason
        after = before.copy()
        decide(after)
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(after.arrays[name], array)
