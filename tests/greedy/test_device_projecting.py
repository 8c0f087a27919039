"""Projecting objectives with picks that the device makes: visits of the host, doubts, bounds, the reference's picks."""

from copy import deepcopy

import numpy as np
import pytest

from gip_gpu import Pool, extend, select
from gip_gpu.backends.gpu.layout import Code
from gip_gpu.backends.gpu.picks import DevicePicks
from gip_gpu.greedy import device_projecting
from gip_gpu.greedy.device_projecting import DeviceProjecting
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.numerics.error_bounds import U32
from gip_gpu.planning.gpu_costs import PICKS_A_VISIT
from gip_gpu.reference import greedy

pytestmark = [
    pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::gip_gpu.exceptions.ScoreSignWarning"),
]

CASES = [
    ("entropy", {}),
    ("omp", {}),
    ("lr", {}),
    ("lr", {"epsilon": 0.05}),
    ("lr", {"sign": "positive"}),
    ("mp", {"sign": "positive"}),
]


@pytest.fixture(params=["triton", "cupy"])
def backend(request):
    """Name and device of a backend; its programs are small and few."""
    request.getfixturevalue({"triton": "triton_in_interpreter", "cupy": "cupy_on_cpu"}[request.param])
    return {"backend": request.param, "device": {"triton": "cpu", "cupy": "cuda"}[request.param]}


class Runs:
    """Picks of each run of the device, and how many picks the host has made."""

    def __init__(self):
        self.made, self.host = [], 0

    @property
    def device(self):
        return sum(self.made)


@pytest.fixture
def runs(monkeypatch):
    counted, run, project = Runs(), DevicePicks.run, Projecting._project_out

    def counting(self, most):
        counted.made.append(run(self, most))
        return counted.made[-1]

    def projecting(self, state):
        counted.host += 1
        project(self, state)

    monkeypatch.setattr(DevicePicks, "run", counting)
    monkeypatch.setattr(Projecting, "_project_out", projecting)
    return counted


def pool(m, d, seed=6):
    """Rows in a narrow cone."""
    rng, scales = np.random.default_rng([m, d, seed]), 1 / np.arange(1, d + 1)
    return (rng.standard_normal((m, d)) * scales + 1.5 * scales).astype(np.float32)


def scores(m, n, objective):
    return None if objective == "entropy" else np.random.default_rng([m, n]).standard_normal((m, n)) + 0.5


def check(F, G, k, objective, backend, **options):
    chosen = select(F, G, k, objective=objective, **backend, **options)
    how = {name: options[name] for name in options if name != "precision"}
    np.testing.assert_array_equal(chosen.indices, greedy(F, G, k, objective=objective, **how))
    return chosen


def leads(F, G, indices, objective, options):
    """Returns the leads of picks over every other item, as shares of their gains, by the definition."""
    X = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
    W, R, ridge = np.zeros((len(X), 1)) if G is None else G.copy(), X.copy(), options.get("epsilon", 0.0)
    left, found = np.ones(len(X), bool), []
    for s in indices:
        seen = np.maximum(W, 0) if "sign" in options else W
        energies, distances = (seen**2).sum(axis=1), (R**2).sum(axis=1)
        gains = {"entropy": distances, "lr": energies / (ridge + distances)}.get(objective, energies)
        gain, left[s] = gains[s], False
        found.append(1 - gains[left].max() / gain)
        q, column = (1.0, X @ X[s]) if objective == "mp" else (ridge + distances[s], R @ R[s])
        W -= np.outer(column, W[s] / q)
        if objective != "mp":
            R -= np.outer(column, R[s] / (q + np.sqrt(ridge * q)))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "options"), CASES)
