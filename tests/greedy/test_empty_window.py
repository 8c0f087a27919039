"""A window that is empty although items are eligible: a refresh, and an error if that does not help.

The bounds exclude it, but a fault of a kernel, a compiler or a device may cause it. It was observed on an H200 (lr,
Triton): its machine code let a late warp read a residual that another warp had already moved, move it again, and report
a lower bound above every upper one.
"""

import inspect
import re
import shutil
import textwrap
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from gip_gpu import select
from gip_gpu.backends.gpu.layout import Code, HeaderI64
from gip_gpu.backends.numpy.items import NumpyItems
from gip_gpu.backends.numpy.residual import NumpyResidual
from gip_gpu.distributed.shard import ColumnShard, Found, Report
from gip_gpu.distributed.sharded import ShardedPursuit
from gip_gpu.greedy import projecting
from gip_gpu.greedy.device_projecting import DeviceProjecting
from gip_gpu.greedy.matching_pursuit import MatchingPursuit
from gip_gpu.greedy.state import Reason, State
from gip_gpu.problem.objectives import OBJECTIVES
from gip_gpu.reference import greedy, matching_pursuit
from tests.support.approximate import Approximate, check
from tests.support.cuda_on_cpu.emulator import AVAILABLE, KERNELS, WHY_NOT

pytestmark = pytest.mark.usefixtures("float32_loop")

WARNING = r"no item reaches the floor .* of the window of pick \d+.*the residual is recomputed"
ERROR = r"no item reaches the floor .* of the window of pick \d+.*also after the residual was recomputed"


@pytest.fixture(scope="module")
def pool():
    """(300, 12) rows in a cone, and one score each."""
    rng = np.random.default_rng(5)
    F = (rng.standard_normal((300, 12)) + 0.7).astype(np.float32)
    return F, F @ rng.standard_normal(12) + 0.1 * rng.standard_normal(300)


class LateWarp:
    """A step that sometimes takes its largest lower bound from residuals that were moved twice."""

    def __init__(self, inherited, every):
        self.inherited, self.every, self.calls = inherited, every, 0

    def __call__(self, backend, items, rows, first, count, parts, move, errors):
        before = items.W.clone()
        self.inherited(backend, items, rows, first, count, parts, move, errors)
        self.calls += 1
        if move is None or self.calls % self.every:
            return
        twice = (2 * items.W - before).numpy().astype(float)
        a, b = items.rules.share
        roots = np.sqrt(a + b * np.maximum(items.distance.numpy() + errors.distance, 0))
        lower = np.maximum(np.linalg.norm(twice, axis=0) - errors.residual, 0) / roots
        parts[0, 0] = max(float(parts[0, 0]), lower[items.weight.numpy() > 0].max())


