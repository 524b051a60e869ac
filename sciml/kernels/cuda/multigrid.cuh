// What set-up and cycle of a geometric multigrid on a box (n0, n1, n2) share. In two dimensions n0
// is 1 and nothing goes along axis 0.
//
// Points are held by links, what -A has off its diagonal. A coarse point stores one link for each
// offset (a, b, c) with 9 a + 3 b + c > 0, in that order: 13, or the first 4 in two dimensions. The
// finest level's links are made of k whenever they are met: k is 4 or 8 bytes a point, the three
// links of half its stencil were 12 or 24.
//
// Arrays of coarse levels have a halo of one entry (but for axis 0 in two dimensions) in which
// vectors are 0 and links to points outside lie, so that neighbours need no test. Those of the
// finest level have none.

struct Grid {
    int n[3], ring[3];
    int flat;        // whether there are two dimensions
    Index step[3];   // entries from one point to the next
    Index size;      // entries of a member
    Index origin;    // where point (0, 0, 0) is
};

// The finest level: k times a power of two, with a little of it in solid cells.
struct Finest {
    Grid grid;
    int nodal;            // k on the cells around nodes, or on the cells of the unknowns
    Index cells;          // entries of k of a member
    real weights[3][3];   // nodal: of the sum around an edge; else of ab / (a + b), and of k at the ends
};

// a / b for what may have more than 32 bits, but seldom has: a short division is much faster.
__device__ inline Index quotient(Index a, Index b) {
    if (((a | b) >> 32) == 0) return (unsigned)a / (unsigned)b;
    return a / b;
}

__device__ inline Index place(const Grid& g, const int* i) {
    return g.origin + i[0] * g.step[0] + i[1] * g.step[1] + i[2] * g.step[2];
}

// Entries to the points at -1, 0 and 1 along each axis; around rings.
__device__ inline void near(const Grid& g, const int* i, Index go[3][3]) {
#pragma unroll
    for (int a = 0; a < 3; ++a) {
        const Index step = g.step[a], round = (g.n[a] - 1) * step;
        go[a][0] = g.ring[a] && i[a] == 0 ? round : -step;
        go[a][1] = 0;
        go[a][2] = g.ring[a] && i[a] == g.n[a] - 1 ? -round : step;
    }
}

__device__ inline bool outside(const Grid& g, const int* i) {
    bool out = false;
#pragma unroll
    for (int a = 0; a < 3; ++a) out |= !g.ring[a] && (i[a] < 0 || i[a] >= g.n[a]);
    return out;
}

// The link of a point of the finest level to the next one along an axis: side 0 is towards 0.
template <class R>
__device__ inline R link_of_cells(
    const Finest& f, const real* k, const int* i, Index at, int a, int side
) {
    const Grid& g = f.grid;
    const R own = k[at];
    const bool inside = side ? i[a] + 1 < g.n[a] : i[a] > 0;
    if (!inside && !g.ring[a]) return (R)f.weights[a][1 + side] * own;
    if (g.n[a] == 1) return 0;  // a ring of one point
    const Index round = (g.n[a] - 1) * g.step[a];
    const Index to = inside ? g.step[a] : -round;
    const R other = k[at + (side ? to : -to)];
    const R s = own + other;
    return (R)f.weights[a][0] * (own * (other / (s == 0 ? R(1) : s)));
}

// All of them: c[2 a + side].
template <class R>
__device__ inline void six_links(const Finest& f, const real* k, const int* i, R* c) {
    const Grid& g = f.grid;
    if (!f.nodal) {
        const Index at = place(g, i);
#pragma unroll
        for (int a = 0; a < 3; ++a) {
            if (a == 0 && g.flat) {
                c[0] = c[1] = 0;
                continue;
            }
            c[2 * a] = link_of_cells<R>(f, k, i, at, a, 0);
            c[2 * a + 1] = link_of_cells<R>(f, k, i, at, a, 1);
        }
        return;
    }
    const Index row = g.n[2] + 1, plane = g.flat ? 0 : (g.n[1] + 1) * row;
    const real* e = k + i[0] * plane + i[1] * row + i[2];
    const R p0 = (R)e[0] + e[1], p1 = (R)e[row] + e[row + 1];
    const R s0 = (R)e[0] + e[row], s1 = (R)e[1] + e[row + 1];
    if (g.flat) {
        c[0] = c[1] = 0;
        c[2] = (R)f.weights[1][0] * p0;
        c[3] = (R)f.weights[1][0] * p1;
        c[4] = (R)f.weights[2][0] * s0;
        c[5] = (R)f.weights[2][0] * s1;
        return;
    }
    const real* d = e + plane;
    const R q0 = (R)d[0] + d[1], q1 = (R)d[row] + d[row + 1];
    c[0] = (R)f.weights[0][0] * (p0 + p1);
    c[1] = (R)f.weights[0][0] * (q0 + q1);
    c[2] = (R)f.weights[1][0] * (p0 + q0);
    c[3] = (R)f.weights[1][0] * (p1 + q1);
    c[4] = (R)f.weights[2][0] * (s0 + ((R)d[0] + d[row]));
    c[5] = (R)f.weights[2][0] * (s1 + ((R)d[1] + d[row + 1]));
}

// Interpolation. The point 2 J + t of cell J, each of t 0 or 1, is interpolated from the corners
// J + x, each of x 0 or 1: with one odd t (an edge) from two, with two (a face) from four, with
// three (a centre) from eight. Points outside are 0 and count as coarse points of value 0. Stored
// for a cell are, in this order: the lower corner of the edges along axes 2 and 1, three of the four
// corners of the face between them; in three dimensions the same of the edge along axis 0, of the
// face across axis 1 and of that across axis 2. The last corner has the rest of 1. Centres are
// relaxed last before the coarse correction and first after it, so that a cycle never asks for them.
__device__ inline int edge_number(int axis) { return axis == 0 ? 5 : 2 - axis; }
__device__ inline int face_number(int normal) { return normal == 0 ? 2 : 3 + 3 * normal; }

// The weight of corner x for point t of the cell whose entry is `at`: bits 4, 2, 1 for the axes.
template <class R>
__device__ inline R edge_or_face(const real* w, Index at, Index size, int t, int x) {
    switch (t) {
        case 0: return 1;
        case 1: case 2: case 4: {
            const R low = w[edge_number(t == 4 ? 0 : t == 2 ? 1 : 2) * size + at];
            return x & t ? 1 - low : low;
        }
        default: {
            const int normal = t == 3 ? 0 : t == 5 ? 1 : 2;
            const real* p = w + face_number(normal) * size + at;
            const int high = t == 3 ? x >> 1 & 1 : x >> 2 & 1, low = t == 6 ? x >> 1 & 1 : x & 1;
            if (high + low < 2) return p[(2 * high + low) * size];
            return 1 - ((R)p[0] + p[size] + p[2 * size]);
        }
    }
}

// -- what the kernels of a cycle share --------------------------------------------------------------

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
