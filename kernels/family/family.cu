// The passes of a pick if the step computes its column: `step` over all items, `candidates` and `distances` over the
// window. A host that decides the pick launches them with numbers as arguments. If the device decides, `gated_step`,
// `gated_candidates` and `gated_distances` do the same with numbers from its header (kernels/pick), and return at once
// unless its reason is RUNNING. Arrays as in gip_gpu/backends/gpu/items.py; gip_gpu/backends/items.py defines their values and the score's
// bounds.
#include "../rated.cuh"
#include "../rescore.cuh"

#if defined(MEASURE_RATIO)
constexpr bool HAS_RESIDUAL = true, HAS_DISTANCE = true;
#elif defined(MEASURE_NORM)
constexpr bool HAS_RESIDUAL = true, HAS_DISTANCE = false;
#elif defined(MEASURE_DISTANCE)
constexpr bool HAS_RESIDUAL = false, HAS_DISTANCE = true;
#endif
#ifdef POSITIVE
constexpr bool ONLY_POSITIVE = true;
#else
constexpr bool ONLY_POSITIVE = false;
#endif

// `step` reads m d values of rows, and n + 6 other values for each item. A warp takes 32 items and ROWS_AT_ONCE of
// their rows at a time. Each lane loads 16 bytes of each row, all in flight together (4 kB for each warp), for one load
// of h; h stays in the first-level cache, which rows bypass. Then lane l has the product of item l, and the values of
// the items are read and written 128 bytes at a time.

constexpr int SPAN = 32 * CHUNK;  // values of a row that a warp takes at a time
constexpr int OUTPUTS_AT_ONCE = SIGNALS < 16 ? SIGNALS : 16;

// CHUNK values of a row, or the matching ones of h. WIDE: neighbours, 16 bytes for each load; else 32 apart, so that
// the lanes of a warp read neighbours. Zero beyond the end. Values that are read ONCE bypass the first-level cache.
template <bool WIDE, bool ONCE, class T>
struct Piece {
    alignas(16) T values[CHUNK];

    __device__ __forceinline__ void load(const T* row, int start, int d) {
        const int lane = threadIdx.x % 32;
        if constexpr (WIDE) {
            const int at = start + lane * CHUNK;
#pragma unroll
            for (int word = 0; word < (int)sizeof(values) / 16; ++word) {
                const uint4* const words = reinterpret_cast<const uint4*>(row + at) + word;
                uint4 read = make_uint4(0, 0, 0, 0);
                if (at < d) read = ONCE ? __ldcg(words) : *words;
                reinterpret_cast<uint4*>(values)[word] = read;
            }
        } else {
#pragma unroll
            for (int k = 0; k < CHUNK; ++k) {
                const int at = start + lane + 32 * k;
                values[k] = at < d ? row[at] : T{};
            }
        }
    }
};

// Computes the products of h with 32 rows from `first` on; lane l gets that of row first + l. All rows are summed in
// the same order.
template <bool WIDE>
__device__ __forceinline__ float products(const INPUT* rows, const float* h, long long first, long long count, int d) {
    const int lane = threadIdx.x % 32;
    float own = 0;
#pragma unroll 1
    for (int group = 0; group < 32; group += ROWS_AT_ONCE) {
        float sums[ROWS_AT_ONCE] = {};
#pragma unroll 1
        for (int start = 0; start < d; start += SPAN) {
            Piece<WIDE, true, INPUT> pieces[ROWS_AT_ONCE];
            Piece<WIDE, false, float> factors;
#pragma unroll
            for (int r = 0; r < ROWS_AT_ONCE; ++r)
                pieces[r].load(rows + min(first + group + r, count - 1) * d, start, d);
            factors.load(h, start, d);
#pragma unroll
            for (int r = 0; r < ROWS_AT_ONCE; ++r)
#pragma unroll
                for (int k = 0; k < CHUNK; ++k)
                    sums[r] = __fmaf_rn(to_float(pieces[r].values[k]), factors.values[k], sums[r]);
        }
        // Each exchange halves the rows of which a lane holds partial sums: one shuffle for each row, not five.
#pragma unroll
        for (int half = ROWS_AT_ONCE / 2; half; half /= 2)
#pragma unroll
            for (int r = 0; r < half; ++r) {
                const float kept = lane & half ? sums[r + half] : sums[r];
                const float sent = lane & half ? sums[r] : sums[r + half];
                sums[r] = kept + __shfl_xor_sync(ALL_LANES, sent, half);
            }
#pragma unroll
        for (int lanes = ROWS_AT_ONCE; lanes < 32; lanes *= 2) sums[0] += __shfl_xor_sync(ALL_LANES, sums[0], lanes);
        if (lane / ROWS_AT_ONCE == group / ROWS_AT_ONCE) own = sums[0];
    }
    return own;
}

