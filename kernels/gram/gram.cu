// Tiles of the Gram matrix: float32 sums of products of rows, fused with the rows' normalisation:
//     out[i, j] = (left_i . right_j) * left_inverse[i] * right_inverse[j]
//
// A block computes one TILE x TILE tile in stages of DEPTH elements of d; while a stage is multiplied from shared
// memory, the next one is loaded into registers. INPUT_FP32 multiplies in true float32; INPUT_TF32 (float32 values that
// tf32 holds exactly), INPUT_FP16 and INPUT_BF16 on tensor cores, WARPS_DOWN x WARPS_ACROSS warps for each tile.
// Products of such inputs are exact in float32. Sums are not: tensor cores truncate them, see `gram_entry_error` of the
// host.
#include "../types.cuh"

constexpr int BLOCK = 32 * WARPS_DOWN * WARPS_ACROSS;
constexpr int CHUNKS = DEPTH / CHUNK;         // loads of a row in a stage
constexpr int LOADS = TILE * CHUNKS / BLOCK;  // loads of a thread for each operand in a stage
static_assert(DEPTH % CHUNK == 0 && BLOCK % CHUNKS == 0 && LOADS * BLOCK == TILE * CHUNKS, "uneven loads");

// Sums are written through shared memory in slabs of rows. The pitch is odd, so that a column is read without bank
// conflicts, and 9 modulo 32, so that the fragments of a warp (rows g of 0..7, columns 2 t) collide at most in pairs.
constexpr int PITCH = TILE + 9;
static_assert(TILE % 32 == 0, "the pitch counts on it");

__device__ __forceinline__ unsigned bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ unsigned bits_of(half_bits value) { return value.bits; }
__device__ __forceinline__ unsigned bits_of(bf16_bits value) { return value.bits; }

#ifdef INPUT_FP32
constexpr int SIDE = TILE / 8;  // a thread has 8 x 8 sums: rows 4 y + 0..3 of both halves of the tile, columns likewise
constexpr int HALF = TILE / 2;
constexpr int SLABS = 2;
static_assert(BLOCK == SIDE * SIDE, "8 x 8 sums a thread");
constexpr int PANEL = DEPTH * (TILE + 4) * 4;  // bytes of an operand in a stage: [d][row], rows 16-byte aligned

struct Sums {
    float value[8][8] = {};

    __device__ __forceinline__ void accumulate(const char* left, const char* right) {
        const float* a = reinterpret_cast<const float*>(left) + threadIdx.x / SIDE * 4;
        const float* b = reinterpret_cast<const float*>(right) + threadIdx.x % SIDE * 4;
#pragma unroll
        for (int k = 0; k < DEPTH; ++k, a += TILE + 4, b += TILE + 4) {
            float x[8], y[8];
            *reinterpret_cast<float4*>(x) = *reinterpret_cast<const float4*>(a);
            *reinterpret_cast<float4*>(x + 4) = *reinterpret_cast<const float4*>(a + HALF);
            *reinterpret_cast<float4*>(y) = *reinterpret_cast<const float4*>(b);
            *reinterpret_cast<float4*>(y + 4) = *reinterpret_cast<const float4*>(b + HALF);
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) value[i][j] += x[i] * y[j];
        }
    }

    template <int SLAB>
    __device__ __forceinline__ void put(float* slab, const float* left_scale, const float* right_scale) const {
        const int y = threadIdx.x / SIDE * 4, x = threadIdx.x % SIDE * 4;
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                const int column = x + j % 4 + j / 4 * HALF;
                slab[(y + i) * PITCH + column] =
                    value[4 * SLAB + i][j] * left_scale[y + i + SLAB * HALF] * right_scale[column];
            }
    }
};

