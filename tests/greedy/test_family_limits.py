"""Limits of the arithmetic of the projecting objectives: bounds, rounding, dependent rows, ties, signs, units."""

import numpy as np
import pytest

from gip_gpu import select, signals
from gip_gpu.greedy import projecting
from gip_gpu.greedy.state import Reason
from gip_gpu.numerics import error_bounds, ties
from gip_gpu.reference import greedy, greedy_lr
from tests.support.family_pools import SCORED, choose, normalized

pytestmark = pytest.mark.usefixtures("float32_loop")


def test_signs_matter():
    F = np.eye(4)
    assert choose(F, [1.0, -3.0, 2.0, -4.0], 2).tolist() == [3, 1]
    for objective in ("mp", "lr", "omp"):
        chosen = select(F, [1.0, -3.0, 2.0, -4.0], 4, objective=objective, sign="positive", device="cpu")
        # When no score is positive, the items left are picked in order.
        assert chosen.indices.tolist() == [2, 0, 1, 3]
        assert chosen.gains.tolist() == [4, 1, 0, 0]
        stopped = select(F, [-1.0, -3.0, -2.0, -4.0], 4, sign="positive", on_exhausted="stop", device="cpu")
        assert len(stopped) == 0


def test_rounding_does_not_add_dimensions(cone, monkeypatch):
    """Raw scores over small distances: lr picks rows nearly in the span of its picks, one after the other."""
    monkeypatch.setattr(ties, "FLOOR", 0.0)
    G = np.column_stack([signals.self_compression(cone), np.arange(len(cone)) % 6])
    for normalize in (True, False):
        how = {"objective": "lr", "normalize": normalize}
        chosen = select(cone, G, 120, device="cpu", **how)
        assert chosen.rounds == (0, 48, 96)
        np.testing.assert_array_equal(chosen.indices, greedy(cone, G, 120, **how))


@pytest.mark.parametrize(("m", "d"), [(1000, 32), (3000, 64)])
def test_contradicting_scores_end_a_round_before_rounding_decides(m, d):
    """Ratings of independent rows: near the rank, scores grow by orders of magnitude, and their rounding with them."""
    rng = np.random.default_rng(0)
    F, G = rng.standard_normal((m, d)), rng.integers(0, 6, (m, 2)).astype(float)
    chosen = select(F, G, 3 * d // 2, objective="lr", device="cpu")
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, 3 * d // 2, objective="lr"))
    assert d // 2 < chosen.rounds[1] < d
    exact = np.longdouble
    basis, A = np.zeros((0, d), exact), np.zeros((2, d), exact)
    for s, gain in zip(chosen.indices[: chosen.rounds[1]], chosen.gains, strict=False):
        x = F[s].astype(exact)
        x /= np.sqrt(x @ x)
        phi = x
        for _ in range(2):
            phi = phi - (basis @ phi) @ basis
        w, q = G[s] - A @ x, phi @ phi
        assert gain == pytest.approx(float(w @ w / q), rel=1e-7)
        basis, A = np.vstack([basis, phi / np.sqrt(q)]), A + np.outer(w, phi) / q
    assert chosen.gains[: chosen.rounds[1]].max() > 1e6 * chosen.gains[0]
    assert (chosen.certificate.margins > 0).sum() > d // 2


def test_hopeless_input():
    rng = np.random.default_rng(0)
    F = rng.standard_normal((50, 8))
    with pytest.raises(ValueError, match="F has no row with a norm beyond 1e-120; scale the rows up"):
        select(F * 1e-130, None, 8, normalize=False, device="cpu")
    outside = np.linalg.svd(normalized(F))[0][:, 20:22]
    for objective in ("mp", "lr", "mi"):
        with pytest.raises(
            ValueError, match=r"G has a share of \S+ of its energy in the range of F, which is rounding"
        ):
            select(F, outside, 5, objective=objective, query="ridge", device="cpu")
    # Rows of widely different lengths are compared relative to those that are left.
    lengths = np.logspace(-60, 60, 50)[:, None]
    assert choose(normalized(F) * lengths, None, 8, normalize=False).tolist() == list(range(49, 41, -1))


@pytest.mark.slow
def test_bounds_hold_at_every_step(cone, monkeypatch):
    """The arrays are never further from float64 than the bounds say, and the bounds are tight enough to be useful."""
    seen = []
    original = projecting.Projecting._choose

    def checked(self, state):
        items, rules, metric = self.items, self.rules, self.metric
        x = items._rows(np.arange(len(state.left)))
        S = np.eye(state.d) if items.projector.S is None else items.projector.S
        exact = items.scores - x @ items.projector.A.T
        if metric is not None:
            exact = exact @ metric.frame
        eligible = items.eligible
        if not eligible.any():
            return original(self, state)
        off = np.linalg.norm(items.W.T.astype(float) - exact, axis=1)[eligible].max(initial=0)
        assert off <= state.error
        assert np.linalg.norm(exact, axis=1)[eligible].max(initial=0) <= self.largest_residual * (1 + 1e-6)
        distances = np.square(x @ S).sum(axis=1)
        assert distances[eligible].max() <= self.largest * (1 + 1e-12)
        if rules.measure != "norm":
            assert np.abs(items.distance - distances)[eligible].max() <= self.distance_error
            seen.append(self.distance_error)
        seen.append(state.error)
        return original(self, state)

    monkeypatch.setattr(projecting.Projecting, "_choose", checked)
    G = signals.from_query(cone, np.random.default_rng(0).standard_normal((48, 3)))
    for objective, scores in (("lr", G), ("omp", G), ("mi", G), ("entropy", None)):
        for epsilon in (0.0, 0.01):
            select(cone, scores, 60, objective=objective, epsilon=epsilon, device="cpu")
    select(cone, G, 60, sign="positive", device="cpu")
    select(cone * 3, G, 60, objective="lr", normalize=False, device="cpu")
    assert 0 < np.median(seen) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1])
