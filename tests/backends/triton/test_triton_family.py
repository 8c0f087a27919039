"""Triton kernels of the projecting objectives, in the interpreter: against float64 formulas, and whole selections."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Triton backend works on torch tensors")
pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("these kernels run in Triton's interpreter: set TRITON_INTERPRET=1", allow_module_level=True)

from gip_gpu import reference, select
from gip_gpu.backends.gpu import backend as gpu
from gip_gpu.backends.gpu.items import GpuItems
from gip_gpu.backends.gpu.layout import PickF64, PickI64
from gip_gpu.backends.gpu.picks import DevicePicks
from gip_gpu.backends.items import ErrorBounds
from gip_gpu.backends.triton.backend import TritonBackend
from gip_gpu.greedy import device_projecting
from gip_gpu.greedy.projecting import Projecting
from gip_gpu.kernels.architectures import alike
from gip_gpu.kernels.family import family_triton
from gip_gpu.kernels.family import tuning as family_tuning
from gip_gpu.numerics import error_bounds
from gip_gpu.numerics.error_bounds import TINY32, U32, U64, dot_error
from gip_gpu.planning import gpu_costs
from gip_gpu.planning.gpu_costs import GpuCosts

KINDS = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SIZES = [(1, 1), (7, 33), (129, 7), (103, 129)]
# measure, positive, metric
SCORES = [
    ("norm", False, False),
    ("norm", True, False),
    ("ratio", False, False),
    ("ratio", True, False),
    ("ratio", False, True),
    ("distance", False, False),
]
pytestmark = pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning")


def single(*values):
    """Numbers that float32 holds."""
    return [float(np.float32(value)) for value in values]


class Items:
    """The arrays of `step`: rows in a cone given in `kind`, W and d2 in the middle of a selection."""

    def __init__(self, m, d, n, kind="fp32", measure="ratio", positive=False, metric=False, seed=0):
        rng = np.random.default_rng([seed, m, d, n])
        self.m, self.d, self.n = m, d, n
        self.measure, self.positive, self.metric = measure, positive, metric
        self.rows = torch.from_numpy(3 * (rng.standard_normal((m, d)) + 0.7)).to(KINDS[kind])
        given = self.rows.double().numpy()
        norms = np.linalg.norm(given, axis=1)
        self.x = given / norms[:, None]
        self.inverse = torch.from_numpy((1 / norms).astype(np.float32))
        h = rng.standard_normal(d)
        self.h = torch.from_numpy((h / (np.linalg.norm(h) * (1 + 1e-6))).astype(np.float32))
        self.kind = kind
        self.weights = torch.from_numpy(rng.standard_normal(n).astype(np.float32))
        self.frame = torch.from_numpy((np.eye(n) + rng.standard_normal((n, n))).astype(np.float32))
        self.W = torch.from_numpy(rng.standard_normal((n, m)).astype(np.float32))
        self.distance = torch.from_numpy(rng.uniform(0.3, 1, m).astype(np.float32))
        if measure == "norm":
            self.distance[:] = torch.nan
        self.weight = torch.from_numpy(rng.choice(np.array([1, 1, 0, -1], np.float32), m))
        self.weight[m // 2] = 1
        self.upper = torch.full((m,), torch.nan)
        self.dr, self.dd, self.a, self.b, self.shrink = single(0.01, 0.003, 0.1, 0.9, 0.2)

    def step(self, chunks=None, *, moves=True, items=16, depth=32, wide=4, programs=3):
        """Launches `step` for each chunk; returns parts by launch."""
        self.items, found = items, []
        # As in `TritonBackend.items`.
        terms = min(depth, self.d) + 1 + -(-self.d // min(depth, self.d))
        self.gamma = error_bounds.gram_entry_error(self.d, multiply=self.kind, given=True, terms=terms)
        for first, stop in chunks or [(0, self.m)]:
            count = stop - first
            parts = torch.full((min(-(-count // items), programs), 2), torch.nan, dtype=torch.float64)
            family_triton.step[(len(parts),)](
                self.m, self.d, self.rows[first:stop], self.inverse, self.h, self.weights, self.frame, self.W,
                self.distance, self.weight, self.upper, parts, first, count, int(moves), self.dr, self.dd, self.a,
                self.b, self.shrink, SIGNALS=self.n, MEASURE=self.measure, POSITIVE=self.positive, METRIC=self.metric,
                ITEMS=items, DEPTH=depth, WIDE=min(wide, 1 << (self.n - 1).bit_length()),
            )  # fmt: skip
            found.append(parts.numpy())
        return found

    def bounds(self):
        """Lower and upper bounds in float64 from the stored W and d2, and the largest error of float32."""
        W, distance = self.W.numpy().astype(float).T, self.distance.numpy().astype(float)
        if self.measure == "distance":
            off = 2 * U32 * (np.abs(distance) + self.dd)
            return np.maximum(distance - self.dd, 0), distance + self.dd, off
        seen, length = np.maximum(W, 0) if self.positive else W, 1.0
        if self.metric:
            frame = self.frame.numpy().astype(float)
            seen, length = W @ frame, np.linalg.norm(frame)
        norm = np.linalg.norm(seen, axis=1)
        # A sum of n squares, the root approximate; with a metric each of n entries is a sum of n products.
        off = ((self.n + 5) + (2 * self.n if self.metric else 0)) * U32 * length * np.linalg.norm(W, axis=1)
        lower, upper = np.maximum(norm - self.dr, 0), norm + self.dr
        off += U32 * upper
        if self.measure == "norm":
            return lower, upper, off
        far = np.sqrt(self.a + self.b * np.maximum(distance + self.dd, 0))
        near = np.sqrt(self.a + self.b * np.maximum(distance - self.dd, 0))
        # Four roundings under the root, halved by it, and 2 ulp, which are 4 U32, each of root and quotient.
        return lower / far, upper / near, off / near + 12 * U32 * upper / near


def check(items, parts, chunks=None):
    """Compares the results of `step` with the arrays that it has written."""
    lower, upper, off = items.bounds()
    weight, found = items.weight.numpy(), items.upper.numpy()
    assert (np.abs(found - upper) <= off)[weight > 0].all()
    assert (found[weight <= 0] == -1).all()
    W = items.W.numpy().astype(float)
    energy = items.distance.numpy().astype(float) if items.measure == "distance" else (W**2).sum(axis=0)
    for (first, stop), each in zip(chunks or [(0, items.m)], parts, strict=True):
        blocks = np.arange(stop - first) // items.items % len(each)
        for p, (best, total) in enumerate(each):
            own = first + np.flatnonzero(blocks == p)
            eligible = own[weight[own] > 0]
            if len(eligible):
                assert abs(best - lower[eligible].max()) <= off[eligible].max()
            else:
                assert best == -1
            counted = energy[own[weight[own] >= 0]]
            assert abs(total - counted.sum()) <= (items.n + 2) * U32 * np.abs(counted).sum()


@pytest.mark.slow
@pytest.mark.parametrize(("m", "d"), SIZES)
@pytest.mark.parametrize(("measure", "positive", "metric"), SCORES)
def test_step(m, d, measure, positive, metric):
    kinds = ("fp32", "fp16", "bf16")
    for turn, n in enumerate((1,) if measure == "distance" else (1, 3, 8)):
        items = Items(m, d, n, kinds[(turn + d) % 3], measure, positive, metric)
        W, distance = items.W.numpy().astype(float), items.distance.numpy().astype(float)
        parts = items.step()
        c = items.x @ items.h.numpy().astype(float)
        weights = items.weights.numpy().astype(float)[:, None]
        # As in `error_bounds.step_error`, for one signal.
        exact = W if measure == "distance" else W - weights * c
        allowed = np.abs(weights) * (items.gamma + 4 * U32) + 2 * U32 * np.abs(W) + 4 * TINY32
        assert (np.abs(items.W.numpy() - exact) <= allowed).all()
        if measure == "norm":
            assert items.distance.isnan().all()
        else:
            # As in `error_bounds.distance_error`, with |c| itself instead of its upper bound.
            moved = (2 * np.abs(c) * items.gamma + items.gamma**2) * items.shrink
            allowed = moved * (1 + 6 * U32) + 6 * U32 * distance + 4 * TINY32
            assert (np.abs(items.distance.numpy() - (distance - c * c * items.shrink)) <= allowed).all()
        check(items, parts)


@pytest.mark.parametrize(("measure", "positive", "metric"), SCORES)
def test_without_a_move_items_are_only_rated(measure, positive, metric):
    items = Items(45, 20, 3, "fp32", measure, positive, metric)
    # The argument that replaces rows when none are read may have another type.
    items.rows = torch.full((45, 4), torch.nan, dtype=torch.float64)
    items.h[:], items.weights[:], items.shrink = torch.nan, 0, 0.0
    before = items.W.clone(), items.distance.clone()
    parts = items.step(moves=False)
    assert items.W.numpy().tobytes() == before[0].numpy().tobytes()
    assert items.distance.numpy().tobytes() == before[1].numpy().tobytes()
    check(items, parts)


@pytest.mark.parametrize(("measure", "metric"), [("norm", False), ("ratio", True), ("distance", False)])
def test_chunks_are_as_one(measure, metric):
    whole, cut = (Items(100, 20, 3, "fp16", measure, metric=metric) for _ in range(2))
    whole.step()
    chunks = [(0, 48), (48, 97), (97, 100)]
    check(cut, cut.step(chunks), chunks)
    for name in ("W", "distance", "upper"):
        assert getattr(whole, name).numpy().tobytes() == getattr(cut, name).numpy().tobytes()


def test_programs_and_tiles_change_rounding_only():
    one, other = (Items(150, 70, 5, "bf16") for _ in range(2))
    one.step(items=16, depth=16, wide=2, programs=4)
    parts = other.step(items=64, depth=128, wide=8, programs=100)
    assert np.abs(one.W.numpy() - other.W.numpy()).max() <= items_error(one) + items_error(other)
    check(other, parts)


def items_error(items):
    """The largest error of a signal after a step, as in `error_bounds.step_error`."""
    largest = float(items.weights.abs().max())
    return largest * (items.gamma + 4 * U32) + 2 * U32 * (float(items.W.abs().max()) + largest) + 4 * TINY32


@pytest.mark.parametrize(("measure", "positive", "metric"), SCORES)
def test_no_item_is_eligible(measure, positive, metric):
    items = Items(40, 5, 3, "fp32", measure, positive, metric)
    items.weight[:] = torch.from_numpy(np.random.default_rng(0).choice(np.float32([0, -1]), 40))
    parts = items.step()
    assert (parts[0][:, 0] == -1).all()
    assert (items.upper == -1).all()
    check(items, parts)


@pytest.mark.parametrize(("measure", "positive", "metric"), SCORES)
def test_a_bound_that_is_no_number_counts_as_infinite(measure, positive, metric):
    for eligible in (1, 0):
        for broken in ("W", "distance"):
            if broken == ("W" if measure == "distance" else "distance" if measure == "norm" else ""):
                continue
            items = Items(40, 5, 3, "fp32", measure, positive, metric)
            getattr(items, broken)[..., 21] = torch.nan
            items.weight[21] = eligible
            parts = items.step()[0]
            # Items 16 to 31 belong to the second program.
            assert np.isfinite(parts[[0, 2], 0]).all()
            assert np.isinf(parts[1, 0]) == bool(eligible)
            assert np.isnan(parts[1, 1]) == (broken == "W" or measure == "distance")


def test_an_item_in_the_span_is_a_candidate_and_sets_no_floor():
    """With a zero denominator nothing is known of a score."""
    items = Items(40, 5, 3)
    items.a, items.shrink = 0.0, 0.0
    items.weight[:] = 1
    items.distance[7], items.distance[9] = items.dd / 2, -2 * items.dd
    items.W[:, 9] = 100
    parts = items.step(programs=1)[0]
    assert items.upper.isinf().nonzero().ravel().tolist() == [7, 9]
    lower, _, off = items.bounds()
    lower[9] = 0
    assert parts[0, 0] == pytest.approx(lower.max(), abs=np.delete(off, [7, 9]).max() + 20 * U32 * lower.max())
    # A ridge keeps both finite.
    items.a = 0.5
    parts = items.step(programs=1, moves=False)
    assert items.upper.isfinite().all()
    check(items, parts)


class Window:
    """The arrays of `candidates` and `distances`: rows, some of them equal, given in `kind`; S not the identity."""

    def __init__(self, m, d, n, kind="fp64", seed=0):
        rng = np.random.default_rng([seed, m, d, n])
        self.m, self.d, self.n = m, d, n
        which = rng.integers(0, max(1, m // 2), m)
        F = (rng.standard_normal((m, d)) + 0.7)[which]
        self.which, self.rows = which, torch.from_numpy(F).to(KINDS[kind])
        given = self.rows.double().numpy()
        self.scales = torch.from_numpy(2.0**-3 / np.linalg.norm(given, axis=1))
        self.x = given.astype(np.longdouble) * self.scales.numpy()[:, None]
        self.scores = torch.from_numpy(rng.standard_normal((m, n))[which])
        self.A = torch.from_numpy(rng.standard_normal((n, d)))
        self.S = torch.from_numpy(np.linalg.qr(rng.standard_normal((d, d)))[0] * rng.uniform(0, 1, d))
        self.weight = torch.from_numpy(rng.choice(np.array([1, 1, 1, 0, -1], np.float32), m))
        self.upper = torch.from_numpy(rng.uniform(0, 1, m).astype(np.float32))
        self.upper[m // 2] = torch.inf
        self.weight[m // 2] = 1
        self.candidate_index, self.count = torch.full((m,), -9), torch.zeros(1, dtype=torch.int64)
        self.candidate_value = torch.full((m, 1 + n), torch.nan, dtype=torch.float64)
        self.partial = torch.full((64,), torch.nan, dtype=torch.float64)
        self.arrived = torch.zeros(1, dtype=torch.int64)

    def list(self, floor, block=64, wide=4, depth=32):
        self.count[:] = 0
        family_triton.candidates[(-(-self.m // block),)](
            self.m, self.d, self.rows, self.scales, self.scores, self.A, self.weight, self.upper, floor,
            self.candidate_index, self.candidate_value, self.count, SIGNALS=self.n,
            WIDE=min(wide, 1 << (self.n - 1).bit_length()), BLOCK=block, DEPTH=depth,
        )  # fmt: skip
        return self.listed()

    def measure(self, partial=64, wide=16, depth=32, programs=3):
        family_triton.distances[(programs,)](
            self.d, self.rows, self.scales, self.S, self.candidate_index, self.candidate_value, self.count,
            self.partial, self.arrived, SIGNALS=self.n, PARTIAL=partial, WIDE=wide, DEPTH=depth, PLACES=4, SHARES=2,
        )  # fmt: skip
        assert self.arrived.item() == 0
        return self.listed()

    def listed(self):
        """Indices, distances and residuals, in the order of the pool."""
        count = self.count.item()
        assert self.candidate_value[count:].isnan().all()
        found, value = self.candidate_index[:count].numpy(), self.candidate_value[:count].numpy()
        order = np.argsort(found)
        return SimpleNamespace(items=found[order], distances=value[order, 0], residuals=value[order, 1:])

    def check(self, listed, floor, S=None):
        wanted = np.flatnonzero((self.upper.numpy() >= np.float32(floor)) & (self.weight.numpy() > 0))
        assert listed.items.tolist() == wanted.tolist()
        x = self.x[wanted]
        A, scores = self.A.numpy(), self.scores.numpy()[wanted]
        products = np.abs(x) @ np.abs(A.T)
        # A sum of d products, each with a row element that was rounded once, and the difference.
        allowed = dot_error(self.d + 1, U64) * products + 2 * U64 * (np.abs(scores) + products)
        assert (np.abs(listed.residuals - (scores - x @ A.T)) <= allowed).all()
        S = np.eye(self.d) if S is None else S.numpy()
        phi, each = x @ S, dot_error(self.d + 1, U64) * np.linalg.norm(np.abs(x) @ np.abs(S), axis=1)
        length = np.linalg.norm(phi, axis=1)
        allowed = 2 * length * each + each**2 + dot_error(self.d + 2, U64) * length**2
        assert (np.abs(listed.distances - length**2) <= allowed).all()
        # Equal rows have equal bits.
        seen = {}
        for item, distance, residual in zip(listed.items, listed.distances, listed.residuals, strict=True):
            bits = distance.tobytes() + residual.tobytes()
            assert seen.setdefault(self.which[item], bits) == bits


@pytest.mark.slow
@pytest.mark.parametrize(("m", "d"), SIZES)
@pytest.mark.parametrize(("n", "kind"), [(1, "fp16"), (3, "bf16"), (8, "fp32"), (5, "fp64")])
def test_candidates(m, d, n, kind):
    window = Window(m, d, n, kind)
    # An item exactly at the floor is a candidate.
    window.upper[0], window.weight[0] = 0.9, 1
    window.check(window.list(0.9), 0.9)
    split = window.measure(wide=64)
    window.check(split, 0.9, window.S)
    # If there are too many candidates to split, each has its own program.
    whole = window.measure(partial=0, wide=64)
    window.check(whole, 0.9, window.S)
    np.testing.assert_allclose(whole.distances, split.distances, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("partial", [0, 64])
def test_as_many_parts_as_there_is_room_for(partial):
    """Eight items in eight shares each fill the list of parts; one item more does not fit."""
    window = Window(60, 128, 1)
    window.weight[:], window.upper[:] = 1, 0
    window.upper[torch.arange(3, 60, 7)[: 8 if partial else 9]] = 1
    window.check(window.list(0.5), 0.5)
    window.check(window.measure(partial=64), 0.5, window.S)
    assert window.partial.isnan().any() == (not partial)


@pytest.mark.slow
def test_every_eligible_item_is_a_candidate():
    window = Window(1050, 3, 1)
    window.weight[:1030] = 1
    listed = window.list(0.0, block=512, depth=4)
    assert len(listed.items) >= 1030
    window.check(listed, 0.0)


def test_empty_window():
    window = Window(100, 20, 3)
    window.upper[50] = 0.5
    assert len(window.list(1.5).items) == 0
    assert len(window.measure().items) == 0
    # Dropped since they were rated.
    window.weight[:] = 0
    assert len(window.list(0.0).items) == 0


@pytest.fixture
def small_launches(monkeypatch):
    """Few programs, with block sizes that are fast in the interpreter."""
    few = replace(
        family_tuning.TRITON[80], items=64, most_programs=2, ragged=64, window_block=128, window_signals=2,
        window_values=64, distance_wide=16, distance_programs=2, distance_partial=24, distance_tile=(4, 2),
    )  # fmt: skip
    monkeypatch.setattr(family_tuning, "TRITON", alike(few))


def pool(m, d, given="float64"):
    """Rows in a narrow cone, of norm at most 1."""
    scales = 1 / np.arange(1, d + 1)
    F = np.random.default_rng([m, d]).standard_normal((m, d)) * scales + 0.5 * scales
    return (F / np.linalg.norm(F, axis=1).max()).astype(given)


def scores(F, n, objective, normalize=True):
    """Scores; for "mi", which needs a query, those of one."""
    if objective == "entropy":
        return None
    rng, rows = np.random.default_rng(n), F.astype(float)
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rng.standard_normal((F.shape[1], n)) + (objective != "mi") * rng.standard_normal((len(F), n))


def assert_same(F, G, k, objective, values=None, **options):
    """Checks that each index is the reference's choice from the values that F represents."""
    how = {name: value for name, value in options.items() if name not in ("precision", "columns")}
    if objective == "mp":
        options["sign"] = how["sign"] = "positive"
    expected = reference.greedy(F if values is None else values, G, k, objective=objective, **how)
    chosen = select(F, G, k, objective=objective, device="cpu", backend="triton", **options)
    np.testing.assert_array_equal(chosen.indices, expected)
    host = select(F if values is None else values, G, k, objective=objective, device="cpu", backend="numpy", **how)
    np.testing.assert_allclose(chosen.gains, host.gains, rtol=1e-9)
    np.testing.assert_allclose(chosen.explained, host.explained, atol=1e-2)
    return chosen


