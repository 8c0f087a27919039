// The certified greedy loop of gip_gpu/greedy/matching_pursuit.py in one cooperative launch: step after step, until
// the host is needed.
//
// A step has two grid barriers: after the fused step, when every block knows its own best, and after the rescoring of
// the window. Between them all blocks compute the same decision from the same numbers, so no block waits for a leader.
#include "../bounds.cuh"
#include "../grid.cuh"
#include "../rescore.cuh"
#include "../step/step.cuh"

// The arrays of gip_gpu/backends/gpu/layout.py.
struct Arrays {
    long long m;
    int d;
    const ROWS* rows;
    const double* norms;
    const double* scores;
    double* A;
    const int* slots;
    float* best;
    double* energy;
    long long* candidate_index;
    double* candidate_value;
    double* header_f64;
    long long* header_i64;
    double* record;
};

// The items of a block, in shared or global memory. Thread j % THREADS does all work on item j, so that no barrier is
// needed between its operations.
struct Slice {
    long long first;
    int count;
    float* W;
    long long stride;
    float* score;
    float* weight;
};

// A block's copy of the scalars, in shared memory; thread 0 writes it.
struct State {
    double error, drift, energy, gamma, square, scale, gain, rival, reach;
    double noise, largest, floor;
    long long picks, until, base, excess, pending, slot, candidates, ties;
    long long counted;  // entries of the list of candidates before this step: its counter is never reset
    long long reason;
};

// The two largest gains.
struct Top {
    double first, second;
    __device__ __forceinline__ Top across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, first, lanes), __shfl_xor_sync(ALL_LANES, second, lanes)};
    }
    __device__ __forceinline__ Top merged(const Top& other) const {
        return {fmax(first, other.first), fmax(fmin(first, other.first), fmax(second, other.second))};
    }
};

// The lowest index among the tied ones, its gain, and how many tie.
struct Tied {
    long long item;
    double gain;
    int count;
    __device__ __forceinline__ Tied across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, item, lanes), __shfl_xor_sync(ALL_LANES, gain, lanes),
                __shfl_xor_sync(ALL_LANES, count, lanes)};
    }
    __device__ __forceinline__ Tied merged(const Tied& other) const {
        const bool lower = other.item < item;
        return {lower ? other.item : item, lower ? other.gain : gain, count + other.count};
    }
};

__device__ __forceinline__ double rounding(const Arrays& all, const State& state) {
    return state.drift + float64_error(all.d, sqrt(state.energy * state.square), state.scale);
}

__device__ __forceinline__ void read_header(const Arrays& all, State& state) {
    state.error = all.header_f64[HEADER_F64_ERROR], state.drift = all.header_f64[HEADER_F64_DRIFT];
    state.energy = all.header_f64[HEADER_F64_ENERGY_A], state.gamma = all.header_f64[HEADER_F64_GAMMA];
    state.square = all.header_f64[HEADER_F64_SQUARE], state.scale = all.header_f64[HEADER_F64_SCALE];
    state.gain = all.header_f64[HEADER_F64_GAIN], state.rival = all.header_f64[HEADER_F64_RIVAL];
    state.reach = all.header_f64[HEADER_F64_REACH];
    state.picks = all.header_i64[HEADER_I64_PICKS], state.until = all.header_i64[HEADER_I64_UNTIL];
    state.base = all.header_i64[HEADER_I64_BASE];
    state.excess = all.header_i64[HEADER_I64_EXCESS], state.pending = all.header_i64[HEADER_I64_PENDING];
    state.candidates = all.header_i64[HEADER_I64_CANDIDATES], state.ties = all.header_i64[HEADER_I64_TIES];
    state.counted = all.header_i64[HEADER_I64_COUNT];
    state.slot = state.pending < 0 ? -1 : all.slots[state.pending];
    state.noise = rounding(all, state);
    state.largest = state.floor = 0;
    state.reason = CODE_RUNNING;
}

__device__ __forceinline__ void write_header(const Arrays& all, const State& state) {
    all.header_f64[HEADER_F64_ERROR] = state.error, all.header_f64[HEADER_F64_DRIFT] = state.drift;
    all.header_f64[HEADER_F64_ENERGY_A] = state.energy, all.header_f64[HEADER_F64_REACH] = state.reach;
    all.header_f64[HEADER_F64_GAIN] = state.gain, all.header_f64[HEADER_F64_RIVAL] = state.rival;
    all.header_f64[HEADER_F64_LARGEST] = state.largest, all.header_f64[HEADER_F64_FLOOR] = state.floor;
    all.header_i64[HEADER_I64_REASON] = state.reason, all.header_i64[HEADER_I64_PICKS] = state.picks;
    all.header_i64[HEADER_I64_EXCESS] = state.excess, all.header_i64[HEADER_I64_PENDING] = state.pending;
    all.header_i64[HEADER_I64_CANDIDATES] = state.candidates, all.header_i64[HEADER_I64_TIES] = state.ties;
}

