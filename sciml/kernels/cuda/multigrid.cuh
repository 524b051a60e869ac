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
