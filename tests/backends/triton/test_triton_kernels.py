"""The Triton kernels in Triton's interpreter: each against NumPy in float64, on odd sizes."""

import os
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Triton kernels work on torch tensors")
pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("these kernels run in Triton's interpreter: set TRITON_INTERPRET=1", allow_module_level=True)

from gip_gpu.backends.gpu.layout import PLACES, Code, HeaderF64, HeaderI64, Record
from gip_gpu.kernels.gram import gram_triton
from gip_gpu.kernels.refresh.refresh_triton import refresh
from gip_gpu.kernels.step import step_triton
from gip_gpu.numerics import error_bounds, ties

KINDS = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def rounded(values, kind):
    """A tensor of values rounded to `kind` through float32, and the same numbers in float64."""
    values = np.ascontiguousarray(values)
    if kind == "tf32":
        mantissa, exponent = np.frexp(values.astype(np.float32))
        values = np.ldexp(np.rint(mantissa * 2**11), exponent - 11)
    tensor = torch.from_numpy(values if kind == "fp64" else values.astype(np.float32)).to(KINDS[kind])
    return tensor, tensor.double().numpy()


def poison(*shape, kind="fp32"):
    return torch.full(shape, torch.nan, dtype=KINDS[kind])


def pool(m, d, n=1, seed=0):
    """Rows in a cone, as embeddings are, and scores that they explain almost fully."""
    rng = np.random.default_rng([seed, m, d, n])
    F = rng.standard_normal((m, d)) + 0.7
    return F, F @ rng.standard_normal((d, n)) / np.sqrt(d) + 0.1 * rng.standard_normal((m, n))


def unit_rows(m, d):
    F = pool(m, d)[0]
    return F / np.linalg.norm(F, axis=1, keepdims=True)


def gamma(d, storage, multiply, given):
    adding = error_bounds.U32 if multiply == "fp32" else error_bounds.TENSOR_CORE
    return error_bounds.gram_entry_error(d, storage, multiply, given=given, adding=adding)


def products_of(multiply):
    return {"PRECISION": "tf32" if multiply == "tf32" else "ieee", "WIDEN": multiply == "bf16"}


