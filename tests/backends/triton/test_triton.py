"""Whole selections by the Triton backend, in Triton's interpreter: the indices of the float64 reference."""

import os
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Triton backend works on torch tensors")
pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("these selections run in Triton's interpreter: set TRITON_INTERPRET=1", allow_module_level=True)

from gip_gpu import Pool, select, signals
from gip_gpu.backends.gpu import rows as gpu
from gip_gpu.backends.gpu.layout import Code, HeaderF64, HeaderI64
from gip_gpu.backends.triton.backend import TritonBackend
from gip_gpu.greedy.device_pursuit import DeviceMatchingPursuit
from gip_gpu.greedy.state import State
from gip_gpu.kernels.architectures import alike
from gip_gpu.kernels.gram import tuning as gram
from gip_gpu.kernels.loop import tuning as loop
from gip_gpu.kernels.refresh import tuning as refresh
from gip_gpu.kernels.step import tuning as step
from gip_gpu.numerics import error_bounds
from gip_gpu.planning import gpu_costs
from gip_gpu.planning.gpu_costs import GpuCosts
from gip_gpu.reference import matching_pursuit
from gip_gpu.strategies.choose import make_plan
from tests.support.stepping import check_each_pick

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
COLUMNS = ("gram", "lazy")
OPTIONS = {"device": "cpu", "backend": "triton"}


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Several programs of several blocks in a small pool, and Gram tiles large enough for the slow interpreter."""
    tiles = {
        kind: replace(tile, tile=128, wide=64, batch_tile=32, depth=64) for kind, tile in gram.TRITON[80].tiles.items()
    }
    ragged = replace(gram.TRITON[80].ragged, tile=128, wide=128, depth=64)
    small = {
        gram: {"tiles": tiles, "ragged": ragged},
        step: {"block": 64, "most_programs": 3},
        refresh: {"items": 64},
        loop: {"graphs_ahead": 4},
    }
    for tuning, values in small.items():
        monkeypatch.setattr(tuning, "TRITON", alike(replace(tuning.TRITON[80], **values)))


@pytest.fixture(scope="module")
def narrow(cone):
    """(200, 48) float32 rows in a narrow cone."""
    return cone[:200]


@pytest.fixture
def stores(monkeypatch):
    """The backends that a test creates, in order."""
    made, store = [], TritonBackend._store
    monkeypatch.setattr(TritonBackend, "_store", lambda self, plan: made.append(self) or store(self, plan))
    return made


def unit(rows, scale=1):
    """float64 rows of norm at most `scale`."""
    return rows * (scale / np.linalg.norm(rows.astype(float), axis=1).max())


def scores(F, n):
    G = signals.self_compression(F)
    return G if n == 1 else np.column_stack([G, np.random.default_rng(0).integers(0, 6, (len(F), n - 1))])


def assert_same(F, G, k, reference=None, **options):
    """Checks that the indices are those of the reference on F, or on the values that F represents."""
    literal = {name: options[name] for name in ("normalize", "on_exhausted") if name in options}
    expected = matching_pursuit(F if reference is None else reference, G, k, **{"on_exhausted": "restart", **literal})
    chosen = select(F, G, k, **OPTIONS, **options)
    np.testing.assert_array_equal(chosen.indices, expected)
    assert (chosen.plan.backend, chosen.plan.device) == ("triton", "cpu")
    for name in ("columns", "precision"):
        assert getattr(chosen.plan, name) == options.get(name, getattr(chosen.plan, name))
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize(("precision", "n"), [("fp32", 1), ("tf32", 3), ("fp16", 1), ("bf16", 3)])
def test_equals_the_reference(narrow, precision, n, columns):
    G = scores(narrow, n)
    chosen = assert_same(narrow, G, 12, precision=precision, columns=columns)
    rows, W = narrow / np.linalg.norm(narrow.astype(float), axis=1, keepdims=True), G.reshape(-1, n).copy()
    left, certificate = np.ones(len(narrow), bool), chosen.certificate
    for t, s in enumerate(chosen.indices):
        gains = np.where(left, (W**2).sum(axis=1), 0)
        second = np.partition(gains, -2)[-2]
        assert chosen.gains[t] == pytest.approx(gains[s], rel=1e-9)
        assert chosen.weights[t] == pytest.approx(W[s], rel=1e-9, abs=1e-9 * gains[s] ** 0.5)
        assert 0 <= certificate.margins[t] <= 1 - second / gains[s]
        assert certificate.ties[t] <= certificate.candidates[t] <= 200 - t
        left[s] = False
        W -= np.outer(rows @ rows[s], W[s])
        assert chosen.explained[t] == pytest.approx(1 - (W**2).sum() / (G**2).sum(), abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "precision", "multiply", "multiplied_without_cast", "normalize"),
    [
        ("float16", "tf32", "fp16", True, True),
        ("float16", "fp16", "fp16", True, False),
        ("float16", "bf16", "bf16", False, True),
        ("float32", "fp32", "fp32", True, True),
        ("float32", "fp32", "fp32", True, False),
        ("float32", "tf32", "tf32", False, False),
        ("float64", "fp16", "fp16", False, True),
        ("float64", "bf16", "bf16", False, False),
        ("int8", "tf32", "tf32", False, True),
        ("bfloat16", "tf32", "tf32", False, True),
        ("bfloat16", "fp32", "fp32", True, False),
    ],
)
def test_rows_of_every_type(narrow, stores, given, precision, multiply, multiplied_without_cast, normalize):
    F = unit(narrow, 100 if given == "int8" else 1)
    if given == "int8":
        F = np.round(F)
    if given == "bfloat16":
        F = torch.from_numpy(F).bfloat16()
        values = F.double().numpy()
    else:
        F = values = F.astype(given)
    columns = "lazy" if normalize else "gram"
    options = {"precision": precision, "columns": columns, "normalize": normalize}
    assert_same(F, scores(values.astype(float), 1), 8, values, **options)
    backend = stores[0]
    assert (backend.multiply, backend.multiplied_without_cast) == (multiply, multiplied_without_cast)
    if multiply == "tf32":
        # A tensor core has nothing left to truncate.
        assert not (backend.products.view(torch.int32) & 0x1FFF).any()
        exact = values / np.linalg.norm(values.astype(float), axis=1)[:, None] if normalize else values
        assert (np.abs(backend.products.numpy() * 2.0**backend.exponent - exact) <= 2.0**-11 * np.abs(exact)).all()
    # NumPy has no bfloat16; float32 holds bfloat16 and int8 exactly.
    assert backend.stored.dtype == getattr(torch, "float32" if given in ("int8", "bfloat16") else given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "precision", "multiply"),
    [("bfloat16", "bf16", "bf16"), ("float16", "fp32", "fp16"), ("int32", "tf32", "")],
)
def test_tensors_taken_as_they_lie(narrow, stores, monkeypatch, given, precision, multiply):
    """As on a GPU, rows do not pass through the host, and contiguous rows are not copied."""
    monkeypatch.setattr(gpu, "on_gpu", lambda F: isinstance(F, torch.Tensor))
    F = torch.from_numpy(unit(narrow, 1000 if given == "int32" else 1)).to(getattr(torch, given))
    values = F.double().numpy()
    G = scores(values, 1)
    chosen = Pool(F, **OPTIONS, precision=precision, columns="gram").select(G, 8)
    np.testing.assert_array_equal(chosen.indices, matching_pursuit(values, G, 8))
    assert (stores[0].stored.data_ptr() == F.data_ptr()) == stores[0].multiplied_without_cast == bool(multiply)
    assert stores[0].multiply == (multiply or "tf32")


def test_rows_far_from_unit_length_are_not_multiplied_as_they_are(stores):
    """Their float32 products would overflow, or vanish."""
    F, G = np.eye(40, dtype=np.float32) * np.float32(1e25), np.arange(40.0)
    assert_same(F, G, 1, normalize=False, precision="fp32", columns="gram")
    scaled = np.diag((F.diagonal() * 2.0 ** -stores[0].exponent) ** 2)
    np.testing.assert_allclose(stores[0].gram().numpy(), scaled, rtol=1e-6)
    assert_same(F * np.float32(1e-45), G, 6, normalize=False, precision="fp32", columns="lazy")
    F[:, 0] = 1e-18
    F[0, 0] = 1e18
    assert_same(F, G, 6, precision="fp32", columns="lazy")
    assert not any(backend.multiplied_without_cast for backend in stores)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "k"), [(40.0, 90), (1e25, 3)])
def test_rows_too_long_for_the_loop_to_converge(length, k):
    """The residual grows until the divergence is detected, or overflows at once."""
    F = np.eye(8)[np.arange(100) % 8] * length
    for columns in COLUMNS:
        with pytest.raises(ValueError, match=r"diverges .*normalize=True"):
            select(F, np.arange(100.0), k, **OPTIONS, normalize=False, precision="fp32", columns=columns)


@pytest.mark.parametrize("columns", COLUMNS)
def test_duplicates_and_ties(columns):
    """Twenty rows, each repeated many times: the window never narrows, and the lowest index wins."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 20, 200)
    F, G = rng.standard_normal((20, 24))[which], rng.integers(-3, 4, (20, 3))[which]
    F *= rng.choice([1.0, 3.0, -1.0], (200, 1))
    chosen = assert_same(F, G, 12, precision="bf16" if columns == "gram" else "fp32", columns=columns)
    first = which[chosen.indices[0]]
    assert chosen.certificate.ties[0] >= (which == first).sum()
    assert chosen.certificate.tied > 0


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("on_exhausted", ["restart", "stop", "continue"])
def test_exhaustion(on_exhausted, columns):
    m = 24
    F = np.random.default_rng(2).standard_normal((m, 2))
    G = F / np.linalg.norm(F, axis=1, keepdims=True) @ [3.0, -1.0]
    k = m if on_exhausted == "restart" else m - 4
    chosen = assert_same(F, G, k, on_exhausted=on_exhausted, precision="fp32", columns=columns)
    assert len(set(chosen.indices.tolist())) == (k if on_exhausted != "stop" else len(chosen.indices))
    # k = m: every item, in several rounds.
    assert len(chosen.rounds) > 2 if on_exhausted == "restart" else chosen.rounds == (0,)
    assert (len(chosen.indices) < k) == (on_exhausted == "stop")
    # Energy of the scores of the items that were left when the round began.
    host = select(F, G, k, device="cpu", backend="numpy", on_exhausted=on_exhausted)
    np.testing.assert_allclose(chosen.explained, host.explained, atol=1e-5)


