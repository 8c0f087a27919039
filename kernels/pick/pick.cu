// A pick of a projecting objective without the host: its decision, and its projection out of S and A. The steps are
// those of pick_triton.py. Places: gip_gpu/backends/gpu/layout.py.
//
// Every kernel returns at once unless the header's reason is RUNNING.
#include "../bounds.cuh"
#include "../rated.cuh"
#include "../reduce.cuh"
#include "../types.cuh"

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
#ifdef PROJECTS
constexpr bool FROM_ROWS = true;
#else
constexpr bool FROM_ROWS = false;
#endif

// A little wider than the tie of the host. Numbers outside the range are left to the host.
constexpr double WIDER = 1 + 0x1p-6, SMALLEST = 0x1p-100, LARGEST = 0x1p100;

struct Total {
    double value;
    __device__ __forceinline__ Total across(int lanes) const { return {__shfl_xor_sync(ALL_LANES, value, lanes)}; }
    __device__ __forceinline__ Total merged(const Total& other) const { return {value + other.value}; }
};

// The values of an item that `Judge.judged` compares, its slack and rounding, its distance and its row's squared norm.
struct Judged {
    double value, slack, noise, distance, square;
    bool safe;  // not dependent, and no number outside the range
};

// Estimates of float64 rounding before a pick, and constants.
struct Rounding {
    double residual, root, grown, scale, ridge;
};

__device__ __forceinline__ Judged judged(const double* value, double square, const Rounding& rounding) {
    double energy = 0;
    if constexpr (HAS_RESIDUAL) {
#pragma unroll 4
        for (int i = 0; i < SIGNALS; ++i) {
            const double w = ONLY_POSITIVE && value[1 + i] < 0 ? 0.0 : value[1 + i];
            energy = __fma_rn(w, w, energy);
        }
    }
    const double q = rounding.ridge + value[0];
    Judged found = {sqrt(energy), 0.0, rounding.residual + rounding.grown, value[0], square, true};
    double terms = rounding.scale;
    if constexpr (!HAS_RESIDUAL) found.value = sqrt(value[0]), found.noise = rounding.root;
    if constexpr (HAS_RESIDUAL && HAS_DISTANCE) {
        const double root = sqrt(q), length = sqrt(square);
        const double own = sqrt((rounding.ridge + square) / (rounding.ridge + 1));
        found.value /= root;
        terms = (rounding.scale * own + found.value * length) / root;
        found.noise = (rounding.residual * own + found.value * rounding.root * length) / root + rounding.grown;
    }
    found.slack = TIE * WIDER * (found.value + terms);
    found.noise = above(found.noise);
    found.safe = energy <= LARGEST && square <= LARGEST;
    if constexpr (FROM_ROWS) found.safe = found.safe && q > DEPENDENT * square && q >= SMALLEST && q <= LARGEST;
    return found;
}

// The best value less its slack and rounding; how many items are not safe.
struct Sure {
    double value;
    int unsafe;
    __device__ __forceinline__ Sure across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, value, lanes), __shfl_xor_sync(ALL_LANES, unsafe, lanes)};
    }
    __device__ __forceinline__ Sure merged(const Sure& other) const {
        return {max(value, other.value), unsafe + other.unsafe};
    }
};

// How many items are close to the best, the place of one of them, and the most that another item's value may be.
struct Close {
    int count;
    long long place;
    double rival;
    __device__ __forceinline__ Close across(int lanes) const {
        return {__shfl_xor_sync(ALL_LANES, count, lanes), __shfl_xor_sync(ALL_LANES, place, lanes),
                __shfl_xor_sync(ALL_LANES, rival, lanes)};
    }
    __device__ __forceinline__ Close merged(const Close& other) const {
        return {count + other.count, max(place, other.place), max(rival, other.rival)};
    }
};

