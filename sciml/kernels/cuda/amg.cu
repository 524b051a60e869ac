// Around a cycle of algebraic multigrid: into its scaled unknowns and its precision, and out again.
//
// Vectors of the solver are `real`, those of the cycle `stored`, complex ones pairs of these: entry i
// belongs to unknown i >> pairs. Where the cycle is the narrower one, a power of two for each member
// brings its entries near 1. `sizes` reads scale and x, `enter` too and writes b, `leave` reads scale
// and e and writes y. Blocks are (256), grids (parts, members); of `units` (members).

// Parts of max |S x|, one a block; NaN is no size.
extern "C" __global__ void sizes(
    Index n, int pairs, const real* scale, const real* x, real* parts
) {
    DYNAMIC_SHARED(real, room);
    const Index first = n * blockIdx.y;
    real most = 0;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        const real value = scale[i >> pairs] * x[first + i], size = value < 0 ? -value : value;
        if (size > most) most = size;
    }
    most = block_max(most, room);
    if (threadIdx.x == 0) parts[blockIdx.y * (Index)gridDim.x + blockIdx.x] = most;
}

// The power of two for each member; 1 where its largest entry is zero, or not finite.
extern "C" __global__ void units(int count, const real* parts, real* unit) {
    DYNAMIC_SHARED(real, room);
    real most = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const real size = parts[blockIdx.x * (Index)count + i];
        if (size > most) most = size;
    }
    most = block_max(most, room);
    if (threadIdx.x > 0) return;
    const int furthest = sizeof(real) == 4 ? 120 : 1000;  // 2^furthest has an inverse
    int exponent = 0;
    if (most > 0 && most - most == 0) frexp(most, &exponent);
    exponent = exponent < -furthest ? -furthest : exponent > furthest ? furthest : exponent;
    unit[blockIdx.x] = ldexp(real(1), -exponent);
}

// b = S x unit.
extern "C" __global__ void enter(
    Index n, int pairs, const real* scale, const real* x, const real* unit, stored* b
) {
    const real u = unit == 0 ? real(1) : unit[blockIdx.y];
    const Index first = n * blockIdx.y;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        b[first + i] = scale[i >> pairs] * x[first + i] * u;
    }
}

// y = S (e / unit).
extern "C" __global__ void leave(
    Index n, int pairs, const real* scale, const stored* e, const real* unit, real* y
) {
    const real u = unit == 0 ? real(1) : 1 / unit[blockIdx.y];
    const Index first = n * blockIdx.y;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        y[first + i] = scale[i >> pairs] * (e[first + i] * u);
    }
}
