// Batch of Gram columns, listed on the device: `nominate` and `choose`; `listed` of gram.cu computes them. The steps are
// those of batch_triton.py. Keys, arrays and places: gip_gpu/backends/gpu/layout.py.
//
// Both kernels return at once unless the header says that a column is missing.
#include "../reduce.cuh"
#include "../types.cuh"

struct Count {
    long long value, largest;
    __device__ __forceinline__ Count across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, value, lanes), __shfl_xor_sync(ALL_LANES, largest, lanes)};
    }
    __device__ __forceinline__ Count merged(const Count& other) const {
        return {value + other.value, max(largest, other.largest)};
    }
};

struct Key {
    long long value;
    __device__ __forceinline__ Key across(int lanes) const { return {__shfl_xor_sync(ALL_LANES, value, lanes)}; }
    __device__ __forceinline__ Key merged(const Key& other) const { return {max(value, other.value)}; }
};

constexpr long long LAST = 4294967295ll;

// The key of an item, 0 for one that may not be in a batch.
__device__ __forceinline__ long long key_of(long long item, const float* score, const int* slots, long long pending) {
    const float value = score[item];
    if (!(value > 0) || slots[item] >= 0 || item == pending) return 0;
    return (long long)__float_as_uint(value) << 32 | (LAST - item);
}

// By one block: how many of `count` keys reach the threshold, and the largest key; other blocks wrote the keys.
__device__ __forceinline__ Count reaching(Count* scratch, const long long* keys, long long count, long long threshold) {
    Count own = {0, 0};
    for (long long at = threadIdx.x; at < count; at += THREADS) {
        const long long key = load_strong(keys + at);
        own.value += key >= threshold, own.largest = max(own.largest, key);
    }
    own = block_reduce(scratch, own, Count{0, 0});
    // The scratch is used again.
    __syncthreads();
    return own;
}

// By one block: a threshold that `wanted` of `count` different keys reach, or all positive keys if there are fewer.
__device__ __forceinline__ long long threshold_of(Count* scratch, const long long* keys, long long count,
                                                  long long wanted) {
    Count found = reaching(scratch, keys, count, 1);
    if (found.value <= wanted) return 1;
    // More than `wanted` keys reach `low`, fewer reach `high`, or none is wanted.
    long long low = 1, high = found.largest + 1;
    while (high - low > 1) {
        const long long middle = low + (high - low) / 2;
        found = reaching(scratch, keys, count, middle);
        if (found.value == wanted) return middle;
        if (found.value > wanted) low = middle;
        else high = middle;
    }
    return high;
}

// Whether this block is the last one of the launch; it then sees the earlier writes of all blocks.
__device__ __forceinline__ bool last_block(long long* arrived) {
    SHARED(int, last, 1);
    __syncthreads();
    if (threadIdx.x == 0) last[0] = add_acq_rel(reinterpret_cast<unsigned long long*>(arrived), 1) == gridDim.x - 1;
    __syncthreads();
    return last[0];
}

// Finds the largest key of each piece, a warp for each; the last block finds the threshold that `wanted` of them reach.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    nominate(long long m, const float* score, const int* slots, long long* piece_keys, long long* header_i64,
             long long piece, long long pieces, long long wanted) {
    SHARED(Count, scratch, WARPS);
    if (header_i64[HEADER_I64_REASON] != CODE_NEED_COLUMN) return;
    const long long pending = header_i64[HEADER_I64_PENDING], warps = (long long)gridDim.x * WARPS;
    const int lane = threadIdx.x % 32;
    for (long long p = (long long)blockIdx.x * WARPS + threadIdx.x / 32; p < pieces; p += warps) {
        Key own = {0};
        for (long long item = p * piece + lane; item < min((p + 1) * piece, m); item += 32)
            own.value = max(own.value, key_of(item, score, slots, pending));
        own = warp_reduce(own);
        if (lane == 0) piece_keys[p] = own.value;
    }
    if (!last_block(header_i64 + HEADER_I64_TICKET)) return;
    const long long threshold = threshold_of(scratch, piece_keys, pieces, wanted);
    if (threadIdx.x) return;
    header_i64[HEADER_I64_THRESHOLD] = threshold;
    header_i64[HEADER_I64_NOMINEES] = 0;
    header_i64[HEADER_I64_TICKET] = 0;
}

// Lists the nominees; the last block takes the `wanted` largest keys and claims slots for their items. `room`: slots of
// the ring in use.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    choose(long long m, const float* score, int* slots, int* held, long long* nominees, long long* header_i64,
           long long wanted, long long room) {
    SHARED(Count, scratch, WARPS);
    SHARED(long long, chosen, LARGEST_BATCH);
    SHARED(int, taken, 1);
    if (header_i64[HEADER_I64_REASON] != CODE_NEED_COLUMN) return;
    const long long pending = header_i64[HEADER_I64_PENDING], threshold = header_i64[HEADER_I64_THRESHOLD];
    long long* const counter = header_i64 + HEADER_I64_NOMINEES;
    const long long stride = (long long)gridDim.x * THREADS;
    for (long long item = (long long)blockIdx.x * THREADS + threadIdx.x; item < m; item += stride) {
        const long long key = key_of(item, score, slots, pending);
        if (key >= threshold) nominees[atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1ull)] = key;
    }
    if (!last_block(header_i64 + HEADER_I64_TICKET)) return;
    const long long count = load_strong(counter), least = threshold_of(scratch, nominees, count, wanted);
    if (threadIdx.x == 0) taken[0] = 0;
    __syncthreads();
    for (long long at = threadIdx.x; at < count; at += THREADS) {
        const long long key = load_strong(nominees + at);
        if (key >= least) chosen[atomicAdd(&taken[0], 1)] = key;
    }
    __syncthreads();
    const int found = taken[0];
    const long long following = header_i64[HEADER_I64_NEXT];
    const long long first = following + found + 1 <= room ? following : 0;
    // The items there now.
    for (int i = threadIdx.x; i <= found; i += THREADS)
        if (held[first + i] >= 0) slots[held[first + i]] = -1;
    __syncthreads();
    for (int i = threadIdx.x; i < found; i += THREADS) {
        long long slot = first + 1;  // the largest key first
        for (int other = 0; other < found; ++other) slot += chosen[other] > chosen[i];
        const long long item = LAST - (chosen[i] & LAST);
        held[slot] = (int)item, slots[item] = (int)slot;
    }
    if (threadIdx.x) return;
    held[first] = (int)pending, slots[pending] = (int)first;
    header_i64[HEADER_I64_FIRST] = first, header_i64[HEADER_I64_BATCH] = found + 1;
    header_i64[HEADER_I64_NEXT] = first + found + 1;
    header_i64[HEADER_I64_COMPUTED] += found + 1;
    header_i64[HEADER_I64_BATCHES] += 1;
    // The barriers of `loop` count from zero.
    header_i64[HEADER_I64_ARRIVED] = header_i64[HEADER_I64_TICKET] = 0;
    header_i64[HEADER_I64_REASON] = CODE_LISTED;
}
