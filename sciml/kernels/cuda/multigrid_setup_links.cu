// Galerkin's coarse operators of a geometric multigrid, their inverse diagonals, the last matrix.

// -- Galerkin's operators -------------------------------------------------------------------------

// What the links that belong to cell L add to the one between its corners x and y.
template <class Links>
__device__ inline double of_cell(const Links& l, const Interpolation& P, const int* L, int x, int y) {
    const int flat = l.grid().flat;
    double sum = 0;
    bool shut[3];
    for (int a = 0; a < 3; ++a) shut[a] = P.shut(L, a);
    for (int corner = 0; corner < 8; ++corner) {
        const int lower[3] = {corner >> 2, corner >> 1 & 1, corner & 1};
        if ((flat || shut[0]) && lower[0]) continue;
        if ((shut[1] && lower[1]) || (shut[2] && lower[2])) continue;
        for (int number = 1; number <= (flat ? 4 : 13); ++number) {
            if (!l.wide && number != 1 && number != 3 && number != 9) continue;
            const int n = number + 13, d[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
            int i[3], s[3], t[3];
            for (int a = 0; a < 3; ++a) {
                s[a] = lower[a] + (d[a] < 0);
                t[a] = s[a] + d[a];
                i[a] = 2 * L[a] + s[a];
                if (shut[a]) {  // 1 is the high corner
                    s[a] *= 2;
                    t[a] *= 2;
                }
            }
            const double dx = P(L, s, x) - P(L, t, x);
            if (dx == 0) continue;
            const double dy = P(L, s, y) - P(L, t, y);
            if (dy != 0) sum -= link(l, i, d) * dx * dy;
        }
    }
    return sum;
}

// The link of coarse point J with a number, one of the halo among them.
template <class Links>
__device__ inline void coarsen(
    const Links& l, const Interpolation& P, const int* J, int number, real* links
) {
    const Grid& g = P.coarse;
    const int n = number + 13, d[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
    int K[3], first[3], last[3];
    bool self = true;
    for (int a = 0; a < 3; ++a) {
        K[a] = J[a] + d[a];
        if (g.ring[a]) K[a] = (K[a] + g.n[a]) % g.n[a];
        self &= K[a] == J[a];
        first[a] = d[a] == 1 ? J[a] : J[a] - 1;
        last[a] = d[a] == -1 ? J[a] - 1 : J[a];
        if (!g.ring[a]) {  // cells from -1 on; along axis 0 of two dimensions there is one
            if (first[a] < -1) first[a] = -1;
            if (last[a] > g.n[a] - 1) last[a] = g.n[a] - 1;
            if (a == 0 && g.flat) first[a] = 0;
        }
    }
    if (self || (outside(g, J) && outside(g, K))) return;
    double sum = 0;
    for (int a = first[0]; a <= last[0]; ++a)
        for (int b = first[1]; b <= last[1]; ++b)
            for (int c = first[2]; c <= last[2]; ++c) {
                int L[3] = {a, b, c}, x = 0, y = 0;
                for (int q = 0; q < 3; ++q) {
                    const int own = J[q] - L[q];
                    x |= own * (4 >> q);
                    y |= (own + d[q]) * (4 >> q);
                    if (g.ring[q]) L[q] = (L[q] + g.n[q]) % g.n[q];
                }
                sum += of_cell(l, P, L, x, y);
            }
    links[(number - 1) * g.size + place(g, J)] = sum;
}

// The points of a grid and its halo.
__device__ inline void with_halo(const Grid& g, int* shape, int* low) {
    for (int a = 0; a < 3; ++a) {
        const bool halo = !g.ring[a] && !(a == 0 && g.flat);
        low[a] = halo ? -1 : 0;
        shape[a] = g.n[a] + (halo ? 2 : 0);
    }
}

// Coarse links. Jobs: (members, links, coarse points with those outside).
template <class G>
__device__ inline void links_job(
    const G& fine, const Grid& coarse, const real* finer, const real* weights, const real* centres,
    real* links, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    int shape[3], low[3], J[3], number;
    with_halo(coarse, shape, low);
    const Index m = decode(job, coarse.flat ? 4 : 13, shape, low, J, &number);
    const auto l = links_at(fine, finer, m);
    const Interpolation P = {
        l.grid(), coarse, weights + m * weights_of(coarse), centres + m * 7 * coarse.size};
    coarsen(l, P, J, number + 1, links + m * links_of(coarse));
}

extern "C" __global__ void links_finest(
    Finest f, Grid coarse, const real* k, const real* weights, const real* centres, real* links, Index jobs
) {
    links_job(f, coarse, k, weights, centres, links, jobs);
}

extern "C" __global__ void links_level(
    Grid g, Grid coarse, const real* fine, const real* weights, const real* centres, real* links, Index jobs
) {
    links_job(g, coarse, fine, weights, centres, links, jobs);
}

// Coarse mass, lumped: P^T of the fine one. Jobs: (members, coarse points).
extern "C" __global__ void masses(
    Grid fine, Grid coarse, const real* weights, const real* centres, const real* mass, real* out, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int J[3], none;
    const Index m = decode(job, 1, coarse.n, low, J, &none);
    const Interpolation P = {
        fine, coarse, weights + m * weights_of(coarse), centres + m * 7 * coarse.size};
    double sum = 0;
    for (int n = 0; n < 27; ++n) {
        const int o[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
        int L[3], t[3], i[3], x = 0;
        bool skip = fine.flat && o[0];
        for (int a = 0; a < 3; ++a) {
            L[a] = J[a] - (o[a] < 0);
            t[a] = o[a] ? 1 : 0;
            x |= o[a] < 0 ? 4 >> a : 0;
            if (fine.ring[a]) L[a] = (L[a] + coarse.n[a]) % coarse.n[a];
            i[a] = 2 * L[a] + t[a];
            skip |= o[a] && P.shut(L, a);
        }
        if (!skip && !outside(fine, i)) sum += P(L, t, x) * mass[m * fine.size + place(fine, i)];
    }
    out[m * coarse.size + place(coarse, J)] = sum;
}

// -- diagonals ------------------------------------------------------------------------------------

// 1 / the diagonal of the finest level; in solid cells -1 / A, which tells them. Jobs: (members,
// points).
extern "C" __global__ void inverses_finest(
    Finest f, const real* k, const real* mass, const real* solids, real* inv, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int i[3], none;
    const Index m = decode(job, 1, f.grid.n, low, i, &none);
    double c[6], sum = mass ? mass[job] : 0;
    six_links<double>(f, k + m * f.cells, i, c);
    for (int s = 0; s < 6; ++s) sum += c[s];
    const real solid = solids ? solids[job] : 0;
    inv[job] = solid > 0 ? -solid : sum > 0 ? 1 / sum : 0;
}

// The sum of what holds a point of a coarse level.
__device__ inline double diagonal(const LevelLinks& l, const real* mass, const int* i) {
    double sum = mass ? mass[place(l.g, i)] : 0;
    for (int n = 0; n < 27; ++n) {
        const int d[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
        if (n != 13 && !(l.g.flat && d[0])) sum += link(l, i, d);
    }
    return sum;
}

// Jobs: (members, points); mass may be 0.
extern "C" __global__ void inverses_level(
    Grid g, const real* links, const real* mass, real* inv, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int i[3], none;
    const Index m = decode(job, 1, g.n, low, i, &none);
    const LevelLinks l = links_at(g, links, m);
    const double sum = diagonal(l, mass ? mass + m * g.size : mass, i);
    inv[m * g.size + place(g, i)] = sum > 0 ? 1 / sum : 0;
}

// The rows of the matrices of a small level, (members, points, points), which are 0. Jobs: (members,
// points).
extern "C" __global__ void dense(
    Grid g, const real* links, const real* mass, double* matrix, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int i[3], none;
    const Index m = decode(job, 1, g.n, low, i, &none);
    const LevelLinks l = links_at(g, links, m);
    double* row = matrix + job * g.n[0] * g.n[1] * g.n[2];
    row[(i[0] * g.n[1] + i[1]) * g.n[2] + i[2]] = diagonal(l, mass ? mass + m * g.size : mass, i);
    for (int n = 0; n < 27; ++n) {
        const int d[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
        if (n == 13 || (g.flat && d[0])) continue;
        int to[3];
        for (int a = 0; a < 3; ++a) {
            to[a] = i[a] + d[a];
            if (g.ring[a]) to[a] = (to[a] + g.n[a]) % g.n[a];
        }
        if (!outside(g, to)) row[(to[0] * g.n[1] + to[1]) * g.n[2] + to[2]] -= link(l, i, d);
    }
}
