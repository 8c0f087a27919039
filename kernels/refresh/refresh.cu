// Refresh of the residual in float64: W~ = G - F A for a chunk of rows, rounded to float32 once.
#include "../rescore.cuh"

struct Largest {
    double value;
    __device__ __forceinline__ Largest across(int lanes) const { return {__shfl_xor_sync(ALL_LANES, value, lanes)}; }
    __device__ __forceinline__ Largest merged(const Largest& other) const { return {fmax(value, other.value)}; }
};

// Arrays as in gip_gpu/backends/gpu/layout.py, except that `rows` begins with the row of item `first`. A warp processes
// one item at a time.
//
// largest[block] rises to the largest ||W_j|| of the block's items with weight > 0; the caller sets it to zero before
// the first chunk, so that it covers all chunks of a pool. Items with weight < 0 get a residual of zero. The launch
// bounds request two blocks on a multiprocessor: with more, the compiler spills on sm_100.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    refresh(long long m, int d, const ROWS* rows, const double* norms, const double* scores, const double* A, float* W,
            const float* weight, double* largest, long long first, long long count) {
    SHARED(Largest, scratch, WARPS);
    Largest own = {0.0};
    const long long warps = (long long)gridDim.x * WARPS;
    for (long long k = (long long)blockIdx.x * WARPS + threadIdx.x / 32; k < count; k += warps) {
        const long long j = first + k;
        const float held = weight[j];
        if (held < 0) {
            for (int i = threadIdx.x % 32; i < SIGNALS; i += 32) W[i * m + j] = 0.0f;
            continue;
        }
        const double gain = rescore(
            rows + k * d, norms[j], scores + j * SIGNALS, d, [=](long long at) { return A[at]; },
            [=](int i, double residual) { W[i * m + j] = (float)residual; });
        if (held > 0) own.value = fmax(own.value, gain);
    }
    own = block_reduce(scratch, own, Largest{0.0});
    if (threadIdx.x == 0) largest[blockIdx.x] = fmax(largest[blockIdx.x], sqrt(own.value));
}
