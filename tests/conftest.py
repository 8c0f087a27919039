"""Pools that the tests select from: real ones where they are at hand, synthetic ones of the same geometry."""

import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(os.environ.get("GIP_GPU_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real():
    """A function that loads a file of the real data; the test is skipped where there is none."""

    def load(name):
        path = DATA / name
        if not path.exists():
            pytest.skip(f"real data: {name} is not in ../shared/data (or in $GIP_GPU_DATA)")
        return np.load(path)

    return load


@pytest.fixture(scope="session")
def cone():
    """(2000, 48) float32 rows in a narrow cone, as sentence embeddings are: the residual falls far."""
    rng = np.random.default_rng(7)
    scales = 1 / np.arange(1, 49)
    return (rng.standard_normal((2000, 48)) * scales + 1.5 * scales).astype(np.float32)


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Fresh floating-point memory is NaN, so that reading what was never written shows."""
    empty = np.empty

    def poisoned(shape, dtype=float, *args, **kwargs):
        array = empty(shape, dtype, *args, **kwargs)
        if array.dtype.kind == "f" and array.nbytes < 1 << 28:
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
