"""Selections with quotients and roots as a GPU may make them: off by up to 2 units in the last place, at random.

Triton's `/` and `tl.sqrt` are div.full and sqrt.approx.ftz on a GPU, and correctly rounded in its interpreter; the
bounds of a window are made of them. Selections stay those of the float64 reference.
"""

import numpy as np
import pytest
from cuda_on_cpu.emulator import AVAILABLE, WHY_NOT

from gip_gpu import select
from gip_gpu.numerics.error_bounds import TINY32
from gip_gpu.reference import greedy, matching_pursuit

OBJECTIVES = ("lr", "omp", "mi", "entropy", "positive", "mp")
SEEDS = 25  # of each objective and language: 300 selections


def problem(objective, seed):
    """Rows, scores, picks, and options: duplicates, ties, short rows, a ridge, more picks than dimensions."""
    rng = np.random.default_rng([OBJECTIVES.index(objective), seed])
    m, d = int(rng.integers(8, 50)), int(rng.integers(2, 9))
    # Three signals, as kernels are built for their number.
    n = min(d, 3) if objective == "mi" else 3
    F = (rng.standard_normal((m, d)) + rng.choice([0.0, 1.5])).astype(np.float32)
    G = F @ rng.standard_normal((d, n)) + rng.choice([0.0, 0.3]) * rng.standard_normal((m, n))
    if seed % 3 == 0:
        G = np.round(2 * G)
    if seed % 4 == 0:
        F[m // 2 :], G[m // 2 :] = F[: m - m // 2], G[: m - m // 2]
    options = {"objective": "mp" if objective == "positive" else objective}
    if objective == "positive":
        options["sign"] = "positive"
    elif objective == "mi":
        options.update(query="ridge", epsilon=0.1)
    elif objective != "mp":
        options["epsilon"] = float(rng.choice([0.0, 0.05]))
    return F, None if objective == "entropy" else G, int(rng.integers(2, min(m, 12))), options


def check(objective, seed, **device):
    F, G, k, options = problem(objective, seed)
    plain = objective == "mp"
    expected = matching_pursuit(F, G, k, on_exhausted="restart") if plain else greedy(F, G, k, **options)
    np.testing.assert_array_equal(select(F, G, k, **options, **device).indices, expected)


class Approximate:
    """A float32 operation whose result is moved by up to `most` units in the last place; subnormals become zero."""

    def __init__(self, exact, most=2, seed=0):
        self.exact, self.most, self.random, self.moved = exact, most, np.random.default_rng(seed), 0

    def __call__(self, *values):
        found = self.exact(*values)
        if found.dtype != np.float32:
            return found
        steps = self.random.integers(-self.most, self.most + 1, found.shape)
        for away in range(1, self.most + 1):
            for sign in (-1, 1):
                toward = np.float32(sign * np.inf)
                found = np.where((steps * sign >= away) & np.isfinite(found), np.nextafter(found, toward), found)
        self.moved += int(np.count_nonzero(steps))
        return np.where(np.abs(found) < TINY32, np.float32(0), found)


@pytest.fixture
def approximate_interpreter(triton_in_interpreter, monkeypatch):
    """Triton's interpreter with approximate quotients and roots."""
    from triton.runtime.interpreter import InterpreterBuilder

    root, quotient = Approximate(np.sqrt), Approximate(np.divide, seed=1)
    monkeypatch.setattr(InterpreterBuilder, "create_sqrt", lambda self, x: self.unary_op(x, root))
    monkeypatch.setattr(InterpreterBuilder, "create_fdiv", lambda self, a, b: self.binary_op(a, b, quotient))
    return root, quotient


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:(invalid|divide|overflow).*encountered:RuntimeWarning")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_triton(approximate_interpreter, objective):
    root, quotient = approximate_interpreter
    for seed in range(SEEDS):
        check(objective, seed, device="cpu", backend="triton")
    assert root.moved or objective == "entropy"
    assert quotient.moved or objective not in ("lr", "mi")


@pytest.fixture
def approximate_cuda(cupy_on_cpu, monkeypatch):
    """The emulation of CUDA with approximate quotients and roots."""
    from gip_gpu.kernels import cuda_source

    options = cuda_source.options
    monkeypatch.setattr(cuda_source, "options", lambda defines: (*options(defines), "-DPERTURBED=1"))


@pytest.mark.slow
@pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_cuda(approximate_cuda, objective):
    for seed in range(SEEDS):
        check(objective, seed, device="cuda", backend="cupy")
