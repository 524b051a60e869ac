// CUDA C++ on the host: a block's threads are fibers that run one after the other, each from barrier
// to barrier, in an order that can be changed. What a missing barrier would let happen on a GPU then
// happens here in one order or another; a barrier that not all reach is told as a deadlock.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(shim::room.data())

static dim3 gridDim, blockDim, blockIdx, threadIdx;
static const int warpSize = 32;

namespace shim {

// Where a thread waits.
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    dim3 index;
    int barriers = 0, exchanges = 0;  // passed so far
    bool done = false;
    unsigned long long slot = 0;  // what it offers its warp
};

static std::vector<double> room;  // dynamic shared memory
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int current, moved;

inline void yield() {
    dim3 mine = threadIdx;
    swapcontext(&fibers[current].context, &scheduler);
    threadIdx = mine;
}

inline bool all_reached(int first, int last, int Fiber::*count, int wanted) {
    for (int i = first; i < last; ++i) {
        if (!fibers[i].done && fibers[i].*count < wanted) return false;
    }
    return true;
}

inline void wait(int first, int last, int Fiber::*count) {
    const int wanted = ++(fibers[current].*count);
    moved = 1;
    while (!all_reached(first, last, count, wanted)) yield();
    moved = 1;
}

inline int warp_first() { return current / warpSize * warpSize; }

inline void warp_wait() {
    const int first = warp_first(), end = first + warpSize, size = fibers.size();
    wait(first, end < size ? end : size, &Fiber::exchanges);
}

// Each lane's value for the others, then the value of lane `from`; its own where that is not there.
template <class T>
T exchange(T value, int from) {
    static_assert(sizeof(T) <= sizeof(unsigned long long), "a value of at most eight bytes");
    std::memcpy(&fibers[current].slot, &value, sizeof(T));
    warp_wait();
    T found = value;
    const int first = warp_first(), other = first + from;
    if (from >= 0 && from < warpSize && other < (int)fibers.size()) {
        std::memcpy(&found, &fibers[other].slot, sizeof(T));
    }
    warp_wait();
    return found;
}

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<std::remove_reference_t<A>*>(args[I])...);
}

using Call = void (*)(void**);
static Call running;
static void** given;

static void enter() {
    running(given);
    fibers[current].done = true;
    moved = 1;
    swapcontext(&fibers[current].context, &scheduler);
}

// 0, or 1 for a deadlock. order: 0 ascending, 1 descending, else a shuffle by it.
inline int run(Call kernel, const unsigned* shape, long long shared, int order, void** args) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    running = kernel;
    given = args;
    const int count = blockDim.x * blockDim.y * blockDim.z;
    std::vector<int> turns(count);
    for (int i = 0; i < count; ++i) turns[i] = order == 1 ? count - 1 - i : i;
    if (order > 1) {
        unsigned long long state = order;
        for (int i = count - 1; i > 0; --i) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(turns[i], turns[(state >> 33) % (i + 1)]);
        }
    }
    fibers.resize(count);
    for (unsigned z = 0; z < gridDim.z; ++z)
        for (unsigned y = 0; y < gridDim.y; ++y)
            for (unsigned x = 0; x < gridDim.x; ++x) {
                blockIdx = {x, y, z};
                // nothing of a block before: NaN in every real
                room.assign(shared / sizeof(double) + 1, std::nan(""));
                if (sizeof(REAL) == sizeof(float)) {
                    float* reals = reinterpret_cast<float*>(room.data());
                    for (std::size_t i = 0; i < 2 * room.size(); ++i) reals[i] = std::nanf("");
                }
                for (int i = 0; i < count; ++i) {
                    Fiber& f = fibers[i];
                    f.stack.resize(1 << 16);
                    f.barriers = f.exchanges = 0;
                    f.done = false;
                    f.index = {i % blockDim.x, i / blockDim.x % blockDim.y,
                               i / (blockDim.x * blockDim.y)};
                    getcontext(&f.context);
                    f.context.uc_stack.ss_sp = f.stack.data();
                    f.context.uc_stack.ss_size = f.stack.size();
                    f.context.uc_link = nullptr;
                    makecontext(&f.context, enter, 0);
                }
                int left = count;
                while (left) {
                    moved = 0;
                    left = 0;
                    for (int i : turns) {
                        if (fibers[i].done) continue;
                        current = i;
                        threadIdx = fibers[i].index;
                        swapcontext(&scheduler, &fibers[i].context);
                        left += !fibers[i].done;
                    }
                    if (left && !moved) return 1;
                }
            }
    return 0;
}

}  // namespace shim

inline void __syncthreads() {
    shim::wait(0, shim::fibers.size(), &shim::Fiber::barriers);
}
inline void __syncwarp(unsigned = 0xffffffffu) { shim::warp_wait(); }

template <class T>
T __shfl_down_sync(unsigned, T value, unsigned by, int = warpSize) {
    return shim::exchange(value, shim::current % warpSize + (int)by);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int with, int = warpSize) {
    return shim::exchange(value, (shim::current % warpSize) ^ with);
}
template <class T>
T __shfl_sync(unsigned, T value, int from, int = warpSize) {
    return shim::exchange(value, from % warpSize);
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned by, int = warpSize) {
    return shim::exchange(value, shim::current % warpSize - (int)by);
}
template <class T>
T __ldg(const T* p) {
    return *p;
}
template <class T, class V>
T atomicAdd(T* p, V v) {
    T before = *p;
    *p = before + (T)v;
    return before;
}

#define HOST_KERNEL(name)                                                                        \
    extern "C" int host_##name(const unsigned* shape, long long shared, int order, void** args) { \
        return shim::run([](void** a) { shim::call_all(name, a); }, shape, shared, order, args);  \
    }

namespace shim {
template <class... A>
void call_all(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>{});
}
}  // namespace shim