def test_scores_that_are_zero():
    F, G = np.eye(30), np.zeros((30, 2))
    assert_same(F, G, 4)
    G[[7, 3], 1] = 1, 2
    assert assert_same(F, G, 30).rounds == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "d", "n"), [(1, 1, 1), (7, 3, 3), (65, 1, 1), (129, 33, 8)])
def test_odd_sizes(m, d, n):
    rng = np.random.default_rng(m + d + n)
    F, G = rng.standard_normal((m, d)), rng.standard_normal((m, n))
    for columns, precision in zip(COLUMNS, ("tf32", "fp16"), strict=True):
        assert_same(F, G, max(1, m // 10), columns=columns, precision=precision)


@pytest.mark.slow
def test_no_column_is_computed_twice(narrow, monkeypatch):
    asked, products = [], TritonBackend._listed_products

    def watched(backend, ring, size):
        products(backend, ring, size)
        header = backend.header_i64
        if header[HeaderI64.REASON] == Code.LISTED:
            first = int(header[HeaderI64.FIRST])
            asked.append(ring.held[first : first + int(header[HeaderI64.BATCH])].tolist())

    monkeypatch.setattr(TritonBackend, "_listed_products", watched)
    # Room for all of them.
    chosen = assert_same(narrow, scores(narrow, 1), 20, precision="fp32", columns="lazy")
    assert chosen.plan.cache == 200
    computed = [index for indices in asked for index in indices]
    assert len(asked) < 20 <= len(computed) == len(set(computed))


def test_progress(narrow):
    seen = []
    assert_same(narrow, scores(narrow, 1), 6, precision="fp32", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (6, 6)
    assert len(set(seen)) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("columns", COLUMNS)
def test_a_pool_used_again(narrow, columns, stores):
    pool = Pool(narrow, **OPTIONS, precision="fp32", columns=columns)
    for n, k in ((1, 6), (3, 9), (1, 3), (3, 4)):
        G = scores(narrow, n)
        np.testing.assert_array_equal(pool.select(G, k).indices, matching_pursuit(narrow, G, k))
    assert len(stores) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("given", "precision"), [("float16", "tf32"), ("float32", "bf16"), ("float64", "fp32")])
def test_embeddings_streamed_from_the_host(cone, monkeypatch, stores, given, precision):
    F = unit(cone[:300]).astype(given)
    # The fewest rows that a chunk can hold.
    monkeypatch.setattr(gpu_costs, "CHUNK", 0)
    # As in the plan for embeddings that do not fit.
    monkeypatch.setattr(TritonBackend, "costs", classmethod(lambda cls, *sizes: OnlyStreamed(*sizes)))
    chosen = assert_same(F, scores(F.astype(float), 1), 8, precision=precision)
    assert not chosen.plan.resident
    backend = stores[0]
    assert backend.products is None
    assert backend.stored.data_ptr() == F.ctypes.data
    assert len(backend._chunks()) == 2


class OnlyStreamed(GpuCosts):
    def layouts(self):
        return super().layouts()[1:]

    def gram(self, precision):
        return {"Gram matrix": 1 << 60}


def test_embeddings_that_do_not_fit_are_streamed():
    def planned(limit):
        return make_plan(200_000, 768, 1, 100, **OPTIONS, memory_limit=limit, given="fp16")

    embeddings = 200_000 * 768 * 2
    plans = [planned(embeddings + (1 << 30)), planned(embeddings)]
    assert [plan.resident for plan in plans] == [True, False]
    assert all(plan.total <= plan.limit for plan in plans)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "columns", "n"), [("bf16", "gram", 1), ("tf32", "lazy", 2)])