// Makes the pick, in one block, if it is beyond doubt; else changes the reason to NEED_HOST. `parts` has the results of
// the step for each of `blocks`; row_squares the squared norms of the rows x, `each` apart, 0 if one is that of all.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    decide(long long m, int d, const double* parts, long long blocks, const long long* candidate_index,
           const double* candidate_value, long long* count, const double* row_squares, long long each, float* weight,
           float* weights, double* picks_f64, long long* picks_i64, double* record) {
    SHARED(Rated, rating, WARPS);
    SHARED(Sure, surest, WARPS);
    SHARED(Close, closest, WARPS);
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    const long long picks = picks_i64[PICK_I64_PICKS], base = picks_i64[PICK_I64_BASE], listed = count[0];
    const double before = (double)picks_i64[PICK_I64_ROUND], farthest = picks_f64[PICK_F64_FARTHEST];
    const double ridge = picks_f64[PICK_F64_RIDGE], scale = picks_f64[PICK_F64_SCALE];
    const double root_unit = picks_f64[PICK_F64_ROOT_UNIT], gamma = picks_f64[PICK_F64_GAMMA];
    double drift = picks_f64[PICK_F64_DRIFT], projected = picks_f64[PICK_F64_PROJECTED];
    double largest_root = picks_f64[PICK_F64_LARGEST_ROOT], inverse_least = picks_f64[PICK_F64_INVERSE_LEAST];
    double error = picks_f64[PICK_F64_ERROR], far_error = picks_f64[PICK_F64_DISTANCE_ERROR];
    double largest = picks_f64[PICK_F64_LARGEST_RESIDUAL];
    double spread = FROM_ROWS ? spread_of(before, inverse_least) : 1.0;
    Rounding rounding = {spread * (drift + float64_error(d, projected, scale)),
                         FROM_ROWS ? root_error(root_unit, before, spread) : 0.0,
                         root_unit * largest_root * largest_root * picks_f64[PICK_F64_INVERSE_FIRST], scale, ridge};
    const Rated step = rated(rating, parts, blocks);

    Sure own = {-1.0, 0};
    for (long long at = threadIdx.x; at < listed; at += THREADS) {
        const Judged item =
            judged(candidate_value + at * (1 + SIGNALS), row_squares[candidate_index[at] * each], rounding);
        own = own.merged({item.value - item.slack - item.noise, !item.safe});
    }
    const Sure sure = block_reduce(surest, own, Sure{-1.0, 0});
    Close near = {0, 0, 0.0};
    for (long long at = threadIdx.x; at < listed; at += THREADS) {
        const Judged item =
            judged(candidate_value + at * (1 + SIGNALS), row_squares[candidate_index[at] * each], rounding);
        const bool is_close = item.value + item.slack + item.noise >= sure.value;
        near = near.merged({is_close, is_close ? at : 0, is_close ? 0.0 : item.value + item.noise});
    }
    near = block_reduce(closest, near, Close{0, 0, 0.0});

    const long long always = min(picks_i64[PICK_I64_ALWAYS], listed);
    const long long excess =
        picks_i64[PICK_I64_EXCESS] + max(listed - max((long long)USUAL_WINDOW, 2 * always), 0ll);
    const bool wide = error > 4 * (cast_error(largest) + rounding.residual) || far_error > 4 * cast_error(farthest);
    const bool refresh = 2 * excess >= m && picks_i64[PICK_I64_UNSETTLED] && wide;
    const double first = picks_f64[PICK_F64_FIRST];
    bool certain = step.lower > 0 && step.lower < DIVERGED_NORM && !sure.unsafe && near.count == 1 && !refresh;
    Judged best = {};
    if (certain) {
        const long long item = candidate_index[near.place];
        best = judged(candidate_value + near.place * (1 + SIGNALS), row_squares[item * each], rounding);
        largest_root = fmax(largest_root, best.value);
        certain = best.value * first > FLOOR * (1 + 0x1p-20) * largest_root * largest_root &&
                  (!FROM_ROWS || best.distance >= SMALLEST);
    }
    // All threads have read the values that thread 0 overwrites.
    __syncthreads();
    double* const row = record + (picks - base) * (RECORD_WEIGHTS + SIGNALS);
    if (threadIdx.x == 0) {
        count[0] = 0;
        if (picks > base) (row - (RECORD_WEIGHTS + SIGNALS))[RECORD_ENERGY] = step.energy;
    }
    if (!certain) {
        if (threadIdx.x == 0) picks_i64[PICK_I64_REASON] = CODE_NEED_HOST;
        return;
    }
    const long long item = candidate_index[near.place];
    const double* const w = candidate_value + near.place * (1 + SIGNALS) + 1;
    double q = picks_f64[PICK_F64_PLAIN_Q], length = 1;
    if constexpr (FROM_ROWS) q = ridge + best.distance, length = sqrt(best.distance) * (1 + 1e-9);
    // The power of two above `length`.
    const double unit = __longlong_as_double(((__double_as_longlong(length) >> 52) + 1) << 52);
    for (int i = threadIdx.x; i < SIGNALS; i += THREADS)
        weights[i] = (float)(w[i] * (unit / q)), row[RECORD_WEIGHTS + i] = w[i];
    if (threadIdx.x) return;
    double rival = near.rival;
    if (listed < m - picks - picks_i64[PICK_I64_BLOCKED]) {
        double outside = projecting_floor(step.lower, farthest, !HAS_RESIDUAL) * (1 + OFF);
        if constexpr (!HAS_RESIDUAL) outside = sqrt(outside + OFF * farthest);
        else if constexpr (HAS_DISTANCE) outside *= picks_f64[PICK_F64_SHARE_ROOT];
        rival = fmax(rival, outside);
    }
    rival = above(rival + best.noise);
    row[RECORD_INDEX] = (double)item, row[RECORD_GAIN] = best.value * best.value;
    row[RECORD_RIVAL] = above(rival * rival), row[RECORD_CANDIDATES] = (double)listed, row[RECORD_TIES] = 1;
    weight[item] = 0;

    // The bounds of Projecting._widen and ProjectingRound._count.
    double squares = 0;
#pragma unroll 4
    for (int i = 0; i < SIGNALS; ++i) squares = __fma_rn(w[i], w[i], squares);
    const double norm = above(sqrt(squares));
    if constexpr (!ONLY_POSITIVE && HAS_RESIDUAL)
        largest = fmin(largest, best.value * (HAS_DISTANCE ? sqrt(ridge + farthest) : 1.0) * (1 + 1e-9));
    double moved = above(norm * unit / q);
    error = above(step_error(error, gamma, largest, moved));
    largest = above(largest + moved * (1 + gamma));
    moved = above(norm * length / q);
    projected = above(projected + moved);
    // Each entry of A is rounded once, and so is the product added to it; a row is rounded twice.
    drift = above(drift + U64 * (projected + 4 * moved));
    const double own_square = picks_f64[PICK_F64_OWN_SQUARE];
    inverse_least = fmax(inverse_least, above(sqrt((own_square > 0 ? own_square : best.square) / q)));
    if constexpr (FROM_ROWS) {
        far_error = above(distance_error(far_error, gamma, unit, q, best.distance, farthest));
        spread = spread_of(before + 1, inverse_least);
        rounding.root = root_error(root_unit, before + 1, spread);
    }
    rounding.residual = spread * (drift + float64_error(d, projected, scale));
    picks_f64[PICK_F64_ERROR] = error, picks_f64[PICK_F64_DISTANCE_ERROR] = far_error;
    picks_f64[PICK_F64_DRIFT] = drift, picks_f64[PICK_F64_PROJECTED] = projected;
    picks_f64[PICK_F64_LARGEST_RESIDUAL] = largest, picks_f64[PICK_F64_INVERSE_LEAST] = inverse_least;
    picks_f64[PICK_F64_LARGEST_ROOT] = largest_root;
    picks_f64[PICK_F64_RESIDUAL_BOUND] = residual_bound(
        error, largest, rounding.residual, scale, picks_f64[PICK_F64_NORM_ERROR], picks_f64[PICK_F64_FLUSHED_NORM]);
    picks_f64[PICK_F64_DISTANCE_BOUND] = distance_bound(far_error, rounding.root, farthest);
    picks_f64[PICK_F64_SHRINK] = unit * unit / q, picks_f64[PICK_F64_UNIT] = unit, picks_f64[PICK_F64_Q] = q;
    picks_i64[PICK_I64_PICKS] = picks + 1, picks_i64[PICK_I64_ROUND] += 1;
    picks_i64[PICK_I64_EXCESS] = excess, picks_i64[PICK_I64_ALWAYS] = always;
    picks_i64[PICK_I64_UNSETTLED] = 1, picks_i64[PICK_I64_ITEM] = item;
}

