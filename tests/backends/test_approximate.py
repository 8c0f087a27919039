"""Selections with quotients and roots as on a GPU: with random errors of up to 2 units in the last place.

Triton's `/` and `tl.sqrt` are div.full and sqrt.approx.ftz on a GPU, and correctly rounded in its interpreter; the
bounds of a window are computed from them. Selections stay those of the float64 reference.
"""

import numpy as np
import pytest

from tests.support.approximate import OBJECTIVES, Approximate, check
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT

# 300 selections for each objective and language.
SEEDS = 25


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
