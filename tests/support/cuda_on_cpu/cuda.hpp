// CUDA's built-ins on a CPU, as far as kernels/ uses them: g++ builds an unmodified .cu after this header.
//
// Every CUDA thread of a launch is a fibre with a stack of its own, all blocks at once. A fibre runs until it
// synchronises (barrier, warp operation), polls (load_acquire) or, half of the time, until an atomic operation; then a
// pseudo-random ready one goes on, chosen by the launch's seed. Threads of a warp are not in lockstep, so a missing
// barrier of either kind changes results. With -DCUDA_THREADS every CUDA thread is a thread of the system, for
// -fsanitize=thread: atomics are relaxed there, and only barriers, warp operations and what kernels/ptx.cuh calls
// release and acquire order memory. (In CUDA shuffles do not order memory; here they do, so a race that only a shuffle
// hides goes unseen.)
//
// Shared memory comes from SHARED(type, name, count) and shared_memory() of kernels/ptx.cuh, filled with 0xff (NaN).
// Stricter than the hardware: a thread that returned may not be waited for.
#ifndef CUDA_ON_CPU_HPP
#define CUDA_ON_CPU_HPP

#define CUDA_ON_CPU

#include <math.h>
#include <string.h>

#include <type_traits>

#include "launch.hpp"
#include "synchronise.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

typedef uint3 dim3;
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

#define threadIdx (cuda::here().index)
#define blockIdx (cuda::here().block->index)
#define blockDim (cuda::launch_state.block)
#define gridDim (cuda::launch_state.grid)
#define warpSize 32

inline void __syncthreads() { cuda::barrier(); }
inline int __syncthreads_count(int vote) { return cuda::barrier(vote != 0); }
inline int __syncthreads_or(int vote) { return cuda::barrier(vote != 0) > 0; }
inline int __syncthreads_and(int vote) { return cuda::barrier(vote == 0) == 0; }
inline unsigned __ballot_sync(unsigned mask, int vote) { return cuda::ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return cuda::ballot(mask, vote != 0) != 0; }
inline int __all_sync(unsigned mask, int vote) { return cuda::ballot(mask, vote != 0) == mask; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda::ballot(mask, true); }

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const int first = int(cuda::current->lane) / width * width;
    return cuda::exchange(mask, value, unsigned(first + (source & (width - 1))));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    return cuda::exchange(mask, value, cuda::within(int(cuda::current->lane) ^ lanes, width));
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return cuda::exchange(mask, value, cuda::within(int(cuda::current->lane + delta), width));
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return cuda::exchange(mask, value, cuda::within(int(cuda::current->lane) - int(delta), width));
}

namespace cuda {

#ifdef CUDA_THREADS
constexpr int ORDER = __ATOMIC_RELAXED;
#endif

// An atomic read-modify-write of a 4- or 8-byte value.
template <class T, class Change>
inline T atomic(T* address, Change change) {
#ifdef CUDA_THREADS
    T old, next;
    __atomic_load(address, &old, ORDER);
    do next = change(old);
    while (!__atomic_compare_exchange(address, &old, &next, false, ORDER, ORDER));
    return old;
#else
    maybe_yield();
    const T old = *address;
    *address = change(old);
    return old;
#endif
}

}  // namespace cuda

template <class T>
inline T atomicAdd(T* address, std::common_type_t<T> value) {
    return cuda::atomic(address, [=](T old) { return T(old + value); });
}
template <class T>
inline T atomicMax(T* address, std::common_type_t<T> value) {
    return cuda::atomic(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
inline T atomicMin(T* address, std::common_type_t<T> value) {
    return cuda::atomic(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
inline T atomicExch(T* address, std::common_type_t<T> value) {
    return cuda::atomic(address, [=](T) { return T(value); });
}
template <class T>
inline T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    return cuda::atomic(address, [=](T old) { return old == expected ? T(value) : old; });
}

template <class T>
inline T __ldcg(const T* address) { return *address; }
template <class T>
inline T __ldg(const T* address) { return *address; }
template <class T>
inline void __stcg(T* address, std::common_type_t<T> value) { *address = value; }
inline void __nanosleep(unsigned) { cuda::poll(); }

// Of kernels/ptx.cuh.
#ifdef CUDA_THREADS
template <class T>
inline T load_strong(const T* address) {
    T value;
    __atomic_load(address, &value, __ATOMIC_RELAXED);
    return value;
}
inline long long load_acquire(const long long* address) {
    cuda::poll();
    return __atomic_load_n(address, __ATOMIC_ACQUIRE);
}
inline void add_release(long long* sum, long long value) { __atomic_fetch_add(sum, value, __ATOMIC_RELEASE); }
template <class T>
inline T add_acq_rel(T* sum, std::common_type_t<T> value) {
    return __atomic_fetch_add(sum, value, __ATOMIC_ACQ_REL);
}
#else
template <class T>
inline T load_strong(const T* address) { return *address; }
inline long long load_acquire(const long long* address) {
    cuda::poll();
    return *address;
}
inline void add_release(long long* sum, long long value) { atomicAdd(sum, value); }
template <class T>
inline T add_acq_rel(T* sum, std::common_type_t<T> value) { return atomicAdd(sum, value); }
#endif

#ifdef PERTURBED
// Up to 2 units in the last place off, either way, at random, as Triton's are on a GPU; subnormals become zero.
inline float perturbed(float x) {
    static thread_local unsigned random = 2463534242u;
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    if (fabsf(x) < 1.17549435e-38f) return 0;
    const int off = int(random % 5) - 2;
    for (int step = 0; step < abs(off); ++step) x = nextafterf(x, off < 0 ? -INFINITY : INFINITY);
    return x;
}
inline float quotient(float a, float b) { return perturbed(a / b); }
inline float root(float x) { return x < 1.17549435e-38f ? 0 : perturbed(sqrtf(x)); }
#else
inline float quotient(float a, float b) { return a / b; }
inline float root(float x) { return sqrtf(x); }
#endif

template <class A, class B>
inline std::common_type_t<A, B> min(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return fmin(T(a), T(b));
    else return T(a) < T(b) ? T(a) : T(b);
}
template <class A, class B>
inline std::common_type_t<A, B> max(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return fmax(T(a), T(b));
    else return T(a) > T(b) ? T(a) : T(b);
}

template <class To, class From>
inline To cuda_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    memcpy(&result, &value, sizeof(To));
    return result;
}
inline int __float_as_int(float x) { return cuda_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_bits<double>(x); }
inline float __double2float_rn(double x) { return float(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

#include "tensor_cores.hpp"

#endif