// Computes A += w f': a warp takes 32 entries at a time; neighbouring groups of 32 are on different multiprocessors.
__device__ __forceinline__ void project_out(const Arrays& all, long long item, const double* w) {
    const ROWS* const row = all.rows + item * all.d;
    const double norm = all.norms[item];
    const int entries = SIGNALS * all.d, stride = 32 * gridDim.x;
    for (int at = 32 * blockIdx.x + threadIdx.x % 32 + threadIdx.x / 32 * stride; at < entries; at += WARPS * stride) {
        const int i = at / all.d;
        all.A[at] = __fma_rn(w[i], to_double(row[at - i * all.d]) / norm, load_strong(all.A + at));
    }
}

// By thread 0: all changes by the pending pick except those of A and W, as in _project_out and State.record.
__device__ __forceinline__ void enter(const Arrays& all, State& state, const double* w) {
    if (blockIdx.x == 0) {
        double* const row = all.record + (state.picks - state.base) * (RECORD_WEIGHTS + SIGNALS);
        row[RECORD_INDEX] = (double)state.pending, row[RECORD_GAIN] = state.gain, row[RECORD_RIVAL] = state.rival;
        row[RECORD_CANDIDATES] = (double)state.candidates, row[RECORD_TIES] = (double)state.ties;
#pragma unroll 4
        for (int i = 0; i < SIGNALS; ++i) row[RECORD_WEIGHTS + i] = w[i];
    }
    double gain = 0;  // without the item's weight
#pragma unroll 4
    for (int i = 0; i < SIGNALS; ++i) gain = __fma_rn(w[i], w[i], gain);
    const double norm = sqrt(gain), moved = norm * state.square;
    state.energy = energy_after(state.energy, all.d, all.scores + state.pending * SIGNALS, w, gain, state.square,
                                state.scale, state.noise);
    state.drift += U64 * (sqrt(state.energy * state.square) + 2 * moved);
    // No residual of an eligible item is longer than the pick's, unless weights have decided.
    const bool weighted = state.reach >= 0;
    state.error = step_error(state.error, state.gamma, weighted ? state.reach : norm, moved);
    if (weighted) state.reach += moved * (1 + state.gamma);
    state.noise = rounding(all, state);
    ++state.picks;
    state.pending = -1;
}

// By warp 0: the squared norm from which an item is a candidate, or the reason why no step is taken.
__device__ __forceinline__ void find_floor(const Arrays& all, State& state) {
    float best = -1.0f;
    for (int block = threadIdx.x; block < gridDim.x; block += 32) {
        const float other = load_strong(all.best + block);
        if (exceeds(other, best)) best = other;
    }
#pragma unroll
    for (int lanes = 16; lanes; lanes /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, best, lanes);
        if (exceeds(other, best)) best = other;
    }
    if (threadIdx.x) return;
    state.largest = sqrt((double)(best < 0 ? 0.0f : best));
    const double tie = TIE_RELATIVE * (state.largest + state.error) + TIE_ABSOLUTE * state.scale + 2 * state.noise;
    state.floor = window_floor(state.largest, state.error, tie);
    if (state.picks >= state.until) state.reason = CODE_DONE;
    else if (!(state.largest < DIVERGED_NORM)) state.reason = CODE_DIVERGED;
}

// By one warp: ||W~||^2 after the last pick, for the record.
__device__ __forceinline__ void record_energy(const Arrays& all, const State& state) {
    Sum sum = {0.0};
    for (int block = threadIdx.x % 32; block < gridDim.x; block += 32) sum.value += load_strong(all.energy + block);
    sum = warp_reduce(sum);
    if (threadIdx.x % 32 == 0)
        all.record[(state.picks - 1 - state.base) * (RECORD_WEIGHTS + SIGNALS) + RECORD_ENERGY] = sum.value;
}

