// The fused step on a block's own items: one pass over each element of W and each entry of the column.
#ifndef GIP_STEP_CUH
#define GIP_STEP_CUH

#include "../reduce.cuh"
#include "../types.cuh"

// Items with loads in flight at once for each thread; with more signals, one item has enough loads.
constexpr int ITEMS_AT_ONCE = SIGNALS < 4 ? 4 : 1;

// Whether `score` is larger than `best`; a NaN residual must not count as small.
__device__ __forceinline__ bool exceeds(float score, float best) {
    return score > best || (score != score && best == best);
}

// The largest score of the eligible items, and ||W||^2 over the items of this round.
struct Best {
    float score;
    double energy;

    __device__ __forceinline__ Best across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, score, lanes), __shfl_xor_sync(ALL_LANES, energy, lanes)};
    }
    __device__ __forceinline__ Best merged(const Best& other) const {
        return {exceeds(other.score, score) ? other.score : score, energy + other.energy};
    }
};

// The value without an eligible item: it loses against any other.
__device__ __forceinline__ Best nothing() { return {-1.0f, 0.0}; }

// Computes W_j -= column_j w and score_j = weight_j ||W_j||^2 if the weight is positive, else 0, for `count` items. The
// pointers are those of the first item; signal i of W begins `stride` values after signal i - 1. Thread t takes the
// items t, t + THREADS, ... A null column leaves W unchanged.
template <class Column>
__device__ __forceinline__ Best fused_step(int count, float* W, long long stride, const Column* column, const float* w,
                                           const float* weight, float* score) {
    Best best = nothing();
    for (int start = threadIdx.x; start < count; start += ITEMS_AT_ONCE * THREADS) {
        float entry[ITEMS_AT_ONCE], squares[ITEMS_AT_ONCE], held[ITEMS_AT_ONCE];
#pragma unroll
        for (int k = 0; k < ITEMS_AT_ONCE; ++k) {
            const int item = start + k * THREADS;
            entry[k] = column && item < count ? to_float(column[item]) : 0.0f;
            held[k] = item < count ? weight[item] : -1.0f;
            squares[k] = 0.0f;
        }
#pragma unroll 8
        for (int i = 0; i < SIGNALS; ++i) {
            float* const row = W + i * stride;
            float left[ITEMS_AT_ONCE];
#pragma unroll
            for (int k = 0; k < ITEMS_AT_ONCE; ++k)
                left[k] = start + k * THREADS < count ? row[start + k * THREADS] : 0.0f;
#pragma unroll
            for (int k = 0; k < ITEMS_AT_ONCE; ++k) {
                left[k] = __fmaf_rn(-entry[k], w[i], left[k]);
                squares[k] = __fmaf_rn(left[k], left[k], squares[k]);
                if (start + k * THREADS < count) row[start + k * THREADS] = left[k];
            }
        }
#pragma unroll
        for (int k = 0; k < ITEMS_AT_ONCE; ++k) {
            const int item = start + k * THREADS;
            if (item >= count) break;
            const float scored = held[k] > 0 ? held[k] * squares[k] : 0.0f;
            score[item] = scored;
            if (held[k] >= 0) best.energy += squares[k];
            if (held[k] > 0 && exceeds(scored, best.score)) best.score = scored;
        }
    }
    return best;
}

#endif
