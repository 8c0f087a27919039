// Exact residual of one item in float64, by one warp.
#ifndef GIP_RESCORE_CUH
#define GIP_RESCORE_CUH

#include "reduce.cuh"
#include "types.cuh"

// Signals with sums that a warp holds at once: two registers each; a division of a row element serves all of them.
constexpr int SIGNALS_AT_ONCE = SIGNALS < 8 ? SIGNALS : 8;
// Terms of a row with loads in flight at once; with many signals their loop needs the registers of a second term.
constexpr int TERMS_AT_ONCE = SIGNALS < 4 ? 4 : SIGNALS <= SIGNALS_AT_ONCE ? 2 : 1;

struct Sum {
    double value;
    __device__ __forceinline__ Sum across(int lanes) const { return {__shfl_xor_sync(ALL_LANES, value, lanes)}; }
    __device__ __forceinline__ Sum merged(const Sum& other) const { return {value + other.value}; }
};

// Computes w_i = scores_i - sum_c row_c / norm * A(i d + c); lane 0 passes each to put(i, w_i). Returns ||w||^2.
//
// Every sum has the same order for every item, so identical rows get identical bits. `A` is a function, because the
// kernel `loop` must not read A from its first-level cache.
template <class Row, class Load, class Put>
__device__ __forceinline__ double rescore(const Row* row, double norm, const double* scores, int d, Load A, Put put) {
    const int lane = threadIdx.x % 32;
    double gain = 0;
    for (int first = 0; first < SIGNALS; first += SIGNALS_AT_ONCE) {
        double sums[SIGNALS_AT_ONCE] = {};
#pragma unroll 1
        for (int start = lane; start < d; start += 32 * TERMS_AT_ONCE) {
            Row elements[TERMS_AT_ONCE];
            double factors[TERMS_AT_ONCE][SIGNALS_AT_ONCE];
            // All loads come before the first division: the compiler does not reorder loads that `A` may make.
#pragma unroll
            for (int term = 0; term < TERMS_AT_ONCE; ++term) {
                const int c = start + 32 * term;
                elements[term] = row[min(c, d - 1)];
#pragma unroll
                for (int i = 0; i < SIGNALS_AT_ONCE; ++i)
                    factors[term][i] = c < d && first + i < SIGNALS ? A((long long)(first + i) * d + c) : 0.0;
            }
#pragma unroll
            for (int term = 0; term < TERMS_AT_ONCE; ++term) {
                const double f = to_double(elements[term]) / norm;
#pragma unroll
                for (int i = 0; i < SIGNALS_AT_ONCE; ++i) sums[i] = __fma_rn(f, factors[term][i], sums[i]);
            }
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