CHOICES = [("lr", 1), ("lr", 3), ("mi", 2), ("mi", 4), ("entropy", 1), ("omp", 3)]


# "mp" projects nothing out of the rows, and takes no epsilon.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "n", "epsilon"),
    [("mp", 3, 0.0), *((*choice, epsilon) for choice in CHOICES for epsilon in (0, 0.05))],
)
def test_selections_equal_the_reference(small_launches, objective, n, epsilon):
    F = pool(150, 20)
    assert_same(F, scores(F, n, objective), 12, objective, epsilon=epsilon)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "precision", "objective"),
    [
        ("float16", "fp16", "lr"),
        ("float16", "tf32", "mi"),
        ("float32", "fp16", "omp"),
        ("float32", "bf16", "mi"),
        ("float64", "tf32", "entropy"),
        ("float64", "fp32", "mp"),
        ("bfloat16", "bf16", "lr"),
    ],
)
def test_rows_of_every_type(small_launches, given, precision, objective):
    """Lengths are a multiple of 16, so that whole lines are read; rows are not normalised."""
    F = pool(50 if "bf16" in (given, precision) else 120, 32, "float32" if given == "bfloat16" else given) * 3
    values = None
    if given == "bfloat16":
        F = torch.from_numpy(F).bfloat16()
        values = F.double().numpy()
    G = scores(F if values is None else values, 2, objective, normalize=False)
    epsilon = 0.0 if objective == "mp" else 0.1
    assert_same(F, G, 5, objective, values, precision=precision, normalize=False, epsilon=epsilon)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["lr", "entropy"])
