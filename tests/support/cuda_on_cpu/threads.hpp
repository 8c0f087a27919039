// Every CUDA thread is a thread of the system.
#ifndef CUDA_ON_CPU_THREADS_HPP
#define CUDA_ON_CPU_THREADS_HPP

#define CUDA_LOCK(block) cuda::Lock lock((block).mutex)

namespace cuda {

typedef std::unique_lock<std::mutex> Lock;

[[noreturn]] inline void fail(const std::string& message) {
    fprintf(stderr, "cuda_on_cpu: %s\n", message.c_str());
    abort();
}

inline void release(Thread* thread) {
    thread->released = true;
    thread->wake.notify_one();
}

inline void park(Lock& lock) {
    Thread* self = current;
    if (!self->wake.wait_for(lock, std::chrono::seconds(120), [=] { return self->released; })) fail("deadlock");
    self->released = false;
}

inline void yield() { std::this_thread::yield(); }
inline void poll() { yield(); }
inline void maybe_yield() {}

template <class Body>
void run(std::vector<std::unique_ptr<Thread>>& threads, Body& body) {
    std::vector<std::thread> running;
    for (auto& thread : threads)
        running.emplace_back([&body, &thread] {
            current = thread.get();
            body();
        });
    for (auto& thread : running) thread.join();
}

}  // namespace cuda

#endif
