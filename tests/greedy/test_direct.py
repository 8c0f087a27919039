"""The float64 loop of small pools: the picks, ties and gains of the stepper of larger ones, and bounds that hold."""

import pickle
import tracemalloc
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gip_gpu import Pool, extend, select, signals
from gip_gpu.backends.items import Rules
from gip_gpu.greedy.float64 import columns as direct_columns
from gip_gpu.greedy.float64 import stepper as direct
from gip_gpu.greedy.float64.arrays import Best, Float64Arrays, Path
from gip_gpu.greedy.float64.bounds import Bounds
from gip_gpu.greedy.float64.carry import Carried
from gip_gpu.greedy.float64.metric import share
from gip_gpu.greedy.float64.stepper import Float64Stepper
from gip_gpu.numerics.error_bounds import factor_errors
from gip_gpu.reference import greedy, matching_pursuit
from gip_gpu.strategies.choose import make_plan
from tests.support.random_problems import problem

SCORED = ("mp", "lr", "omp")
REFUSED = ("Q'Q is singular", "the residual diverges", "of its energy in the range of F")


@pytest.fixture
def counted(monkeypatch):
    """How many picks were made here, and how many rounds were handed over."""
    counts = {"picks": 0, "handed": 0}
    enter, hand_over = Float64Stepper._enter, Float64Stepper._hand_over

    def entering(self, state, path, *more):
        counts["picks"] += len(path)
        enter(self, state, path, *more)

    def handing(self, state):
        counts["handed"] += 1
        hand_over(self, state)

    monkeypatch.setattr(Float64Stepper, "_enter", entering)
    monkeypatch.setattr(Float64Stepper, "_hand_over", handing)
    return counts


@pytest.fixture
def watched(monkeypatch):
    """Each pick by itself, and after it what a test notes of the stepper, its bounds and the run."""
    notes, enter = SimpleNamespace(take=None, found=[]), Float64Stepper._enter
    monkeypatch.setattr(direct, "AHEAD", 1)
    monkeypatch.setattr(direct, "FARTHEST", 1)

    def entering(self, state, *more):
        enter(self, state, *more)
        bounds = self.bounds.along(Path.of([], [], state.n), self.arrays.C)
        notes.found.append(notes.take(self.arrays, bounds, state))

    monkeypatch.setattr(Float64Stepper, "_enter", entering)
    return notes


def pool(m=300, d=24, n=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, d)), rng.standard_normal((m, n))


def asked(objective, G, **more):
    """Keyword arguments and scores of a selection."""
    how = {"objective": objective, "device": "cpu", **more}
    if objective in SCORED:
        how.setdefault("sign", "any")
    return (None if objective == "entropy" else G), how


