// -div(k grad x) on a box (n0, n1, n2); in two dimensions n1 is 1 and has weights of 0.
//
// `cells`: unknowns in the middle of cells, harmonic means of k on the faces. A block holds a tile of
// the last two axes and walks along the first one. Each face is worked on once: its flux stays in a
// register from plane to plane, and goes to the neighbour through shared memory within a plane. The
// three high faces of a cell share one division (see kernels/stencil.py); low ones at a tile's edge
// are worked on twice. Blocks are (columns, rows), a power of two each.

// Along one axis, what multiplies: ab / (a + b) of unit k inside the grid; k at the low end;
// unit k / 2 at the high end, or as inside if the axis is a ring.
struct Axis {
    Index n, step;  // unknowns, and entries from one to the next
    real inner, low, high;
    int ring;
};

// ab / (a + b), ac / (a + c) and ad / (a + d); 0 where a solid cell (0) is met.
__device__ inline void three_means(real a, real b, real c, real d, real* ab, real* ac, real* ad) {
    const real s = a + b, t = a + c, u = a + d;
    const real st = s * t, stu = st * u;
    const real r = a / (stu == 0 ? real(1) : stu), ur = u * r;
    *ab = b * (t * ur);
    *ac = c * (s * ur);
    *ad = d * (st * r);
}

__device__ inline real mean(real a, real b) {
    const real s = a + b;
    return a * (b / (s == 0 ? real(1) : s));
}

// The next unknown along an axis: its k, what its face weighs, and x there.
template <class X>
__device__ inline void beyond(
    const Axis& axis, Index at, Index i, real own, real unit, const stored* k, const X& x,
    real* k_next, real* weight, real* x_next
) {
    if (i + 1 < axis.n || axis.ring) {
        const Index next = i + 1 < axis.n ? at + axis.step : at - i * axis.step;
        *k_next = unit * k[next];
        *x_next = x(next);
        *weight = i + 1 < axis.n ? axis.inner : axis.high;
    } else {
        *k_next = own;
        *x_next = 0;
        *weight = axis.high;
    }
}

// The flux into an unknown from the one before it.
template <class X>
__device__ inline real into(
    const Axis& axis, Index at, Index i, real own, real value, real unit, const stored* k, const X& x
) {
    if (i == 0 && !axis.ring) return -axis.low * k[at] * value;
    const Index last = i > 0 ? at - axis.step : at + (axis.n - 1) * axis.step;
    return axis.inner * mean(unit * k[last], own) * (x(last) - value);
}

// The grid, what its faces weigh, and how it is divided.
struct Box {
    Axis axes[3];
    Index depth, pieces;  // planes that a block walks along, and such pieces of a member
    Index members;
    int shared;  // whether one k serves all members
    real unit;   // a power of two that brings k near 1
};

// One tile of one member from plane to plane; `done` takes (place, x there, A x there). The room has
// four entries a thread.
template <class X, class Done>
__device__ inline void walk(
    const Box& box, real pin, const stored* k, const X& x, Index plane, Index end, real* room,
    Done& done
) {
    const Axis &a0 = box.axes[0], &a1 = box.axes[1], &a2 = box.axes[2];
    const real unit = box.unit;
    const int tile = blockDim.x * blockDim.y;
    const int own = threadIdx.x + blockDim.x * threadIdx.y;
    const Index i1 = blockIdx.y * (Index)blockDim.y + threadIdx.y;
    const Index i2 = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    const bool inside = i1 < a1.n && i2 < a2.n;
    Index at = plane * a0.step + i1 * a1.step + i2;
    real kc = 0, xc = 0, before = 0;
    if (inside) {
        kc = unit * k[at];
        xc = x(at);
        before = into(a0, at, plane, kc, xc, unit, k, x);
    }
    for (Index i0 = plane; i0 < end; ++i0, at += a0.step) {
        real* to1 = room + (i0 & 1) * 2 * tile;  // two buffers: one barrier a plane is enough
        real* to2 = to1 + tile;
        real k0 = 0, k1, k2, x0 = 0, x1, x2, w0, w1, w2, m0, m1, m2, g0 = 0, g1 = 0, g2 = 0;
        if (inside) {
            beyond(a0, at, i0, kc, unit, k, x, &k0, &w0, &x0);
            beyond(a1, at, i1, kc, unit, k, x, &k1, &w1, &x1);
            beyond(a2, at, i2, kc, unit, k, x, &k2, &w2, &x2);
            three_means(kc, k0, k1, k2, &m0, &m1, &m2);
            g0 = w0 * m0 * (xc - x0);
            g1 = w1 * m1 * (xc - x1);
            g2 = w2 * m2 * (xc - x2);
            to1[own] = g1;
            to2[own] = g2;
        }
        __syncthreads();
        if (inside) {
            const real f1 = threadIdx.y > 0 ? to1[own - blockDim.x]
                                            : into(a1, at, i1, kc, xc, unit, k, x);
            const real f2 = threadIdx.x > 0 ? to2[own - 1] : into(a2, at, i2, kc, xc, unit, k, x);
            const real y = (g0 - before) + (g1 - f1) + (g2 - f2);
            done(at, xc, kc == 0 && pin > 0 ? pin * xc : y);
            before = g0;
            kc = k0;
            xc = x0;
        }
    }
    __syncthreads();  // the room may be used again
}