// Lists the candidates among the block's items with their exact residuals, a warp each.
__device__ __forceinline__ void rescore_window(const Arrays& all, const Slice& own, const State& state) {
    const int lane = threadIdx.x % 32;
    // Rounded to nearest: every float32 score that reaches the floor reaches the threshold.
    const float threshold = (float)state.floor;
    const double* const A = all.A;
    for (int start = threadIdx.x - lane; start < own.count; start += THREADS) {
        const int item = start + lane;
        const bool in = item < own.count && own.weight[item] > 0 && (threshold <= 0 || own.score[item] >= threshold);
        for (unsigned left = __ballot_sync(ALL_LANES, in); left; left &= left - 1) {
            const long long j = own.first + start + __ffs(left) - 1;
            // Requested first: it arrives while the sums are computed.
            long long place = 0;
            if (lane == 0) {
                long long* const counter = all.header_i64 + HEADER_I64_COUNT;
                place = (long long)atomicAdd(reinterpret_cast<unsigned long long*>(counter), 1ull) - state.counted;
            }
            double* const exact = all.candidate_value + place * (1 + SIGNALS);
            const double gain = rescore(
                all.rows + j * all.d, all.norms[j], all.scores + j * SIGNALS, all.d,
                [=](long long at) { return load_strong(A + at); }, [=](int i, double w) { exact[1 + i] = w; });
            if (lane == 0) all.candidate_index[place] = j, exact[0] = gain * to_double(own.weight[j - own.first]);
        }
    }
}

// By thread 0: the choice, or the reason why there is none; in the order of _argmax.
__device__ __forceinline__ void decide(const Arrays& all, State& state, long long count, Top top, Tied tied) {
    state.counted += count;
    state.excess += max(0ll, count - (long long)USUAL_WINDOW);
    const bool wide = state.error > 4 * (cast_error(state.largest + state.error) + state.noise);
    if (!count) {
        state.reason = CODE_EMPTY_WINDOW;
    } else if (2 * state.excess >= all.m && wide) {
        state.reason = CODE_NEED_REFRESH;
    } else if (sqrt(fmax(top.first, 0.0)) <= FLOOR * state.scale) {
        state.reason = CODE_EXHAUSTED;
    } else {
        state.pending = tied.item, state.gain = tied.gain, state.candidates = count, state.ties = tied.count;
        double runner_up = fmax(tied.gain == top.first ? top.second : top.first, 0.0);
        if (count < all.m - state.picks) {
            // No item outside the window has a larger gain.
            const double outside = sqrt(state.floor) * (1 + (SIGNALS + 2) * U32) + state.error;
            runner_up = fmax(runner_up, outside * outside);
        }
        const double rival = sqrt(runner_up) + 2 * state.noise;
        state.rival = rival * rival;
    }
}

// Makes the exact argmax of the candidates the pending pick, by the tie rule.
__device__ __forceinline__ void choose(const Arrays& all, State& state, double* w, float* factors) {
    SHARED(Top, tops, WARPS);
    SHARED(Tied, ties, WARPS);
    const int t = threadIdx.x;
    const long long count = load_strong(all.header_i64 + HEADER_I64_COUNT) - state.counted;
    // A thread's first candidate, often the only one, stays in registers.
    const double gain = t < count ? load_strong(all.candidate_value + t * (1 + SIGNALS)) : -1.0;
    const long long item = t < count ? load_strong(all.candidate_index + t) : all.m;
    const int slot = t < count ? all.slots[item] : -1;
    Top top = {gain, -1.0};
    for (long long c = t + THREADS; c < count; c += THREADS)
        top = top.merged({load_strong(all.candidate_value + c * (1 + SIGNALS)), -1.0});
    top = block_reduce(tops, top, Top{-1.0, -1.0});
    Tied own = {all.m, -1.0, 0};
    long long place = 0;
    if (t < count) {
        const double enough = lowest_tied(top.first, state.scale);
        for (long long c = t; c < count; c += THREADS) {
            const double other = c == t ? gain : load_strong(all.candidate_value + c * (1 + SIGNALS));
            if (other < enough) continue;
            const long long candidate = c == t ? item : load_strong(all.candidate_index + c);
            if (candidate < own.item) own.item = candidate, own.gain = other, place = c;
            ++own.count;
        }
    }
    const Tied tied = block_reduce(ties, own, Tied{all.m, -1.0, 0});
    if (own.count && own.item == tied.item) {
        state.slot = place == t ? slot : all.slots[tied.item];
#pragma unroll 4
        for (int i = 0; i < SIGNALS; ++i) {
            w[i] = load_strong(all.candidate_value + place * (1 + SIGNALS) + 1 + i);
            factors[i] = (float)(w[i] * state.square);
        }
    }
    if (t == 0) decide(all, state, count, top, tied);
    __syncthreads();
}

