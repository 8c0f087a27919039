"""The emulation behind the CUDA C++ tests: it runs correct programs correctly, and catches the faults that it must."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.support.cuda_on_cpu.emulator import AVAILABLE, KERNELS, WHY_NOT, build, sanitizer_environment

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=WHY_NOT)

SUM = """
#include "../ptx.cuh"
extern "C" __global__ void __launch_bounds__(128) sum(const float* x, int count, float* out) {
    SHARED(float, partial, 4);
    float mine = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) mine += x[i];
    for (int lanes = 16; lanes; lanes /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, lanes);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = partial[0] + partial[1] + partial[2] + partial[3];
}
"""

# Round r adds the value that the neighbour block wrote in round r - 1.
ROUNDS = """
#include "../grid.cuh"
extern "C" __global__ void rounds(long long* value, long long* arrived, int count) {
    GridBarrier barrier(arrived);
    for (int round = 0; round < count; ++round) {
        const long long other = load_strong(value + (blockIdx.x + 1) % gridDim.x);
        barrier.sync();
        if (threadIdx.x == 0) value[blockIdx.x] += other;
        barrier.sync();
    }
}
"""

SHIFT = """
#include "../ptx.cuh"
extern "C" __global__ void shift(int* out) {
    int* shared = reinterpret_cast<int*>(shared_memory());
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}
"""

ODDS = """
#include "../ptx.cuh"
extern "C" __global__ void poison(unsigned* out) {
    SHARED(unsigned, fresh, 2);
    out[0] = fresh[1];
    out[1] = reinterpret_cast<unsigned*>(shared_memory())[3];
}
extern "C" __global__ void count(unsigned long long* total, float* sum, int* largest, unsigned* places) {
    places[atomicAdd(total, 1ull)] = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(sum, 0.5f);
    atomicMax(largest, int(threadIdx.x) - 100);
}
extern "C" __global__ void lanes(int* down, double* from, unsigned* votes) {
    const int lane = threadIdx.x;
    down[lane] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
    from[lane] = __shfl_sync(0xffffffffu, double(lane) / 3, 5);
    votes[lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    if (lane < 7) votes[lane] += __ballot_sync(0x7fu, lane > 4);
}
extern "C" __global__ void stuck() {
    if (threadIdx.x) __syncthreads();
}
extern "C" __global__ void endless(const long long* flag) {
    while (load_acquire(flag) == 0) {}
}
extern "C" __global__ void disagree(int* out) {
    out[threadIdx.x] = threadIdx.x < 16 ? __shfl_xor_sync(0xffffffffu, 1, 1) : int(__ballot_sync(0xffffffffu, 1));
}
"""

CONVERT = """
#include "../types.cuh"
extern "C" __global__ void widen(const half_bits* half, const bf16_bits* brain, float* from_half, float* from_brain) {
    for (int i = threadIdx.x; i < 1 << 16; i += blockDim.x) {
        from_half[i] = to_float(half[i]);
        from_brain[i] = to_float(brain[i]);
    }
}
extern "C" __global__ void narrow(const float* x, half_bits* half, bf16_bits* brain, int count) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        half[i] = from_float<half_bits>(x[i]);
        brain[i] = from_float<bf16_bits>(x[i]);
    }
}
"""


@pytest.fixture
def program(tmp_path):
    """A function that builds the text of a .cu."""

    def make(text, **how):
        for path in KERNELS.glob("*.cuh"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "probe").mkdir(exist_ok=True)
        (tmp_path / "probe" / "probe.cu").write_text(text)
        return build("probe", folder=tmp_path, **how)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_block_reduction(program, threads, seed):
    x = np.arange(1000, dtype=np.float32)
    out = np.empty(3, np.float32)
    program(SUM, threads=threads).launch("sum", 3, 128, [x, len(x), out], seed=seed)
    share = np.arange(1000) // 128 % 3
    assert out.tolist() == [x[share == block].sum() for block in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True])
def test_grid_barrier_over_several_blocks(program, threads):
    value, arrived = np.array([1, 10, 100, 1000, 10000]), np.zeros(1, np.int64)
    wanted = value.copy()
    for _ in range(6):
        wanted += np.roll(wanted, -1)
    program(ROUNDS, threads=threads).launch("rounds", 5, 32, [value, arrived, 6], seed=3)
    assert value.tolist() == wanted.tolist()
    assert arrived[0] == 5 * 12


@pytest.mark.slow
def test_a_missing_grid_barrier_shows(program):
    broken = ROUNDS.replace("        barrier.sync();\n        if", "        if")
    assert broken != ROUNDS
    results = set()
    for seed in range(5):
        value, arrived = np.array([1, 10, 100, 1000, 10000]), np.zeros(1, np.int64)
        program(broken).launch("rounds", 5, 32, [value, arrived, 6], seed=seed)
        results.add(tuple(value.tolist()))
    assert len(results) > 1


@pytest.mark.slow
def test_a_missing_block_barrier_shows(program):
    wanted = np.roll(np.arange(64), -1).tolist()
    for text, right in ((SHIFT, True), (SHIFT.replace("__syncthreads();", ""), False)):
        probe = program(text)
        for seed in range(5):
            out = np.zeros(64, np.int32)
            probe.launch("shift", 1, 64, [out], shared_bytes=256, seed=seed)
            assert (out.tolist() == wanted) is right


@pytest.mark.slow
def test_shared_memory_is_poisoned(program):
    out = np.zeros(2, np.uint32)
    program(ODDS).launch("poison", 1, 1, [out], shared_bytes=16)
    assert out.tolist() == [0xFFFFFFFF] * 2


@pytest.mark.slow
@pytest.mark.parametrize("threads", [False, True])
def test_atomics(program, threads):
    total, half, largest = np.zeros(1, np.uint64), np.zeros(1, np.float32), np.full(1, -1000, np.int32)
    places = np.zeros(4 * 96, np.uint32)
    program(ODDS, threads=threads).launch("count", 4, 96, [total, half, largest, places])
    assert (total[0], half[0], largest[0]) == (384, 192.0, -5)
    assert sorted(places) == list(range(384))


def test_threads_run_in_an_order_that_the_seed_decides(program):
    def order(seed):
        places = np.zeros(4 * 96, np.uint32)
        zeros = np.zeros(1, np.uint64), np.zeros(1, np.float32), np.zeros(1, np.int32)
        program(ODDS).launch("count", 4, 96, [*zeros, places], seed=seed)
        return places.tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != sorted(order(1))


def test_warp_operations(program):
    down, source, votes = np.zeros(32, np.int32), np.zeros(32), np.zeros(32, np.uint32)
    program(ODDS).launch("lanes", 1, 32, [down, source, votes])
    lane = np.arange(32)
    assert down.tolist() == np.where(lane % 8 < 5, lane + 3, lane).tolist()
    assert source.tolist() == [5 / 3] * 32
    everyone = sum(1 << i for i in range(0, 32, 3))
    assert votes.tolist() == [everyone + (0b1100000 if i < 7 else 0) for i in range(32)]


@pytest.mark.slow
def test_conversions_of_16_bit_types(program):
    bits = np.arange(2**16, dtype=np.uint16)
    from_half, from_brain = np.zeros((2, 2**16), np.float32)
    convert = program(CONVERT)
    convert.launch("widen", 1, 32, [bits, bits, from_half, from_brain])
    np.testing.assert_array_equal(from_half, bits.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(from_brain, (bits.astype(np.uint32) << np.uint32(16)).view(np.float32))

    # Every stored number, the midpoint to the next one, and values just below and above the midpoint.
    base = (bits.astype(np.uint32) << np.uint32(16))[:, None] + np.uint32([0, 0x7FFF, 0x8000, 0x8001])
    steps = base.view(np.float32).ravel()
    half, brain = np.zeros((2, len(steps)), np.uint16)
    convert.launch("narrow", 1, 32, [steps, half, brain, len(steps)])
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(half.view(np.float16), steps.astype(np.float16))
    odd, rest = base.ravel() >> np.uint32(16) & np.uint32(1), base.ravel() & np.uint32(0xFFFF)
    up = (rest > 0x8000) | ((rest == 0x8000) & (odd == 1))
    finite = np.isfinite(steps)
    assert (brain[finite] == (base.ravel() >> np.uint32(16))[finite] + up[finite]).all()
    nan = np.isnan(steps)
    assert ((brain[nan] & 0x7FFF) > 0x7F80).all()


@pytest.mark.parametrize(
    ("kernel", "args", "message"),
    [
        ("stuck", [], "deadlock: 31 threads wait in __syncthreads"),
        ("endless", [np.zeros(1, np.int64)], "livelock"),
        ("disagree", [np.zeros(32, np.int32)], "different warp operations"),
    ],
)
def test_what_would_hang_is_reported(program, kernel, args, message):
    probe = program(ODDS)
    with pytest.raises(RuntimeError, match=f"{kernel}: .*{message}"):
        probe.launch(kernel, 1, 32, args)


@pytest.mark.parametrize(
    "args",
    [
        [np.zeros(4, np.float32), 4],
        [np.zeros(4), 4, np.zeros(1, np.float32)],
        [np.zeros(8, np.float32)[::2], 4, np.zeros(1, np.float32)],
        [np.zeros(4, np.float32), 4, np.frombuffer(b"0000", np.float32)],
    ],
)
def test_arguments_must_fit_the_kernel(program, args):
    with pytest.raises(TypeError):
        program(SUM).launch("sum", 1, 128, args)


SANITIZED = """
import sys
from pathlib import Path
import numpy as np
from tests.support.cuda_on_cpu.emulator import build
sanitize, folder, size = sys.argv[1:]
probe = build("probe", sanitize=sanitize, threads=sanitize == "thread", folder=Path(folder))
out = np.zeros(64, np.int32)
probe.launch("shift", 1, 64, [out], shared_bytes=int(size))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitize", "text", "shared_bytes", "report"),
    [
        ("thread", SHIFT, 256, None),
        ("thread", SHIFT.replace("__syncthreads();", ""), 256, "data race"),
        ("address", SHIFT, 256, None),
        ("address", SHIFT, 252, "heap-buffer-overflow"),
    ],
)
def test_sanitizers_see_into_kernels(program, tmp_path, sanitize, text, shared_bytes, report):
    program(text)
    result = subprocess.run(
        [sys.executable, "-c", SANITIZED, sanitize, str(tmp_path), str(shared_bytes)],
        env=sanitizer_environment(sanitize),
        capture_output=True,
        text=True,
    )
    assert (result.returncode == 0) is (report is None), result.stderr
    assert report is None or report in result.stderr
