// A cycle on coarse levels, and between levels: all vectors are `real`.

// -- coarse levels --------------------------------------------------------------------------------

// use(offset, link, entries to the neighbour) for all neighbours.
template <int D, class Use>
__device__ inline void each_link(const Grid& g, const Index go[3][3], const real* links, Use use) {
#pragma unroll
    for (int a = 0; a <= (D == 3); ++a) {
#pragma unroll
        for (int b = -1; b <= 1; ++b) {
#pragma unroll
            for (int c = -1; c <= 1; ++c) {
                const int number = 9 * a + 3 * b + c;
                if (number <= 0) continue;
                const real* l = links + (number - 1) * g.size;
                const Index from = go[0][1 - a] + go[1][1 - b] + go[2][1 - c];
                use(a, b, c, l, go[0][1 + a] + go[1][1 + b] + go[2][1 + c]);
                use(-a, -b, -c, l + from, from);
            }
        }
    }
}

// One phase of a coarse level; `first`: from zero. The phase is a class along each axis, of which
// there are `shape` points. Jobs: (members, points).
template <int D>
__device__ inline void relax(
    const Grid& g, const Index* owners, const real* links, const real* inv, const real* f, real* u,
    const int* phase, const int* shape, int first, Index job
) {
    int i[3], seams[3][3];
    const Index m = decode(job, shape, i), o = owners[m];
#pragma unroll
    for (int a = 0; a < 3; ++a) i[a] = phase[a] == 0 ? g.n[a] - 1 : 2 * i[a] + phase[a] - 1;
#pragma unroll
    for (int a = 0; a < 3; ++a) {
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            int j = i[a] + d - 1;
            if (g.ring[a]) j = j < 0 ? j + g.n[a] : j >= g.n[a] ? j - g.n[a] : j;
            seams[a][d] = class_of(g, a, j);
        }
    }
    Index go[3][3];
    near(g, i, go);
    const Index at = place(g, i);
    u += m * g.size + at;
    const int own = 9 * phase[0] + 3 * phase[1] + phase[2];
    real sum = f[m * g.size + at];
    each_link<D>(g, go, links + o * (D == 3 ? 13 : 4) * g.size + at,
        [&](int a, int b, int c, const real* l, Index to) {
            const int order = 9 * seams[0][a + 1] + 3 * seams[1][b + 1] + seams[2][c + 1];
            if (!first || order < own) sum += *l * u[to];
        });
    *u = inv[o * g.size + at] * sum;
}

struct Phase {
    int classes[3], shape[3];
};

extern "C" __global__ void relax_2d(
    Grid g, const Index* owners, const real* links, const real* inv, const real* f, real* u,
    Phase phase, int first, Index jobs
) {
    const Index job = job_of_thread();
    if (job < jobs) relax<2>(g, owners, links, inv, f, u, phase.classes, phase.shape, first, job);
}

extern "C" __global__ void relax_3d(
    Grid g, const Index* owners, const real* links, const real* inv, const real* f, real* u,
    Phase phase, int first, Index jobs
) {
    const Index job = job_of_thread();
    if (job < jobs) relax<3>(g, owners, links, inv, f, u, phase.classes, phase.shape, first, job);
}

// Before a level is visited again: f = f - A u, and what was found is kept. Jobs: (members, points).
template <int D>
__device__ inline void revisit(
    const Grid& g, const Index* owners, const real* links, const real* inv, real* f, const real* u,
    real* kept, Index job
) {
    int i[3];
    const Index m = decode(job, g.n, i), o = owners[m], at = place(g, i);
    Index go[3][3];
    near(g, i, go);
    u += m * g.size + at;
    real sum = 0;
    each_link<D>(g, go, links + o * (D == 3 ? 13 : 4) * g.size + at,
        [&](int, int, int, const real* l, Index to) { sum += *l * u[to]; });
    const real v = inv[o * g.size + at];
    if (v > 0) f[m * g.size + at] += sum - *u / v;
    kept[m * g.size + at] = *u;
}

extern "C" __global__ void revisit_2d(
    Grid g, const Index* owners, const real* links, const real* inv, real* f, const real* u, real* kept,
    Index jobs
) {
    const Index job = job_of_thread();
    if (job < jobs) revisit<2>(g, owners, links, inv, f, u, kept, job);
}

extern "C" __global__ void revisit_3d(
    Grid g, const Index* owners, const real* links, const real* inv, real* f, const real* u, real* kept,
    Index jobs
) {
    const Index job = job_of_thread();
    if (job < jobs) revisit<3>(g, owners, links, inv, f, u, kept, job);
}

// u += kept, all entries.
extern "C" __global__ void add(const real* kept, real* u, Index jobs) {
    const Index job = job_of_thread();
    if (job < jobs) u[job] += kept[job];
}

// u = inverse f on the coarsest level: inverse (owners, points, points). Jobs: (members, points).
extern "C" __global__ void solve(
    Grid g, const Index* owners, const real* inverse, const real* f, real* u, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int i[3], j[3];
    const Index m = decode(job, g.n, i), points = (Index)g.n[0] * g.n[1] * g.n[2];
    const real* row = inverse + (owners[m] * points + (i[0] * g.n[1] + i[1]) * g.n[2] + i[2]) * points;
    real sum = 0;
    for (j[0] = 0; j[0] < g.n[0]; ++j[0])
        for (j[1] = 0; j[1] < g.n[1]; ++j[1])
            for (j[2] = 0; j[2] < g.n[2]; ++j[2]) sum += *row++ * f[m * g.size + place(g, j)];
    u[m * g.size + place(g, i)] = sum;
}

