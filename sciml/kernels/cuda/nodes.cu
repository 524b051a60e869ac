// -div(k grad u) on the nodes of a grid (n0, n1, n2), u = 0 on its boundary: k is on the cells
// around nodes, of which there is one more along each axis, and what an edge weighs is the sum of
// the cells that touch it. In two dimensions n1 and its cells are 1.

struct Grid {
    Index n0, n1, n2;
    Index members;
    int shared;  // whether one k serves all members
    int flat;    // whether there are two dimensions
    real weights[3];
};

// A x at node (i0, i1, i2), whose entry is `at`; k of its low cell is km[cell].
template <class X>
__device__ inline real product(
    const Grid& g, const stored* km, const X& x, Index at, Index i0, Index i1, Index i2
) {
    const Index row = g.n2 + 1, plane = g.flat ? row : (g.n1 + 1) * row;
    const Index side = g.flat ? 0 : row;  // to the cell beside it along axis 1
    const Index cell = i0 * plane + i1 * side + i2;
    const Index step0 = g.n1 * g.n2, step1 = g.n2;
    const stored* c = km + cell;
    real e[8];  // the cells around the node; in two dimensions the second half is not used
    e[0] = c[0];
    e[1] = c[1];
    e[2] = c[plane];
    e[3] = c[plane + 1];
    if (!g.flat) {
        e[4] = c[side];
        e[5] = c[side + 1];
        e[6] = c[plane + side];
        e[7] = c[plane + side + 1];
    } else {
        e[4] = e[5] = e[6] = e[7] = 0;
    }
    const real own = x(at);
    const real low0 = e[0] + e[1] + e[4] + e[5], high0 = e[2] + e[3] + e[6] + e[7];
    const real low2 = e[0] + e[2] + e[4] + e[6], high2 = e[1] + e[3] + e[5] + e[7];
    const real before0 = i0 > 0 ? x(at - step0) : real(0);
    const real after0 = i0 + 1 < g.n0 ? x(at + step0) : real(0);
    const real before2 = i2 > 0 ? x(at - 1) : real(0);
    const real after2 = i2 + 1 < g.n2 ? x(at + 1) : real(0);
    real y = g.weights[0] * (low0 * (own - before0) + high0 * (own - after0));
    y += g.weights[2] * (low2 * (own - before2) + high2 * (own - after2));
    if (!g.flat) {
        const real low1 = e[0] + e[1] + e[2] + e[3], high1 = e[4] + e[5] + e[6] + e[7];
        const real before1 = i1 > 0 ? x(at - step1) : real(0);
        const real after1 = i1 + 1 < g.n1 ? x(at + step1) : real(0);
        y += g.weights[1] * (low1 * (own - before1) + high1 * (own - after1));
    }
    return y;
}

// use(k of the member, member, first entry, entry, i0, i1, i2) for each node that is this thread's.
template <class Use>
__device__ inline void each_node(const Grid& g, const stored* k, Use use) {
    const Index size = g.n0 * g.n1 * g.n2;
    const Index cells = (g.n0 + 1) * (g.flat ? 1 : g.n1 + 1) * (g.n2 + 1);
    const Index m = blockIdx.y, stride = (Index)gridDim.x * blockDim.x;
    const stored* km = k + (g.shared ? 0 : m * cells);
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < size; i += stride) {
        use(km, m, m * size, i, i / (g.n1 * g.n2), i / g.n2 % g.n1, i % g.n2);
    }
}

// y = A x.
extern "C" __global__ void nodes(Grid g, const stored* k, const real* x, real* y) {
    each_node(g, k, [&](const stored* km, Index, Index first, Index i, Index i0, Index i1, Index i2) {
        y[first + i] = product(g, km, Stored{x + first}, i, i0, i1, i2);
    });
}

// y = b - A x.
extern "C" __global__ void nodes_residual(
    Grid g, const stored* k, const real* x, const real* b, real* y
) {
    each_node(g, k, [&](const stored* km, Index, Index first, Index i, Index i0, Index i1, Index i2) {
        y[first + i] = b[first + i] - product(g, km, Stored{x + first}, i, i0, i1, i2);
    });
}

// Parts of ||b - A x||^2, one a block.
extern "C" __global__ void nodes_misfit(
    Grid g, const stored* k, const real* x, const real* b, real* parts
) {
    DYNAMIC_SHARED(real, room);
    real sum = 0;
    each_node(g, k, [&](const stored* km, Index, Index first, Index i, Index i0, Index i1, Index i2) {
        const real r = b[first + i] - product(g, km, Stored{x + first}, i, i0, i1, i2);
        sum += r * r;
    });
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.y * (Index)gridDim.x + blockIdx.x] = sum;
}

// x = z + beta p, y = A x, and parts of <x, y>.
extern "C" __global__ void nodes_search(
    Grid g, const stored* k, const real* z, const real* beta, const real* p, real* x, real* y,
    real* parts
) {
    DYNAMIC_SHARED(real, room);
    real sum = 0;
    each_node(g, k, [&](const stored* km, Index m, Index first, Index i, Index i0, Index i1, Index i2) {
        const Searched v = {z + first, p + first, beta[m]};
        const real own = v(i), Ax = product(g, km, v, i, i0, i1, i2);
        x[first + i] = own;
        y[first + i] = Ax;
        sum += own * Ax;
    });
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.y * (Index)gridDim.x + blockIdx.x] = sum;
}
