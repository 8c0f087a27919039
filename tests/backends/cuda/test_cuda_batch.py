"""kernels/batch/batch.cu and the products of a listed batch, run on the CPU."""

from copy import deepcopy

import numpy as np
import pytest

from gip_gpu.backends.gpu.layout import PLACES, Code, HeaderI64, macros
from gip_gpu.kernels.batch import tuning
from gip_gpu.kernels.gram.tuning import CUDA
from tests.support import batches
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT, build

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

BLOCKS, THREADS = 3, 64


def choose(state, size, room, seed=0):
    program = build("batch", {**macros(), "THREADS": THREADS})
    m = len(state.score)
    piece = tuning.piece_of(m)
    arrays = [state.score, state.slots, state.piece_keys, state.header_i64]
    program.launch("nominate", BLOCKS, THREADS, [m, *arrays, piece, -(-m // piece), size - 1], seed=seed)
    arrays = [state.score, state.slots, state.held, state.nominees, state.header_i64]
    program.launch("choose", BLOCKS, THREADS, [m, *arrays, size - 1, room], seed=seed)


@pytest.mark.parametrize(("m", "size", "room", "kind"), batches.CASES)
def test_the_batch_has_the_best_items_without_a_column(m, size, room, kind):
    before = batches.listing(m, size, room, kind)
    for seed in range(3):
        after = deepcopy(before)
        choose(after, size, room, seed)
        batches.check(before, after, size, room)
        # The barriers of the loop count from zero.
        assert after.header_i64[HeaderI64.ARRIVED] == 0


@pytest.mark.parametrize("reason", [code for code in Code if code is not Code.NEED_COLUMN])
def test_no_batch_without_a_missing_column(reason):
    before = batches.listing(200, 16, 32, "positive", reason)
    after = deepcopy(before)
    choose(after, 16, 32)
    for name, array in vars(before).items():
        np.testing.assert_array_equal(vars(after)[name], array)


@pytest.mark.slow
@pytest.mark.parametrize("multiply", ["fp32", "fp16"])
@pytest.mark.parametrize(("m", "d", "first", "count"), [(1, 1, 0, 1), (90, 40, 3, 5), (300, 65, 7, 140)])
def test_products_of_a_listed_batch(multiply, m, d, first, count):
    rng, tile = np.random.default_rng(m), CUDA[80][multiply]
    rows = rng.standard_normal((m, d)).astype(np.float16 if multiply == "fp16" else np.float32)
    inverse = rng.random(m).astype(np.float32) + np.float32(0.5)
    held = np.full(first + count + 2, -1, np.int32)
    held[first : first + count] = items = rng.integers(0, m, count)
    header = np.full(PLACES, -7)
    header[[HeaderI64.REASON, HeaderI64.FIRST, HeaderI64.BATCH]] = Code.LISTED, first, count
    program = build("gram", {**macros(), **tile.macros(multiply, "fp32")})
    for reason in (Code.LISTED, Code.NEED_COLUMN):
        header[HeaderI64.REASON] = reason
        columns = np.full((first + count + 2, m), np.nan, np.float32)
        # The grid is that of a larger batch.
        grid = tile.products_grid(count + 200, m)
        program.launch("listed", grid, tile.threads, [rows, inverse, columns, held, header, m, d])
        if reason is Code.LISTED:
            exact = rows.astype(float) * inverse[:, None]
            expected = exact[items] @ exact.T
            assert np.abs(columns[first : first + count] - expected).max() <= 1e-5 * np.abs(expected).max()
            columns[first : first + count] = np.nan
        assert np.isnan(columns).all()
