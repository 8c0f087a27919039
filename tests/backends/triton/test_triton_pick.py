"""A projecting objective's pick by the device, in Triton's interpreter: the decision, its doubts, the projection."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Triton backend works on torch tensors")
pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("these kernels run in Triton's interpreter: set TRITON_INTERPRET=1", allow_module_level=True)

from dataclasses import replace

import triton
import triton.language as tl

from gip_gpu.backends.gpu.layout import Code, PickI64
from gip_gpu.kernels import bounds_triton
from gip_gpu.kernels.architectures import alike
from gip_gpu.kernels.pick import triton_launch, tuning
from tests.support import picks

pytestmark = pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning")


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Several chunks of candidates and tiles of S."""
    few = replace(tuning.TRITON[80], chunk=16, wide=8, depth=16, rows=16, columns=32)
    monkeypatch.setattr(tuning, "TRITON", alike(few))


def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def decide(decision):
    triton_launch.decide(
        decision.d, **tensors(decision.arrays), measure=decision.measure, projects=decision.projects,
        positive=decision.positive, capability=0,
    )  # fmt: skip


@pytest.mark.parametrize("score", picks.SCORES)
@pytest.mark.parametrize(("listed", "n"), [(1, 1), (16, 3), (40, 3), (33, 8)])
def test_a_pick_beyond_doubt(score, listed, n):
    before = picks.Decision(*score, listed=listed, n=n)
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
    d = case.d
    S, A, h = (torch.from_numpy(array) for array in (case.S, case.A, np.full(d, np.nan, np.float32)))
    phi, g = (torch.full((d,), torch.nan, dtype=torch.float64) for _ in range(2))
    squares = torch.full((tuning.TRITON[80].parts(d),), torch.nan, dtype=torch.float64)
    scales = torch.from_numpy(case.factor / case.norms)
    triton_launch.project(
        torch.from_numpy(case.rows), scales, S, A, phi, g, squares, h, torch.from_numpy(case.record),
        torch.from_numpy(case.picks_f64), torch.from_numpy(case.picks_i64), projects=case.projects, capability=0,
    )  # fmt: skip
    return S.numpy(), A.numpy(), h.numpy()


@pytest.mark.parametrize(("projects", "ridge"), [(True, 0.0), (True, 0.05), (False, 0.0)])
@pytest.mark.parametrize(("d", "n"), [(1, 1), (40, 3), (33, 5)])
def test_the_projection_is_that_of_numpy(projects, ridge, d, n):
    case = picks.Projected(projects, ridge, d=d, n=n)
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


@triton.jit
def roots(x, inverse, found, single, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    value = tl.load(x + at)
    tl.store(inverse + at, bounds_triton.inverse_root(value))
    tl.store(found + at, bounds_triton.root(value))
    tl.store(single + at, bounds_triton.float32_above(value))


def test_roots_are_nearly_exact_and_bounds_are_not_below():
    x = np.random.default_rng(0).uniform(0.5, 1, 4096) * 2.0 ** np.random.default_rng(1).integers(-99, 100, 4096)
    inverse, found, single = (torch.full((4096,), torch.nan, dtype=torch.float64) for _ in range(3))
    roots[(1,)](torch.from_numpy(x), inverse, found, single, COUNT=4096)
    exact = np.sqrt(x.astype(np.longdouble))
    assert (np.abs(inverse.numpy() * exact - 1) <= 4 * 2.0**-52).all()
    assert (np.abs(found.numpy() / exact - 1) <= 5 * 2.0**-52).all()
    assert (single.numpy() >= x).all()
    assert (single.numpy() <= x * (1 + 2.0**-21) + 2.0**-125).all()
    assert (single.numpy() == single.numpy().astype(np.float32)).all()
    x[:2] = 0, 2.0**-120
    roots[(1,)](torch.from_numpy(x), inverse, found, single, COUNT=4096)
    assert found[:2].tolist() == [0, pytest.approx(2.0**-50)]