@pytest.mark.slow
def test_the_same_picks_as_in_float32(counted):
    compared = 0
    for seed in range(250):
        F, G, k, objective, options = problem(seed)
        for name in ("columns", "precision"):
            options.pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                chosen = select(F, G, k, objective=objective, device="cpu", **options)
            except ValueError as error:
                if not any(why in str(error) for why in REFUSED):
                    raise
                continue
            other = select(F, G, k, objective=objective, device="cpu", precision="fp32", **options)
        if not chosen.plan.direct or chosen.certificate.within_rounding or other.certificate.within_rounding:
            continue
        compared += 1
        assert chosen.tolist() == other.tolist(), f"seed {seed}"
        np.testing.assert_array_equal(chosen.certificate.ties, other.certificate.ties, err_msg=f"seed {seed}")
        assert chosen.rounds == other.rounds
        np.testing.assert_allclose(chosen.gains, other.gains, rtol=1e-6, err_msg=f"seed {seed}")
        largest = np.abs(chosen.weights).max(initial=0.0)
        np.testing.assert_allclose(chosen.weights, other.weights, rtol=1e-6, atol=1e-9 * largest)
    assert compared > 100
    assert counted["picks"] > 800


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_picks_and_margins(objective, epsilon, counted):
    F, G = pool()
    epsilon = 0.0 if objective == "mp" else epsilon
    G, how = asked(objective, G, epsilon=epsilon)
    k = 60 if epsilon or objective == "mp" else 20
    chosen = select(F, G, k, **how)
    assert (chosen.plan.precision, chosen.plan.columns) == ("fp64", "none")
    assert counted == {"picks": k, "handed": 0}
    del how["device"]
    how.pop("sign", None)
    exact = matching_pursuit(F, G, k) if objective == "mp" else greedy(F, G, k, **how)
    np.testing.assert_array_equal(chosen.indices, exact)
    other = select(F, G, k, precision="fp32", device="cpu", **how)
    np.testing.assert_allclose(chosen.explained, other.explained, rtol=1e-6, atol=1e-5)
    proof = chosen.certificate
    assert (proof.candidates[1:] == 1).all()
    # The margin uses the score of the second best item, not the largest score outside a window.
    assert (proof.margins >= other.certificate.margins - 1e-6).all()
    # The leads at the first picks, by hand.
    X = F / np.linalg.norm(F, axis=1, keepdims=True)
    if objective != "entropy":
        scores = np.sort(G[:, 0] ** 2)[::-1]
        assert proof.margins[0] == pytest.approx(1 - scores[1] / scores[0], rel=1e-9)
    else:
        left = np.sort(1 - (X @ X[chosen[0]]) ** 2 / (1 + epsilon))[::-1]
        assert proof.ties[0] == len(F)
        assert proof.margins[1] == pytest.approx(1 - left[1] / left[0], abs=1e-11)


@pytest.mark.parametrize("objective", ["mp", "lr", "omp"])
def test_only_positive_scores(objective, counted):
    F, G = pool(n=2)
    G, how = asked(objective, G, sign="positive")
    chosen = select(F, G, 20, **how)
    assert counted == {"picks": 20, "handed": 0}
    assert chosen == select(F, G, 20, precision="fp32", **how)


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
def test_duplicates_tie(objective, counted):
    F, G = pool(60)
    F, G = np.vstack([F, F[::-1]]), np.vstack([G, G[::-1]])
    G, how = asked(objective, G)
    chosen = select(F, G, 10, **how)
    assert counted["handed"] == 0
    other = select(F, G, 10, precision="fp32", **how)
    assert chosen == other
    np.testing.assert_array_equal(chosen.certificate.ties, other.certificate.ties)
    assert (chosen.certificate.ties == 2).sum() >= 9
    assert (chosen.certificate.margins[chosen.certificate.ties > 1] == 0).all()


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
def test_what_rounding_hides_is_handed_over(objective, counted):
    """Rows, and so scores, differ only in their last bits."""
    F, G = pool(60)
    F = np.vstack([F, F[::-1] * (1 + 1e-15) + 1e-16])
    G = np.vstack([G, G[::-1]])
    G, how = asked(objective, G)
    chosen = select(F, G, 10, **how)
    assert counted["handed"] == 1
    assert chosen == select(F, G, 10, precision="fp32", **how)


def test_rounds_begin_and_end_here(counted):
    F, _ = pool(500, 2)
    chosen = select(F, None, 40, device="cpu")
    assert counted == {"picks": 40, "handed": 0}
    assert chosen.rounds == tuple(range(0, 40, 2))
    other = select(F, None, 40, device="cpu", precision="fp32")
    assert (chosen, chosen.rounds) == (other, other.rounds)
    np.testing.assert_array_equal(chosen.certificate.ties, other.certificate.ties)


def test_little_that_is_left_of_rows_is_picked():
    F, _ = pool(100, 3)
    F *= [1, 1, 1e-3]
    chosen = select(F, None, 9, device="cpu")
    assert chosen.rounds == (0, 3, 6)
    assert chosen == select(F, None, 9, device="cpu", precision="fp32")