constexpr int PIECE = 2048;  // values of a row in shared memory

// Computes phi = S'x of the pick; a lane takes a column of S, warp c the rows c, c + WARPS, ...
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    remaining(int d, const ROWS* rows, const double* norms, const double* S, double* phi, const long long* picks_i64,
              double factor) {
    SHARED(double, x, PIECE);
    SHARED(double, sums, THREADS);
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    const long long item = picks_i64[PICK_I64_ITEM];
    const int lane = threadIdx.x % 32, column = blockIdx.x * 32 + lane;
    double sum = 0;
    for (int start = 0; start < d; start += PIECE) {
        const int length = min(PIECE, d - start);
        __syncthreads();
        for (int c = threadIdx.x; c < length; c += THREADS)
            x[c] = to_double(rows[item * d + start + c]) / norms[item] * factor;
        __syncthreads();
        if (column >= d) continue;
#pragma unroll 8
        for (int c = threadIdx.x / 32; c < length; c += WARPS)
            sum = __fma_rn(x[c], S[(long long)(start + c) * d + column], sum);
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= 32 || column >= d) return;
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) sum += sums[warp * 32 + lane];
    phi[column] = sum;
}

// Computes g = S phi, a warp for each row of S, and ||g||^2 by block.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    lifted(int d, const double* S, const double* phi, double* g, double* g_squares, const long long* picks_i64) {
    SHARED(double, squares, WARPS);
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    const int lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
    Total sum = {0.0};
    if (row < d) {
#pragma unroll 4
        for (int c = lane; c < d; c += 32) sum.value = __fma_rn(S[(long long)row * d + c], phi[c], sum.value);
    }
    sum = warp_reduce(sum);
    if (lane == 0) {
        if (row < d) g[row] = sum.value;
        squares[threadIdx.x / 32] = sum.value * sum.value;
    }
    __syncthreads();
    if (threadIdx.x) return;
    double total = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; ++warp) total += squares[warp];
    g_squares[blockIdx.x] = total;
}