def test_rounding_of_the_root(cone, epsilon):
    """The estimate of the float64 rounding of S'x against long double."""

    X = normalized(cone)
    picks = choose(cone, None, 40, epsilon=epsilon)
    least = 1.0
    S, exact = np.eye(48), np.eye(48, dtype=np.longdouble)
    for t, s in enumerate(picks):
        for root in (S, exact):
            x = X[s].astype(root.dtype)
            phi = root.T @ x
            q = epsilon + phi @ phi
            root -= np.outer(root @ phi / (q + np.sqrt(epsilon * q)), phi)
        least = min(least, float(np.sqrt(q)))
        off = np.linalg.norm((X @ (S - exact)).astype(float), axis=1).max()
        assert off <= error_bounds.root_error(48, t + 1, least)
    assert off > 1e-18


def test_rows_in_the_span_of_the_picks_are_left_out():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((6, 20))
    F = np.concatenate([base, base, 2 * base, rng.standard_normal((30, 6)) @ base])
    G = rng.standard_normal((len(F), 2))
    for objective in ("lr", "omp", "entropy"):
        scores = None if objective == "entropy" else G
        chosen = select(F, scores, len(F), objective=objective, on_exhausted="stop", device="cpu")
        assert len(chosen) == 6
        np.testing.assert_array_equal(chosen.indices, greedy(F, scores, 48, objective=objective, on_exhausted="stop"))
        everything = select(F, scores, len(F), objective=objective, device="cpu")
        assert sorted(everything) == list(range(len(F)))
        assert everything.rounds[:3] == (0, 6, 12)
        np.testing.assert_array_equal(everything.indices, greedy(F, scores, len(F), objective=objective))


