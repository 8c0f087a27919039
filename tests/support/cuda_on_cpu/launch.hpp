// Shared memory and launches, with their entry points for build.py.
#ifndef CUDA_ON_CPU_LAUNCH_HPP
#define CUDA_ON_CPU_LAUNCH_HPP

#include <string.h>

#include <type_traits>
#include <utility>

#include "machine.hpp"

namespace cuda {

template <class T, int ID, size_t COUNT>
struct SharedArray {
    static inline const size_t place = (shared_sizes.push_back(sizeof(T) * COUNT), shared_sizes.size() - 1);
    static T* of_block() { return reinterpret_cast<T*>(current->block->arrays[place]); }
};

inline char* poisoned(size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes ? bytes : 1)) abort();
    memset(memory, 0xff, bytes);
    return static_cast<char*>(memory);
}

template <class... P, size_t... I>
int launch(void (*kernel)(P...), std::index_sequence<I...>, const unsigned* shape, size_t shared_bytes, uint64_t seed,
           void** arguments, char* error, size_t error_size) {
    launch_state.grid = {shape[0], shape[1], shape[2]};
    launch_state.block = {shape[3], shape[4], shape[5]};
    launch_state.random = seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
    launch_state.error.clear();
    const size_t size = size_t(shape[3]) * shape[4] * shape[5];
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::unique_ptr<Warp>> warps;
    std::vector<std::unique_ptr<Thread>> threads;
    for (size_t b = 0; b < size_t(shape[0]) * shape[1] * shape[2]; ++b) {
        blocks.emplace_back(new Block);
        Block& block = *blocks.back();
        block.index = {unsigned(b % shape[0]), unsigned(b / shape[0] % shape[1]), unsigned(b / shape[0] / shape[1])};
        block.size = size;
        block.dynamic = poisoned(shared_bytes);
        for (size_t bytes : shared_sizes) block.arrays.push_back(poisoned(bytes));
        for (size_t t = 0; t < size; ++t) {
            if (t % WARP == 0) warps.emplace_back(new Warp);
            threads.emplace_back(new Thread);
            Thread& thread = *threads.back();
            thread.index = {unsigned(t % shape[3]), unsigned(t / shape[3] % shape[4]),
                            unsigned(t / shape[3] / shape[4])};
            thread.lane = unsigned(t % WARP);
            thread.block = &block;
            thread.warp = warps.back().get();
            thread.warp->thread[thread.lane] = &thread;
        }
    }
    auto body = [=] { kernel(*static_cast<P*>(arguments[I])...); };
    run(threads, body);
    for (auto& block : blocks) {
        free(block->dynamic);
        for (char* array : block->arrays) free(array);
    }
    snprintf(error, error_size, "%s", launch_state.error.c_str());
    return launch_state.error.empty() ? 0 : 1;
}

// The kind of a parameter: i, u, l, L, f, d, or p (P where the kernel may write) and the size of an item.
template <class T>
std::string kind() {
    if constexpr (std::is_pointer_v<T>) {
        typedef std::remove_pointer_t<T> Item;
        return (std::is_const_v<Item> ? "p" : "P") + std::to_string(sizeof(Item));
    }
    if (std::is_same_v<T, int>) return "i";
    if (std::is_same_v<T, unsigned>) return "u";
    if (std::is_same_v<T, long long>) return "l";
    if (std::is_same_v<T, unsigned long long>) return "L";
    if (std::is_same_v<T, float>) return "f";
    if (std::is_same_v<T, double>) return "d";
    return "?";
}

template <class... P>
const char* kinds(void (*)(P...)) {
    static std::string all;
    all.clear();
    ((all += kind<P>() + " "), ...);
    return all.c_str();
}

template <class... P>
int launch(void (*kernel)(P...), const unsigned* shape, size_t shared_bytes, uint64_t seed, void** arguments,
           char* error, size_t error_size) {
    return launch(kernel, std::index_sequence_for<P...>(), shape, shared_bytes, seed, arguments, error, error_size);
}

}  // namespace cuda

// Of kernels/ptx.cuh.
#define SHARED(type, name, count) type* const name = cuda::SharedArray<type, __COUNTER__, (count)>::of_block()
inline char* shared_memory() { return cuda::current->block->dynamic; }

#define CUDA_ON_CPU_EXPORT extern "C" __attribute__((visibility("default")))
#define CUDA_ON_CPU_KERNEL(name)                                                                                      \
    CUDA_ON_CPU_EXPORT const char* cuda_kinds_##name() { return cuda::kinds(name); }                                  \
    CUDA_ON_CPU_EXPORT int cuda_launch_##name(const unsigned* shape, size_t shared_bytes, uint64_t seed,              \
                                              void** arguments, char* error, size_t error_size) {                    \
        return cuda::launch(name, shape, shared_bytes, seed, arguments, error, error_size);                           \
    }

#endif