__device__ __forceinline__ bool aligned(const void* start) {
    return reinterpret_cast<unsigned long long>(start) % 16 == 0;
}

// The part of a residual that counts in the score.
__device__ __forceinline__ float seen(float residual) {
    return ONLY_POSITIVE && residual < 0 ? 0.0f : residual;
}

// max(x, 0); NaN stays NaN.
__device__ __forceinline__ float clipped(float x) { return x < 0 ? 0.0f : x; }

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// Squared norms of an item's residual, and of its part that counts in the score.
struct Squares {
    float all, counted;
};

// Computes W -= c weights for one item; its signal i is W[i * m].
__device__ __forceinline__ Squares move(float* W, long long m, float c, bool moves, const float* weights) {
    Squares squares = {0.0f, 0.0f};
    for (int first = 0; first < SIGNALS; first += SIGNALS_AT_ONCE) {
        float part[SIGNALS_AT_ONCE];
#pragma unroll
        for (int i = 0; i < SIGNALS_AT_ONCE; ++i) part[i] = first + i < SIGNALS ? W[(first + i) * m] : 0.0f;
#pragma unroll
        for (int i = 0; i < SIGNALS_AT_ONCE; ++i) {
            if (moves && first + i < SIGNALS) W[(first + i) * m] = part[i] = __fmaf_rn(-c, weights[first + i], part[i]);
            squares.all = __fmaf_rn(part[i], part[i], squares.all);
            squares.counted = __fmaf_rn(seen(part[i]), seen(part[i]), squares.counted);
        }
    }
    return squares;
}

// Computes ||W metric||^2 of an item; its residual is in the cache by now.
__device__ __forceinline__ float measured(const float* W, long long m, const float* metric) {
    float squares = 0;
    for (int first = 0; first < SIGNALS; first += OUTPUTS_AT_ONCE) {
        float outputs[OUTPUTS_AT_ONCE] = {};
#pragma unroll 4
        for (int i = 0; i < SIGNALS; ++i) {
            const float part = W[i * m];
#pragma unroll
            for (int k = 0; k < OUTPUTS_AT_ONCE; ++k)
                if (first + k < SIGNALS) outputs[k] = __fmaf_rn(part, metric[i * SIGNALS + first + k], outputs[k]);
        }
#pragma unroll
        for (int k = 0; k < OUTPUTS_AT_ONCE; ++k) squares = __fmaf_rn(outputs[k], outputs[k], squares);
    }
    return squares;
}

// Bounds on the errors of W and distance, and the denominator a + b distance of a ratio.
struct ErrorBounds {
    float residual, distance, a, b;
};

struct Interval {
    float lower, upper;
};

__device__ __forceinline__ Interval bounds_of(float norm, float distance, const ErrorBounds& doubt) {
    if constexpr (!HAS_RESIDUAL) return {clipped(distance - doubt.distance), distance + doubt.distance};
    const Interval found = {clipped(norm - doubt.residual), norm + doubt.residual};
    if constexpr (!HAS_DISTANCE) return found;
    const float most = root(__fmaf_rn(doubt.b, clipped(distance + doubt.distance), doubt.a));
    const float least = root(__fmaf_rn(doubt.b, clipped(distance - doubt.distance), doubt.a));
    // With a zero denominator nothing is known: the lower bound is 0, the upper bound infinite.
    return {most > 0 ? quotient(found.lower, most) : 0.0f, least > 0 ? quotient(found.upper, least) : infinity()};
}