// Projects the pick out of TILE_ROWS rows of THREADS columns of S, as `Projector.project`; the first rows' blocks also
// write columns of A, and of h. `blocks`: of `lifted`.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    project(int d, const ROWS* rows, const double* norms, double* S, double* A, const double* phi, const double* g,
            const double* g_squares, float* h, const double* record, const double* picks_f64,
            const long long* picks_i64, int blocks, double factor) {
    SHARED(Total, scratch, WARPS);
    if (picks_i64[PICK_I64_REASON] != CODE_RUNNING) return;
    const double q = picks_f64[PICK_F64_Q], ridge = picks_f64[PICK_F64_RIDGE];
    const int column = blockIdx.x * THREADS + threadIdx.x;
    double longer = 1;
    if constexpr (FROM_ROWS) {
        if (ridge == 0) {
            Total own = {0.0};
            for (int at = threadIdx.x; at < blocks; at += THREADS) own.value += g_squares[at];
            longer = sqrt(q / block_reduce(scratch, own, Total{0.0}).value);
        }
        if (column < d) {
            const double share = longer / (q + sqrt(ridge * q)), own = ridge == 0 ? g[column] * longer : phi[column];
            const int first = blockIdx.y * TILE_ROWS;
            for (int row = first; row < min(first + TILE_ROWS, d); ++row) {
                double* const at = S + (long long)row * d + column;
                *at = __fma_rn(-g[row] * share, own, *at);
            }
        }
    }
    if (blockIdx.y || column >= d) return;
    const long long item = picks_i64[PICK_I64_ITEM], place = picks_i64[PICK_I64_PICKS] - 1 - picks_i64[PICK_I64_BASE];
    const double found =
        FROM_ROWS ? g[column] * longer : to_double(rows[item * d + column]) / norms[item] * factor;
    h[column] = (float)(found / picks_f64[PICK_F64_UNIT]);
    const double* const w = record + place * (RECORD_WEIGHTS + SIGNALS) + RECORD_WEIGHTS;
    for (int i = 0; i < SIGNALS; ++i) {
        double* const at = A + (long long)i * d + column;
        *at = __fma_rn(w[i] / q, found, *at);
    }
}