__device__ __forceinline__ void put_chunk(char* panel, int row, int chunk, uint4 words) {
    float* place = reinterpret_cast<float*>(panel) + chunk * CHUNK * (TILE + 4) + row;
    place[0] = __uint_as_float(words.x);
    place[TILE + 4] = __uint_as_float(words.y);
    place[2 * (TILE + 4)] = __uint_as_float(words.z);
    place[3 * (TILE + 4)] = __uint_as_float(words.w);
}
#else
// In bytes, all types have the same fragments: one instruction takes 32 bytes of each row.
constexpr int ROW = DEPTH * (int)sizeof(INPUT) + 16;  // an odd number of 16 bytes: load_matrices without bank conflicts
constexpr int PANEL = TILE * ROW;
constexpr int STEPS = DEPTH * (int)sizeof(INPUT) / 32;
constexpr int DOWN = TILE / WARPS_DOWN, ACROSS = TILE / WARPS_ACROSS;  // part of the tile for each warp
constexpr int SLABS = WARPS_DOWN;
static_assert(STEPS * 32 == DEPTH * sizeof(INPUT) && ROW / 16 % 2 == 1, "whole steps, odd pitch");
static_assert(DOWN % 16 == 0 && ACROSS % 16 == 0, "whole fragments");

struct Sums {
    float value[DOWN / 16][ACROSS / 8][4] = {};

    __device__ __forceinline__ void accumulate(const char* left, const char* right) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, matrix = lane / 8;
        left += (warp / WARPS_ACROSS * DOWN + matrix % 2 * 8 + lane % 8) * ROW + matrix / 2 * 16;
        right += (warp % WARPS_ACROSS * ACROSS + matrix / 2 * 8 + lane % 8) * ROW + matrix % 2 * 16;
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            unsigned a[DOWN / 16][4];
#pragma unroll
            for (int i = 0; i < DOWN / 16; ++i) load_matrices(a[i], left + i * 16 * ROW + step * 32);
#pragma unroll
            for (int j = 0; j < ACROSS / 16; ++j) {
                unsigned both[4];
                load_matrices(both, right + j * 16 * ROW + step * 32);
                const unsigned b[2][2] = {{both[0], both[1]}, {both[2], both[3]}};
#pragma unroll
                for (int i = 0; i < DOWN / 16; ++i)
#pragma unroll
                    for (int n = 0; n < 2; ++n) {
#if defined(INPUT_FP16)
                        mma_fp16(value[i][2 * j + n], a[i], b[n]);
#elif defined(INPUT_BF16)
                        mma_bf16(value[i][2 * j + n], a[i], b[n]);
#else
                        mma_tf32(value[i][2 * j + n], a[i], b[n]);
#endif
                    }
            }
        }
    }

    template <int SLAB>
    __device__ __forceinline__ void put(float* slab, const float* left_scale, const float* right_scale) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        if (warp / WARPS_ACROSS != SLAB) return;
#pragma unroll
        for (int i = 0; i < DOWN / 16; ++i)
#pragma unroll
            for (int j = 0; j < ACROSS / 8; ++j)
#pragma unroll
                for (int r = 0; r < 4; ++r) {
                    const int row = i * 16 + lane / 4 + r / 2 * 8;
                    const int column = warp % WARPS_ACROSS * ACROSS + j * 8 + lane % 4 * 2 + r % 2;
                    slab[row * PITCH + column] = value[i][j][r] * left_scale[SLAB * DOWN + row] * right_scale[column];
                }
    }
};

__device__ __forceinline__ void put_chunk(char* panel, int row, int chunk, uint4 words) {
    *reinterpret_cast<uint4*>(panel + row * ROW + chunk * 16) = words;
}
#endif

constexpr int SLAB_ROWS = TILE / SLABS;
constexpr int STAGES_BYTES = 4 * PANEL, SLAB_BYTES = SLAB_ROWS * PITCH * 4;
constexpr int MEMORY = STAGES_BYTES > SLAB_BYTES ? STAGES_BYTES : SLAB_BYTES;

// Rows first..first+TILE-1 of an operand; `wide`: every row is aligned to 16 bytes. With `items`, row i is that of item
// items[i].
template <bool GATHERED>
struct Operand {
    const INPUT* rows;
    const float* inverse;
    long long first, count;
    int d;
    bool wide;
    const int* items;

    __device__ __forceinline__ Operand(const INPUT* rows, const float* inverse, long long first, long long count, int d,
                                       const int* items = nullptr)
        : rows(rows), inverse(inverse), first(first), count(count), d(d),
          wide(d % CHUNK == 0 && reinterpret_cast<unsigned long long>(rows) % 16 == 0), items(items) {}