def test_the_device_makes_the_picks_beyond_doubt(backend, runs, objective, options):
    F, k = pool(150, 16), 14
    G = scores(150, 3, objective)
    chosen = check(F, G, k, objective, backend, precision="fp32", **options)
    assert runs.device + runs.host == k
    # Before the first pick all rows have the same length, so that all items tie.
    assert runs.host <= (2 if objective == "entropy" else 0)
    with_numpy = select(F, G, k, objective=objective, device="cpu", backend="numpy", **options)
    np.testing.assert_allclose(chosen.gains, with_numpy.gains, rtol=1e-9)
    np.testing.assert_allclose(chosen.weights, with_numpy.weights, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(chosen.explained, with_numpy.explained, rtol=1e-5, atol=1e-4)
    assert (chosen.certificate.margins <= leads(F, G, chosen.indices, objective, options) + 1e-9).all()
    assert (chosen.certificate.margins[1:] > 0).all()
    assert (chosen.certificate.ties[1:] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "k", "options"), [("mp", 150, {"sign": "positive"}), ("lr", 70, {"epsilon": 0.2})]
)
def test_the_host_is_away_for_many_picks(backend, runs, objective, k, options):
    F = pool(200, 8 if objective == "lr" else 40)
    chosen = check(F, scores(200, 2, objective), k, objective, backend, precision="fp32", **options)
    assert runs.device >= 0.9 * k
    # The host needs up to 16 copies and launches for a pick of its own, and some for each return.
    assert chosen.timings["host_visits"] <= k / PICKS_A_VISIT + 20 + 24 * runs.host


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "omp", "entropy"])
def test_more_picks_than_dimensions_and_duplicates(backend, runs, objective):
    """Several rounds, ties that only the host settles, dependent rows."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 12, 40)
    F, G = rng.standard_normal((12, 4))[which], rng.integers(-3, 4, (12, 2))[which].astype(float)
    chosen = check(F, None if objective == "entropy" else G, 10, objective, backend)
    assert len(chosen.rounds) > 1
    assert chosen.certificate.tied > 0
    assert runs.host > 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "mp", "entropy"])
def test_zero_rows_and_rows_of_other_lengths(backend, runs, objective):
    F = pool(80, 12) * np.random.default_rng(0).uniform(0.2, 1, (80, 1)).astype(np.float32)
    F[[3, 50, 79]] = 0
    options = {"sign": "positive"} if objective == "mp" else {}
    check(F, scores(80, 2, objective), 10, objective, backend, normalize=False, **options)
    assert runs.device >= 5


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "entropy"])
def test_float16_rows(backend, runs, objective):
    F = pool(100, 16).astype(np.float16)
    check(F, scores(100, 2, objective), 10, objective, backend)
    assert runs.device >= 5


@pytest.mark.slow
def test_wide_bounds_need_refreshes(backend, runs):
    F = pool(100, 16)
    chosen = check(F, scores(100, 1, "lr"), 12, "lr", backend, precision="bf16")
    assert chosen.certificate.refreshes > 0
    assert runs.device > 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "entropy"])
def test_initial_items_extension_and_checkpoints(backend, runs, objective, tmp_path):
    F, F_new = pool(60, 12), pool(50, 12, 7)
    G, G_new = scores(60, 2, objective), scores(50, 2, objective)
    how = {"objective": objective, **backend}
    before, path = select(F, G, 8, **how), tmp_path / "run"
    for k in (3, 8):
        resumed = select(F, G, k, checkpoint=path, **how)
    np.testing.assert_array_equal(resumed.indices, greedy(F, G, 8, objective=objective))
    np.testing.assert_allclose(resumed.gains, before.gains, rtol=1e-10)
    started = select(F, G, 5, initial=before.indices[:3], **how)
    np.testing.assert_array_equal(started.indices, before.indices[3:8])
    by_host = {"objective": objective, "device": "cpu", "backend": "numpy"}
    added, wanted = (
        extend(select(F, G, 4, **each), F_new, G_new, 4, **{name: each[name] for name in ("device", "backend")})
        for each in (how, by_host)
    )
    np.testing.assert_array_equal(added.indices, wanted.indices)
    assert runs.device >= 15


def test_picks_in_doubt_are_tried_less_and_less(backend, runs):
    """Each row is there twice: no pick is beyond doubt."""
    X = np.random.default_rng(1).standard_normal((30, 40), np.float32)
    F, G = np.concatenate([X, X]), np.tile(np.random.default_rng(2).standard_normal(30) + 3, 2)
    check(F, G, 12, "mp", backend, sign="positive")
    assert runs.device == 0
    # The host makes 2, 4, 8 picks, ...
    assert len(runs.made) == 3


def test_a_device_that_makes_no_picks_is_a_fault(triton_in_interpreter, monkeypatch):
    monkeypatch.setattr(triton_in_interpreter, "_device_pick", lambda self, picks: None)
    F = pool(40, 24)
    with pytest.raises(RuntimeError, match="the device made 0 picks instead of 1: a fault of the backend"):
        select(F, scores(40, 1, "mp"), 3, sign="positive", backend="triton", device="cpu")


class Shadowed(DeviceProjecting):
    """Stepper that makes one pick at a time, and compares it with one of the host from the same items."""

    compared = 0

    def __init__(self, backend, state, *rest):
        super().__init__(backend, state, *rest)
        self.host = Projecting(backend, state, *rest)
        self.other = None

    def refresh(self, state):
        if self.other is None:
            self.other = deepcopy(state)
            self.host.begin(self.other)
        super().refresh(state)
        self.host.refresh(self.other)

    def advance(self, state, until):
        reason = super().advance(state, state.t + 1)
        assert self.host.advance(self.other, self.other.t + 1) is reason
        if self.device.code() is Code.RUNNING:
            self.compare(state)
        return reason

    def compare(self, state):
        host, other, t = self.host, self.other, state.t - 1
        assert state.indices[t] == other.indices[t]
        np.testing.assert_allclose(state.gains[t], other.gains[t], rtol=1e-10)
        # The bound of the device covers a little more rounding.
        assert state.margins[t] <= other.margins[t] * (1 + 1e-9)
        assert state.margins[t] >= other.margins[t] - 1e-5
        for own, bound in (
            (state.error, other.error),
            (state.drift, other.drift),
            (self.distance_error, host.distance_error),
            (self.projected, host.projected),
            (self.largest_residual, host.largest_residual),
            (self.largest_root, host.largest_root * (1 - 1e-14)),
        ):
            assert bound <= own <= 2.1 * bound
        assert host.least * (1 - 1e-9) <= self.least <= host.least
        assert self.picks == host.picks
        doubt, wanted, head = self._doubt(state), host._doubt(other), self.device.head
        assert wanted.residual <= doubt.residual <= head[device_projecting.PickF64.RESIDUAL_BOUND] * (1 + 4 * U32)
        assert wanted.residual <= head[device_projecting.PickF64.RESIDUAL_BOUND] <= 2.1 * wanted.residual
        assert wanted.distance <= head[device_projecting.PickF64.DISTANCE_BOUND] <= 1.001 * wanted.distance
        (A, S), (A_host, S_host) = self.items.carry(), host.items.carry()
        np.testing.assert_allclose(A, A_host, rtol=0, atol=1e-10)
        assert (S is None) == (S_host is None)
        if S is not None:
            np.testing.assert_allclose(S, S_host, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(self.items.eligible_items(), host.items.eligible_items())
        assert abs(self.best - host.best) <= 2.2 * head[device_projecting.PickF64.RESIDUAL_BOUND] + 1e-5
        Shadowed.compared += 1


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("objective", "options"), CASES)
def test_bounds_are_at_least_those_of_the_host(backend, monkeypatch, objective, options, normalize):
    monkeypatch.setattr(device_projecting, "DeviceProjecting", Shadowed)
    monkeypatch.setattr(Shadowed, "compared", 0)
    F, k = pool(90, 12), 8
    if not normalize:
        F *= np.random.default_rng(0).uniform(0.3, 1, (90, 1)).astype(np.float32) / 2
    check(F, scores(90, 2, objective), k, objective, backend, precision="fp32", normalize=normalize, **options)
    assert Shadowed.compared >= k - 2


def test_a_metric_is_left_to_the_host(backend, runs):
    F = pool(60, 8)
    X = F.astype(float) / np.linalg.norm(F.astype(float), axis=1, keepdims=True)
    check(F, X @ np.random.default_rng(0).standard_normal((8, 2)), 4, "mi", backend)
    assert (runs.made, runs.host) == ([], 4)


def test_a_pool_serves_selections_one_after_the_other(backend, runs):
    F = pool(60, 24)
    held = Pool(F, precision="fp32", **backend)
    for n, k in ((1, 5), (3, 9), (1, 7)):
        G = scores(60, n, "mp")
        found = held.select(G, k, objective="mp", sign="positive")
        np.testing.assert_array_equal(found.indices, greedy(F, G, k, objective="mp", sign="positive"))
    assert runs.device >= 18