def without_guard():
    """`Projecting._choose` without the check for an empty window."""
    text = textwrap.dedent(inspect.getsource(projecting.Projecting._choose))
    guarded = re.sub(r"    if not window.count:\n.*\n.*empty_window.*\n", "    pass\n", text)
    assert guarded != text
    names = {}
    exec(guarded, {**vars(projecting), "__name__": "unguarded"}, names)
    return names["_choose"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning")
def test_a_warp_that_is_late(pool, triton_in_interpreter, monkeypatch):
    """The fault of the H200: without the guard NumPy raises an error, with it the picks are the reference's."""
    F, G = pool
    # The host decides each pick, as it did then.
    monkeypatch.setattr(DeviceProjecting, "advance", projecting.Projecting.advance)
    late = LateWarp(triton_in_interpreter._family_step, every=4)
    monkeypatch.setattr(triton_in_interpreter, "_family_step", lambda *args: late(*args))
    options = {"objective": "lr", "epsilon": 0.01}

    with monkeypatch.context() as unguarded:
        unguarded.setattr(projecting.Projecting, "_choose", without_guard())
        with pytest.raises(ValueError, match="zero-size array to reduction operation maximum"):
            select(F, G, 20, device="cpu", backend="triton", **options)

    with pytest.warns(RuntimeWarning, match=WARNING):
        chosen = select(F, G, 20, device="cpu", backend="triton", **options)
    assert chosen.certificate.refreshes > 0
    assert chosen.indices.tolist() == greedy(F, G, 20, **options).tolist()


@pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning")
def test_arithmetic_that_is_further_off_than_the_bounds_allow(triton_in_interpreter, monkeypatch):
    """Errors of up to half of all units in the last place, not 2: some windows are empty, and a warning says so."""
    from triton.runtime.interpreter import InterpreterBuilder

    rng = np.random.default_rng(0)

    def halved(a, b):
        found = np.divide(a, b)
        return found * rng.uniform(0.5, 1.5, found.shape).astype(found.dtype) if found.dtype == np.float32 else found

    monkeypatch.setattr(InterpreterBuilder, "create_fdiv", lambda self, a, b: self.binary_op(a, b, halved))

    def selections():
        for seed in range(100):
            check("lr", seed, device="cpu", backend="triton")

    with pytest.warns(RuntimeWarning, match=WARNING), pytest.raises(RuntimeError, match=ERROR):
        selections()


def test_two_units_in_the_last_place_are_two():
    off = Approximate(np.divide)(np.full(9999, 1, np.float32), np.full(9999, 3, np.float32))
    third = np.float32(1) / np.float32(3)
    steps = (off.view(np.int32) - third.view(np.int32)).tolist()
    assert set(steps) == {-2, -1, 0, 1, 2}
    assert Approximate(np.divide)(np.float32([1e-38]), np.float32([10])).tolist() == [0]
    assert Approximate(np.divide)(np.ones(99), np.full(99, 3.0)).tolist() == [1 / 3] * 99


def empty_at(inherited, calls):
    """A `candidates` or `window` that finds nothing at these calls."""
    made = iter(range(10**6))

    def found(self, *args):
        right = inherited(self, *args)
        if next(made) not in calls:
            return right
        return tuple(part[:0] for part in right) if isinstance(right, tuple) else right[:0]

    return found


@pytest.mark.parametrize(("owner", "name", "objective"), [
    (NumpyItems, "candidates", "lr"),
    (NumpyItems, "candidates", "entropy"),
    (NumpyResidual, "window", "mp"),
])  # fmt: skip
def test_on_the_cpu(pool, monkeypatch, owner, name, objective):
    F, G = pool[0], None if objective == "entropy" else pool[1]
    right = select(F, G, 8, objective=objective)
    inherited = getattr(owner, name)
    monkeypatch.setattr(owner, name, empty_at(inherited, {3}))
    with pytest.warns(RuntimeWarning, match=WARNING):
        chosen = select(F, G, 8, objective=objective)
    assert chosen.indices.tolist() == right.indices.tolist()
    assert chosen.certificate.refreshes == right.certificate.refreshes + 1
    # At another pick it is a new fault.
    monkeypatch.setattr(owner, name, empty_at(inherited, {1, 4}))
    with pytest.warns(RuntimeWarning, match=WARNING):
        assert select(F, G, 8, objective=objective).indices.tolist() == right.indices.tolist()
    monkeypatch.setattr(owner, name, empty_at(inherited, {2, 3}))
    with pytest.warns(RuntimeWarning, match=WARNING), pytest.raises(RuntimeError, match=ERROR):
        select(F, G, 8, objective=objective)


@pytest.mark.parametrize("always", [False, True])
def test_in_the_steps_of_triton(pool, triton_in_interpreter, monkeypatch, always):
    """The largest score of one launch, or of every launch from then on, is reported four times too large."""
    F, G = pool
    update, calls = triton_in_interpreter._update, []

    def too_large(backend, columns):
        update(backend, columns)
        if backend.header_i64[HeaderI64.REASON] != Code.RUNNING:
            # A launch with nothing to do.
            return
        calls.append(len(calls))
        if len(calls) == 3 or (always and len(calls) > 3):
            backend.best *= 4

    monkeypatch.setattr(triton_in_interpreter, "_update", too_large)
    options = {"device": "cpu", "backend": "triton", "columns": "gram"}
    error = pytest.raises(RuntimeError, match=ERROR) if always else nullcontext()
    with pytest.warns(RuntimeWarning, match=WARNING), error:
        assert select(F, G, 8, **options).indices.tolist() == matching_pursuit(F, G, 8).tolist()


@pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)
def test_in_the_loop_of_cuda(pool, tmp_path):
    from tests.support.cuda_loop import Host

    shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    loop = tmp_path / "kernels" / "loop" / "loop.cu"
    right, wrong = "state.floor = window_floor(", "state.floor = 4 * window_floor("
    assert loop.read_text().count(right) == 1
    loop.write_text(loop.read_text().replace(right, wrong))
    host = Host(pool[0], folder=tmp_path / "kernels")
    with pytest.warns(RuntimeWarning, match=WARNING), pytest.raises(RuntimeError, match=ERROR):
        host.select(pool[1], 8)
    assert dict(host.reasons) == {"EMPTY_WINDOW": 2}


def test_of_all_ranks():
    nothing = Found(np.empty(0, np.int64), np.empty((0, 1)), 0.0, 0)
    communicator = SimpleNamespace(ask_each=lambda calls: [None] * len(calls))
    rows = SimpleNamespace(offsets=np.array([0, 3, 5]), largest=1.0)
    own = object.__new__(ColumnShard)
    own.state = state = State(scores=np.ones((5, 1)), k=2, d=3, objective=OBJECTIVES["mp"])
    communicator.target, rows.shape = own, (5, 3)
    arrays = ShardedPursuit(communicator, rows, 1e-6, 1.0)
    arrays.reports = [Report(1.0, 1e-6, 1.0, nothing), Report(0.5, 1e-6, 1.0, nothing)]
    stepper = MatchingPursuit(arrays, None)
    with pytest.warns(RuntimeWarning, match=WARNING):
        assert stepper.advance(state, 1) is Reason.NEED_REFRESH
    with pytest.raises(RuntimeError, match=ERROR):
        stepper.advance(state, 1)
