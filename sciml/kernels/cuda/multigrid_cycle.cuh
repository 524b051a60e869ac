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

// What a member of the vector works with on the finest level; r of it is scaled.
struct Member {
    const real *k, *inv;
    const stored* r;
    stored scale;
    __device__ real operator()(Index at) const { return (real)(scale * r[at]); }
};

__device__ inline Member member_of(
    const Finest& f, Index m, const Index* owners, const stored* scale, const real* ks,
    const real* invs, const stored* rs
) {
    const Index o = owners[m], size = f.grid.size;
    return {ks + o * f.cells, invs + o * size, rs + m * size, scale ? scale[m] : stored(1)};
}

// The weight of corner x for point t, centres among them.
__device__ inline real weight_of(
    const real* weights, const real* centres, Index cell, Index size, int t, int x
) {
    if (t < 7) return edge_or_face<real>(weights, cell, size, t, x);
    if (x < 7) return centres[x * size + cell];
    real rest = 1;
    for (int y = 0; y < 7; ++y) rest -= centres[y * size + cell];
    return rest;
}

// The tile of coarse points of a block, of which it has `blocks` along each axis; its member.
struct Tiles {
    int shape[3], blocks[3];
};

// What is left of the residual of a tile's fine points in shared memory, then P^T of it: fine points
// at the tile's edge are worked on by two blocks. Bits of `left`: the points 2 J + t, t in bits 4, 2,
// 1, that have any left; `centres` are there if bit 7 is set.
template <class Left>
__device__ inline void restrict_tile(
    const Grid& fine, const Grid& coarse, const Tiles& tiles, const real* weights, const real* centres,
    real* out, int left, Index tile, Left rest, real* room
) {
    int at[3], low[3], shape[3];
    decode(tile, tiles.blocks, at);
    for (int a = 0; a < 3; ++a) {
        at[a] *= tiles.shape[a];
        const bool none = a == 0 && fine.flat;
        low[a] = none ? 0 : 2 * at[a] - 1;
        shape[a] = none ? 1 : 2 * tiles.shape[a] + 1;
    }
    const int count = shape[0] * shape[1] * shape[2];
    for (int p = threadIdx.x; p < count; p += blockDim.x) {
        int i[3];
        decode(p, shape, i);
        for (int a = 0; a < 3; ++a) {
            i[a] += low[a];
            // the seam of an odd ring has no point between
            if (fine.ring[a] && fine.n[a] % 2 == 0) {
                i[a] = i[a] < 0 ? i[a] + fine.n[a] : i[a] >= fine.n[a] ? i[a] - fine.n[a] : i[a];
            }
        }
        bool in = true;
        for (int a = 0; a < 3; ++a) in &= i[a] >= 0 && i[a] < fine.n[a];
        const int t = 4 * (i[0] & 1) + 2 * (i[1] & 1) + (i[2] & 1);
        room[p] = in && (left >> t & 1) ? rest(i) : real(0);
    }
    __syncthreads();
    for (int p = threadIdx.x; p < tiles.shape[0] * tiles.shape[1] * tiles.shape[2]; p += blockDim.x) {
        int i[3], J[3];
        decode(p, tiles.shape, i);
        bool in = true;
        for (int a = 0; a < 3; ++a) {
            J[a] = at[a] + i[a];
            in &= J[a] < coarse.n[a];
        }
        if (!in) continue;
        const Index here = place(coarse, J);
        Index go[3][3];
        near(coarse, J, go);
        const int centre = (((fine.flat ? 0 : 2 * i[0] + 1) * shape[1]) + 2 * i[1] + 1) * shape[2] + 2 * i[2] + 1;
        real sum = 0;
#pragma unroll
        for (int a = -1; a <= 1; ++a) {
            if (a && fine.flat) continue;
#pragma unroll
            for (int b = -1; b <= 1; ++b) {
#pragma unroll
                for (int c = -1; c <= 1; ++c) {
                    const int t = 4 * (a != 0) + 2 * (b != 0) + (c != 0);
                    const int x = 4 * (a < 0) + 2 * (b < 0) + (c < 0);
                    if (!(left >> t & 1)) continue;
                    const Index cell = here + go[0][a < 0 ? 0 : 1] + go[1][b < 0 ? 0 : 1] + go[2][c < 0 ? 0 : 1];
                    const real value = room[centre + (a * shape[1] + b) * shape[2] + c];
                    sum += value * weight_of(weights, centres, cell, coarse.size, t, x);
                }
            }
        }
        out[here] = sum;
    }
}

// Weights of the cells that a member of the coarse grid has.
__device__ inline const real* weights_of(const Grid& g, const real* weights, Index owner) {
    return weights + owner * (g.flat ? 5 : 12) * g.size;
}
