"""kernels/gram/gram.cu, run on the CPU: every type on odd shapes, within the rounding that its precision allows."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from gip_gpu.backends.gpu.layout import macros
from gip_gpu.kernels.gram.tuning import CUDA, CudaTile
from gip_gpu.numerics.error_bounds import U32, dot_error
from tests.support.cuda_on_cpu.emulator import AVAILABLE, WHY_NOT, build, sanitizer_environment

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

INPUTS = ["fp32", "tf32", "fp16", "bf16"]
OUTPUTS = ["fp32", "fp16", "bf16"]
# Half of the spacing of stored numbers just below 1.
ROUNDING = {"fp32": 0.0, "fp16": 2.0**-12, "bf16": 2.0**-9}


def nearest(x, bits):
    """float32 numbers rounded to the highest bits of the mantissa, ties to even."""
    words = np.ascontiguousarray(x, np.float32).view(np.uint32)
    drop = 23 - bits
    odd = words >> np.uint32(drop) & np.uint32(1)
    words = words + np.uint32((1 << drop - 1) - 1) + odd
    return (words >> np.uint32(drop) << np.uint32(drop)).view(np.float32)


def stored(rows, precision):
    """Rows in the type that the kernel reads, and the same numbers in float64."""
    if precision == "fp16":
        return rows.astype(np.float16), rows.astype(np.float16).astype(float)
    if precision == "bf16":
        rounded = nearest(rows, 7)
        return (rounded.view(np.uint32) >> np.uint32(16)).astype(np.uint16), rounded.astype(float)
    rounded = nearest(rows, 10) if precision == "tf32" else rows
    return rounded, rounded.astype(float)


def empty(shape, output):
    if output == "bf16":
        return np.full(shape, 0x7FC0, np.uint16)
    return np.full(shape, np.nan, np.float32 if output == "fp32" else np.float16)


def values(out, output):
    return (out.astype(np.uint32) << np.uint32(16)).view(np.float32) if output == "bf16" else out


def rows_of(count, d, seed=0):
    """Rows of length about 1, none of them zero, in one half space as embeddings are."""
    rng = np.random.default_rng([seed, count, d])
    return ((rng.standard_normal((count, d)) + 1) / np.sqrt(2 * d)).astype(np.float32)


def inverse_norms(rows):
    return (1 / np.linalg.norm(rows, axis=1)).astype(np.float32)


def exact_gram(left, left_inverse, rows, inverse):
    return (left * left_inverse[:, None].astype(float)) @ (rows * inverse[:, None].astype(float)).T


def bound(d, output):
    """Bound on the error of an entry of normalised rows, compared with float64 from the rows and factors as stored.

    The dot product and two multiplications with factors (3u covers their second order). The cast moves an entry below 1
    by half of a spacing, and one above 1 by no more than it is above.
    """
    error = dot_error(d, U32) * (1 + 3 * U32) + 3 * U32
    return error + max(ROUNDING[output], error)


def gram(rows, inverse, precision, output, tuning, launches=1, seed=0):
    m, d = rows.shape
    out = empty((m, m), output)
    program = build("gram", {**macros(), **tuning.macros(precision, output)})
    edges = [tuning.tiles(m) * i // launches for i in range(launches + 1)]
    for first, end in pairwise(edges):
        if end > first:
            program.launch("gram", end - first, tuning.threads, [rows, inverse, out, m, d, first], seed=seed)
    return values(out, output)


def products(left, left_inverse, rows, inverse, precision, output):
    count, m, d = len(left), *rows.shape
    out, tuning = empty((count, m + 3), output), CUDA[80][precision]
    args = [left, left_inverse, rows, inverse, out, count, m, d, m + 3]
    program = build("gram", {**macros(), **tuning.macros(precision, output)})
    program.launch("products", tuning.products_grid(count, m), tuning.threads, args)
    assert np.isnan(values(out, output)[:, m:]).all()
    return values(out, output)[:, :m]


# d below, at and near multiples of a 16-byte load and of a stage; m within one tile and larger.
@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("precision", INPUTS)
@pytest.mark.parametrize(("m", "d"), [(1, 1), (7, 3), (255, 1), (255, 64), (130, 65), (255, 384)])
def test_gram(m, d, precision, output):
    rows, exact = stored(rows_of(m, d), precision)
    inverse = inverse_norms(exact)
    out = gram(rows, inverse, precision, output, CUDA[80][precision])
    assert np.abs(out - exact_gram(exact, inverse, exact, inverse)).max() <= bound(d, output)
    assert (out == out.T).all()


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("precision", INPUTS)
@pytest.mark.parametrize(("count", "m", "d"), [(1, 7, 3), (3, 1000, 1), (130, 255, 64), (5, 4099, 65)])
def test_products(count, m, d, precision, output):
    rows, exact = stored(rows_of(m, d), precision)
    left, exact_left = stored(rows_of(count, d, seed=1), precision)
    inverse, left_inverse = inverse_norms(exact), inverse_norms(exact_left)
    out = products(left, left_inverse, rows, inverse, precision, output)
    assert np.abs(out - exact_gram(exact_left, left_inverse, exact, inverse)).max() <= bound(d, output)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rows_that_are_not_aligned(precision):
    """d is a multiple of a 16-byte load, but the first row begins one element after an aligned address."""
    rows, exact = stored(rows_of(200, 64), precision)
    room = np.zeros(rows.size + 16, rows.dtype)
    start = next(i for i in range(1, 16) if room[i:].ctypes.data % 16 == rows.itemsize)
    shifted = room[start : start + rows.size].reshape(rows.shape)
    shifted[:] = rows
    inverse = inverse_norms(exact)
    results = [gram(r, inverse, precision, "fp32", CUDA[80][precision]) for r in (rows, shifted)]
    assert (results[0] == results[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "output", "d"), [("fp16", "fp16", 64), ("fp32", "fp32", 384)])
def test_gram_of_many_tiles(precision, output, d):
    """1000 rows are 8 x 8 tiles of 128 and 16 x 16 of 64, the latter in groups of 3 that do not divide them.

    Three launches, and any order of the threads, give the same matrix.
    """
    small = CudaTile(tile=64, warps_down=1, warps_across=2, group=3)
    rows, exact = stored(rows_of(1000, d), precision)
    inverse = inverse_norms(exact)
    wanted = exact_gram(exact, inverse, exact, inverse)
    for tuning in (CUDA[80][precision], small):
        out = gram(rows, inverse, precision, output, tuning, launches=3)
        assert np.abs(out - wanted).max() <= bound(d, output)
        assert (out == out.T).all()
    assert (gram(rows, inverse, precision, output, small, seed=5) == out).all()


@pytest.mark.slow
@pytest.mark.parametrize("group", [1, 3, 8])
@pytest.mark.parametrize("side", [1, 2, 3, 8, 11])
def test_every_tile_has_one_number(group, side):
    tuning = CudaTile(tile=32, stage_bytes=32, warps_down=1, warps_across=1, group=group)
    m = 32 * side - 5
    rows, ones = np.ones((m, 1), np.float16), np.ones(m, np.float32)
    program = build("gram", {**macros(), **tuning.macros("fp16", "fp16")})
    written = []
    for tile in range(tuning.tiles(m)):
        out = np.zeros((m, m), np.float16)
        program.launch("gram", 1, tuning.threads, [rows, ones, out, m, 1, tile])
        tiles = {(i // 32, j // 32) for i, j in np.argwhere(out).tolist()}
        down, across = min(tiles)
        assert tiles == {(down, across), (across, down)}
        written.append((down, across))
    assert sorted(written) == [(i, j) for i in range(side) for j in range(i, side)]


def test_entries_beyond_31_bits(tmp_path):
    """The last and the outermost tile of a matrix with at least 2^31 entries, in a sparse file."""
    m, precision = 46400, "fp16"
    assert m * m > 2**31
    tuning = CUDA[80][precision]
    rows, exact = stored(rows_of(m, 1), precision)
    inverse = inverse_norms(exact)
    out = np.memmap(tmp_path / "gram", np.float16, "w+", shape=(m, m))
    program = build("gram", {**macros(), **tuning.macros(precision, "fp16")})
    height = min(tuning.group, -(-m // tuning.tile))
    corner = height * -(-m // tuning.tile) - height * (height - 1) // 2 - height
    for tile in (tuning.tiles(m) - 1, corner):
        program.launch("gram", 1, tuning.threads, [rows, inverse, out, m, 1, tile])
    sign = np.sign(exact[:, 0])
    last, first = slice((m - 1) // 128 * 128, m), slice(0, 128)
    for i, j in ((last, last), (first, last), (last, first)):
        assert np.abs(out[i, j] - np.outer(sign[i], sign[j])).max() <= bound(1, "fp16")
    assert not out[128:256, last].any()


SANITIZED = """
import sys
import numpy as np
from tests.support.cuda_on_cpu.emulator import build
from gip_gpu.backends.gpu.layout import macros
from gip_gpu.kernels.gram.tuning import CudaTile
sanitize, precision = sys.argv[1:]
tuning = CudaTile(tile=64, warps_down=1, warps_across=2)
defines = {**macros(), **tuning.macros(precision, "fp32")}
program = build("gram", defines, sanitize=sanitize, threads=sanitize == "thread")
for m, d in ((70, 41), (70, 32)):
    rows = np.full((m, d), 0.5, np.float32 if precision == "fp32" else np.float16)
    inverse = np.ones(m, np.float32)
    out, block = np.zeros((m, m), np.float32), np.zeros((5, m), np.float32)
    program.launch("gram", tuning.tiles(m), tuning.threads, [rows, inverse, out, m, d, 0])
    args = [rows[:5].copy(), inverse[:5].copy(), rows, inverse, block, 5, m, d, m]
    program.launch("products", tuning.products_grid(5, m), tuning.threads, args)
    assert (out == d / 4).all() and (block == d / 4).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sanitize", ["address", "thread"])
def test_no_access_out_of_bounds_and_no_race(sanitize, precision):
    result = subprocess.run(
        [sys.executable, "-c", SANITIZED, sanitize, precision],
        env=sanitizer_environment(sanitize),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
