// The exact residual of one item, by one warp, in float64.
#ifndef GIP_RESCORE_CUH
#define GIP_RESCORE_CUH

#include "reduce.cuh"
#include "types.cuh"

// Signals whose sums a warp keeps at once: two registers each, and as many divisions of a row are saved.
constexpr int SIGNALS_AT_ONCE = SIGNALS < 8 ? SIGNALS : 8;
// Terms whose loads are in flight at once.
constexpr int TERMS_AT_ONCE = SIGNALS_AT_ONCE < 4 ? 4 : 2;

struct Sum {
    double value;
    __device__ __forceinline__ Sum across(int lanes) const { return {__shfl_xor_sync(ALL_LANES, value, lanes)}; }
    __device__ __forceinline__ Sum merged(const Sum& other) const { return {value + other.value}; }
};

// w_i = scores_i - sum_c row_c / norm * A(i d + c), each handed to put(i, w_i) by lane 0; returns ||w||^2.
//
// Every sum runs in the same order for every item, so identical rows get identical bits. `A` is a function, as the loop
// must not read what lies in its first-level cache.
template <class Row, class Load, class Put>
__device__ __forceinline__ double rescore(const Row* row, double norm, const double* scores, int d, Load A, Put put) {
    const int lane = threadIdx.x % 32;
    double gain = 0;
    for (int first = 0; first < SIGNALS; first += SIGNALS_AT_ONCE) {
        double sums[SIGNALS_AT_ONCE] = {};
#pragma unroll TERMS_AT_ONCE
        for (int c = lane; c < d; c += 32) {
            const double f = to_double(row[c]) / norm;
#pragma unroll
            for (int i = 0; i < SIGNALS_AT_ONCE; ++i)
                if (first + i < SIGNALS) sums[i] = __fma_rn(f, A((long long)(first + i) * d + c), sums[i]);
        }
#pragma unroll
        for (int i = 0; i < SIGNALS_AT_ONCE; ++i) {
            if (first + i >= SIGNALS) break;
            const double residual = scores[first + i] - warp_reduce(Sum{sums[i]}).value;
            gain = __fma_rn(residual, residual, gain);
            if (lane == 0) put(first + i, residual);
        }
    }
    return gain;
}

#endif
