// What all sources share. REAL and STORED (float or double) are defined when a source is compiled:
// numbers are of the one, coefficients in memory may be of the other.

typedef REAL real;
typedef STORED stored;
typedef long long Index;  // of arrays: a batch of large grids has more than 2^31 entries

// Complex numbers as arrays hold them.
template <class T>
struct alignas(2 * sizeof(T)) Pair {
    T re, im;
};
typedef Pair<real> Complex;
typedef Pair<stored> StoredComplex;

// The vector that a stencil multiplies: one that is there,
struct Stored {
    const real* x;
    __device__ real operator()(Index i) const { return x[i]; }
};

// or z + beta p, which is made on the way.
struct Searched {
    const real *z, *p;
    real beta;
    __device__ real operator()(Index i) const { return z[i] + beta * p[i]; }
};

// Arrays in shared memory whose size is given at launch.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// The sum of `value` over a block of a power of two threads, in an order that depends on nothing
// else; in thread 0. `room` has one entry a thread.
__device__ inline real block_sum(real value, real* room) {
    const int thread = threadIdx.x + blockDim.x * threadIdx.y;
    const int threads = blockDim.x * blockDim.y;
    room[thread] = value;
    __syncthreads();
    for (int half = threads / 2; half > 0; half /= 2) {
        if (thread < half) room[thread] += room[thread + half];
        __syncthreads();
    }
    return room[0];
}

// The largest `value`, none of which is NaN, of a block of a power of two threads; in thread 0.
template <class T>
__device__ inline T block_max(T value, T* room) {
    room[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half && room[threadIdx.x + half] > room[threadIdx.x]) {
            room[threadIdx.x] = room[threadIdx.x + half];
        }
        __syncthreads();
    }
    return room[0];
}
