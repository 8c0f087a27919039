// The barrier of a block, and what the lanes of a warp do together.
#ifndef CUDA_ON_CPU_SYNCHRONISE_HPP
#define CUDA_ON_CPU_SYNCHRONISE_HPP

#include "machine.hpp"

namespace cuda {

// __syncthreads; returns for how many threads `vote` was true.
inline int barrier(bool vote = false) {
    Thread* self = current;
    Block& block = *self->block;
    CUDA_LOCK(block);
    block.arrived.push_back(self);
    block.votes += vote;
    if (block.arrived.size() == block.size) {
        for (Thread* thread : block.arrived) {
            thread->votes = block.votes;
            release(thread);
        }
        block.arrived.clear();
        block.votes = 0;
    }
    park(lock);
    return self->votes;
}

// What the lanes of `mask` do together: the last one to come runs `combine` over the payloads of all.
template <class Payload>
inline void collective(unsigned mask, Payload& payload, void (*combine)(Payload** payloads, unsigned mask)) {
    Thread* self = current;
    Warp& warp = *self->warp;
    CUDA_LOCK(*self->block);
    if (!(mask >> self->lane & 1)) fail("a lane calls a warp operation whose mask leaves it out");
    warp.payload[self->lane] = &payload;
    warp.operation[self->lane] = reinterpret_cast<const void*>(combine);
    warp.mask[self->lane] = mask;
    warp.waiting |= 1u << self->lane;
    if ((warp.waiting & mask) == mask) {
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (mask >> lane & 1 && (warp.mask[lane] != mask || warp.operation[lane] != warp.operation[self->lane]))
                fail("lanes of a warp meet in different warp operations or with different masks");
        combine(reinterpret_cast<Payload**>(warp.payload), mask);
        warp.waiting &= ~mask;
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (mask >> lane & 1) release(warp.thread[lane]);
    }
    park(lock);
}

template <class T>
struct Exchange {
    T value, result;
    unsigned source;
};

template <class T>
inline T exchange(unsigned mask, T value, unsigned source) {
    Exchange<T> mine{value, value, source};
    collective<Exchange<T>>(mask, mine, [](Exchange<T>** all, unsigned lanes) {
        for (unsigned lane = 0; lane < WARP; ++lane) {
            if (!(lanes >> lane & 1)) continue;
            if (!(lanes >> all[lane]->source & 1)) fail("a shuffle reads a lane outside of its mask");
            all[lane]->result = all[all[lane]->source]->value;
        }
    });
    return mine.result;
}

struct Ballot {
    bool vote;
    unsigned result;
};

inline unsigned ballot(unsigned mask, bool vote) {
    Ballot mine{vote, 0};
    collective<Ballot>(mask, mine, [](Ballot** all, unsigned lanes) {
        unsigned votes = 0;
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (lanes >> lane & 1) votes |= unsigned(all[lane]->vote) << lane;
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (lanes >> lane & 1) all[lane]->result = votes;
    });
    return mine.result;
}

// The lane that a shuffle within groups of `width` lanes reads; its own where the other one is outside of the group.
inline unsigned within(int source, int width) {
    const int lane = int(current->lane), first = lane / width * width;
    return unsigned(source < first || source >= first + width ? lane : source);
}

}  // namespace cuda

#endif