// What is done with A x: written,
struct Written {
    real* y;
    __device__ void operator()(Index at, real, real Ax) { y[at] = Ax; }
};

// written as b - A x,
struct Subtracted {
    const real* b;
    real* y;
    __device__ void operator()(Index at, real, real Ax) { y[at] = b[at] - Ax; }
};

// measured, as ||b - A x||^2,
struct Measured {
    const real* b;
    real sum;
    __device__ void operator()(Index at, real, real Ax) {
        const real r = b[at] - Ax;
        sum += r * r;
    }
};

// or written with x itself, and <x, A x>.
struct Projected {
    real *x, *y, sum;
    __device__ void operator()(Index at, real xc, real Ax) {
        x[at] = xc;
        y[at] = Ax;
        sum += xc * Ax;
    }
};

// use(k, pin, first entry of the member, first plane, last plane, job) for each piece of each
// member that is this block's.
template <class Use>
__device__ inline void each_piece(const Box& box, const stored* k, const real* pins, Use use) {
    const Index size = box.axes[0].n * box.axes[0].step;
    for (Index job = blockIdx.z; job < box.members * box.pieces; job += gridDim.z) {
        const Index m = job / box.pieces, plane = job % box.pieces * box.depth;
        const Index owner = box.shared ? 0 : m;
        const Index end = plane + box.depth < box.axes[0].n ? plane + box.depth : box.axes[0].n;
        use(k + owner * size, pins == 0 ? real(0) : pins[owner], m, m * size, plane, end);
    }
}

// The place of this block's part of a sum, of which a member has `pieces` times the tiles.
__device__ inline Index part_of(const Box& box, Index m, Index plane) {
    return ((m * box.pieces + plane / box.depth) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
}

// y = A x.
extern "C" __global__ void cells(
    Box box, const stored* k, const real* pins, const real* x, real* y
) {
    DYNAMIC_SHARED(real, room);
    each_piece(box, k, pins, [&](const stored* km, real pin, Index, Index at, Index plane, Index end) {
        Written done = {y + at};
        walk(box, pin, km, Stored{x + at}, plane, end, room, done);
    });
}

// y = b - A x.
extern "C" __global__ void cells_residual(
    Box box, const stored* k, const real* pins, const real* x, const real* b, real* y
) {
    DYNAMIC_SHARED(real, room);
    each_piece(box, k, pins, [&](const stored* km, real pin, Index, Index at, Index plane, Index end) {
        Subtracted done = {b + at, y + at};
        walk(box, pin, km, Stored{x + at}, plane, end, room, done);
    });
}

// Parts of ||b - A x||^2.
extern "C" __global__ void cells_misfit(
    Box box, const stored* k, const real* pins, const real* x, const real* b, real* parts
) {
    DYNAMIC_SHARED(real, room);
    each_piece(box, k, pins, [&](const stored* km, real pin, Index m, Index at, Index plane, Index end) {
        Measured done = {b + at, 0};
        walk(box, pin, km, Stored{x + at}, plane, end, room, done);
        const real sum = block_sum(done.sum, room);
        if (threadIdx.x == 0 && threadIdx.y == 0) parts[part_of(box, m, plane)] = sum;
    });
}

// x = z + beta p, y = A x, and parts of <x, y>: lines 7, 8 and 3 of CG in one pass.
extern "C" __global__ void cells_search(
    Box box, const stored* k, const real* pins, const real* z, const real* beta, const real* p,
    real* x, real* y, real* parts
) {
    DYNAMIC_SHARED(real, room);
    each_piece(box, k, pins, [&](const stored* km, real pin, Index m, Index at, Index plane, Index end) {
        Projected done = {x + at, y + at, 0};
        walk(box, pin, km, Searched{z + at, p + at, beta[m]}, plane, end, room, done);
        const real sum = block_sum(done.sum, room);
        if (threadIdx.x == 0 && threadIdx.y == 0) parts[part_of(box, m, plane)] = sum;
    });
}