// Results for the items of a block.
struct Part {
    float lower;
    double energy;
    __device__ __forceinline__ Part across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, lower, lanes), __shfl_xor_sync(ALL_LANES, energy, lanes)};
    }
    __device__ __forceinline__ Part merged(const Part& other) const {
        return {max(lower, other.lower), energy + other.energy};
    }
};

// Updates and rates items first .. first + count of the pool. `rows` has their rows in the format in which they are
// multiplied; without rows nothing is projected out, and the items are only rated. `metric` may be null.
//
// parts[2 block] is the largest lower bound of an eligible item's score, -1 if there is none; NaN counts as infinite.
// parts[2 block + 1] is ||W||^2 over the items with weight >= 0, or the sum of their distances. Unless WEIGHTED, all
// positive weights are 1.
template <bool WEIGHTED>
__device__ __forceinline__ void step_items(long long m, int d, const INPUT* rows, const float* inverse, const float* h,
                                           const float* weights, const float* metric, float* W, float* distance,
                                           const float* weight, float* upper, double* parts, long long first,
                                           long long count, const ErrorBounds& doubt, float shrink) {
    SHARED(Part, scratch, WARPS);
    const int lane = threadIdx.x % 32;
    const bool wide = d % CHUNK == 0 && aligned(rows) && aligned(h);
    Part own = {-1.0f, 0.0};
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32, stride = 32ll * gridDim.x * WARPS;
    for (long long start = 32 * warp; start < count; start += stride) {
        const long long j = first + start + lane;
        const bool real = start + lane < count;
        const float held = real ? weight[j] : -1.0f, scale = real && rows ? inverse[j] : 0.0f;
        float far = HAS_DISTANCE && real ? distance[j] : 0.0f, c = 0;
        if (rows) c = wide ? products<true>(rows, h, start, count, d) : products<false>(rows, h, start, count, d);
        c *= scale;
        if (!real) continue;
        if (HAS_DISTANCE && rows) distance[j] = far = __fmaf_rn(-c * c, shrink, far);
        Squares squares = {0.0f, 0.0f};
        if constexpr (HAS_RESIDUAL) {
            squares = move(W + j, m, c, rows, weights);
            if (metric) squares.counted = measured(W + j, m, metric);
        }
        Interval score = bounds_of(root(squares.counted), far, doubt);
        if (WEIGHTED && held > 0 && held < 1) {
            // Weights multiply distances, and their roots norms and ratios; OFF covers the rounding.
            const float share = HAS_RESIDUAL ? root(held) : held;
            score = {score.lower * (share * (float)(1 - OFF)), score.upper * (share * (float)(1 + OFF))};
        }
        upper[j] = held > 0 ? score.upper : -1.0f;
        if (held > 0) own.lower = max(own.lower, score.lower == score.lower ? score.lower : infinity());
        if (held >= 0) own.energy += to_double(HAS_RESIDUAL ? squares.all : far);
    }
    own = block_reduce(scratch, own, Part{-1.0f, 0.0});
    if (threadIdx.x == 0) parts[2 * blockIdx.x] = own.lower, parts[2 * blockIdx.x + 1] = own.energy;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    step(long long m, int d, const INPUT* rows, const float* inverse, const float* h, const float* weights,
         const float* metric, float* W, float* distance, const float* weight, float* upper, double* parts,
         long long first, long long count, float residual_doubt, float distance_doubt, float a, float b, float shrink) {
    step_items<true>(m, d, rows, inverse, h, weights, metric, W, distance, weight, upper, parts, first, count,
               {residual_doubt, distance_doubt, a, b}, shrink);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    gated_step(long long m, int d, const INPUT* rows, const float* inverse, const float* h, const float* weights,
               float* W, float* distance, const float* weight, float* upper, double* parts, const double* picks_f64,
               const long long* picks_i64, float a, float b) {
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    step_items<false>(m, d, rows, inverse, h, weights, nullptr, W, distance, weight, upper, parts, 0, m,
               {(float)picks_f64[PICK_F64_RESIDUAL_BOUND], (float)picks_f64[PICK_F64_DISTANCE_BOUND], a, b},
               (float)picks_f64[PICK_F64_SHRINK]);
}

// `candidates` lists the window, one warp for each item; a window has a few items, seldom thousands.

constexpr int SCANNED_AT_ONCE = 4;  // items of a lane with loads in flight at once

// Appends every eligible item with an upper bound of at least `floor`, in any order: its index to `candidate_index`,
// and its 1 + SIGNALS values to `candidate_value`: the distance, then the exact residual scores - A x, x = row / norm *
// factor. The distance is ||x||^2 if S is the identity; else `distances` writes it. `rows` are as given. All items are
// summed in the same order.
__device__ __forceinline__ void list_items(long long m, int d, const ROWS* rows, const double* norms,
                                           const double* scores, const double* A, const float* weight,
                                           const float* upper, long long* candidate_index, double* candidate_value,
                                           long long* count, double floor, double factor, bool identity) {
    const int lane = threadIdx.x % 32;
    const long long span = 32 * SCANNED_AT_ONCE, stride = span * gridDim.x * WARPS;
    for (long long start = span * ((long long)blockIdx.x * WARPS + threadIdx.x / 32); start < m; start += stride) {
        unsigned in = 0;
#pragma unroll
        for (int k = 0; k < SCANNED_AT_ONCE; ++k) {
            const long long j = start + lane + 32 * k;
            in |= unsigned(j < m && weight[j] > 0 && to_double(upper[j]) >= floor) << k;
        }
#pragma unroll 1
        for (int k = 0; k < SCANNED_AT_ONCE; ++k) {
            for (unsigned left = __ballot_sync(ALL_LANES, in >> k & 1); left; left &= left - 1) {
                const long long j = start + 32 * k + __ffs(left) - 1;
                double* exact = nullptr;
                if (lane == 0) {
                    const auto place = (long long)atomicAdd(reinterpret_cast<unsigned long long*>(count), 1ull);
                    candidate_index[place] = j;
                    exact = candidate_value + place * (1 + SIGNALS);
                }
                const ROWS* const row = rows + j * d;
                const double norm = norms[j];
                rescore(
                    row, norm, scores + j * SIGNALS, d, [=](long long at) { return A[at] * factor; },
                    [=](int i, double residual) { exact[1 + i] = residual; });
                if (!identity) continue;
                Sum squares = {0.0};
                for (int c = lane; c < d; c += 32) {
                    const double x = to_double(row[c]) / norm * factor;
                    squares.value = __fma_rn(x, x, squares.value);
                }
                squares = warp_reduce(squares);
                if (lane == 0) exact[0] = squares.value;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    candidates(long long m, int d, const ROWS* rows, const double* norms, const double* scores, const double* A,
               const float* weight, const float* upper, long long* candidate_index, double* candidate_value,
               long long* count, double floor, double factor, int identity) {
    list_items(m, d, rows, norms, scores, A, weight, upper, candidate_index, candidate_value, count, floor, factor,
               identity);
}

// `parts` has the results of `step` for each of `blocks`. `identity`: the distances are not needed.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    gated_candidates(long long m, int d, const ROWS* rows, const double* norms, const double* scores, const double* A,
                     const float* weight, const float* upper, const double* parts, long long* candidate_index,
                     double* candidate_value, long long* count, const double* picks_f64, const long long* picks_i64,
                     long long blocks, double factor, int identity) {
    SHARED(Rated, scratch, WARPS);
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    const double best = rated(scratch, parts, blocks).lower;
    list_items(m, d, rows, norms, scores, A, weight, upper, candidate_index, candidate_value, count,
               projecting_floor(best, picks_f64[PICK_F64_FARTHEST], !HAS_RESIDUAL), factor, identity);
}

// `distances` computes ||S'x||^2 of the candidates. Most of its time is reading S from the second-level cache: a single
// multiprocessor would take 15 us for 384 x 384 and 90 us for 1024 x 1024, so a block takes one candidate and 32
// columns.

constexpr int PIECE = 2048;  // values of a row in shared memory: 16 kB, and rows are seldom longer

// Each of 32 lanes takes a column of S, warp c the rows c, c + WARPS, ... Returns the sum of squares in thread 0.
__device__ __forceinline__ double squares_of(int columns, const ROWS* row, double norm, double factor, const double* S,
                                             int d, bool fresh, double* x, double* sums) {
    const int lane = threadIdx.x % 32, column = columns * 32 + lane;
    double phi = 0;
    // Other threads may still read the shared memory.
    __syncthreads();
    for (int start = 0; start < d; start += PIECE) {
        const int count = min(PIECE, d - start);
        if (fresh || d > PIECE) {
            if (start) __syncthreads();
            for (int c = threadIdx.x; c < count; c += THREADS) x[c] = to_double(row[start + c]) / norm * factor;
            __syncthreads();
        }
        if (column >= d) continue;
#pragma unroll 8
        for (int c = threadIdx.x / 32; c < count; c += WARPS)
            phi = __fma_rn(x[c], __ldcg(S + (long long)(start + c) * d + column), phi);
    }
    sums[threadIdx.x] = phi;
    __syncthreads();
    if (threadIdx.x >= 32) return 0;
    phi = sums[lane];
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) phi += sums[warp * 32 + lane];
    return warp_reduce(Sum{phi * phi}).value;
}

// `partial` holds `room` values; `ticket` is zero before and after. If there is room, blocks share a candidate. The
// sums and their order are the same either way, and for every item, so identical rows get identical bits.
__device__ __forceinline__ void measure_items(int d, const ROWS* rows, const double* norms, const double* S,
                                              const long long* candidate_index, double* candidate_value,
                                              const long long* count, double* partial, long long room,
                                              unsigned long long* ticket, double factor) {
    SHARED(double, x, PIECE);
    SHARED(double, sums, THREADS);
    SHARED(int, last, 1);
    const long long parts = (d + 31) / 32, candidates = count[0];
    const bool shared = candidates * parts <= room;
    const long long each = shared ? 1 : parts;
    for (long long part = blockIdx.x * each; part < candidates * parts; part += gridDim.x * each) {
        const long long j = candidate_index[part / parts];
        double sum = 0;
        for (int k = 0; k < each; ++k)
            sum += squares_of((int)(part % parts) + k, rows + j * d, norms[j], factor, S, d, k == 0, x, sums);
        if (threadIdx.x == 0) (shared ? partial[part] : candidate_value[part / parts * (1 + SIGNALS)]) = sum;
    }
    if (!shared) return;
    if (threadIdx.x == 0) last[0] = add_acq_rel(ticket, 1) == gridDim.x - 1;
    __syncthreads();
    if (!last[0]) return;
    for (long long candidate = threadIdx.x; candidate < candidates; candidate += THREADS) {
        double sum = 0;
#pragma unroll 4
        for (int k = 0; k < parts; ++k) sum += load_strong(partial + candidate * parts + k);
        candidate_value[candidate * (1 + SIGNALS)] = sum;
    }
    if (threadIdx.x == 0) ticket[0] = 0;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    distances(int d, const ROWS* rows, const double* norms, const double* S, const long long* candidate_index,
              double* candidate_value, const long long* count, double* partial, long long room,
              unsigned long long* ticket, double factor) {
    measure_items(d, rows, norms, S, candidate_index, candidate_value, count, partial, room, ticket, factor);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    gated_distances(int d, const ROWS* rows, const double* norms, const double* S, const long long* candidate_index,
                    double* candidate_value, const long long* count, double* partial, long long room,
                    unsigned long long* ticket, const long long* picks_i64, double factor) {
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    measure_items(d, rows, norms, S, candidate_index, candidate_value, count, partial, room, ticket, factor);
}
