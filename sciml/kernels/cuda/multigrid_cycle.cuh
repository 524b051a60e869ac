// What the kernels of a cycle share: phases, and sums over links.
//
// Smoothing is Gauss-Seidel in phases whose points are not linked to each other: red and black on
// the finest level, the parities of the coordinates on coarse ones, which have links to all
// neighbours. The last point of a ring of odd length neighbours the first, of its own parity: such
// points, the seam, come in phases before all others. After the coarse correction phases come in
// reverse order: the cycle is symmetric. Each sweep before it starts from zero, so that a point looks
// at those relaxed earlier alone, and what is left of its residual is the sum over those later.

__device__ inline Index job_of_thread() { return blockIdx.x * (Index)blockDim.x + threadIdx.x; }

// The member of a job, and its point of a box `shape`.
__device__ inline Index decode(Index job, const int* shape, int* i) {
    const Index size = (Index)shape[0] * shape[1] * shape[2];
    const Index m = quotient(job, size);
    const unsigned at = (unsigned)(job - m * size), row = at / (unsigned)shape[2];
    i[2] = at - row * shape[2];
    i[0] = row / (unsigned)shape[1];
    i[1] = row - i[0] * shape[1];
    return m;
}

__device__ inline bool on_seam(const Grid& g, int a, int i) {
    return g.ring[a] && g.n[a] % 2 && g.n[a] > 1 && i == g.n[a] - 1;
}

// When a point of the finest level is relaxed: the seams, then red, then black.
__device__ inline int order_of(const Grid& g, const int* i) {
    int seams = 0;
#pragma unroll
    for (int a = 0; a < 3; ++a) seams |= on_seam(g, a, i[a]) ? 4 >> a : 0;
    return ((i[0] + i[1] + i[2]) & 1) + 2 * (seams ? seams : 8);
}

// The same of a coarse point, axis by axis: a seam, an even place, an odd one.
__device__ inline int class_of(const Grid& g, int a, int i) {
    return on_seam(g, a, i) ? 0 : 1 + (i & 1);
}

__device__ inline real open(real inv) { return inv > 0 ? inv : real(0); }

// Sum of c x over the neighbours inside that `use` takes, each with its order.
template <class X>
__device__ inline real pulled(const Finest& f, const real* k, const int* i, X x) {
    const Grid& g = f.grid;
    Index go[3][3];
    near(g, i, go);
    real c[6], sum = 0;
    six_links<real>(f, k, i, c);
#pragma unroll
    for (int a = 0; a < 3; ++a) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const bool inside = g.ring[a] || (side ? i[a] + 1 < g.n[a] : i[a] > 0);
            if ((a == 0 && g.flat) || !inside) continue;
            int j[3] = {i[0], i[1], i[2]};
            j[a] += side ? 1 : -1;
            if (j[a] < 0) j[a] += g.n[a];
            if (j[a] >= g.n[a]) j[a] -= g.n[a];
            sum += c[2 * a + side] * x(go[a][2 * side], j);
        }
    }
    return sum;
}
