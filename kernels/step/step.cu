// The fused step by itself: rank-1 update of the residual, scores and their argmax in one pass over W.
#include "../step.cuh"

// Arrays as in gip_gpu/backends/gpu/layout.py; `column` and `w` are of the item to project out.
//
// `best`, `where` and `energy` hold an entry a block and behind them one of all blocks: the largest score of the
// eligible items (weight > 0), the lowest index that has it, and ||W||^2 over the items with weight >= 0, a sum whose
// order the grid decides. Where no item is eligible they say -1 and m. `ticket` is zero before and after.
extern "C" __global__ void __launch_bounds__(THREADS)
    step(long long m, float* W, const COLUMN* column, const float* w, const float* weight, float* score, float* best,
         long long* where, double* energy, unsigned* ticket) {
    SHARED(Best, scratch, WARPS);
    SHARED(Best, scratch_of_all, WARPS);
    SHARED(float, factors, SIGNALS);
    SHARED(int, last, 1);
    for (int i = threadIdx.x; i < SIGNALS; i += THREADS) factors[i] = w[i];
    __syncthreads();
    const long long per = (m + gridDim.x - 1) / gridDim.x;
    const long long first = min(blockIdx.x * per, m);
    const int count = (int)min(per, m - first);
    Best own = fused_step(count, first, m, W + first, m, column + first, factors, weight + first, score + first);
    own = block_reduce(scratch, own, nothing(m));
    if (threadIdx.x == 0) {
        best[blockIdx.x] = own.score, where[blockIdx.x] = own.where, energy[blockIdx.x] = own.energy;
        last[0] = add_acq_rel(ticket, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last[0]) return;
    Best all = nothing(m);
    for (int block = threadIdx.x; block < gridDim.x; block += THREADS)
        all = all.merged({load_strong(best + block), load_strong(where + block), load_strong(energy + block)});
    all = block_reduce(scratch_of_all, all, nothing(m));
    if (threadIdx.x == 0) {
        best[gridDim.x] = all.score, where[gridDim.x] = all.where, energy[gridDim.x] = all.energy;
        ticket[0] = 0;
    }
}
