// Kernels of the suite gpu: barriers over all blocks of a cooperative launch, and an empty kernel for launch latency.
#include "kernels/grid.cuh"

extern "C" __global__ void barriers(long long* arrived, int count) {
    GridBarrier barrier(arrived);
    for (int i = 0; i < count; ++i) barrier.sync();
}

extern "C" __global__ void empty() {}