def test_the_floor_is_left_to_the_other_stepper(counted):
    F, G = pool(200, 3)
    G = signals.from_query(F, np.ones(3))
    for ending in ("restart", "stop", "continue"):
        chosen = select(F, G, 150, device="cpu", on_exhausted=ending)
        assert chosen == select(F, G, 150, device="cpu", on_exhausted=ending, columns="gram")
    assert counted["handed"] > 0
    assert counted["picks"] > 20


def test_initial_items_are_handed_over(counted):
    F, G = pool()
    chosen = select(F, G, 5, sign="any", initial=[3, 4], device="cpu")
    assert chosen == select(F, G, 5, sign="any", initial=[3, 4], device="cpu", columns="lazy")
    assert counted["picks"] == 0


@pytest.mark.parametrize("objective", ["mp", "lr", "omp", "entropy"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_extend_goes_on_from_here(objective, epsilon, counted):
    F, G = pool()
    new_F, new_G = pool(seed=1)
    G, how = asked(objective, G, epsilon=0.0 if objective == "mp" else epsilon)
    chosen = select(F, G, 8, **how)
    assert counted == {"picks": 8, "handed": 0}
    new_G = None if G is None else new_G
    longer = extend(chosen, new_F, new_G, 8, device="cpu")
    both = np.vstack([F[chosen], new_F]), None if G is None else np.vstack([G[chosen], new_G])
    wanted = select(*both, 8, initial=range(8), **how)
    np.testing.assert_array_equal(longer.indices, wanted.indices - 8)
    np.testing.assert_allclose(longer.gains, wanted.gains, rtol=1e-9)
    one = select(F, G, 8, precision="fp32", **how).projection
    assert (chosen.projection.picks, chosen.projection.least) == (one.picks, pytest.approx(one.least, rel=1e-9))
    assert chosen.projection.crest == pytest.approx(one.crest, rel=1e-9)


def test_a_pool_keeps_its_rows():
    F, G = pool()
    kept = Pool(F, device="cpu")
    first = kept.select(G, 5, objective="lr", sign="any")
    exact = kept._prepared.exact
    assert first.plan.direct
    assert kept.select(None, 5) == select(F, None, 5, device="cpu")
    assert kept._prepared.exact is exact
    # Columns of matching pursuit are reused.
    assert not kept.select(G, 5, sign="any").plan.direct


def test_when_it_runs(tmp_path):
    F, G = pool()
    how = {"sign": "any", "device": "cpu"}
    assert select(F, G, 5, **how).plan.direct
    for more in ({"precision": "fp32"}, {"columns": "lazy"}, {"checkpoint": tmp_path / "run"}, {"normalize": False}):
        assert not select(F, G, 5, **more, **how).plan.direct
    small = {"small": True, "device": "cpu"}
    plan = make_plan(7473, 64, 1, 75, objective="lr", **small)
    assert plan.direct
    assert plan.memory["Cholesky factor in float64"] == 8 * 75 * (7473 + 75)
    assert "float64 loop" in str(plan)
    assert not make_plan(7473, 64, 1, 75, objective="lr", memory_limit=plan.total - 1, **small).direct
    assert not make_plan(7473, 384, 1, 370, objective="lr", **small).direct
    assert not make_plan(300, 24, 1, 5, device="cpu").direct


@pytest.mark.parametrize("epsilon", [0.0, 1e-4, 0.02])
@pytest.mark.parametrize("near", [1.0, 0.3, 0.1])
def test_bounds_hold(epsilon, near, watched):
    """W and d2 after each pick against long double, on rows that are closer and closer to each other."""
    rng = np.random.default_rng(3)
    F = rng.standard_normal(30) + near * rng.standard_normal((200, 30))
    G = rng.standard_normal((200, 2))

    def errors(arrays, bounds, state):
        phi, W = arrays.rows.astype(np.longdouble), state.scores.astype(np.longdouble) / state.unit
        for s in state.indices[state.rounds[-1] : state.t]:
            own = phi[s].copy()
            q = own @ own + epsilon
            column = phi @ own
            W -= np.outer(column, W[s] / q)
            phi -= np.outer(column, own / (q + np.sqrt(np.longdouble(epsilon) * q)))
        left = state.left
        residual = np.sqrt(((arrays.W.T - W) ** 2).sum(axis=1))[left].max()
        distance = np.abs(arrays.q - epsilon - (phi**2).sum(axis=1))[left].max()
        return float(residual) / bounds.residual[0], float(distance) / bounds.distance[0]

    watched.take = errors
    k = 100 if epsilon > 1e-3 else 25
    select(F, G, k, objective="lr", epsilon=epsilon, sign="any", device="cpu")
    assert len(watched.found) > 10
    # The arrays were recomputed several times.
    assert len(watched.found) == k or epsilon < 1e-3
    assert 1e-5 < np.max(watched.found) <= 1


@pytest.mark.parametrize("sign", ["any", "positive"])
def test_bounds_of_matching_pursuit_hold(sign, watched):
    F, G = pool(200, 20, 2)

    def error(arrays, bounds, state):
        X, W = arrays.rows.astype(np.longdouble), state.scores.astype(np.longdouble) / state.unit
        for s in state.indices[: state.t]:
            W -= np.outer(X @ X[s], W[s])
        return float(np.sqrt(((arrays.W.T - W) ** 2).sum(axis=1))[state.left].max()) / bounds.residual[0]

    watched.take = error
    select(F, G, 40, sign=sign, device="cpu")
    assert len(watched.found) == 40
    assert 1e-5 < np.max(watched.found) <= 1


def test_errors_of_picks_add_up():
    """Each of four picks has the largest allowed error; together they move an item between them by more."""
    wrong = 1e-6
    F = np.vstack([np.eye(4), np.full((1, 4), 0.5)])
    G = np.array([[4.0], [3.0], [2.0], [1.0], [0.0]])
    arrays = Float64Arrays(F, np.ones(5), Rules("norm", False, False, 0.0), 1, 4)
    bounds = Bounds(4, 1, arrays.rules, None, 4)
    arrays.begin(np.ones(5, bool), G, False)
    bounds.begin(4.0)
    bounds.step = wrong
    for pick in range(4):
        # Rounding of the steps so far, within its bound.
        arrays.W[0, pick] += wrong
        path = arrays.before(Best(pick, 1.0, 0.0))
        arrays.project_out(pick, 1)
        bounds.keep(path, bounds.along(path, arrays.C))
    moved = abs(arrays.W[0, 4] - (0 - 0.5 * (4 + 3 + 2 + 1)))
    assert moved == pytest.approx(2 * wrong)
    assert moved <= bounds.along(Path.of([], [], 1), arrays.C).residual[0]


MI = {"objective": "mi", "query": "ridge", "device": "cpu"}


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
@pytest.mark.parametrize("n", [1, 3])
def test_mutual_information(n, epsilon, counted):
    F, G = pool(n=n)
    chosen = select(F, G, 30, epsilon=epsilon, **MI)
    assert chosen.plan.direct
    assert counted == {"picks": 30, "handed": 0}
    other = select(F, G, 30, epsilon=epsilon, precision="fp32", **MI)
    assert chosen.tolist() == other.tolist()
    assert chosen.tolist() == greedy(F, G, 30, objective="mi", query="ridge", epsilon=epsilon).tolist()
    np.testing.assert_allclose(chosen.gains, other.gains, rtol=1e-9)
    np.testing.assert_allclose(chosen.weights, other.weights, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(chosen.explained, other.explained, atol=1e-9)
    assert (chosen.certificate.margins >= other.certificate.margins - 1e-3).all()


@pytest.mark.parametrize("n", [2, 3])
def test_margins_of_the_information(n):
    """Against the exact loop: no lead is smaller than its margin."""
    exact_loop = pytest.importorskip("tests.support.exact_loop", reason="gmpy2 is not installed")
    for seed in range(8):
        F, G = pool(30, 6, n, seed)
        how = {"objective": "mi", "query": "ridge", "epsilon": 10.0**-seed}
        chosen = select(F, G, 8, device="cpu", **how)
        assert not [doubt for doubt in exact_loop.doubted(chosen, F, G, **how) if doubt.wrong]


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_bounds_of_the_metric_hold(epsilon, watched, monkeypatch):
    """Lengths in the metric against those by long double."""
    F, G = pool(200, 20, 3)

    def error(arrays, bounds, state):
        X, Q = arrays.rows.astype(np.longdouble), whitened[0].astype(np.longdouble)
        for s in state.indices[: state.t]:
            own = X[s].copy()
            q = own @ own + epsilon
            part = own / (q + np.sqrt(np.longdouble(epsilon) * q))
            X -= np.outer(X @ own, part)
            Q -= np.outer(part, own @ Q)
        M = (Q.T @ Q).astype(float)
        relative = np.linalg.norm((arrays.metric.M - M) @ np.linalg.inv(M), 2)
        now = bounds.picks[0], bounds.inverse[0], bounds.explained[0]
        return float(relative) / share(3, 20, *now, arrays.metric.norm, given())

    whitened, steppers, init = [], [], Float64Stepper.__init__

    def given():
        bounds = steppers[0].bounds
        return bounds.of_query + (bounds.given or (0.0,))[0]

    def making(self, rows, X, problem, other):
        whitened.append(problem.Q)
        steppers.append(self)
        init(self, rows, X, problem, other)

    monkeypatch.setattr(Float64Stepper, "__init__", making)
    watched.take = error
    select(F, G, 60, epsilon=epsilon, **MI)
    assert len(watched.found) == 60
    assert 1e-6 < max(watched.found) <= 1


def test_errors_grow_with_what_they_are_made_of():
    def errors(d=8, t=1, reach=1.0, scores=1.0, y=1.0, a=1.0, gram=0.0, given=0.0):
        return factor_errors(d, t, reach, scores, (y, a), (gram, given))

    least = errors()
    for more in ({"d": 80}, {"t": 50}, {"reach": 10.0}, {"gram": 1e-12}):
        assert all(a > b for a, b in zip(errors(**more), least, strict=True))
    for more in ({"scores": 2.0}, {"y": 9.0}, {"a": 9.0}, {"given": 1e-12}):
        assert errors(**more)[0] > least[0]


@pytest.fixture
def columns_together(monkeypatch):
    """Makes every selection compute several columns by one product; returns the column stores that were made."""
    made, make = [], direct_columns.Float64Columns._make

    def making(self, index, t, score):
        made.append(self)
        return make(self, index, t, score)

    monkeypatch.setattr(direct_columns, "FEW", 0)
    monkeypatch.setattr(direct_columns.Float64Columns, "_make", making)
    return made


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_columns_together(epsilon, columns_together):
    F, _ = pool(2000, 60)
    k = 200 if epsilon else 50
    chosen = select(F, None, k, epsilon=epsilon, device="cpu")
    assert chosen == select(F, None, k, epsilon=epsilon, device="cpu", precision="fp32")
    store = columns_together[-1]
    assert store.used < store.made
    # Each column is what the picks of its round leave.
    assert len(store.slot_of) <= direct_columns.SLOTS


def test_columns_together_and_picks_taken_back(columns_together, counted):
    """Twin rows tie, so that picks made ahead are taken back and made again."""
    F, _ = pool(600, 60)
    F = np.vstack([F, F])
    chosen = select(F, None, 40, device="cpu")
    assert chosen == select(F, None, 40, device="cpu", precision="fp32")
    assert columns_together
    assert counted["handed"] == 0


def test_columns_that_nobody_wants_end_it(columns_together, monkeypatch):
    monkeypatch.setattr(direct_columns, "WANTED", 1.0)
    F, _ = pool(2000, 60)
    select(F, None, 50, device="cpu")
    assert len(columns_together) == direct_columns.TRIAL // direct_columns.BATCH


def test_progress_does_not_cut_batches_short(monkeypatch):
    F, G = pool(500)
    runs, run = [], Float64Arrays.run

    def running(self, count, wanted):
        runs.append(count)
        return run(self, count, wanted)

    monkeypatch.setattr(Float64Arrays, "run", running)
    seen = []
    chosen = select(F, G, 200, sign="any", device="cpu", progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (200, 200)
    assert len(runs) <= 200 / Float64Stepper.stride + 1
    assert chosen == select(F, G, 200, sign="any", device="cpu")


def test_no_array_of_k_rows():
    """Once the factor has some rows, the arrays are recomputed without it."""
    F = np.random.default_rng(0).standard_normal((4000, 16))
    peaks = []
    for k in (100, 800):
        tracemalloc.start()
        chosen = select(F, None, k, epsilon=0.1, device="cpu")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert chosen.plan.direct
        assert peaks[-1] <= chosen.plan.total
    assert peaks[1] - peaks[0] < 1 << 20


@pytest.mark.parametrize("objective", ["mp", "lr"])
def test_the_projection_is_made_when_asked_for(objective, monkeypatch):
    F, G = pool()
    made, call = [], Carried.__call__
    monkeypatch.setattr(Carried, "__call__", lambda self: made.append(1) or call(self))
    chosen = select(F, G, 8, objective=objective, sign="any", device="cpu")
    copied = pickle.loads(pickle.dumps(chosen))
    assert not made
    first = chosen.projection
    assert chosen.projection is first
    assert len(made) == 1
    np.testing.assert_array_equal(copied.projection.A, first.A)
    assert not first.A.flags.writeable
    assert replace(chosen, computed=3).projection is first


@pytest.mark.parametrize("epsilon", [1e-12, 1e-11, 9e-11, 1e-10, 2e-10, 1e-9])
@pytest.mark.parametrize("d", [3, 16, 24])
def test_rounds_by_distance_end_where_rows_depend_on_the_picks(d, epsilon):
    """A small ridge does not keep a round going."""
    F = np.random.default_rng(d).standard_normal((100, d))
    how = {"objective": "entropy", "epsilon": epsilon}
    chosen = select(F, None, 2 * d + 5, device="cpu", **how)
    assert chosen.plan.direct
    assert chosen.tolist() == greedy(F, None, 2 * d + 5, **how).tolist()
    other = select(F, None, 2 * d + 5, device="cpu", precision="fp32", **how)
    assert (chosen.rounds, chosen.certificate.ties.tolist()) == (other.rounds, other.certificate.ties.tolist())


def test_long_rows_by_distance_with_a_small_ridge():
    F = 1000 * np.random.default_rng(0).standard_normal((150, 20))
    how = {"objective": "entropy", "epsilon": 1e-5, "normalize": False, "device": "cpu"}
    assert select(F, None, 35, **how) == select(F, None, 35, precision="fp32", **how)


@pytest.mark.parametrize("seed", range(4))
def test_margins_of_a_query_whose_columns_are_nearly_dependent(seed):
    exact_loop = pytest.importorskip("tests.support.exact_loop", reason="gmpy2 is not installed")
    F, G = pool(22, 10, 4, seed)
    G = F @ np.linalg.qr(F)[1] @ np.random.default_rng(seed).standard_normal((10, 4)) @ np.diag([1, 1e-2, 1e-4, 1e-6])
    G[:, 1:] += G[:, :1]
    how = {"objective": "mi", "query": "ridge", "epsilon": 1e-6}
    chosen = select(F, G, 8, device="cpu", **how)
    assert not [doubt for doubt in exact_loop.doubted(chosen, F, G, **how) if doubt.wrong]
