// A barrier over all blocks of a cooperative launch, in two halves: what a block does between them costs no time while
// it would wait anyway.
#ifndef GIP_GRID_CUH
#define GIP_GRID_CUH

// What the block wrote before is visible to blocks that leave the wait. `arrived` starts at zero and only grows; the
// result is what thread 0 has to hand to grid_wait.
__device__ __forceinline__ long long grid_arrive(long long* arrived) {
    long long goal = 0;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const long long ticket = (long long)atomicAdd(reinterpret_cast<unsigned long long*>(arrived), 1ull);
        goal = (ticket / gridDim.x + 1) * gridDim.x;
    }
    return goal;
}

__device__ __forceinline__ void grid_wait(const long long* arrived, long long goal) {
    if (threadIdx.x == 0) {
        while (__ldcv(arrived) < goal) {
        }
        __threadfence();
    }
    __syncthreads();
}

__device__ __forceinline__ void grid_barrier(long long* arrived) { grid_wait(arrived, grid_arrive(arrived)); }

#endif
