// A barrier over all blocks of a cooperative launch, in two halves: what a block does between them costs no time while
// it would wait anyway.
#ifndef GIP_GRID_CUH
#define GIP_GRID_CUH

#include "ptx.cuh"

// What any thread of a block wrote before `arrive` is visible to every thread of every block after `wait`, if it is
// read by a load that starts after `wait` in the memory model too (`load_strong`, or a plain load of what this block
// has not read before). By the PTX memory model, causality order:
//
//   a thread's write  ->  bar.sync of its block  ->  thread 0's release, an addition to `arrived`
//                     ->  thread 0 of the other block acquires a value that contains that addition
//                     ->  bar.sync of that block  ->  the other thread's load
//
// bar.sync orders the threads of a block; a release is cumulative, so it publishes what reached thread 0 through
// bar.sync; additions that follow one another form one release sequence, so that acquiring the last of them acquires
// all. Fences are not needed: the release and the acquire are the fences, of gpu scope. The polling load is an acquire
// in volatile asm: a weaker one in a loop without side effects may be taken to end, and ptxas deletes the loop.
class GridBarrier {
  public:
    // `arrived` is zero when the launch begins and only grows. All blocks make the same barriers in the same order.
    __device__ __forceinline__ explicit GridBarrier(long long* arrived) : arrived_(arrived), goal_(0) {}

    __device__ __forceinline__ void arrive() {
        __syncthreads();
        if (threadIdx.x == 0) {
            goal_ += gridDim.x;
            add_release(arrived_, 1);
        }
    }

    __device__ __forceinline__ void wait() const {
        if (threadIdx.x == 0) {
            while (load_acquire(arrived_) < goal_) {
            }
        }
        __syncthreads();
    }

    __device__ __forceinline__ void sync() {
        arrive();
        wait();
    }

  private:
    long long* arrived_;
    long long goal_;  // of thread 0: what `arrived` reaches when all blocks have made this block's barriers
};

#endif
