// A barrier over all blocks of a cooperative launch, in two halves: work of a block between them uses its waiting time.
#ifndef GIP_GRID_CUH
#define GIP_GRID_CUH

#include "ptx.cuh"

// Writes of any thread of a block before `arrive` are visible to every thread of every block after `wait`. By the PTX
// memory model, causality order:
//
//   a thread's write  ->  bar.sync of its block  ->  thread 0's release, an addition to `arrived`
//                     ->  thread 0 of the other block acquires a value that contains that addition
//                     ->  bar.sync of that block  ->  the other thread's load
//
// bar.sync orders the threads of a block. A release is cumulative, so it publishes the writes that reached thread 0
// through bar.sync. Additions that follow one another form one release sequence, so that acquiring the last of them
// acquires all. No other fence is needed: release and acquire have gpu scope. The polling load is volatile and an
// acquire: ptxas deletes a loop around a weaker load without side effects, because it may assume that the loop ends.
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
    long long goal_;  // in thread 0: value of `arrived` when all blocks have made this block's barriers
};

#endif
