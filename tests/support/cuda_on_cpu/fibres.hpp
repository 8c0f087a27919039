// Every CUDA thread is a fibre; which ready one goes on is a pseudo-random choice.
#ifndef CUDA_ON_CPU_FIBRES_HPP
#define CUDA_ON_CPU_FIBRES_HPP

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define CUDA_LOCK(block) cuda::Lock lock(0)

namespace cuda {

constexpr size_t STACK = 1 << 16;
constexpr long PATIENCE = 2000000;  // polls in a row that nothing else interrupts: nobody will ever arrive

struct Lock {
    explicit Lock(int) {}
};

inline uint64_t random_number() {  // xorshift64*
    uint64_t& x = launch_state.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return (x * 2685821657736338717ull) >> 32;
}

inline void enter_scheduler() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&current->fake_stack, launch_state.scheduler_stack, launch_state.scheduler_size);
#endif
    _longjmp(launch_state.scheduler, 1);
}

inline void switch_away() {
    Thread* self = current;
    if (!_setjmp(self->jump)) enter_scheduler();
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(self->fake_stack, &launch_state.scheduler_stack, &launch_state.scheduler_size);
#endif
}

[[noreturn]] inline void fail(const std::string& message) {
    launch_state.error = message;
    enter_scheduler();
    abort();
}

inline void release(Thread* thread) {
    launch_state.polls = 0;
    launch_state.ready.push_back(thread);
}

inline void park(Lock&) { switch_away(); }

inline void yield() {
    launch_state.ready.push_back(current);
    switch_away();
}

inline void poll() {
    if (++launch_state.polls > PATIENCE) fail("livelock: threads poll for what never arrives");
    yield();
}

inline void maybe_yield() {
    launch_state.polls = 0;
    if (random_number() & 1) yield();
}

inline std::vector<std::unique_ptr<char[]>> stacks;  // kept from launch to launch
inline void (*fibre_body)(void*);
inline void* fibre_data;

inline void fibre() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &launch_state.scheduler_stack, &launch_state.scheduler_size);
#endif
    fibre_body(fibre_data);
    launch_state.polls = 0;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, launch_state.scheduler_stack, launch_state.scheduler_size);
#endif
    _longjmp(launch_state.scheduler, 2);
}

// Returns what the fibre came back with: 1, it waits or is ready; 2, it has finished.
__attribute__((noinline)) inline int resume(Thread* thread) {
    current = thread;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&launch_state.fake_stack, thread->stack, STACK);
#endif
    const int came_back = _setjmp(launch_state.scheduler);
    if (!came_back) {
        if (thread->started) _longjmp(thread->jump, 1);
        thread->started = true;
        setcontext(&thread->context);
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(launch_state.fake_stack, nullptr, nullptr);
#endif
    return came_back;
}

template <class Body>
void run(std::vector<std::unique_ptr<Thread>>& threads, Body& body) {
    while (stacks.size() < threads.size()) stacks.emplace_back(new char[STACK]);
    fibre_body = [](void* data) { (*static_cast<Body*>(data))(); };
    fibre_data = &body;
    auto& ready = launch_state.ready;
    ready.clear();
    launch_state.polls = 0;
    for (size_t i = 0; i < threads.size(); ++i) {
        Thread& thread = *threads[i];
        thread.stack = stacks[i].get();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, fibre, 0);
        ready.push_back(&thread);
    }
    size_t finished = 0;
    while (!ready.empty()) {
        const size_t chosen = random_number() % ready.size();
        Thread* thread = ready[chosen];
        ready[chosen] = ready.back();
        ready.pop_back();
        finished += resume(thread) == 2;
        if (!launch_state.error.empty()) return;
    }
    if (finished == threads.size()) return;
    size_t at_barrier = 0, in_warps = 0;
    for (auto& thread : threads) {
        at_barrier += thread->lane == 0 && thread->index.x + thread->index.y + thread->index.z == 0
                          ? thread->block->arrived.size() : 0;
        in_warps += thread->warp->waiting >> thread->lane & 1;
    }
    launch_state.error = "deadlock: " + std::to_string(at_barrier) + " threads wait in __syncthreads, " +
                         std::to_string(in_warps) + " in a warp operation, " + std::to_string(finished) + " returned";
}

}  // namespace cuda

#endif