def launch_gram(rows, inverse, storage, multiply, tile, depth):
    m, d = rows.shape
    tiles, wide = -(-m // tile), max(16, tile // 2)
    out = poison(m, m, kind=storage)
    gram_triton.gram[((tiles + 1) * -(-tiles // 2) * (tile // wide),)](
        rows, inverse, out, m, d, TILE=tile, WIDE=wide, DEPTH=depth, **products_of(multiply)
    )
    return out


# Square tiles: one, an even number, an odd number; the last one full or partial; of one part and of two.
SIZES = [(1, 1, 16, 16), (7, 3, 32, 16), (64, 64, 16, 32), (70, 20, 32, 16)]
CASES = [(kind, storage, *size) for kind in KINDS for storage in ("fp32", "fp16", "bf16") for size in SIZES]
CASES = [case for case in CASES if case[0] != "fp64"]
CASES += [
    ("fp32", "fp32", 255, 64, 64, 64),
    ("bf16", "fp16", 255, 384, 128, 128),
    ("tf32", "fp32", 1000, 384, 256, 128),
    ("fp16", "fp16", 4099, 3, 1024, 16),
]


@pytest.mark.slow
@pytest.mark.parametrize(("multiply", "storage", "m", "d", "tile", "depth"), CASES)
def test_gram(multiply, storage, m, d, tile, depth):
    exact = unit_rows(m, d)
    rows, _ = rounded(exact, multiply)
    out = launch_gram(rows, torch.ones(m), storage, multiply, tile, depth)
    assert np.abs(out.double().numpy() - exact @ exact.T).max() <= gamma(d, storage, multiply, False)
    assert torch.equal(out, out.T)


@pytest.mark.parametrize(("m", "d", "tile", "depth"), [(7, 3, 16, 16), (70, 64, 16, 32), (255, 20, 128, 32)])
@pytest.mark.parametrize(
    ("multiply", "storage"), [("fp32", "fp32"), ("fp16", "fp32"), ("fp16", "fp16"), ("bf16", "bf16")]
)
def test_gram_of_rows_as_given(multiply, storage, m, d, tile, depth):
    F = pool(m, d)[0] * 10.0 ** np.random.default_rng(m).uniform(-2, 2, (m, 1))
    rows, values = rounded(F, multiply)
    norms = np.linalg.norm(values, axis=1)
    exact = values / norms[:, None]
    inverse = torch.from_numpy((1 / norms).astype(np.float32))
    out = launch_gram(rows, inverse, storage, multiply, tile, depth)
    assert np.abs(out.double().numpy() - exact @ exact.T).max() <= gamma(d, storage, multiply, True)
    assert torch.equal(out, out.T)


@pytest.mark.parametrize(
    ("multiply", "storage", "m", "d", "count"),
    [
        ("fp32", "fp32", 1, 1, 1),
        ("tf32", "fp32", 7, 3, 7),
        ("fp16", "fp32", 255, 64, 40),
        ("fp16", "fp16", 1000, 3, 5),
        ("bf16", "fp16", 255, 384, 17),
        ("bf16", "bf16", 255, 3, 33),
        ("fp32", "fp16", 4099, 3, 3),
    ],
)
def test_products(multiply, storage, m, d, count):
    F, rng = pool(m, d)[0], np.random.default_rng(m)
    rows, values = rounded(F, multiply)
    norms = np.linalg.norm(values, axis=1)
    inverse = torch.from_numpy((1 / norms).astype(np.float32))
    wanted = rng.permutation(m)[:count]
    # The batch is part of a wider array; the rest must stay unchanged.
    held = poison(count + 2, m + 3, kind=storage)
    out = held[1:-1, 2:-1]
    tile, wide = 16, 64 if m < 4000 else 1024
    gram_triton.products[(-(-count // tile) * -(-m // wide),)](
        rows[wanted], inverse[wanted], rows, inverse, out, count, m, d, out.stride(0), TILE=tile, WIDE=wide,
        DEPTH=16 if d < 100 else 128, **products_of(multiply),
    )  # fmt: skip
    exact = values / norms[:, None]
    assert np.abs(out.double().numpy() - exact[wanted] @ exact.T).max() <= gamma(d, storage, multiply, True)
    assert held.isnan().sum() == held.numel() - out.numel()


def weights_of_all_kinds(rng, m):
    return rng.choice(np.array([1, 1, 0, -1, 0.5, 2.25], np.float32), m)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "d", "n", "kind"),
    [(1, 1, 1, "fp64"), (7, 3, 3, "fp32"), (255, 64, 8, "bf16"), (1000, 384, 3, "fp16"), (4099, 64, 1, "fp32")],
)
def test_refresh(m, d, n, kind):
    rng = np.random.default_rng(m)
    F = rng.standard_normal((m, d))
    scores, A, weight = rng.standard_normal((m, n)), rng.standard_normal((n, d)), weights_of_all_kinds(rng, m)
    F[m // 2], scores[m // 2] = F[m // 3], scores[m // 3]
    weight[[m // 2, m // 3]] = 1
    # Ineligible items do not count, however large their score.
    if m > 1:
        scores[0], weight[0], scores[m - 1], weight[m - 1] = 1e3, 0, 1e3, -1
    rows, values = rounded(F, kind)
    norms = np.linalg.norm(values, axis=1)
    items, chunk = (64, 448) if m > 1000 else (16, 304)
    W, largest = poison(n, m), torch.zeros(-(-m // items), dtype=torch.float64)
    for first in range(0, m, chunk):
        part = rows[first : first + chunk]
        refresh[(-(-len(part) // items),)](
            m, d, part, torch.from_numpy(norms), torch.from_numpy(scores), torch.from_numpy(A), W,
            torch.from_numpy(weight), largest, first, len(part), SIGNALS=n, ITEMS=items, DEPTH=64 if d < 100 else 256,
        )  # fmt: skip
    exact, W = scores - values / norms[:, None] @ A.T, W.numpy()
    error = error_bounds.float64_error(d, np.linalg.norm(A), np.linalg.norm(scores, axis=1).max()) * 2
    held = weight >= 0
    assert (np.abs(W.T - exact)[held] <= error_bounds.U32 * np.abs(exact)[held] + error).all()
    assert not W[:, ~held].any()
    assert W[:, m // 2].tobytes() == W[:, m // 3].tobytes()
    wanted = np.where(weight > 0, np.linalg.norm(exact, axis=1), 0)
    assert largest.numpy() == pytest.approx([wanted[i : i + items].max() for i in range(0, m, items)], rel=1e-12)


def launch_update(m, n, W, columns, weight, *, slot, residual=None, square=1.0, block=256, programs=3, reason=0):
    """Runs `update`; returns its outputs as arrays."""
    blocks = -(-m // block)
    each = -(-blocks // programs)
    parts = -(-blocks // each)
    header_f64, header_i64 = poison(HeaderF64.RESIDUAL + n, kind="fp64"), torch.full((PLACES,), -99)
    header_f64[HeaderF64.SQUARE], header_i64[HeaderI64.SLOT], header_i64[HeaderI64.REASON] = square, slot, reason
    if residual is not None:
        header_f64[HeaderF64.RESIDUAL :] = torch.from_numpy(residual)
    out = SimpleNamespace(
        score=poison(m), best=poison(parts), energy=poison(parts, kind="fp64"),
        parts=[slice(p * each * block, min((p + 1) * each * block, m)) for p in range(parts)],
    )  # fmt: skip
    step_triton.update[(parts,)](
        m, W, columns, columns.stride(0), weight, out.score, out.best, out.energy, header_f64, header_i64, each,
        SIGNALS=n, BLOCK=block,
    )  # fmt: skip
    for name in ("score", "best", "energy"):
        setattr(out, name, getattr(out, name).numpy())
    return out


def check_scores(out, W, weight, block):
    """Scores, maxima and energies against the residual that was stored."""
    n = len(W)
    squares = (W.astype(np.float64) ** 2).sum(axis=0)
    wanted = np.where(weight > 0, squares * weight, 0)
    assert (np.abs(out.score - wanted) <= (n + 1) * error_bounds.U32 * wanted).all()
    ranked = np.where(weight > 0, out.score, -1)
    for p, part in enumerate(out.parts):
        assert out.best[p] == ranked[part].max()
        energy = squares[part][weight[part] >= 0].sum()
        assert abs(out.energy[p] - energy) <= (n + block) * error_bounds.U32 * energy


@pytest.mark.parametrize(("m", "block"), [(1, 256), (7, 4), (255, 64), (1000, 256), (4099, 512)])
@pytest.mark.parametrize(("n", "kind", "square"), [(1, "fp32", 1.0), (3, "fp16", 4.0**5), (8, "bf16", 4.0**-7)])
def test_update(m, block, n, kind, square):
    rng = np.random.default_rng(m + n)
    W, residual = rng.standard_normal((n, m)).astype(np.float32), rng.standard_normal(n) / square
    entries, weight = rng.uniform(-1, 1, m), weights_of_all_kinds(rng, m)
    # Items m / 4 apart tie; a large item among them decides.
    for array in (W.T, weight, entries):
        array[3 * m // 4] = array[m // 4]
    entry, values = rounded(entries, kind)
    columns = poison(3, m, kind=kind)
    columns[1] = entry
    exact = W - np.outer(residual * square, values)
    # A float32 w, its product with the column, and the difference, each rounded.
    moved = np.abs(np.outer(residual * square, values))
    tensor = torch.from_numpy(W)
    out = launch_update(
        m, n, tensor, columns, torch.from_numpy(weight), slot=1, residual=residual, square=square, block=block
    )
    assert (np.abs(W - exact) <= error_bounds.U32 * (2.01 * moved + 1.01 * np.abs(exact))).all()
    check_scores(out, W, weight, block)


def test_update_takes_the_largest_eligible_score_of_each_program():
    W, weight = np.ones((1, 500), np.float32), np.ones(500, np.float32)
    W[0, [170, 333, 340, 499]] = -7
    weight[170], weight[:64], weight[490:] = 0, -1, 0
    W[0, :64] = 100
    columns = poison(3, 500)[1:]
    before = W.copy()
    out = launch_update(500, 1, torch.from_numpy(W), columns, torch.from_numpy(weight), slot=-1, block=32, programs=4)
    # Nothing is projected out, and no column read.
    assert W.tobytes() == before.tobytes()
    check_scores(out, W, weight, 32)
    assert out.best.tolist() == [1, 1, 49, 1]
    assert out.energy.tolist() == [64, 127 + 49, 126 + 2 * 49, 115 + 49]
    weight[:128] = -1
    out = launch_update(500, 1, torch.from_numpy(W), columns, torch.from_numpy(weight), slot=-1, block=32, programs=4)
    assert (out.best[0], out.energy[0]) == (-1, 0)
    out = launch_update(
        500, 1, torch.from_numpy(W), columns, torch.from_numpy(weight), slot=-1, reason=Code.NEED_COLUMN
    )
    assert np.isnan(out.score).all()
    assert np.isnan(out.best).all()


class Device:
    """The arrays of a selection as in `gip_gpu/backends/gpu/layout.py`, with all Gram columns in float32."""

    def __init__(self, F, G, *, kind="fp64", block=64, programs=3, depth=32, chunk=4, until=100):
        self.rows, given = rounded(F, kind)
        self.norms = np.linalg.norm(given, axis=1)
        self.X = given / self.norms[:, None]
        self.G = np.asarray(G, float).reshape(len(F), -1)
        (self.m, self.d), self.n = self.X.shape, self.G.shape[1]
        m, d, n = self.m, self.d, self.n
        self.block, self.depth, self.chunk = block, depth, chunk
        blocks = -(-m // block)
        self.blocks = -(-blocks // programs)
        self.parts = -(-blocks // self.blocks)
        self.inverses, self.scores = torch.from_numpy(1 / self.norms), torch.from_numpy(self.G.copy())
        self.A, self.W = torch.zeros(n, d, dtype=torch.float64), torch.from_numpy(self.G.T.astype(np.float32).copy())
        self.weight, self.score, self.slots = torch.ones(m), poison(m), torch.arange(m, dtype=torch.int32)
        self.columns = torch.from_numpy((self.X @ self.X.T).astype(np.float32))
        self.best, self.energy = poison(self.parts), poison(self.parts, kind="fp64")
        self.candidate_index, self.candidate_value = torch.full((m,), -9), poison(m, 1 + n, kind="fp64")
        self.record = poison(until, Record.WEIGHTS + n, kind="fp64")
        self.header_f64 = torch.zeros(HeaderF64.RESIDUAL + n, dtype=torch.float64)
        self.header_i64 = torch.zeros(PLACES, dtype=torch.int64)
        norms = np.linalg.norm(self.G, axis=1)
        self.header_f64[HeaderF64.SCALE], self.header_f64[HeaderF64.SQUARE] = norms.max(), 1.0
        self.header_f64[HeaderF64.ERROR] = error_bounds.cast_error(norms.max()) + error_bounds.float64_error(
            d, 0.0, norms.max()
        )
        self.header_f64[HeaderF64.GAMMA], self.header_f64[HeaderF64.REACH] = error_bounds.gram_entry_error(d), -1.0
        self.header_f64[HeaderF64.ROUNDING] = error_bounds.dot_error(d + 2, error_bounds.U64)
        self.header_i64[[HeaderI64.PENDING, HeaderI64.SLOT]] = -1
        self.header_i64[HeaderI64.UNTIL] = until

    def update(self):
        step_triton.update[(self.parts,)](
            self.m, self.W, self.columns, self.columns.stride(0), self.weight, self.score, self.best, self.energy,
            self.header_f64, self.header_i64, self.blocks, SIGNALS=self.n, BLOCK=self.block,
        )  # fmt: skip

    def pick(self):
        step_triton.pick[(self.parts,)](
            self.m, self.d, self.rows, self.inverses, self.scores, self.A, self.weight, self.score, self.slots,
            self.best, self.energy, self.candidate_index, self.candidate_value, self.header_f64, self.header_i64,
            self.record, self.blocks, SIGNALS=self.n, WIDE=1 << (self.n - 1).bit_length(), BLOCK=self.block,
            DEPTH=self.depth, PARTS=self.parts, PARTS_BLOCK=1 << (self.parts - 1).bit_length(), CHUNK=self.chunk,
        )  # fmt: skip

    def exact(self):
        """The residual of all items in extended precision, from the records."""
        rows, made = self.X.astype(np.longdouble), int(self.header_i64[HeaderI64.PICKS])
        record = self.record[:made].numpy()
        picks = record[:, Record.INDEX].astype(int)
        self.A_exact = record[:, Record.WEIGHTS :].T @ rows[picks]
        return self.G - rows @ self.A_exact.T

    @property
    def noise(self):
        drift, projected, rounding, scale = self.header_f64[
            [HeaderF64.DRIFT, HeaderF64.PROJECTED, HeaderF64.ROUNDING, HeaderF64.SCALE]
        ].tolist()
        return drift + rounding * projected * (1 + 2 * error_bounds.U64) + 2 * error_bounds.U64 * (scale + projected)

    @property
    def floor(self):
        """The squared norm from which an item is a candidate."""
        best = float(self.best.max()) ** 0.5
        error, scale = self.header_f64[[HeaderF64.ERROR, HeaderF64.SCALE]].tolist()
        tie = ties.RELATIVE * (best + error) + ties.ABSOLUTE * scale + 2 * self.noise
        return error_bounds.window_floor(best, error, tie, self.n)

    def code(self):
        return Code(int(self.header_i64[HeaderI64.REASON]))


# Bounds on the device are rounded up, by no more than this: their square roots are in float32.
LOOSE = 2.0**-16


def assert_just_above(bound, least):
    assert least * (1 - 1e-14) <= bound <= least * (1 + LOOSE) + 2.0**-60


def check_pick(device):
    """Runs `pick` and compares all that it writes with float64."""
    W = device.exact().astype(np.float64)
    floor, noise = device.floor, device.noise
    error, drift, energy = device.header_f64[[HeaderF64.ERROR, HeaderF64.DRIFT, HeaderF64.ENERGY_A]].tolist()
    score, left = device.score.numpy(), device.weight.numpy() > 0
    made = int(device.header_i64[HeaderI64.PICKS])
    device.pick()
    count = int(device.record[made, Record.CANDIDATES])
    found, value = device.candidate_index[:count].numpy(), device.candidate_value[:count].numpy()
    # Every item whose score reaches the floor, and none far below it.
    assert set(found) >= set(np.flatnonzero((score >= np.float32(floor)) & left))
    window = np.flatnonzero((score >= score[found].min()) & left)
    assert sorted(found) == window.tolist()
    assert score[found].min() >= floor * (1 - LOOSE)
    gains = (W[window] ** 2).sum(axis=1)
    assert (device.candidate_index[max(count, getattr(device, "most", 0)) :] == -9).all()
    device.most = max(count, getattr(device, "most", 0))
    order = np.argsort(found)
    size = np.abs(W[window]).max()
    np.testing.assert_allclose(value[order, 1:], W[window], rtol=1e-11, atol=1e-14 * size + noise)
    np.testing.assert_allclose(value[order, 0], gains, rtol=1e-11)
    at, tied = ties.first_best(value[order, 0], float(device.header_f64[HeaderF64.SCALE]))
    pick = int(window[at])
    row = device.record[made].numpy()
    assert (row[Record.INDEX], row[Record.TIES]) == (pick, tied)
    assert row[Record.GAIN] == value[order, 0][at]
    assert row[Record.WEIGHTS :].tobytes() == value[order[at], 1:].tobytes()
    # The best of the other candidates exactly, and at most the bound on the items outside the window.
    exact_gains = np.where(left, (W**2).sum(axis=1), 0)
    second = np.delete(exact_gains, pick).max(initial=0)
    if count < device.m - made:
        most = max(second, (floor**0.5 * (1 + (device.n + 2) * error_bounds.U32) + error) ** 2)
    else:
        most = second
    assert second <= row[Record.RIVAL] <= (most**0.5 + 2 * noise) ** 2 * (1 + LOOSE) + 2.0**-60
    # The values that follow from the pick.
    norm = row[Record.GAIN] ** 0.5
    device.exact()
    grown = error_bounds.step_error(error, float(device.header_f64[HeaderF64.GAMMA]), norm, norm)
    assert_just_above(float(device.header_f64[HeaderF64.ERROR]), grown)
    A = device.A.numpy()
    assert float(device.header_f64[HeaderF64.ENERGY_A]) >= (A**2).sum() * (1 + 1e-15)
    assert float(device.header_f64[HeaderF64.ENERGY_A]) == pytest.approx(float((device.A_exact**2).sum()), rel=1e-10)
    projected = float(device.header_f64[HeaderF64.PROJECTED])
    assert_just_above(projected, float(device.header_f64[HeaderF64.ENERGY_A]) ** 0.5)
    assert_just_above(float(device.header_f64[HeaderF64.DRIFT]), drift + error_bounds.U64 * (projected + 4 * norm))
    assert np.linalg.norm(A - device.A_exact) <= device.header_f64[HeaderF64.DRIFT]
    assert device.weight[pick] == 0
    places = [HeaderI64.PICKS, HeaderI64.PENDING, HeaderI64.SLOT, HeaderI64.COUNT, HeaderI64.ARRIVED]
    assert device.header_i64[places].tolist() == [made + 1, -1, int(device.slots[pick]), 0, 0]
    assert energy <= device.header_f64[HeaderF64.ENERGY_A] or made
    return pick


def check_residual(device):
    """The residual within its bound after `update`."""
    off = np.linalg.norm(device.W.numpy().T - device.exact(), axis=1)
    assert off.max() <= device.header_f64[HeaderF64.ERROR]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "d", "n", "kind", "block", "steps"),
    [
        (1, 1, 1, "fp32", 16, 1),
        (7, 3, 3, "fp64", 2, 3),
        (255, 64, 8, "bf16", 32, 4),
        (1000, 384, 3, "fp16", 256, 4),
        (4099, 3, 1, "fp32", 1024, 3),
    ],
)
def test_steps(m, d, n, kind, block, steps):
    device = Device(*pool(m, d, n), kind=kind, block=block, depth=32 if d < 100 else 256)
    device.update()
    for step in range(steps):
        if step == 1:
            # A wider bound than needed still holds, and gives more candidates than are read at once.
            norms = np.sort(device.score.numpy() ** 0.5)
            device.header_f64[HeaderF64.ERROR] = float(norms[-1] - norms[-min(m - 1, 10)]) / 2
            device.header_i64[HeaderI64.EXCESS] = -m
        check_pick(device)
        assert device.code() is Code.RUNNING
        device.update()
        check_residual(device)
        energy = (device.W.double().numpy() ** 2).sum()
        assert float(device.energy.sum()) == pytest.approx(energy, rel=(n + block) * error_bounds.U32)
    # The next call records the energy left after a pick.
    device.header_i64[HeaderI64.UNTIL] = device.header_i64[HeaderI64.PICKS]
    device.pick()
    assert device.code() is Code.DONE
    assert device.record[steps - 1, Record.ENERGY] == device.energy.sum()
    assert device.record[:steps].isfinite().all()
    assert device.record[steps:].isnan().all()
    assert device.header_i64[HeaderI64.SLOT] == -1
    before = device.record.clone(), device.header_i64.clone(), device.header_f64.clone()
    device.pick()
    for array, held in zip((device.record, device.header_i64, device.header_f64), before, strict=True):
        assert torch.equal(array.nan_to_num(), held.nan_to_num())


def test_the_lowest_of_tied_items_is_picked():
    F, G = pool(200, 16, 2)
    # Five items with one residual: unchanged, with opposite rows, and three times as long.
    best = int(np.argmax((G**2).sum(axis=1)))
    for item, factor in ((190, 1), (40, 1), (111, 3), (33, -1)):
        F[item], G[item] = factor * F[best], G[best]
    tied = sorted({190, 40, 111, 33, best})
    device = Device(F, G, kind="fp64", block=16, chunk=2)
    assert tied[0] == 33
    device.weight[33] = 0
    device.weight[40] = -1
    left = [item for item in tied if item not in (33, 40)]
    device.update()
    device.pick()
    row = device.record[0]
    assert (row[Record.INDEX], row[Record.TIES]) == (left[0], len(left))
    assert row[Record.CANDIDATES] >= len(left)
    assert row[Record.RIVAL] >= row[Record.GAIN]
    assert sorted(device.candidate_index[: int(row[Record.CANDIDATES])].tolist())[:1] >= left[:1]


def test_items_that_differ_by_more_than_a_tie_do_not_tie():
    device = Device(np.eye(8), np.array([1, 1 + 1e-9, 1, 1 + 1e-9 + 1e-14, 0.5, 0, 0, 0]), block=2, chunk=2)
    device.update()
    device.pick()
    assert device.record[0, [Record.INDEX, Record.TIES, Record.CANDIDATES]].tolist() == [1, 2, 4]


def test_missing_column():
    F, G = pool(100, 8, 3)
    device, other = Device(F, G), Device(F, G)
    device.slots[:] = -1
    for each in (device, other):
        each.update()
        each.pick()
    picked = int(other.record[0, Record.INDEX])
    assert device.code() is Code.NEED_COLUMN
    places = [HeaderI64.PENDING, HeaderI64.SLOT, HeaderI64.PICKS, HeaderI64.COUNT]
    assert device.header_i64[places].tolist() == [picked, -1, 0, 0]
    assert not device.A.any()
    assert device.weight.all()
    assert device.record.isnan().all()
    before = device.W.clone()
    device.update()
    assert torch.equal(device.W, before)
    # The column is in another slot now, and nothing is rescored again.
    device.slots[picked], device.header_i64[HeaderI64.REASON] = 42, 0
    device.columns[42] = other.columns[picked]
    device.candidate_index[:], device.candidate_value[:] = -9, torch.nan
    device.update()
    device.pick()
    assert device.code() is Code.RUNNING
    assert (device.candidate_index == -9).all()
    for each in (device, other):
        each.update()
    for name in ("A", "W", "weight", "score", "header_f64"):
        assert torch.equal(getattr(device, name), getattr(other, name)), name
    assert torch.equal(device.record[0, :-1].nan_to_num(), other.record[0, :-1].nan_to_num())


def test_refresh_is_asked_for():
    device = Device(*pool(60, 8, 1))
    device.update()
    held = float(device.header_f64[HeaderF64.ERROR])
    device.header_f64[HeaderF64.ERROR], device.header_i64[HeaderI64.EXCESS] = 100.0, 3
    device.pick()
    assert device.code() is Code.NEED_REFRESH
    assert device.header_i64[[HeaderI64.PENDING, HeaderI64.PICKS, HeaderI64.EXCESS, HeaderI64.COUNT]].tolist() == [
        -1,
        0,
        60 - 8 + 3,
        0,
    ]
    # A bound at its minimum cannot shrink, and a few more candidates are no reason for a refresh.
    for error, excess in ((held, 1000), (100.0, -60)):
        device.header_f64[HeaderF64.ERROR] = error
        device.header_i64[[HeaderI64.REASON, HeaderI64.EXCESS]] = torch.tensor([0, excess])
        device.header_i64[HeaderI64.PENDING] = -1
        device.pick()
        assert device.code() is Code.RUNNING


@pytest.mark.parametrize(("share", "code"), [(1 + 1e-6, Code.RUNNING), (1 - 1e-6, Code.EXHAUSTED)])
def test_exhausted(share, code):
    device = Device(np.eye(6), np.array([0.5, 0.25, 0.125, 0, 0, 0]), block=2)
    device.header_f64[HeaderF64.SCALE] = 0.5 / (ties.FLOOR * share)
    device.update()
    device.pick()
    assert device.code() is code
    assert device.header_i64[HeaderI64.PICKS] == (code is Code.RUNNING)


@pytest.mark.parametrize(
    ("value", "code"),
    [(2.0**59, Code.RUNNING), (2.0**60, Code.DIVERGED), (np.inf, Code.DIVERGED), (np.nan, Code.DIVERGED)],
)
def test_diverged(value, code):
    device = Device(np.eye(6), np.arange(6.0), block=2)
    device.W[0, 4], device.scores[4] = value, 2.0**59
    # As in `gip_gpu.greedy.loop`, which silences overflow warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        device.update()
        device.pick()
    assert device.code() is code
    assert device.header_i64[HeaderI64.PENDING] == -1


def test_energy_of_items_that_left_the_pool():
    """||W~||^2 is over the items of the round: those picked in it count, those of earlier rounds do not."""
    device = Device(np.eye(9), np.arange(1.0, 10.0), block=2)
    device.weight[[0, 3]], device.weight[1] = -1, 0
    device.update()
    device.pick()
    device.update()
    device.pick()
    assert device.record[:2, Record.INDEX].tolist() == [8, 7]
    assert device.record[0, Record.ENERGY] == sum(i * i for i in range(1, 9)) - 1 - 16


# Addressable elements on either side of an array's start: an offset beyond 2^31 in 32 bits becomes negative and
# reads zeros.
SPAN = (1 << 31) + (1 << 23)


@pytest.fixture
def far():
    """A function that makes an array of 2 * SPAN zeros in an empty sparse file, and a tensor at its middle."""
    with tempfile.TemporaryFile() as low, tempfile.TemporaryFile() as high:
        files = [low, high]

        def make(dtype):
            array = np.asarray(np.memmap(files.pop(), dtype, "w+", shape=(2 * SPAN,)))[SPAN:]
            return array, torch.from_numpy(array[:1])

        yield make


@pytest.fixture
def only(monkeypatch):
    """A function that makes a launch of one program run as the program with this number."""
    from triton.runtime.interpreter import InterpreterBuilder

    return lambda p: monkeypatch.setattr(
        InterpreterBuilder, "set_grid_idx", lambda self, *_: setattr(self, "grid_idx", (p, 0, 0))
    )


def test_update_reads_columns_beyond_2_31_entries(far):
    m, stride, rng = 300, 2**30 + 8, np.random.default_rng(0)
    array, columns = far(np.float16)
    entries = array[2 * stride : 2 * stride + m] = rng.uniform(-1, 1, m).astype(np.float16)
    columns = SimpleNamespace(stride=lambda _: stride, data_ptr=columns.data_ptr, tensor=columns)
    W = np.ones((1, m), np.float32)
    header_f64, header_i64 = (
        torch.ones(HeaderF64.RESIDUAL + 1, dtype=torch.float64),
        torch.zeros(PLACES, dtype=torch.int64),
    )
    header_i64[HeaderI64.SLOT] = 2
    step_triton.update[(1,)](
        m, torch.from_numpy(W), columns.tensor, stride, torch.ones(m), poison(m), poison(1), poison(1, kind="fp64"),
        header_f64, header_i64, 1, SIGNALS=1, BLOCK=512,
    )  # fmt: skip
    np.testing.assert_allclose(W[0], 1 - entries.astype(float), atol=1e-7)


def test_update_writes_a_residual_beyond_2_31_entries(far):
    m, rng = 2**30 + 8, np.random.default_rng(0)
    array, W = far(np.float32)
    given = array[2 * m : 2 * m + 64] = rng.standard_normal(64).astype(np.float32)
    score, header_f64 = poison(64), torch.ones(HeaderF64.RESIDUAL + 3, dtype=torch.float64)
    # A single program takes the first items.
    step_triton.update[(1,)](
        m, W, torch.ones(64), m, torch.ones(64), score, poison(1), poison(1, kind="fp64"), header_f64,
        torch.zeros(PLACES, dtype=torch.int64), 1, SIGNALS=3, BLOCK=64,
    )  # fmt: skip
    np.testing.assert_array_equal(array[2 * m : 2 * m + 64], given - 1)
    np.testing.assert_array_equal(array[:64], -1)
    assert score.numpy() == pytest.approx(2 + (given.astype(float) - 1) ** 2, rel=1e-6)


@pytest.mark.parametrize(("count", "stride", "p"), [(64, 2**26 - 8, 0), (3, 2**30 + 8, 0), (40, 2**27, 1)])
def test_products_write_columns_beyond_2_31_entries(far, only, count, stride, p):
    rows, rng = torch.from_numpy(pool(20, 16)[0]).float(), np.random.default_rng(0)
    array, out = far(np.float16)
    left, tile = rows[rng.integers(0, 20, count)], 32 if p else 64
    stride = stride if count < 40 else min(stride, 2**31 // (count - 1) + 8)
    only(p)
    gram_triton.products[(1,)](
        left, torch.ones(count), rows, torch.ones(20), out, count, 20, 16, stride, TILE=tile, WIDE=32, DEPTH=16,
        **products_of("fp32"),
    )  # fmt: skip
    last = count - 1
    assert last * stride + 20 > 2**31
    exact = (left.double() @ rows.double().T)[last].numpy()
    np.testing.assert_allclose(array[last * stride : last * stride + 20], exact, rtol=2**-10)


def test_products_read_rows_beyond_2_31_entries(far, only):
    m, d, rng = 2**17 + 64, 2**14, np.random.default_rng(0)
    array, rows = far(np.float16)
    given = array[2**31 : 2**31 + 64 * d] = rng.standard_normal(64 * d).astype(np.float16)
    left, out = torch.from_numpy(rng.standard_normal((1, d)).astype(np.float16)), poison(1, m)
    only(2**17 // 64)
    gram_triton.products[(1,)](
        left, torch.ones(1), rows, torch.ones(m), out, 1, m, d, m, TILE=16, WIDE=64, DEPTH=2048, **products_of("fp16")
    )
    exact = given.reshape(64, d).astype(float) @ left[0].double().numpy()
    np.testing.assert_allclose(out[0, -64:], exact, atol=1e-2)
    assert out[0, :-64].isnan().all()


@pytest.mark.parametrize("square", ["of the last rows", "mirrored"])
def test_gram_writes_beyond_2_31_entries(far, only, square):
    """From 46,341 items on a Gram matrix has more."""
    m, d, tile, wide = 46_400, 16, 64, 32
    array, out = far(np.float16)
    rows = torch.from_numpy(unit_rows(m, d)).float()
    tiles, part = m // tile, 1
    only((tiles if square == "of the last rows" else tiles - 1) * (tile // wide) + part)
    gram_triton.gram[(1,)](rows, torch.ones(m), out, m, d, TILE=tile, WIDE=wide, DEPTH=16, **products_of("fp32"))
    last = rows[-wide:].double().numpy()
    other = rows[-tile:] if square == "of the last rows" else rows[:tile]
    place = m - tile if square == "of the last rows" else 0
    for i in (0, wide - 1):
        written = array[(m - wide + i) * m + place :][:tile]
        if square == "of the last rows":
            # This part has the last columns.
            np.testing.assert_allclose(written[-wide:], last @ last[i], atol=1e-3)
        else:
            np.testing.assert_allclose(written, other.double().numpy() @ last[i], atol=1e-3)


def test_pick_reads_rows_beyond_2_31_entries(far):
    m, d, item, rng = 2**17 + 9, 2**14, 2**17 + 5, np.random.default_rng(0)
    array, rows = far(np.float16)
    row = array[item * d : (item + 1) * d] = rng.standard_normal(d).astype(np.float16)
    inverse = 1 / np.linalg.norm(row.astype(float))
    device = Device(np.eye(2, 3), np.ones(2))
    A = rng.standard_normal((1, d))
    device.m, device.d, device.block, device.blocks, device.parts, device.depth = m, d, 1 << 18, 1, 1, 4096
    device.rows, device.A = rows, torch.from_numpy(A.copy())
    device.inverses, device.scores = torch.full((m,), inverse, dtype=torch.float64), torch.ones(m, 1).double()
    device.weight, device.score, device.slots = torch.ones(m), torch.zeros(m), torch.zeros(m, dtype=torch.int32)
    device.score[item] = device.best[0] = 1.0
    device.candidate_index, device.candidate_value = torch.full((m,), -9), poison(m, 2, kind="fp64")
    device.pick()
    exact = 1 - A[0] @ row.astype(float) * inverse
    assert device.candidate_index[0] == item
    assert float(device.candidate_value[0, 1]) == pytest.approx(exact, rel=1e-10)
    assert int(device.record[0, Record.INDEX]) == item
    np.testing.assert_allclose(device.A[0], A[0] + exact * row.astype(float) * inverse, rtol=1e-10)


def test_refresh_reads_rows_and_writes_a_residual_beyond_2_31_entries(far, only):
    d, first, rng = 2**14, 2**17, np.random.default_rng(0)
    array, rows = far(np.float16)
    given = array[first * d : (first + 16) * d] = rng.standard_normal(16 * d).astype(np.float16)
    residual, W = far(np.float32)
    # Three signals of all these items; only the items of one program have memory.
    m = 2**30 + 8
    A, scores = rng.standard_normal((3, d)), rng.standard_normal((first + 16, 3))
    largest = poison(first // 16 + 1, kind="fp64")
    only(first // 16)
    refresh[(1,)](
        m, d, rows, torch.ones(first + 16).double(), torch.from_numpy(scores), torch.from_numpy(A), W,
        torch.ones(first + 16), largest, 0, first + 16, SIGNALS=3, ITEMS=16, DEPTH=2048,
    )  # fmt: skip
    exact = scores[first:] - given.reshape(16, d).astype(float) @ A.T
    for i in range(3):
        np.testing.assert_allclose(residual[i * m + first :][:16], exact[:, i], rtol=1e-5, atol=1e-4)
    assert float(largest[-1]) == pytest.approx(np.linalg.norm(exact, axis=1).max(), rel=1e-9)
