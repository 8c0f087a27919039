// Rows in the format in which they are multiplied: normalised in float64, rounded to float32 and then to OUTPUT.
#include "../types.cuh"

#ifdef ROUND_TF32
// Rounds to nearest, ties to even, in the upper 19 bits.
__device__ __forceinline__ float shortened(float value) {
    const unsigned bits = __float_as_uint(value);
    return __uint_as_float((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}
#else
__device__ __forceinline__ float shortened(float value) { return value; }
#endif

// out = rows / norms * factor, (count, d); `factor` is a power of two.
extern "C" __global__ void __launch_bounds__(THREADS)
    cast(const ROWS* rows, const double* norms, OUTPUT* out, long long count, int d, double factor) {
    for (long long row = blockIdx.x; row < count; row += gridDim.x) {
        const double norm = norms[row];
        for (int c = threadIdx.x; c < d; c += THREADS) {
            const float value = (float)(to_double(rows[row * d + c]) / norm * factor);
            out[row * d + c] = from_float<OUTPUT>(shortened(value));
        }
    }
}
