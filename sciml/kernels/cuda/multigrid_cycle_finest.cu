// A cycle on the finest level, which stores no links. Vectors of the caller are `stored`, all else is
// `real`: a float32 cycle serves float64 systems.

// Parts of max |r|, `count` of each member, a block a part. All entries: of fewer, a peak may be in
// none, and what they say of the others makes it overflow.
extern "C" __global__ void sizes(Index n, int count, const stored* rs, double* parts) {
    DYNAMIC_SHARED(double, room);
    const stored* r = rs + n * (blockIdx.x / count);
    double most = 0;
    for (Index i = (Index)(blockIdx.x % count) * blockDim.x + threadIdx.x; i < n; i += (Index)count * blockDim.x) {
        most = fmax(most, fabs((double)r[i]));
    }
    most = block_max(most, room);
    if (threadIdx.x == 0) parts[blockIdx.x] = most;
}

// Powers of two that bring each member of r near 1, so that float32 holds it. One block a member.
extern "C" __global__ void scales(int count, const double* parts, stored* scale) {
    DYNAMIC_SHARED(double, room);
    double most = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        most = fmax(most, parts[(Index)blockIdx.x * count + i]);
    }
    most = block_max(most, room);
    if (threadIdx.x > 0) return;
    const int limit = sizeof(stored) == 4 ? 120 : 1000;
    int up = most > 0 && most < 1e300 ? -ilogb(most) : 0;
    up = up > limit ? limit : up < -limit ? -limit : up;
    scale[blockIdx.x] = (stored)ldexp(1.0, up);
}

// Red and black in one pass from zero, where no ring is odd: reads r, inv and k once, writes z. A
// thread has two neighbours of a row, one of each colour. Jobs: (members, rows, pairs).
extern "C" __global__ void enter(
    Finest f, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, real* zs, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const Grid& g = f.grid;
    const int shape[3] = {g.n[0], g.n[1], (g.n[2] + 1) / 2};
    int i[3];
    const Index m = decode(job, shape, i);
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    real* z = zs + m * g.size;
    const int black = (i[0] + i[1] + 1) & 1;  // its place in the pair
    i[2] = 2 * i[2] + 1 - black;
    if (i[2] < g.n[2]) {
        const Index at = place(g, i);
        z[at] = open(r.inv[at]) * r(at);
    }
    i[2] += 2 * black - 1;
    if (i[2] < g.n[2]) {
        const Index at = place(g, i);
        const real v = open(r.inv[at]);
        z[at] = v * (r(at) + pulled(f, r.k, i, [&](Index to, const int*) {
            return open(r.inv[at + to]) * r(at + to);
        }));
    }
}

// One phase. `first`: before the coarse correction, from zero. A thread has one of two neighbours
// of a row. Jobs: (members, rows, pairs).
extern "C" __global__ void relax_finest(
    Finest f, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, real* zs, int order, int first, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const Grid& g = f.grid;
    const int shape[3] = {g.n[0], g.n[1], (g.n[2] + 1) / 2};
    int i[3];
    const Index m = decode(job, shape, i);
    i[2] = 2 * i[2] + ((i[0] + i[1] + order) & 1);
    if (i[2] >= g.n[2] || order_of(g, i) != order) return;
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    real* z = zs + m * g.size;
    const Index at = place(g, i);
    const real v = open(r.inv[at]);
    z[at] = v * (r(at) + pulled(f, r.k, i, [&](Index to, const int* j) {
        return !first || order_of(g, j) < order ? z[at + to] : real(0);
    }));
}

// The answer, back in the caller's units; with `relax` red is relaxed on the way. Solid cells, which
// are told by a negative inverse, stand alone. Jobs: (members, rows, pairs).
extern "C" __global__ void leave(
    Finest f, const Index* owners, const stored* scale, const real* ks, const real* invs,
    const stored* rs, const real* zs, stored* out, stored back, int relax, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const Grid& g = f.grid;
    const int shape[3] = {g.n[0], g.n[1], (g.n[2] + 1) / 2};
    int i[3];
    const Index m = decode(job, shape, i);
    const Member r = member_of(f, m, owners, scale, ks, invs, rs);
    const real* z = zs + m * g.size;
    const int black = (i[0] + i[1] + 1) & 1;
    i[2] = 2 * i[2] + 1 - black;
    for (int turn = 0; turn < 2; ++turn, i[2] += 2 * black - 1) {
        if (i[2] >= g.n[2]) continue;
        const Index at = place(g, i);
        const real v = r.inv[at], own = r(at);
        real found;
        if (v < 0) {
            found = -v * own;
        } else if (relax && turn == 0) {
            found = v * (own + pulled(f, r.k, i, [&](Index to, const int*) { return z[at + to]; }));
        } else {
            found = z[at];
        }
        out[m * g.size + at] = (stored)found * (back / r.scale);
    }
}
