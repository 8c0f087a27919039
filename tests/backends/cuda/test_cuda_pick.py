"""kernels/pick/pick.cu, run on the CPU: the decision of a pick, its doubts, and its projection."""

from __future__ import annotations

import numpy as np
import pytest

from gip_gpu.backends.gpu.layout import Code, PickI64
from tests.support import picks
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT
from tests.support.cuda_picks import decide, project
from tests.support.sanitized import assert_sanitized

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)


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
        case.picks_i64[PickI64.REASON] = reason
        found = project(case)
        np.testing.assert_array_equal(found[0], S)
        np.testing.assert_array_equal(found[1], A)
        assert np.isnan(found[2]).all()
        before = picks.Decision("ratio", True, False)
        before.arrays["picks_i64"][PickI64.REASON] = reason
        after = before.copy()
        decide(after)
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(after.arrays[name], array)


SANITIZED = """
import sys
from pathlib import Path
from tests.support import picks
from tests.support.cuda_picks import decide, project
how = {"sanitize": sys.argv[1], "folder": Path(sys.argv[2])}
# One build for all.
for lead in (1e-3, 0):
    decision = picks.Decision("ratio", True, False, listed=90, lead=lead)
    before = decision.copy()
    decide(decision, **how)
    (picks.check_made if lead else picks.check_left_to_the_host)(before, decision)
case = picks.Projected(True, d=40)
case.check(*project(case, "ratio", **how))
"""
READ, BARRIER = "    // All threads have read the values that thread 0 overwrites.\n", "    __syncthreads();\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitize", "old", "new", "report"),
    [
        ("thread", "", "", None),
        ("thread", READ + BARRIER, READ, "data race"),
        ("thread", "    sums[threadIdx.x] = sum;\n" + BARRIER, "    sums[threadIdx.x] = sum;\n", "data race"),
        ("address", "", "", None),
        ("address", "threadIdx.x >= 32 || column >= d", "threadIdx.x >= 32", "heap-buffer-overflow"),
    ],
)
def test_sanitizers(tmp_path, sanitize, old, new, report):
    """The sanitizers find nothing, and do find faults added on purpose."""
    assert_sanitized(tmp_path, SANITIZED, sanitize, "pick/pick.cu" if old else "", old, new, report)
