// Additions to plain CUDA C++ without headers: shared memory by name, memory operations between blocks, float16, matrix
// instructions. A build for the CPU has its own version of all of them and defines CUDA_ON_CPU.
#ifndef GIP_PTX_CUH
#define GIP_PTX_CUH
#ifndef CUDA_ON_CPU

// `count` items of static shared memory; `name` is an array (on a CPU a pointer, so no sizeof).
#define SHARED(type, name, count) __shared__ type name[count]

// The dynamic shared memory of the launch.
__device__ __forceinline__ char* shared_memory() {
    extern __shared__ __align__(16) char dynamic_shared_memory[];
    return dynamic_shared_memory;
}

// Memory operations between the blocks of one launch, "strong" operations of gpu scope in the PTX memory model.
//
// `load_strong` reads values that another block wrote during the launch. It bypasses the first-level cache, which
// writes of other multiprocessors do not reach. The compiler may neither merge it with another load, nor keep its
// value, nor move it across a barrier: it is volatile and clobbers memory, unlike __ldcg and __ldcv.
#define GIP_LOAD(type, name, instruction, constraint)                                                           \
    __device__ __forceinline__ type name(const type* address) {                                                 \
        type value;                                                                                             \
        asm volatile(instruction " %0, [%1];" : "=" constraint(value) : "l"(address) : "memory");               \
        return value;                                                                                           \
    }
GIP_LOAD(float, load_strong, "ld.relaxed.gpu.global.f32", "f")
GIP_LOAD(double, load_strong, "ld.relaxed.gpu.global.f64", "d")
GIP_LOAD(long long, load_strong, "ld.relaxed.gpu.global.s64", "l")

// After it has read the result of an addition, later loads see all writes before that addition.
GIP_LOAD(long long, load_acquire, "ld.acquire.gpu.global.s64", "l")
#undef GIP_LOAD

// Publishes earlier writes of this thread, and those that it has seen, to every thread that acquires the sum.
__device__ __forceinline__ void add_release(long long* sum, long long value) {
    asm volatile("red.release.gpu.global.add.u64 [%0], %1;" : : "l"(sum), "l"(value) : "memory");
}

// Acquires and releases; returns the previous sum. If all blocks add 1, the last one sees the earlier writes of the
// others.
__device__ __forceinline__ unsigned long long add_acq_rel(unsigned long long* sum, unsigned long long value) {
    unsigned long long before;
    asm volatile("atom.acq_rel.gpu.global.add.u64 %0, [%1], %2;"
                 : "=l"(before)
                 : "l"(sum), "l"(value)
                 : "memory");
    return before;
}

// A quotient and a root with errors of up to 2 units in the last place, subnormals flushed to zero. As CuPy compiles
// them they are correctly rounded, in Triton they are not; the bounds computed from them allow for it in both.
__device__ __forceinline__ float quotient(float a, float b) { return a / b; }
__device__ __forceinline__ float root(float x) { return sqrtf(x); }

__device__ __forceinline__ float fp16_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short float_to_fp16(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// In PTX, because a plain conversion flushes subnormal float32 to zero with -ftz=true, which CuPy sets.
__device__ __forceinline__ double widened(float value) {
    double wide;
    asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(value));
    return wide;
}

// c += a b' by one warp: a is 16 x 32 bytes, b is 8 x 32 bytes, c is 16 x 8 float32, distributed over the lanes as in
// the PTX manual ("Matrix Fragments for mma.m16n8k16", "mma.m16n8k8"). In bytes, all types share one layout.
#define GIP_MMA(name, instruction)                                                                              \
    __device__ __forceinline__ void name(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {       \
        asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"             \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                           \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                       \
    }
GIP_MMA(mma_fp16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
GIP_MMA(mma_bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
GIP_MMA(mma_tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")
#undef GIP_MMA

// Loads four matrices of 8 rows of 16 bytes from shared memory: lane l supplies the address of row l % 8 of matrix l /
// 8 and gets word l % 4 of row l / 4 of each.
__device__ __forceinline__ void load_matrices(unsigned (&result)[4], const void* row) {
    unsigned address;
    asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }" : "=r"(address) : "l"(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(address)
                 : "memory");
}

#endif
#endif