    __device__ __forceinline__ long long place(int row) const {
        if constexpr (GATHERED) return items[first + row];
        else return first + row;
    }

    // CHUNK elements of a row from element k on, zeros beyond the ends.
    __device__ __forceinline__ uint4 chunk(int row, int k) const {
        if (first + row >= count || k >= d) return make_uint4(0, 0, 0, 0);
        const INPUT* item = rows + place(row) * d + k;
        if (wide) return *reinterpret_cast<const uint4*>(item);
        constexpr int PER_WORD = 4 / sizeof(INPUT);
        unsigned word[4] = {};
#pragma unroll
        for (int e = 0; e < CHUNK; ++e)
            if (k + e < d) word[e / PER_WORD] |= bits_of(item[e]) << 32 / PER_WORD * (e % PER_WORD);
        return make_uint4(word[0], word[1], word[2], word[3]);
    }

    __device__ __forceinline__ void fetch(uint4 (&stage)[LOADS], int k) const {
#pragma unroll
        for (int load = 0; load < LOADS; ++load)
            stage[load] = chunk(threadIdx.x / CHUNKS + load * (BLOCK / CHUNKS), k + threadIdx.x % CHUNKS * CHUNK);
    }

    __device__ __forceinline__ void put_scale(float* scale) const {
        for (int row = threadIdx.x; row < TILE; row += BLOCK)
            scale[row] = first + row < count ? inverse[place(row)] : 0;
    }
};

typedef Operand<false> Rows;
typedef Operand<true> Items;

__device__ __forceinline__ void put_stage(char* panel, const uint4 (&stage)[LOADS]) {
#pragma unroll
    for (int load = 0; load < LOADS; ++load)
        put_chunk(panel, threadIdx.x / CHUNKS + load * (BLOCK / CHUNKS), threadIdx.x % CHUNKS, stage[load]);
}

template <class Left, class Right>
__device__ __forceinline__ void multiply(Sums& sums, const Left& left, const Right& right, char* memory) {
    uint4 a[LOADS], b[LOADS];
    left.fetch(a, 0);
    right.fetch(b, 0);
    put_stage(memory, a);
    put_stage(memory + PANEL, b);
    __syncthreads();
    for (int k = 0, current = 0; k < left.d; k += DEPTH, current = 2 * PANEL - current) {
        const bool more = k + DEPTH < left.d;
        if (more) {
            left.fetch(a, k + DEPTH);
            right.fetch(b, k + DEPTH);
        }
        sums.accumulate(memory + current, memory + current + PANEL);
        if (more) {
            put_stage(memory + 2 * PANEL - current, a);
            put_stage(memory + 3 * PANEL - current, b);
        }
        __syncthreads();
    }
}

// Writes rows of the tile, each by one warp to a row of `out`. If `mirrored`, it also writes the same numbers to their
// transposed places, again one warp for each row of `out`. On the diagonal only the mirror writes the lower triangle,
// so that the matrix is symmetric to the bit.
template <int SLAB, class Left, class Right>
__device__ __forceinline__ void write(const Sums& sums, const Left& left, const Right& right, float* slab,
                                      const float* left_scale, const float* right_scale, OUTPUT* out, long long pitch,
                                      bool mirrored) {
    constexpr int FIRST = SLAB * SLAB_ROWS;  // row of the tile
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int rows = (int)min(left.count - left.first - FIRST, (long long)SLAB_ROWS);
    const int columns = (int)min(right.count - right.first, (long long)TILE);
    const bool diagonal = mirrored && left.first == right.first;
    if (SLAB > 0) __syncthreads();
    sums.put<SLAB>(slab, left_scale, right_scale);
    __syncthreads();
#pragma unroll 2
    for (int row = warp; row < rows; row += BLOCK / 32) {
        OUTPUT* line = out + (left.first + FIRST + row) * pitch + right.first;
        const int least = diagonal ? FIRST + row : 0;
#pragma unroll
        for (int column = lane; column < TILE; column += 32)
            if (column >= least && column < columns) line[column] = from_float<OUTPUT>(slab[row * PITCH + column]);
    }
    if (mirrored) {
#pragma unroll 4
        for (int column = warp; column < columns; column += BLOCK / 32) {
            OUTPUT* line = out + (right.first + column) * pitch + left.first + FIRST;
            const int end = diagonal ? min(rows, column - FIRST) : rows;
#pragma unroll
            for (int row = lane; row < SLAB_ROWS; row += 32)
                if (row < end) line[row] = from_float<OUTPUT>(slab[row * PITCH + column]);
        }
    }
    if constexpr (SLAB + 1 < SLABS)
        write<SLAB + 1>(sums, left, right, slab, left_scale, right_scale, out, pitch, mirrored);
}

