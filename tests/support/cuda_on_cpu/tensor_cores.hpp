// The warp-wide matrix instructions of kernels/ptx.cuh and its float16 conversions, on a CPU. Fragment layouts are
// those of the PTX manual, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8"; with g = lane / 4 and t = lane % 4
// register r of A holds the 4 bytes at row g + 8 (r % 2), byte 4 t + 16 (r / 2); of B at column g, byte 4 t + 16 r;
// C holds row g + 8 (r / 2), column 2 t + r % 2.
#ifndef CUDA_ON_CPU_TENSOR_CORES_HPP
#define CUDA_ON_CPU_TENSOR_CORES_HPP

inline double widened(float value) { return value; }
inline float fp16_to_float(unsigned short bits) { return float(cuda_bits<_Float16>(bits)); }
inline unsigned short float_to_fp16(float value) { return cuda_bits<unsigned short>(_Float16(value)); }

namespace cuda {

struct Matrices {
    float* c;
    const unsigned *a, *b;
};

struct Fp16 {
    static constexpr int PER_WORD = 2;
    static float get(unsigned word, int i) { return fp16_to_float((unsigned short)(word >> 16 * i)); }
};
struct Bf16 {
    static constexpr int PER_WORD = 2;
    static float get(unsigned word, int i) { return cuda_bits<float>(i ? word & 0xffff0000u : word << 16); }
};
struct Tf32 {  // the lowest 13 bits are ignored
    static constexpr int PER_WORD = 1;
    static float get(unsigned word, int) { return cuda_bits<float>(word & 0xffffe000u); }
};

// C += A B': A is 16 x 32 bytes, B 8 x 32 bytes.
template <class Type>
inline void multiply(Matrices** all, unsigned) {
    constexpr int K = 8 * Type::PER_WORD;
    float a[16][K], b[8][K];
    for (unsigned lane = 0; lane < WARP; ++lane)
        for (int r = 0; r < 4; ++r)
            for (int i = 0; i < Type::PER_WORD; ++i) {
                const int k = int(lane % 4 + 4 * (r / 2)) * Type::PER_WORD + i;
                a[lane / 4 + 8 * (r % 2)][k] = Type::get(all[lane]->a[r], i);
                if (r / 2 == 0) {
                    const int kb = int(lane % 4 + 4 * r) * Type::PER_WORD + i;
                    b[lane / 4][kb] = Type::get(all[lane]->b[r], i);
                }
            }
    for (unsigned lane = 0; lane < WARP; ++lane)
        for (int r = 0; r < 4; ++r) {
            float sum = all[lane]->c[r];
            for (int k = 0; k < K; ++k) sum += a[lane / 4 + 8 * (r / 2)][k] * b[lane % 4 * 2 + r % 2][k];
            all[lane]->c[r] = sum;
        }
}

template <class Type>
inline void mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Matrices mine{c, a, b};
    collective<Matrices>(0xffffffffu, mine, multiply<Type>);
}

struct Loads {
    const char* row;
    unsigned* result;
};

}  // namespace cuda

inline void mma_fp16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { cuda::mma<cuda::Fp16>(c, a, b); }
inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { cuda::mma<cuda::Bf16>(c, a, b); }
inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { cuda::mma<cuda::Tf32>(c, a, b); }

// Lane l gives the address of row l % 8 (16 bytes) of matrix l / 8 and gets word l % 4 of row l / 4 of each matrix.
inline void load_matrices(unsigned (&result)[4], const void* row) {
    cuda::Loads mine{static_cast<const char*>(row), result};
    cuda::collective<cuda::Loads>(0xffffffffu, mine, [](cuda::Loads** all, unsigned) {
        for (unsigned lane = 0; lane < cuda::WARP; ++lane)
            if (reinterpret_cast<uintptr_t>(all[lane]->row) % 16) cuda::fail("ldmatrix of a row not aligned to 16");
        for (unsigned lane = 0; lane < cuda::WARP; ++lane)
            for (unsigned r = 0; r < 4; ++r)
                memcpy(all[lane]->result + r, all[8 * r + lane / 4]->row + 4 * (lane % 4), 4);
    });
}

#endif