def test_duplicates_and_exhaustion(small_launches, objective):
    """More picks than the rank, from rows with many duplicates: several rounds."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 10, 40)
    F, G = rng.standard_normal((10, 3))[which], rng.integers(-3, 4, (10, 2))[which]
    chosen = assert_same(F, None if objective == "entropy" else G, 8, objective)
    assert len(chosen.rounds) > 2
    assert chosen.certificate.tied > 0


@pytest.mark.parametrize(("m", "d", "n"), [(1, 1, 1), (7, 3, 8), (65, 1, 1), (129, 33, 5)])
def test_odd_sizes(small_launches, m, d, n):
    F = pool(m, d)
    for objective in ("lr", "mp"):
        assert_same(F, scores(F, n, objective), max(1, m // 20), objective, epsilon=0.01 * (objective == "lr"))


class OnlyStreamed(GpuCosts):
    def layouts(self):
        return super().layouts()[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "given", "precision"),
    [("lr", "float16", "fp16"), ("mi", "float32", "fp16"), ("mp", "float64", "fp32")],
)
def test_embeddings_streamed_from_the_host(small_launches, monkeypatch, objective, given, precision):
    # The fewest rows that a chunk can hold.
    monkeypatch.setattr(gpu_costs, "CHUNK", 0)
    monkeypatch.setattr(TritonBackend, "costs", classmethod(lambda cls, *sizes: OnlyStreamed(*sizes)))
    launches, step = [], TritonBackend._family_step

    def counted(self, items, rows, first, count, *rest):
        launches.append((first, count, rows.shape))
        return step(self, items, rows, first, count, *rest)

    monkeypatch.setattr(TritonBackend, "_family_step", counted)
    F = pool(290, 16, given)
    chosen = assert_same(F, scores(F, 2, objective), 5, objective, precision=precision)
    assert not chosen.plan.resident
    assert (256, 34, (34, 16)) in launches


@pytest.mark.slow
def test_a_pool_used_for_both_loops(small_launches):
    """Matching pursuit runs on the device, the others are decided by the host, on the same rows."""
    from gip_gpu import Pool

    F = pool(100, 12)
    with_scores = Pool(F, device="cpu", backend="triton", precision="fp32")
    G = scores(F, 1, "lr")
    for objective in ("mp", "lr", "mp", "omp"):
        expected = (
            reference.matching_pursuit(F, G, 6) if objective == "mp" else reference.greedy(F, G, 6, objective=objective)
        )
        np.testing.assert_array_equal(with_scores.select(G, 6, objective=objective).indices, expected)


def test_more_signals_than_a_kernel_takes():
    F = pool(10, 3)
    with pytest.raises(ValueError, match=f"takes? up to {gpu.SIGNALS:,}"):
        select(F, np.ones((10, gpu.SIGNALS + 1)), 1, objective="lr", device="cpu", backend="triton")


class CheckedItems(GpuItems):
    """Items that, after each pick, compare W~ and d2~ with values in extended precision from the picks so far."""

    checks, made_by_device, tightest = 0, 0, np.inf

    def restart(self, scores, pool):
        super().restart(scores, pool)
        self.exact = self.backend.rows_of.block(0, self.m).astype(np.longdouble) * self.backend.factor
        self.residual, self.rows = scores.astype(np.longdouble), self.exact.copy()

    def update(self, move, errors):
        found = super().update(move, errors)
        self.examine(move.index, errors, found[0])
        return found

    def examine(self, index, errors, best):
        ridge, phi, w = self.rules.ridge, self.rows[index].copy(), self.residual[index].copy()
        q = ridge + phi @ phi
        column = self.rows @ phi
        self.residual -= np.outer(column, w / q)
        self.rows -= np.outer(column, phi / (q + np.sqrt(ridge * q)))
        left = self.weight.numpy() > 0
        distances = (self.rows**2).sum(axis=1)
        off = (
            np.abs(np.linalg.norm(self.W.numpy().T, axis=1) - np.linalg.norm(self.residual, axis=1))[left].max(),
            np.abs(self.distance.numpy() - distances)[left].max(),
        )
        for value, bound in zip(off, (errors.residual, errors.distance), strict=True):
            assert value <= bound
            CheckedItems.tightest = min(CheckedItems.tightest, float(bound / max(value, 1e-300)))
        norms = np.linalg.norm(self.residual, axis=1) / np.sqrt(ridge + distances)
        scaled = norms * np.sqrt(1 + ridge)
        # The bounds of a score, in the unit of a denominator of at most 1.
        assert best <= scaled[left].max() * (1 + 32 * U32)
        assert (self.upper.numpy()[left] * (1 + 32 * U32) >= scaled[left]).all()
        CheckedItems.checks += 1


def checked_run(self, most, run=DevicePicks.run):
    """Makes one pick, and checks the bounds that the device used."""
    made = run(self, min(most, 1))
    if made:
        bounds = ErrorBounds(*self.head[[PickF64.RESIDUAL_BOUND, PickF64.DISTANCE_BOUND]])
        self.items.examine(int(self.places[PickI64.ITEM]), bounds, self.rated()[0])
        CheckedItems.made_by_device += 1
    return made


@pytest.mark.slow
@pytest.mark.parametrize("decider", ["host", "device"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bounds_hold_at_every_step(small_launches, monkeypatch, precision, decider):
    monkeypatch.setattr(gpu, "GpuItems", CheckedItems)
    monkeypatch.setattr(CheckedItems, "made_by_device", 0)
    monkeypatch.setattr(DevicePicks, "run", checked_run)
    if decider == "host":
        monkeypatch.setattr(device_projecting, "DeviceProjecting", Projecting)
    monkeypatch.setattr(CheckedItems, "tightest", np.inf)
    monkeypatch.setattr(CheckedItems, "checks", 0)
    F = pool(60, 24)
    select(F, scores(F, 2, "lr"), 12, objective="lr", epsilon=0.02, device="cpu", backend="triton", precision=precision)
    assert CheckedItems.checks == 12
    assert (CheckedItems.made_by_device > 6) == (decider == "device")
    assert CheckedItems.tightest > 1
