// Results of the step of a projecting objective, and the window that follows from them.
#ifndef GIP_RATED_CUH
#define GIP_RATED_CUH

#include "reduce.cuh"

// The largest lower bound of a score, and the energy.
struct Rated {
    double lower, energy;
    __device__ __forceinline__ Rated across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, lower, lanes), __shfl_xor_sync(ALL_LANES, energy, lanes)};
    }
    __device__ __forceinline__ Rated merged(const Rated& other) const {
        return {max(lower, other.lower), energy + other.energy};
    }
};

// By one block: reduces the results of `count` blocks of the step.
__device__ __forceinline__ Rated rated(Rated* scratch, const double* parts, long long count) {
    Rated own = {-1.0, 0.0};
    for (long long at = threadIdx.x; at < count; at += THREADS) own = own.merged({parts[2 * at], parts[2 * at + 1]});
    return block_reduce(scratch, own, Rated{-1.0, 0.0});
}

// The floor of the window, at least 0, as Projecting._choose computes it.
__device__ __forceinline__ double projecting_floor(double best, double farthest, bool of_distances) {
    return fmax(best * (1 - 2 * OFF) - (of_distances ? 2 * OFF * farthest : 0.0), 0.0);
}

#endif