def test_real_embeddings(real, precision, columns, n):
    F = real("gsm8k_minilm_f16.npy")[:300]
    assert_same(F, scores(F.astype(float), n), 12, precision=precision, columns=columns)


class Checks:
    """Backend that, after each pick, compares the residual with one in extended precision from the picks so far."""

    def __init__(self):
        self.tightest, self.checks = np.inf, 0

    def check(self, backend, state):
        rows = backend.rows_of.block(0, backend.m).astype(np.longdouble)
        picks = slice(state.rounds[-1], state.t)
        A = rows[state.indices[picks]].T @ (state.weights[picks] / state.unit).astype(np.longdouble)
        off = np.linalg.norm(backend.W.numpy().T - (state.scores / state.unit - rows @ A), axis=1)[state.left]
        assert off.max(initial=0) <= state.error
        held = backend.A.numpy()
        assert np.linalg.norm(held.T - A) * np.sqrt(backend.square) <= state.drift + 1e-300
        assert float(backend.head[HeaderF64.ENERGY_A]) >= (held**2).sum()
        self.checks += 1
        self.tightest = min(self.tightest, state.error / max(off.max(initial=0), 1e-300))


@pytest.fixture
def checked(monkeypatch):
    checks = Checks()
    check_each_pick(monkeypatch, DeviceMatchingPursuit, lambda stepper, state: checks.check(stepper.backend, state))
    return checks


