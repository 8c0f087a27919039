"""The registry, and the hooks: a second backend plugs in without touching the engine."""

import importlib
import inspect

import numpy as np
import pytest

from gip_gpu import Pool, backends, select, signals
from gip_gpu.backends.base import Backend
from gip_gpu.backends.cuda.backend import CupyBackend
from gip_gpu.backends.gpu.arrays import Arrays
from gip_gpu.backends.gpu.backend import GpuBackend
from gip_gpu.backends.numpy.backend import NumpyBackend
from gip_gpu.backends.numpy.residual import NumpyResidual
from gip_gpu.backends.residual import Residual
from gip_gpu.backends.triton.backend import TritonBackend
from gip_gpu.numerics.error_bounds import gram_entry_error
from gip_gpu.reference import matching_pursuit


class PlainResidual(Residual):
    """The simplest residual, on float64 arrays."""

    def __init__(self, backend):
        self.backend = backend

    def refresh(self, scores, unit, A, pool, weights):
        self.W = scores / unit - self.backend.rows_of.block(0, len(scores)) @ A.T
        self.left = left = weights > 0
        return float(np.sqrt((self.W**2).sum(axis=1)[left].max(initial=0)))

    def best(self):
        return float(np.sqrt((self.W**2).sum(axis=1)[self.left].max()))

    def window(self, floor):
        return np.flatnonzero(((self.W**2).sum(axis=1) >= floor) & self.left)

    def update(self, index, column, residual):
        self.W -= np.outer(column * self.backend.square, residual)
        self.left[index] = False
        return float((self.W**2).sum())

    def speculate(self, pick, known, count, most):
        ranked = np.argsort(-np.where(self.left, (self.W**2).sum(axis=1), -1), kind="stable").tolist()
        others = [index for index in ranked if index not in known and index != pick.index]
        return [pick.index, *others[: count - 1]]


class PlainBackend(Backend):
    """The simplest backend: only the hooks that every backend must have."""

    name = "plain"
    devices = ("cpu",)
    precisions = ("fp32",)

    def __init__(self, rows, plan):
        super().__init__(rows, plan)
        self.gamma = gram_entry_error(self.d)
        self.stored = (rows.block(0, self.m) * 2.0**-self.exponent).astype(np.float32)

    def residual(self, n):
        return PlainResidual(self)

    def columns(self, indices, out):
        out[:] = self.stored[indices] @ self.stored.T

    def gram(self):
        return self.stored @ self.stored.T

    def empty_columns(self, count):
        return np.full((count, self.m), np.nan, np.float32)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(backends, "_TARGETS", dict(backends._TARGETS))
    backends.register("plain", f"{__name__}:PlainBackend")


@pytest.mark.parametrize("name", ["numpy", "plain"])
@pytest.mark.parametrize("columns", ["gram", "lazy"])
@pytest.mark.parametrize("normalize", [True, False])
def test_every_backend_gives_the_reference(name, columns, normalize, cone):
    F = cone / 20
    G = np.column_stack([signals.self_compression(cone), np.arange(len(cone)) % 6])
    expected = matching_pursuit(F, G, 250, normalize=normalize)
    chosen = select(F, G, 250, backend=name, columns=columns, normalize=normalize)
    np.testing.assert_array_equal(chosen.indices, expected)
    assert chosen.plan.backend == name


@pytest.mark.parametrize("kind", [NumpyBackend, PlainBackend, TritonBackend, CupyBackend])
def test_signatures_agree(kind):
    shared = GpuBackend if issubclass(kind, GpuBackend) else Backend
    for name, hook in inspect.getmembers(shared, callable):
        if not name.startswith("_") or name in GpuBackend.__abstractmethods__:
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(inspect.signature(hook).parameters)


@pytest.mark.parametrize("kind", [NumpyResidual, PlainResidual])
def test_signatures_of_residuals_agree(kind):
    for name, hook in inspect.getmembers(Residual, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(inspect.signature(hook).parameters)


@pytest.mark.parametrize("kind", [NumpyBackend, TritonBackend, CupyBackend])
def test_documented_semantics_agree(kind):
    """Every hook has one description, that of the base class, and every backend declares its devices and precisions."""
    assert not inspect.isabstract(kind)
    assert kind.name in backends.known()
    assert set(kind.automatic) <= set(kind.precisions)
    assert any(kind.name in names for names in backends.DEFAULTS.values())
    for name, hook in vars(Backend).items():
        if not name.startswith("_") and callable(hook):
            assert inspect.getdoc(getattr(kind, name)) == inspect.getdoc(hook)


@pytest.mark.parametrize(
    ("library", "module"), [("torch", "triton.arrays:TorchArrays"), ("cupy", "cuda.arrays:CupyArrays")]
)
def test_arrays_agree(library, module):
    """The arrays of both libraries have all methods that the shared host code calls, under the same names."""
    name, _, kind = module.partition(":")
    pytest.importorskip(library)
    arrays = getattr(importlib.import_module(f"gip_gpu.backends.{name}"), kind)
    for hook in vars(Arrays):
        if not hook.startswith("_"):
            assert inspect.signature(getattr(arrays, hook)) == inspect.signature(getattr(Arrays, hook)), hook


def test_hooks_are_required():
    class Incomplete(Backend):
        name = "incomplete"

    with pytest.raises(TypeError, match="abstract"):
        Incomplete(None, None)


def test_backend_that_does_not_serve_the_device(monkeypatch):
    monkeypatch.setattr(PlainBackend, "devices", ("cuda",))
    with pytest.raises(ValueError, match=r"backend is 'plain', which cannot be used: it serves device 'cuda'; the dev"):
        Pool(np.eye(3), backend="plain", device="cpu")


def test_precision_that_a_backend_does_not_have():
    with pytest.raises(ValueError, match=r"precision is 'fp16', which backend 'plain' does not have; it has 'fp32'"):
        select(np.eye(3), np.ones(3), 1, backend="plain", precision="fp16")


def test_gram_matrix_of_each_precision(cone):
    from gip_gpu.data.rows import Rows
    from gip_gpu.strategies.choose import make_plan

    rows = Rows(cone[:1500])
    exact = rows.block(0, 1500) @ rows.block(0, 1500).T
    for precision in ("fp32", "fp16"):
        backend = NumpyBackend(rows, make_plan(1500, 48, 1, 10, precision=precision, columns="gram"))
        gram = backend.gram()
        assert gram.dtype == backend.dtype
        assert np.abs(gram - exact).max() <= backend.gamma
        np.testing.assert_array_equal(gram[:1024, 1024:], gram[1024:, :1024].T)
        few = backend.empty_columns(5)
        backend.columns([3, 1499, 0, 7, 7], few)
        assert np.abs(few - exact[[3, 1499, 0, 7, 7]]).max() <= backend.gamma
