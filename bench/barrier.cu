// What `bench.gpu` measures of a launch: a barrier over all blocks of a cooperative one, and a kernel that does nothing.
#include "../kernels/grid.cuh"

extern "C" __global__ void barriers(long long* arrived, int count) {
    for (int i = 0; i < count; ++i) grid_barrier(arrived);
}

extern "C" __global__ void empty() {}