def adversarial():
    rng = np.random.default_rng(11)
    unit_rows = rng.standard_normal((120, 40))
    near = unit_rows[rng.integers(0, 5, 120)] + 1e-4 * rng.standard_normal((120, 40))
    wide = rng.standard_normal((120, 3)) * 10.0 ** rng.integers(-12, 13, (120, 1))
    yield "huge and tiny scores", unit_rows, wide
    yield "near duplicates", near, rng.standard_normal((120, 2))
    yield "one signal dominates", unit_rows, rng.standard_normal((120, 2)) * [1e12, 1]
    yield "tiny scores", unit_rows, rng.standard_normal((120, 1)) * 1e-140
    yield "tiny and huge components", unit_rows * 10.0 ** rng.integers(-30, 31, (1, 40)), rng.standard_normal((120, 1))
    yield "positive cone", np.abs(unit_rows), np.ones(120)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "F", "G"), list(adversarial()), ids=[case for case, *_ in adversarial()])
def test_bound_holds_at_every_step(checked, case, F, G):
    for columns, precision in zip(COLUMNS, ("bf16", "fp32"), strict=True):
        select(F, G, 12, device="cpu", backend="triton", columns=columns, precision=precision)
    assert checked.checks >= 20
    assert checked.tightest > 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_bound_holds_for_rows_that_are_not_unit(checked, scale):
    F = unit(np.random.default_rng(5).standard_normal((100, 30)), scale)
    select(F, F.sum(axis=1), 10, device="cpu", backend="triton", precision="fp16", normalize=False)
    assert checked.checks >= 10


@pytest.mark.slow
def test_bound_holds_on_real_rows(checked, real):
    F = real("gsm8k_minilm_f16.npy")[:300]
    select(F, signals.self_compression(F), 12, device="cpu", backend="triton", precision="fp16", columns="gram")
    assert checked.checks >= 12


@pytest.mark.slow
def test_without_the_bound_picks_go_wrong(narrow, monkeypatch):
    G = signals.self_compression(narrow)
    expected = matching_pursuit(narrow, G, 30)
    monkeypatch.setattr(error_bounds, "gram_entry_error", lambda *_, **__: 0.0)
    monkeypatch.setattr(error_bounds, "cast_error", lambda *_: 0.0)
    monkeypatch.setattr(State, "noise", lambda *_: 0.0)
    chosen = select(narrow, G, 30, **OPTIONS, precision="bf16", columns="gram")
    assert (chosen.indices != expected).any()
