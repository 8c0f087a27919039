// What the suite gpu measures of a launch: a barrier over all blocks of a cooperative one, and a kernel that does nothing.
#include "kernels/grid.cuh"

extern "C" __global__ void barriers(long long* arrived, int count) {
    GridBarrier barrier(arrived);
    for (int i = 0; i < count; ++i) barrier.sync();
}

extern "C" __global__ void empty() {}
