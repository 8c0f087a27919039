// What a launch consists of, and the two ways to run it, each with the same few functions:
//     Lock, release, park   a thread parks, holding the lock of its block, until another one releases it
//     poll, maybe_yield     others may run now
//     fail                  ends the launch (of fibres) or the process (of threads) with a message
//     run                   a function in every thread
#ifndef CUDA_ON_CPU_MACHINE_HPP
#define CUDA_ON_CPU_MACHINE_HPP

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <memory>
#include <string>
#include <vector>
#ifdef CUDA_THREADS
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

struct uint3 {
    unsigned x, y, z;
};

namespace cuda {

constexpr unsigned WARP = 32;

struct Block;
struct Warp;

struct Thread {
    uint3 index;
    unsigned lane;
    Block* block;
    Warp* warp;
    int votes = 0;
#ifdef CUDA_THREADS
    bool released = false;
    std::condition_variable wake;
#else
    bool started = false;
    char* stack = nullptr;
    void* fake_stack = nullptr;
    jmp_buf jump;
    ucontext_t context;
#endif
};

struct Warp {
    Thread* thread[WARP] = {};
    void* payload[WARP] = {};
    const void* operation[WARP] = {};
    unsigned mask[WARP] = {};
    unsigned waiting = 0;
};

struct Block {
    uint3 index;
    std::vector<Thread*> arrived;
    int votes = 0;
    size_t size = 0;
    char* dynamic = nullptr;
    std::vector<char*> arrays;
#ifdef CUDA_THREADS
    std::mutex mutex;
#endif
};

// One launch at a time; the state that its threads share.
struct Launch {
    uint3 grid, block;
    uint64_t random;
    std::string error;
#ifndef CUDA_THREADS
    std::vector<Thread*> ready;
    long polls = 0;
    jmp_buf scheduler;
    const void* scheduler_stack = nullptr;
    size_t scheduler_size = 0;
    void* fake_stack = nullptr;
#endif
};

inline Launch launch_state;
inline std::vector<size_t> shared_sizes;  // of the SHARED arrays, which register when the library is loaded
#ifdef CUDA_THREADS
inline thread_local Thread* current = nullptr;
#else
inline Thread* current = nullptr;
#endif
inline Thread& here() { return *current; }

}  // namespace cuda

#ifdef CUDA_THREADS
#include "threads.hpp"
#else
#include "fibres.hpp"
#endif

#endif