// -- between levels -------------------------------------------------------------------------------

// f of the first coarse level. Blocks: (members, tiles).
extern "C" __global__ void restrict_finest(
    Finest f, Grid coarse, Tiles tiles, const Index* owners, const real* ks, const real* zs,
    const real* weights, real* out, int left
) {
    DYNAMIC_SHARED(real, room);
    const Grid& g = f.grid;
    const Index count = (Index)tiles.blocks[0] * tiles.blocks[1] * tiles.blocks[2];
    const Index m = quotient(blockIdx.x, count), o = owners[m];
    const real *k = ks + o * f.cells, *z = zs + m * g.size;
    auto rest = [&](const int* i) {
        const Index at = place(g, i);
        const int own = order_of(g, i);
        return pulled(f, k, i, [&](Index to, const int* j) {
            return order_of(g, j) > own ? z[at + to] : real(0);
        });
    };
    restrict_tile(g, coarse, tiles, weights_of(coarse, weights, o), 0, out + m * coarse.size, left,
                  blockIdx.x - m * count, rest, room);
}

template <int D>
__device__ inline void restrict_level(
    const Grid& g, const Grid& coarse, const Tiles& tiles, const Index* owners, const real* links,
    const real* us, const real* weights, real* out, int left, real* room
) {
    const Index count = (Index)tiles.blocks[0] * tiles.blocks[1] * tiles.blocks[2];
    const Index m = quotient(blockIdx.x, count), o = owners[m];
    links += o * (D == 3 ? 13 : 4) * g.size;
    us += m * g.size;
    auto rest = [&](const int* i) {
        int seams[3][3];
        for (int a = 0; a < 3; ++a) {
            for (int d = 0; d < 3; ++d) {
                int j = i[a] + d - 1;
                if (g.ring[a]) j = j < 0 ? j + g.n[a] : j >= g.n[a] ? j - g.n[a] : j;
                seams[a][d] = class_of(g, a, j);
            }
        }
        Index go[3][3];
        near(g, i, go);
        const real* u = us + place(g, i);
        const int own = 9 * seams[0][1] + 3 * seams[1][1] + seams[2][1];
        real sum = 0;
        each_link<D>(g, go, links + place(g, i), [&](int a, int b, int c, const real* l, Index to) {
            if (9 * seams[0][a + 1] + 3 * seams[1][b + 1] + seams[2][c + 1] > own) sum += *l * u[to];
        });
        return sum;
    };
    restrict_tile(g, coarse, tiles, weights_of(coarse, weights, o), 0, out + m * coarse.size, left,
                  blockIdx.x - m * count, rest, room);
}

extern "C" __global__ void restrict_2d(
    Grid g, Grid coarse, Tiles tiles, const Index* owners, const real* links, const real* u,
    const real* weights, real* out, int left
) {
    DYNAMIC_SHARED(real, room);
    restrict_level<2>(g, coarse, tiles, owners, links, u, weights, out, left, room);
}

extern "C" __global__ void restrict_3d(
    Grid g, Grid coarse, Tiles tiles, const Index* owners, const real* links, const real* u,
    const real* weights, real* out, int left
) {
    DYNAMIC_SHARED(real, room);
    restrict_level<3>(g, coarse, tiles, owners, links, u, weights, out, left, room);
}

// u += P e at the points 2 J + t that `which` has bits for: reads the corners of cells, their weights
// and u, writes u. centres: (owners, 7, size), or null without bit 7. Jobs: (members, coarse points).
extern "C" __global__ void correct(
    Grid fine, Grid coarse, const Index* owners, const real* weights, const real* centres, const real* es,
    real* us, int which, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int J[3], i[3];
    const Index m = decode(job, coarse.n, J);
    const real* w = weights_of(coarse, weights, owners[m]);
    const real* centre = centres == 0 ? 0 : centres + owners[m] * 7 * coarse.size;
    const Index here = place(coarse, J);
    for (int a = 0; a < 3; ++a) i[a] = 2 * J[a];
    real* u = us + m * fine.size + place(fine, i);
    const real* e = es + m * coarse.size + here;
    Index go[3][3];
    near(coarse, J, go);
    real corners[8];
#pragma unroll
    for (int x = 0; x < 8; ++x) {
        corners[x] = x > 3 && fine.flat ? real(0) : e[go[0][x > 3 ? 2 : 1] + go[1][x & 2 ? 2 : 1] + go[2][x & 1 ? 2 : 1]];
    }
#pragma unroll
    for (int t = 0; t < 8; ++t) {
        const int t0 = t >> 2, t1 = t >> 1 & 1, t2 = t & 1;
        if (!(which >> t & 1) || (t0 && fine.flat)) continue;
        if (i[0] + t0 >= fine.n[0] || i[1] + t1 >= fine.n[1] || i[2] + t2 >= fine.n[2]) continue;
        real sum = 0;
#pragma unroll
        for (int x = 0; x < 8; ++x) {
            if (!(x & ~t)) sum += weight_of(w, centre, here, coarse.size, t, x) * corners[x];
        }
        u[t0 * fine.step[0] + t1 * fine.step[1] + t2 * fine.step[2]] += sum;
    }
}
