"""The machine code of kernels with barriers between blocks: every barrier polls, releases, acquires, and waits.

It is compiled as CuPy does, for each chip and without a GPU, and read as `machine_code` describes.
"""

import pytest

from bench.gpu import cupy_library
from bench.resources import kernels
from gip_gpu.kernels import cuda_source
from gip_gpu.kernels.architectures import ARCHITECTURES as CHIPS
from gip_gpu.kernels.loop import tuning
from tests.support import machine_code

# The barriers of loop.cu: before the search for the window, before the choice, before the header is written.
LOOP_BARRIERS = 3
VARIANTS = ((1, "fp16", "fp32"), (8, "fp32", "bf16"), (64, "fp64", "fp16"))

# A former version of the barrier: ptxas assumed that its loop ends and deleted it, so that no GPU waited.
DELETED = """
class GridBarrier {
  public:
    __device__ __forceinline__ explicit GridBarrier(long long* arrived) : arrived_(arrived), goal_(0) {}
    __device__ __forceinline__ void arrive() {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            const long long ticket = (long long)atomicAdd(reinterpret_cast<unsigned long long*>(arrived_), 1ull);
            goal_ = (ticket / gridDim.x + 1) * gridDim.x;
        }
    }
    __device__ __forceinline__ void wait() const {
        if (threadIdx.x == 0) {
            while (__ldcv(arrived_) < goal_) {
            }
            __threadfence();
        }
        __syncthreads();
    }
    __device__ __forceinline__ void sync() {
        arrive();
        wait();
    }

  private:
    long long* arrived_;
    long long goal_;
};
"""


@pytest.fixture(scope="module", autouse=True)
def compilers():
    """Skips the test if there is no compiler or no disassembler."""
    pytest.importorskip("triton", reason="cuobjdump comes with Triton, which is not installed")
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", exc_type=ImportError)
    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError, nvrtc.NVRTCError) as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")


def faults(source, kernel, chip, defines):
    """The faults of each barrier of a kernel."""
    from bench.resources.cuda_builds import compiled

    cubin = compiled(source, f"sm_{chip}", defines, cooperative=True)
    code = machine_code.instructions(cubin, kernel, kernels.cuobjdump())
    assert len(code) > 20
    return [wrong for _, wrong in machine_code.barriers(code)]


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "rows", "columns"), VARIANTS)
@pytest.mark.parametrize("chip", CHIPS)
def test_every_barrier_of_the_loop(chip, signals, rows, columns):
    defines = tuning.CUDA[chip].macros(signals, rows, columns)
    found = faults(cuda_source.expanded("loop"), "loop", chip, defines)
    # The compiler may have copied one.
    assert len(found) >= LOOP_BARRIERS
    assert [wrong for wrong in found if wrong] == []


@pytest.mark.parametrize("chip", CHIPS)
def test_the_barrier_that_is_measured(chip):
    assert faults(cupy_library.barrier_source(), "barriers", chip, {}) == [[]]


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_the_barrier_that_was_deleted_is_noticed(chip):
    source = cuda_source.expanded("loop")
    begin, end = source.index("class GridBarrier {"), source.index("};", source.index("goal_;  //")) + 2
    found = faults(source[:begin] + DELETED + source[end:], "loop", chip, tuning.CUDA[chip].macros(1, "fp16", "fp32"))
    assert len(found) >= LOOP_BARRIERS
    assert all("no strong load in a loop between the arrival and the next BAR" in wrong for wrong in found)


SYNC = "        __syncthreads();\n"
ARRIVAL = SYNC + "        if (threadIdx.x == 0) {\n            goal_"
END = "            }\n        }\n" + SYNC
POLL = "while (load_acquire(arrived_) < goal_) {\n            }"


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("red.release.gpu", "red.relaxed.gpu", "the arrival is no release"),
        ("ld.acquire.gpu", "ld.relaxed.gpu", "the polling load is no acquire"),
        (POLL, POLL.replace("while", "if"), "no strong load in a loop"),
        (ARRIVAL, ARRIVAL.replace(SYNC, ""), "no BAR between what the block writes and its arrival"),
        (END, END.replace(SYNC, ""), "no BAR after the arrival"),
        ("(arrived_, 1)", "(arrived_, *arrived_ / gridDim.x + 1)", "a CALL on the way to the arrival"),
    ],
)
def test_what_is_taken_out_is_noticed(chip, old, new, fault):
    """Each part of the barrier is removed, one at a time, from a kernel that writes before it and reads after it."""
    source = cuda_source.with_headers(PROBE)
    assert faults(source, "probe", chip, {}) == [[]]
    assert source.count(old) == 1
    (found,) = faults(source.replace(old, new), "probe", chip, {})
    assert any(wrong.startswith(fault) for wrong in found), found


@pytest.mark.parametrize("chip", CHIPS)
def test_a_load_that_comes_too_early_is_noticed(chip):
    source = cuda_source.with_headers(PROBE)
    early = source.replace(
        "    barrier.wait();\n    out", "    const float x = load_strong(data + 1);\n    barrier.wait();\n    out"
    )
    early = early.replace("= load_strong(data + threadIdx.x)", "= x")
    assert early != source
    assert faults(early, "probe", chip, {}) == [
        ["a load of what other blocks wrote stands before the end of the barrier"]
    ]


PROBE = """
#include "grid.cuh"
extern "C" __global__ void probe(long long* arrived, float* data, float* out) {
    GridBarrier barrier(arrived);
    data[blockIdx.x * blockDim.x + threadIdx.x] = threadIdx.x;
    barrier.arrive();
    barrier.wait();
    out[threadIdx.x] = load_strong(data + threadIdx.x);
}
"""