// `pitch`: entries from one row of `out` to the next.
template <class Left, class Right>
__device__ __forceinline__ void tile(const Left& left, const Right& right, OUTPUT* out, long long pitch,
                                     bool mirrored) {
    SHARED(uint4, memory, MEMORY / 16);
    SHARED(float, left_scale, TILE);
    SHARED(float, right_scale, TILE);
    left.put_scale(left_scale);
    right.put_scale(right_scale);
    Sums sums;
    multiply(sums, left, right, reinterpret_cast<char*>(&memory[0]));
    write<0>(sums, left, right, reinterpret_cast<float*>(&memory[0]), left_scale, right_scale, out, pitch, mirrored);
}

// Tiles on or above the diagonal are numbered in groups of GROUP tile rows, column by column within a group: blocks
// that run together then share few rows and columns, which stay in the L2 cache. Tile row r has `tiles` - r tiles.
__device__ __forceinline__ long long tiles_before(long long row, long long tiles) {
    return row * (2 * tiles + 1 - row) / 2;
}

__device__ __forceinline__ void place_of(long long index, long long tiles, long long& down, long long& across) {
    // The root of that quadratic, with a rounding error that the integer loops correct.
    const double linear = tiles + 0.5, square = linear * linear - 2.0 * index;
    long long group = (long long)((linear - sqrt(square > 0 ? square : 0)) / GROUP);
    while (group > 0 && tiles_before(group * GROUP, tiles) > index) --group;
    while ((group + 1) * GROUP < tiles && tiles_before((group + 1) * GROUP, tiles) <= index) ++group;
    index -= tiles_before(group * GROUP, tiles);
    down = across = group * GROUP;
    long long height = 1;  // tiles of the column; columns grow to GROUP tiles
    while (height < GROUP && index >= height) {
        index -= height++;
        ++across;
    }
    across += index / height;
    down += index % height;
}

// Computes the symmetric matrix out (m, m) of rows (m, d): tiles first_tile..first_tile+gridDim.x-1, also mirrored.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS) gram(const INPUT* rows, const float* inverse, OUTPUT* out,
                                                                 long long m, int d, long long first_tile) {
    long long down, across;
    place_of(first_tile + blockIdx.x, (m + TILE - 1) / TILE, down, across);
    tile(Rows(rows, inverse, down * TILE, m, d), Rows(rows, inverse, across * TILE, m, d), out, m, true);
}

// Computes out (count, m), rows `stride` apart, from left (count, d) and rows (m, d), on a grid of tiles: x across, y
// down.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    products(const INPUT* left, const float* left_inverse, const INPUT* rows, const float* inverse, OUTPUT* out,
             long long count, long long m, int d, long long stride) {
    tile(Rows(left, left_inverse, (long long)blockIdx.y * TILE, count, d),
         Rows(rows, inverse, (long long)blockIdx.x * TILE, m, d), out, stride, false);
}

// Computes the columns of the batch that the device has listed into its slots of `columns`, on a grid for a batch that
// may be larger. Returns at once unless the header says that a batch is listed.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    listed(const INPUT* rows, const float* inverse, OUTPUT* columns, const int* held, const long long* header_i64,
           long long m, int d) {
    if (header_i64[HEADER_I64_REASON] != CODE_LISTED) return;
    const long long count = header_i64[HEADER_I64_BATCH], first = header_i64[HEADER_I64_FIRST];
    if ((long long)blockIdx.y * TILE >= count) return;
    tile(Items(rows, inverse, (long long)blockIdx.y * TILE, count, d, held + first),
         Rows(rows, inverse, (long long)blockIdx.x * TILE, m, d), columns + first * m, m, false);
}