// Returns at once if the header holds a reason to stop. Grid: any number of blocks that are resident together.
// `in_shared`: W, score and weight of a block's items are in dynamic shared memory during the launch, (SIGNALS + 2) * 4
// bytes for each of ceil(m / blocks) items.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    loop(long long m, int d, const ROWS* rows, const double* norms, const double* scores, double* A, float* W,
         float* score, float* weight, const int* slots, const COLUMN* columns, float* best, double* energy,
         long long* candidate_index, double* candidate_value, double* header_f64, long long* header_i64,
         double* record, int in_shared) {
    SHARED(State, states, 1);
    SHARED(double, w, SIGNALS);
    SHARED(float, factors, SIGNALS);
    SHARED(Best, bests, WARPS);
    // Nobody writes it before the last barrier.
    const long long entered = header_i64[HEADER_I64_REASON];
    if (entered != CODE_RUNNING && entered != CODE_LISTED) return;
    const Arrays all = {m, d, rows, norms, scores, A, slots, best, energy, candidate_index, candidate_value,
                        header_f64, header_i64, record};
    State& state = states[0];
    const long long per = (m + gridDim.x - 1) / gridDim.x, first = min(blockIdx.x * per, m);
    Slice own = {first, (int)min(per, m - first), W + first, m, score + first, weight + first};
    if (in_shared) {
        own.W = reinterpret_cast<float*>(shared_memory());
        own.stride = per, own.score = own.W + SIGNALS * per, own.weight = own.score + per;
        for (int item = threadIdx.x; item < own.count; item += THREADS) {
#pragma unroll 4
            for (int i = 0; i < SIGNALS; ++i) own.W[i * per + item] = W[i * m + first + item];
            own.weight[item] = weight[first + item];
        }
    }
    GridBarrier barrier(header_i64 + HEADER_I64_ARRIVED);
    if (threadIdx.x == 0) read_header(all, state);
    for (int i = threadIdx.x; i < SIGNALS; i += THREADS) {
        // Without a pick nothing moves, whatever the header still holds.
        w[i] = header_i64[HEADER_I64_PENDING] < 0 ? 0.0 : header_f64[HEADER_F64_RESIDUAL + i];
        factors[i] = (float)(w[i] * header_f64[HEADER_F64_SQUARE]);
    }
    __syncthreads();
    while (true) {
        const long long picked = state.pending;
        const COLUMN* column = nullptr;
        if (picked >= 0) {
            if (state.slot < 0) {
                __syncthreads();
                if (threadIdx.x == 0) state.reason = CODE_NEED_COLUMN;
                break;
            }
            column = columns + state.slot * m + first;
            project_out(all, picked, w);
            const long long item = picked - first;
            if (item >= 0 && item < own.count && item % THREADS == threadIdx.x)
                own.weight[item] = weight[picked] = 0.0f;
        }
        Best part = fused_step(own.count, own.W, own.stride, column, factors, own.weight, own.score);
        part = block_reduce(bests, part, nothing());
        if (threadIdx.x == 0) best[blockIdx.x] = part.score, energy[blockIdx.x] = part.energy;
        barrier.arrive();
        if (threadIdx.x == 0 && picked >= 0) enter(all, state, w);
        barrier.wait();
        if (threadIdx.x < 32) find_floor(all, state);
        if (blockIdx.x == 0 && threadIdx.x / 32 == WARPS - 1 && state.picks > state.base) record_energy(all, state);
        __syncthreads();
        if (state.reason != CODE_RUNNING) break;
        const float threshold = (float)state.floor;
        if (threshold <= 0 || part.score >= threshold) rescore_window(all, own, state);
        barrier.sync();
        choose(all, state, w, factors);
        if (state.reason != CODE_RUNNING) break;
    }
    if (in_shared) {
        for (int item = threadIdx.x; item < own.count; item += THREADS) {
#pragma unroll 4
            for (int i = 0; i < SIGNALS; ++i) W[i * m + first + item] = own.W[i * per + item];
            score[first + item] = own.score[item];
        }
    }
    // No block may still be reading the header.
    barrier.sync();
    if (blockIdx.x == 0) {
        if (threadIdx.x == 0) write_header(all, state);
        for (int i = threadIdx.x; i < SIGNALS; i += THREADS) header_f64[HEADER_F64_RESIDUAL + i] = w[i];
    }
}
