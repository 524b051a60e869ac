// Chebyshev's iteration with 1 / diagonal on the finest level, in place of red and black.
//
// Two steps from zero are one pass: the first is local. Two steps from a given z are a pass each. All
// points take part in each, so all have a residual and are corrected, centres too, and odd rings need
// no phases. Steps add first D^-1 (b - A x), then again / (x - x before) + next D^-1 (b - A x).

struct Chebyshev {
    real first, again, next;
};

// D^-1 (r - A x) at a point of the fluid.
template <class X>
__device__ inline real scaled_residual(
    const Finest& f, const Member& r, const int* i, Index at, real own, X x
) {
    return r.inv[at] * (r(at) + pulled(f, r.k, i, [&](Index to, const int*) { return x(at + to); })) - own;
}

// z = two steps from zero. Jobs, as of all below: (members, points).
extern "C" __global__ void enter_smooth(
    Finest f, Chebyshev c, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, real* zs, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int i[3];
    const Index m = decode(job, f.grid.n, i), at = place(f.grid, i);
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    const auto x = [&](Index j) { return c.first * (open(r.inv[j]) * r(j)); };
    const real own = x(at);
    real z = 0;
    if (r.inv[at] > 0) z = own + (c.again * own + c.next * scaled_residual(f, r, i, at, own, x));
    zs[m * f.grid.size + at] = z;
}

// f of the first coarse level, as `restrict_finest`, with the residual of all points. Blocks:
// (members, tiles).
extern "C" __global__ void restrict_smooth(
    Finest f, Grid coarse, Tiles tiles, const Index* owners, const stored* scale, const real* ks,
    const real* invs, const stored* rs, const real* zs, const real* weights, const real* centres,
    real* out, int left
) {
    DYNAMIC_SHARED(real, room);
    const Grid& g = f.grid;
    const Index count = (Index)tiles.blocks[0] * tiles.blocks[1] * tiles.blocks[2];
    const Index m = quotient(blockIdx.x, count), o = owners[m];
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    const real* z = zs + m * g.size;
    const auto rest = [&](const int* i) {
        const Index at = place(g, i);
        const real v = r.inv[at];
        if (!(v > 0)) return real(0);
        return scaled_residual(f, r, i, at, z[at], [&](Index j) { return z[j]; }) / v;
    };
    restrict_tile(g, coarse, tiles, weights_of(coarse, weights, o),
                  centres == 0 ? 0 : centres + o * 7 * coarse.size, out + m * coarse.size, left,
                  blockIdx.x - m * count, rest, room);
}

// y = one step from z.
extern "C" __global__ void smooth(
    Finest f, Chebyshev c, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, const real* zs, real* ys, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int i[3];
    const Index m = decode(job, f.grid.n, i), at = place(f.grid, i);
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    const real* z = zs + m * f.grid.size;
    const real own = z[at];
    real y = 0;
    if (r.inv[at] > 0) {
        y = own + c.first * scaled_residual(f, r, i, at, own, [&](Index j) { return z[j]; });
    }
    ys[m * f.grid.size + at] = y;
}

// The second step, from y with z before it: the answer, back in the caller's units. Solid cells,
// which are told by a negative inverse, stand alone.
extern "C" __global__ void leave_smooth(
    Finest f, Chebyshev c, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, const real* zs, const real* ys, stored* out, stored back, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int i[3];
    const Index m = decode(job, f.grid.n, i), at = place(f.grid, i), first = m * f.grid.size;
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    const real *z = zs + first, *y = ys + first;
    const real v = r.inv[at], own = y[at];
    real found = -v * r(at);
    if (v > 0) {
        const real step = scaled_residual(f, r, i, at, own, [&](Index j) { return y[j]; });
        found = own + (c.again * (own - z[at]) + c.next * step);
    }
    out[first + at] = (stored)found * (back / r.scale);
}