@pytest.mark.parametrize("objective", ["lr", "omp", "entropy", "mi"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_line(objective, epsilon):
    """d = 1, and rows of rank 1: every row is a multiple of every other."""
    rng = np.random.default_rng(1)
    for F in (rng.standard_normal((20, 1)), np.outer(rng.standard_normal(20), rng.standard_normal(7))):
        scores = None if objective == "entropy" else rng.standard_normal(20)
        for normalize in (True, False):
            how = {"objective": objective, "epsilon": epsilon, "normalize": normalize}
            np.testing.assert_array_equal(choose(F, scores, 20, **how), greedy(F, scores, 20, **how))


def test_duplicates_tie(cone):
    F = np.concatenate([cone[:50], cone[:50], cone[:50]])
    G = np.tile(np.random.default_rng(0).integers(0, 6, (50, 2)), (3, 1))
    for objective, scores, epsilon in (("lr", G, 0.1), ("omp", G, 0.1), ("entropy", None, 0.1), ("lr", G, 0.0)):
        chosen = select(F, scores, 60, objective=objective, epsilon=epsilon, device="cpu")
        np.testing.assert_array_equal(
            chosen.indices, greedy(F, scores, 60, objective=objective, epsilon=epsilon), err_msg=objective
        )
        assert chosen.certificate.tied > 20
        first = [int(np.flatnonzero(chosen.indices % 50 == i % 50)[0]) for i in chosen.indices]
        assert (chosen.indices[first] < 50).all()


def test_refreshes_come_where_they_help(cone):
    """Refreshes come when the bounds are too wide, not when groups of equal rows stay candidates in any case."""
    chosen = select(cone, None, 200, epsilon=0.01, device="cpu")
    assert chosen.certificate.refreshes >= 1
    assert np.median(chosen.certificate.candidates) < 50
    F = np.repeat(np.random.default_rng(0).standard_normal((6, 12)), 50, axis=0)
    chosen = select(F, None, 100, epsilon=0.1, device="cpu")
    np.testing.assert_array_equal(chosen.indices, greedy(F, None, 100, objective="entropy", epsilon=0.1))
    assert chosen.certificate.refreshes < 20


def test_zero_rows_and_zero_scores():
    F = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert choose(F, None, 4, normalize=False).tolist() == [3, 1, 0, 2]
    assert choose(F, [9.0, 1.0, 1.0, 1.0], 4, objective="lr", normalize=False).tolist() == [1, 3, 0, 2]
    # With noise on each row, even a row of zeros has a useful score.
    for objective in ("lr", "omp"):
        how = {"objective": objective, "normalize": False, "epsilon": 0.5}
        assert choose(F, [9.0, 1.0, 8.0, 1.0], 4, **how).tolist() == [0, 2, 1, 3]
        assert greedy(F, [9.0, 1.0, 8.0, 1.0], 4, **how).tolist() == [0, 2, 1, 3]
    assert len(select(F * 0, None, 3, normalize=False, on_exhausted="stop", device="cpu")) == 0
    assert choose(F[1:2], [0.0], 1, objective="lr").tolist() == [0]
    assert choose(np.eye(3), np.zeros((3, 2)), 2, objective="omp").tolist() == [0, 1]


def test_large_and_small_units(cone):
    """Neither the unit of the scores nor that of the rows changes a choice."""
    F, Q = cone[:300].astype(float), np.random.default_rng(0).standard_normal((48, 2))
    G = signals.from_query(F, Q, normalize=False)
    for objective in SCORED:
        expected = choose(F, G, 25, objective=objective, normalize=False)
        for factor in (2.0**-300, 2.0**300):
            np.testing.assert_array_equal(choose(F, G * factor, 25, objective=objective, normalize=False), expected)
            np.testing.assert_array_equal(choose(F * factor, G, 25, objective=objective, normalize=False), expected)
    expected = choose(F, None, 25, normalize=False)
    np.testing.assert_array_equal(choose(F * 2.0**200, None, 25, normalize=False), expected)
    scaled = choose(F, G, 25, objective="lr", epsilon=0.1, normalize=False)
    np.testing.assert_array_equal(
        choose(F * 2.0**20, G, 25, objective="lr", epsilon=0.1 * 4.0**20, normalize=False), scaled
    )


@pytest.mark.parametrize("spread", [1e10, 1e16, 1e30])
@pytest.mark.parametrize("epsilon", [0.0, 1e-12])
def test_ratios_of_long_and_short_rows(spread, epsilon):
    """The first pick follows the definition: relative to the longest row's rounding all short rows would tie."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        F, G = rng.standard_normal((50, 4)), rng.standard_normal(50)
        F[:25] *= spread**-0.5
        F[25:] *= spread**0.5
        ratios = np.abs(G) / np.sqrt(epsilon + np.square(F).sum(axis=1))
        how = {"objective": "lr", "normalize": False, "epsilon": epsilon}
        chosen = select(F, G, 6, device="cpu", **how)
        assert chosen.indices[0] == ratios.argmax()
        assert chosen.certificate.ties[0] == 1
        assert 0 < chosen.certificate.margins[0] <= 1 - (np.sort(ratios)[-2] / ratios.max()) ** 2
        np.testing.assert_array_equal(chosen.indices, greedy(F, G, 6, **how))
        assert greedy_lr(F, G, 1, normalize=False, epsilon=epsilon)[0] == ratios.argmax()


@pytest.mark.parametrize("objective", ["lr", "mi"])
def test_without_epsilon_lengths_only_scale_the_scores(objective):
    """Rows of any lengths with their scores, or unit rows with scores divided by the lengths: the same choice."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        unit = normalized(rng.standard_normal((60, 8)))
        # Powers of two, so that nothing is rounded.
        lengths = 2.0 ** rng.integers(-10, 10, (60, 1)) if objective == "mi" else 2.0 ** rng.integers(-40, 40, (60, 1))
        G = unit @ rng.standard_normal((8, 2)) if objective == "mi" else rng.standard_normal((60, 2))
        how = {"objective": objective, "on_exhausted": "stop", "device": "cpu"}
        wanted = select(unit, G, 8, **how)
        chosen = select(unit * lengths, G * lengths, 8, normalize=False, **how)
        np.testing.assert_array_equal(chosen.indices, wanted.indices)
        np.testing.assert_allclose(chosen.gains, wanted.gains, rtol=1e-6)


def test_a_small_ridge_does_not_make_the_reference_round():
    """Q'PQ is nearly singular: computed as a difference from Q'Q it would be rounding, not a Gram matrix."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        F = rng.standard_normal((170, 14)) * 10.0 ** rng.uniform(-5, 5, (170, 1))
        how = {"objective": "mi", "epsilon": 1e-9, "normalize": False}
        G = F @ rng.standard_normal((14, 3))
        np.testing.assert_array_equal(select(F, G, 60, device="cpu", **how).indices, greedy(F, G, 60, **how))


def test_a_row_of_which_nothing_is_left_is_picked_for_the_ridge():
    F = np.array([[1e15], [1e-17], [2e-17], [3e-17]])
    how = {"objective": "lr", "epsilon": 1e-32, "normalize": False, "on_exhausted": "stop"}
    chosen = select(F, [1e30, 3.0, 1.0, 2.0], 4, device="cpu", **how)
    np.testing.assert_array_equal(chosen.indices, greedy(F, [1e30, 3.0, 1.0, 2.0], 4, **how))


def test_norms_too_far_apart_for_a_ratio():
    F = np.eye(3) * [[1e-30], [1.0], [1e15]]
    message = r"F has rows of norms from 1e-30 to 1e\+15; objective 'lr' .* within 1e\+40 .* pass normalize=True"
    for choose_by in (select, greedy):
        with pytest.raises(ValueError, match=message):
            choose_by(F, np.ones(3), 2, objective="lr", normalize=False)
    with pytest.raises(
        ValueError, match=r"G reaches 1e\+140 and F has rows of norms from 1 to 1e\+15: .* scale G down"
    ):
        select(F[1:], np.full(2, 1e140), 1, objective="lr", normalize=False, device="cpu")
    # Zero rows are left out, and other objectives do not divide.
    assert select(F[1:], np.ones(2), 1, objective="lr", normalize=False, device="cpu").indices.tolist() == [0]
    assert len(select(F * [[0], [1], [1]], np.ones(3), 2, objective="lr", normalize=False, device="cpu")) == 2
    assert select(F, None, 1, normalize=False, device="cpu").indices.tolist() == [2]


@pytest.mark.parametrize("ending", ["restart", "stop"])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_zero_rows_tell_nothing_of_a_query(epsilon, ending):
    """The selection does not loop on them for ever."""
    rng = np.random.default_rng(0)
    F = rng.standard_normal((6, 2))
    F[3:] = 0
    G = F @ rng.standard_normal((2, 2))
    how = {"objective": "mi", "query": "ridge", "epsilon": epsilon, "normalize": False, "on_exhausted": ending}
    chosen = select(F, G, 6, device="cpu", **how)
    assert chosen.tolist() == greedy(F, G, 6, **how).tolist()


def test_refreshes_in_vain_are_an_error(monkeypatch):
    monkeypatch.setattr(projecting.Projecting, "advance", lambda *_: Reason.NEED_REFRESH)
    with pytest.raises(RuntimeError, match="projecting: 101 refreshes made no pick, after 0 picks"):
        select(np.eye(3), np.ones(3), 2, objective="lr", device="cpu", sign="any")
