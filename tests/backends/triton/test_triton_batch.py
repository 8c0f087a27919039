"""Batches of Gram columns that the device lists and computes, in Triton's interpreter."""

import os
from copy import deepcopy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Triton backend works on torch tensors")
pytest.importorskip("triton", reason="Triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("these kernels run in Triton's interpreter: set TRITON_INTERPRET=1", allow_module_level=True)

from dataclasses import replace

from gip_gpu.backends.gpu.layout import PLACES, Code, HeaderI64
from gip_gpu.kernels.architectures import alike
from gip_gpu.kernels.batch import triton_launch, tuning
from gip_gpu.kernels.gram import triton_launch as gram_launch
from gip_gpu.kernels.gram import tuning as gram
from tests.support import batches


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Several programs in a small pool, and several chunks of keys."""
    monkeypatch.setattr(tuning, "TRITON", alike(replace(tuning.TRITON[80], block=64, chunk=64)))


def choose(state, size, room):
    arrays = {name: torch.from_numpy(array) for name, array in vars(state).items()}
    triton_launch.choose(**arrays, size=size, room=room, capability=0)


@pytest.mark.parametrize(("m", "size", "room", "kind"), batches.CASES)
def test_the_batch_has_the_best_items_without_a_column(m, size, room, kind):
    before = batches.listing(m, size, room, kind)
    after = deepcopy(before)
    choose(after, size, room)
    batches.check(before, after, size, room)


@pytest.mark.slow
def test_pieces_longer_than_a_block(monkeypatch):
    monkeypatch.setattr(tuning, "TRITON", alike(replace(tuning.TRITON[80], block=2, chunk=64)))
    before = batches.listing(2100, 32, 64, "positive")
    after = deepcopy(before)
    choose(after, 32, 64)
    batches.check(before, after, 32, 64)


@pytest.mark.parametrize("reason", [code for code in Code if code is not Code.NEED_COLUMN])
def test_no_batch_without_a_missing_column(reason):
    before = batches.listing(200, 16, 32, "positive", reason)
    after = deepcopy(before)
    choose(after, 16, 32)
    for name, array in vars(before).items():
        np.testing.assert_array_equal(vars(after)[name], array)


@pytest.mark.parametrize("multiply", ["fp32", "tf32", "fp16", "bf16"])
@pytest.mark.parametrize(("m", "d", "first", "count"), [(1, 1, 0, 1), (90, 40, 3, 5), (300, 64, 7, 70)])
def test_products_of_a_listed_batch(monkeypatch, multiply, m, d, first, count):
    tiles = {
        kind: replace(tile, tile=128, wide=64, batch_tile=32, depth=64) for kind, tile in gram.TRITON[80].tiles.items()
    }
    monkeypatch.setattr(gram, "TRITON", alike(replace(gram.TRITON[80], tiles=tiles)))
    rng = np.random.default_rng(m)
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(multiply, torch.float32)
    rows = torch.from_numpy(rng.standard_normal((m, d))).to(kind)
    inverse = torch.from_numpy(rng.random(m).astype(np.float32) + 0.5)
    held = torch.full((first + count + 2,), -1, dtype=torch.int32)
    items = rng.integers(0, m, count)
    held[first : first + count] = torch.from_numpy(items).int()
    columns, header = torch.full((first + count + 2, m), float("nan")), torch.full((PLACES,), -7)
    header[[HeaderI64.REASON, HeaderI64.FIRST, HeaderI64.BATCH]] = torch.tensor([Code.LISTED, first, count])
    # The grid is that of a larger batch.
    gram_launch.listed(rows, inverse, columns, held, header, count + 40, multiply, 0)
    exact = rows.double() * inverse.double()[:, None]
    expected = exact[items] @ exact.T
    written = columns[first : first + count].double()
    scale = float(expected.abs().max())
    assert float((written - expected).abs().max()) <= (2e-3 if multiply == "tf32" else 1e-5) * scale
    assert columns[:first].isnan().all()
    assert columns[first + count :].isnan().all()
    header[HeaderI64.REASON] = int(Code.NEED_COLUMN)
    columns[:] = float("nan")
    gram_launch.listed(rows, inverse, columns, held, header, count, multiply, 0)
    assert columns.isnan().all()
