// Reductions over a warp and a block: every thread gets the result, with the same bits.
#ifndef GIP_REDUCE_CUH
#define GIP_REDUCE_CUH

#include "ptx.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int WARPS = THREADS / 32;

// T has across(lanes), the value of the lane with these bits of its number flipped, and merged(other), commutative.
// Both lanes of a pair then compute the same, so that all lanes end with the same bits.
template <class T>
__device__ __forceinline__ T warp_reduce(T value) {
#pragma unroll
    for (int lanes = 16; lanes; lanes /= 2) value = value.merged(value.across(lanes));
    return value;
}

// One barrier; `scratch` holds WARPS items and may be used again after another barrier.
template <class T>
__device__ __forceinline__ T block_reduce(T* scratch, T value, T neutral) {
    const int lane = threadIdx.x % 32;
    value = warp_reduce(value);
    if (lane == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_reduce(lane < WARPS ? scratch[lane] : neutral);
}

#endif
