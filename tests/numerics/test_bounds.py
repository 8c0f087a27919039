"""The error bound is real (never exceeded) and needed (without it picks go wrong)."""

import numpy as np
import pytest

from gip_gpu import select, signals
from gip_gpu.backends.numpy.items import NumpyItems
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.state import State
from gip_gpu.numerics import error_bounds
from gip_gpu.reference import matching_pursuit
from tests.support.stepping import check_each_pick

pytestmark = pytest.mark.usefixtures("float32_loop", "all_threads")


class Checks:
    """After each pick, compares the residual with one computed in extended precision from the picks so far."""

    def __init__(self):
        self.tightest, self.checks = np.inf, 0

    def check(self, stepper, state):
        rows = stepper.rows_of.block(0, state.m).astype(np.longdouble)
        exact = (state.scores / state.unit).astype(np.longdouble)
        picks = slice(state.rounds[-1], state.t)
        weights = (state.weights[picks] / state.unit).astype(np.longdouble)
        exact -= rows @ (rows[state.indices[picks]].T @ weights)
        off = np.sqrt(((stepper.arrays.residual.W.T - exact)[state.left] ** 2).sum(axis=1))
        if len(off):
            assert off.max() <= state.error
            self.tightest = min(self.tightest, state.error / max(off.max(), np.longdouble(1e-300)))
            self.checks += 1


@pytest.fixture
def checked(monkeypatch):
    checks = Checks()
    check_each_pick(monkeypatch, MatchingPursuit, checks.check)
    return checks


def adversarial():
    rng = np.random.default_rng(11)
    unit = rng.standard_normal((300, 40))
    near = unit[rng.integers(0, 5, 300)] + 1e-7 * rng.standard_normal((300, 40))
    wide = rng.standard_normal((300, 3)) * 10.0 ** rng.integers(-12, 13, (300, 1))
    yield "huge and tiny scores", unit, wide
    yield "near duplicates", near, rng.standard_normal((300, 2))
    yield "near duplicates, huge and tiny scores", near, wide
    yield "one signal dominates", unit, rng.standard_normal((300, 2)) * [1e12, 1]
    yield "tiny scores", unit, rng.standard_normal((300, 1)) * 1e-140
    yield "huge scores", unit, rng.standard_normal((300, 1)) * 1e140
    yield "tiny and huge components", unit * 10.0 ** rng.integers(-30, 31, (1, 40)), rng.standard_normal((300, 1))
    yield "positive cone", np.abs(unit), np.ones(300)


@pytest.mark.parametrize(("case", "F", "G"), list(adversarial()), ids=[case for case, *_ in adversarial()])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bound_holds_at_every_step(checked, case, F, G, precision):
    for columns in ("gram", "lazy"):
        select(F, G, 150, columns=columns, precision=precision)
    assert checked.checks > 100


@pytest.mark.parametrize("scale", [1e-3, 0.6, 1.3])
def test_bound_holds_for_rows_that_are_not_unit(checked, scale):
    F = np.random.default_rng(5).standard_normal((200, 30))
    F *= scale / np.linalg.norm(F, axis=1).max()
    select(F, F.sum(axis=1), 40, normalize=False)
    assert checked.checks >= 40


@pytest.mark.slow
def test_bound_holds_on_real_rows(checked, real):
    F = real("gsm8k_minilm_f16.npy")[:1500]
    select(F, signals.self_compression(F), 300, precision="fp16", columns="gram")
    assert checked.checks >= 300


def test_without_the_bound_picks_go_wrong(monkeypatch, cone):
    G = signals.self_compression(cone)
    expected = matching_pursuit(cone, G, 300)
    np.testing.assert_array_equal(select(cone, G, 300, precision="fp16").indices, expected)
    monkeypatch.setattr(error_bounds, "step_error", lambda *_: 0.0)
    monkeypatch.setattr(error_bounds, "cast_error", lambda *_: 0.0)
    monkeypatch.setattr(State, "noise", lambda *_: 0.0)
    wrong = select(cone, G, 300, precision="fp16").indices != expected
    assert wrong.any()


@pytest.mark.parametrize("d", [1, 3, 64, 1000])
def test_gram_entry_error(d):
    rng = np.random.default_rng(d)
    rows = np.abs(rng.standard_normal((200, d)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact = rows.astype(np.longdouble) @ rows.T.astype(np.longdouble)
    cast = rows.astype(np.float32)
    # One product after the other, the order with the largest error.
    product = np.zeros((200, 200), np.float32)
    for i in range(d):
        product += np.multiply.outer(cast[:, i], cast[:, i])
    assert np.abs(product - exact).max() <= error_bounds.gram_entry_error(d)
    assert np.abs(product.astype(np.float16) - exact).max() <= error_bounds.gram_entry_error(d, "fp16")
    if d > 1:
        assert np.abs(product.astype(np.float16) - exact).max() > error_bounds.gram_entry_error(d)


def test_too_long_rows_for_float32_have_no_bound():
    with pytest.raises(ValueError, match="d = 16777216"):
        error_bounds.dot_error(1 << 24, error_bounds.U32)


def test_bounds_stay_bounds_in_float32():
    below = float(np.nextafter(np.float32(0.7), np.float32(0)))
    between = (below + float(np.float32(0.7))) / 2
    for x in (between, np.nextafter(below, 1), 0.7, 1e-50, 1e-46, 5e-324, 1.0, 0.0, 2.0**-126, 3.4e38):
        for kind in (float, np.float64):
            above = error_bounds.float32_above(kind(x))
            assert isinstance(above, float)
            assert above == np.float32(above)
            assert above >= x
            assert x == 0 or above <= x * (1 + 2 * error_bounds.U32) + 2.0**-149
    assert error_bounds.float32_above(1e39) == error_bounds.float32_above(np.inf) == np.inf
    assert np.isnan(error_bounds.float32_above(np.nan))


@pytest.mark.parametrize("objective", ["lr", "mi", "omp", "entropy"])
def test_bounds_that_reach_a_backend_are_rounded_up(monkeypatch, cone, objective):
    given = []

    def noted(x, inherited=error_bounds.float32_above):
        given.append((x, inherited(x)))
        return given[-1][1]

    seen = []

    def rate(items, start, stop, errors, inherited=NumpyItems._rate):
        seen.append((errors.residual, errors.distance))
        return inherited(items, start, stop, errors)

    monkeypatch.setattr(error_bounds, "float32_above", noted)
    monkeypatch.setattr(NumpyItems, "_rate", rate)
    G = None if objective == "entropy" else np.column_stack([signals.self_compression(cone), np.arange(len(cone)) % 6])
    select(cone, G, 20, objective=objective, epsilon=0.01, **({"query": "ridge"} if objective == "mi" else {}))
    assert {value for pair in seen for value in pair} <= {above for _, above in given}
    assert any(above > x for x, above in given)
    assert all(above >= x and above == np.float32(above) for x, above in given)
