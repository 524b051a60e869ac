// Set-up of a geometric multigrid: interpolation, Galerkin's coarse operators, inverse diagonals.
//
// Black-box interpolation (Dendy, J. Comput. Phys. 48, 1982; SIAM J. Sci. Stat. Comput. 8, 1987) as
// in kernels/box: an edge from the two coarse points of its line by the sums of its links to either
// side, a face by its links summed along its normal, a centre by all. A coarse link is what the
// energy sum of c (u_a - u_b)^2 has between two corners for u = P v: -c (P_ax - P_bx)(P_ay - P_by)
// summed over the links c of the cells that have both. Only links are kept, and they are summed in
// double: a strong coupling never swallows a weak one. One thread writes one number and reads what
// it needs through the caches; nothing waits for another thread.

// Links of the points of a member of either kind of level, also to and from points outside.
struct FinestLinks {
    Finest f;
    const real* k;
    static const bool wide = false;
    __device__ const Grid& grid() const { return f.grid; }
    __device__ double along(const int* i, const int* d) const {
        double c[6];
        six_links<double>(f, k, i, c);
        double found = 0;
        for (int a = 0; a < 3; ++a) {
            if (d[a]) found = c[2 * a + (d[a] > 0)];
        }
        return found;
    }
};

struct LevelLinks {
    Grid g;
    const real* links;
    static const bool wide = true;
    __device__ const Grid& grid() const { return g; }
    __device__ double along(const int* i, const int* d) const {
        const int number = 9 * d[0] + 3 * d[1] + d[2];
        int from[3];
        for (int a = 0; a < 3; ++a) {
            from[a] = number > 0 ? i[a] : i[a] + d[a];
            if (g.ring[a]) from[a] = (from[a] + g.n[a]) % g.n[a];
        }
        return links[((number > 0 ? number : -number) - 1) * g.size + place(g, from)];
    }
};

// The link of point i in direction d; 0 if both its ends are outside.
template <class Links>
__device__ inline double link(const Links& l, const int* i, const int* d) {
    const Grid& g = l.grid();
    int from[3], to[3], back[3];
    for (int a = 0; a < 3; ++a) {
        from[a] = g.ring[a] ? (i[a] + g.n[a]) % g.n[a] : i[a];
        to[a] = i[a] + d[a];
        if (g.ring[a]) to[a] = (to[a] + g.n[a]) % g.n[a];
        back[a] = -d[a];
    }
    if (!outside(g, from)) return l.along(from, d);
    return outside(g, to) ? 0.0 : l.along(to, back);
}

// P of the closed cell L, whose 27 points t are 0, 1 or 2 along each axis.
struct Interpolation {
    Grid fine, coarse;
    const real *weights, *centres;  // of a member

    // Whether the cell closes a ring of odd length: its low and high corners are neighbours.
    __device__ bool shut(const int* L, int a) const {
        return fine.ring[a] && fine.n[a] % 2 && L[a] == coarse.n[a] - 1;
    }

    // The weight of corner x for point t. What is outside has the value of a corner outside.
    __device__ double operator()(const int* L, const int* t, int x) const {
        bool out = false;
        int own = 0, odd = 0, base[3];
        for (int a = 0; a < 3; ++a) {
            const int p = 2 * L[a] + t[a], bit = 4 >> a;
            const bool beyond = !fine.ring[a] && (p < 0 || p >= fine.n[a]);
            out |= beyond;
            own |= (beyond ? p > 0 : t[a] == 2) ? bit : 0;
            odd |= t[a] == 1 ? bit : 0;
            base[a] = L[a] + (t[a] == 2);
            if (coarse.ring[a]) base[a] %= coarse.n[a];
        }
        if (out) return x == own;
        if ((x ^ own) & ~odd & 7) return 0;
        const Index at = place(coarse, base), size = coarse.size;
        if (odd != 7) return edge_or_face<double>(weights, at, size, odd, x);
        double rest = 1;
        if (x < 7) return centres[x * size + at];
        for (int y = 0; y < 7; ++y) rest -= centres[y * size + at];
        return rest;
    }
};

// The cell and number of a job of `count` numbers for each of `shape` cells from `low` on, for each
// member; the member.
__device__ inline Index decode(Index job, int count, const int* shape, const int* low, int* i, int* number) {
    for (int a = 2; a >= 0; --a) {
        i[a] = low[a] + (int)(job % shape[a]);
        job /= shape[a];
    }
    *number = (int)(job % count);
    return job / count;
}

// -- interpolation --------------------------------------------------------------------------------

// The weight of the lower coarse point for an edge i along an axis: sums of links to either side.
template <class Links>
__device__ inline double edge(const Links& l, const int* i, int axis) {
    double side[2] = {0, 0};
    const int wide0 = l.wide && axis != 0 && !l.grid().flat, wide1 = l.wide && axis != 1;
    const int wide2 = l.wide && axis != 2;
    for (int high = 0; high < 2; ++high) {
        const int e = 2 * high - 1;
        for (int a = -wide0; a <= wide0; ++a)
            for (int b = -wide1; b <= wide1; ++b)
                for (int c = -wide2; c <= wide2; ++c) {
                    const int d[3] = {axis == 0 ? e : a, axis == 1 ? e : b, axis == 2 ? e : c};
                    side[high] += link(l, i, d);
                }
    }
    const double s = side[0] + side[1];
    return s != 0 ? side[0] / s : 0.5;
}

// A point 2 J + t of cell J with two or three odd t: from its neighbours that are odd along fewer
// axes, with its links, summed along the normal of a face. Three or seven weights; the rest is last.
template <class Links>
__device__ inline void weigh(
    const Links& l, const Interpolation& P, const int* J, const int* t, real* out, Index step
) {
    int i[3], free = 0;
    double x[8] = {0, 0, 0, 0, 0, 0, 0, 0}, sum = 0;
    for (int a = 0; a < 3; ++a) {
        i[a] = 2 * J[a] + t[a];
        free += t[a];
    }
    for (int n = 0; n < 27; ++n) {
        const int o[3] = {n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1};
        int steps = 0, across = 0, to[3], normal = -1;
        for (int a = 0; a < 3; ++a) {
            steps += t[a] && o[a];
            across |= !t[a] && o[a];
            to[a] = t[a] + o[a];
            if (!t[a]) normal = a;
        }
        if (across || steps == 0 || (steps > 1 && !l.wide)) continue;
        double c = link(l, i, o);
        if (normal >= 0 && l.wide && !(normal == 0 && l.grid().flat)) {
            for (int side = -1; side <= 1; side += 2) {
                int d[3] = {o[0], o[1], o[2]};
                d[normal] = side;
                c += link(l, i, d);
            }
        }
        sum += c;
        for (int corner = 0; corner < 8; ++corner) x[corner] += c * P(J, to, corner);
    }
    const int count = 1 << free;
    int written = 0;
    for (int corner = 0; corner < 8; ++corner) {
        bool in = true;  // a corner of the face
        for (int a = 0; a < 3; ++a) in &= t[a] || !(corner & (4 >> a));
        if (!in || ++written == count) continue;
        out[(written - 1) * step] = sum != 0 ? x[corner] / sum : 1.0 / count;
    }
}

// Whether the point 2 J + t of a cell is there.
__device__ inline bool there(const Grid& g, const int* J, const int* t) {
    return 2 * J[0] + t[0] < g.n[0] && 2 * J[1] + t[1] < g.n[1] && 2 * J[2] + t[2] < g.n[2];
}

template <class Links>
__device__ inline void edges_of(const Links& l, const Grid& coarse, real* weights, const int* J, int axis) {
    int t[3] = {axis == 0, axis == 1, axis == 2};
    if (!there(l.grid(), J, t)) return;
    const int i[3] = {2 * J[0] + t[0], 2 * J[1] + t[1], 2 * J[2] + t[2]};
    weights[edge_number(axis) * coarse.size + place(coarse, J)] = edge(l, i, axis);
}

// number: the normal of a face; 3: the centre.
template <class Links>
__device__ inline void faces_of(
    const Links& l, const Interpolation& P, real* weights, real* centres, const int* J, int number
) {
    const int t[3] = {number != 0, number != 1, number != 2};
    if (!there(l.grid(), J, t)) return;
    real* out = number == 3 ? centres : weights + face_number(number) * P.coarse.size;
    weigh(l, P, J, t, out + place(P.coarse, J), P.coarse.size);
}

// Entries of a member: of weights, of links.
__device__ inline Index weights_of(const Grid& g) { return (g.flat ? 5 : 12) * g.size; }
__device__ inline Index links_of(const Grid& g) { return (g.flat ? 4 : 13) * g.size; }

// The links of a member: of the finest level from its k, of another from what is stored.
__device__ inline FinestLinks links_at(const Finest& f, const real* k, Index m) {
    return {f, k + m * f.cells};
}
__device__ inline LevelLinks links_at(const Grid& g, const real* links, Index m) {
    return {g, links + m * links_of(g)};
}

// Weights of edges. Jobs: (members, axes from `first` on, coarse points).
template <class G>
__device__ inline void edges_job(
    const G& fine, const Grid& coarse, const real* links, real* weights, int first, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int J[3], axis;
    const Index m = decode(job, 3 - first, coarse.n, low, J, &axis);
    edges_of(links_at(fine, links, m), coarse, weights + m * weights_of(coarse), J, first + axis);
}

extern "C" __global__ void edges_finest(
    Finest f, Grid coarse, const real* k, real* weights, int first, Index jobs
) {
    edges_job(f, coarse, k, weights, first, jobs);
}

extern "C" __global__ void edges_level(
    Grid g, Grid coarse, const real* links, real* weights, int first, Index jobs
) {
    edges_job(g, coarse, links, weights, first, jobs);
}

// Weights of the faces across axes `first`, ..., `last` - 1; 3 stands for centres, which are an
// array of their own. Jobs: (members, last - first, coarse points).
template <class G>
__device__ inline void faces_job(
    const G& fine, const Grid& coarse, const real* links, real* weights, real* centres, int first,
    int last, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int J[3], number;
    const Index m = decode(job, last - first, coarse.n, low, J, &number);
    real *w = weights + m * weights_of(coarse), *c = centres + m * 7 * coarse.size;
    const auto l = links_at(fine, links, m);
    faces_of(l, Interpolation{l.grid(), coarse, w, c}, w, c, J, first + number);
}

extern "C" __global__ void faces_finest(
    Finest f, Grid coarse, const real* k, real* weights, real* centres, int first, int last, Index jobs
) {
    faces_job(f, coarse, k, weights, centres, first, last, jobs);
}

extern "C" __global__ void faces_level(
    Grid g, Grid coarse, const real* links, real* weights, real* centres, int first, int last, Index jobs
) {
    faces_job(g, coarse, links, weights, centres, first, last, jobs);
}

// The weight that an edge point i along axis e has for the coarse point beside it; 0 outside.
__device__ inline double weight_beside(
    const Grid& g, const Grid& coarse, const real* weights, const int* point, int e, int side
) {
    int i[3] = {0, point[1], point[2]}, J[3];
    for (int a = 1; a < 3; ++a) {
        if (g.ring[a]) i[a] = (i[a] + g.n[a]) % g.n[a];
    }
    if (outside(g, i)) return 0;
    if (i[e] % 2 == 0) return 1;  // across the seam of an odd ring: a coarse point itself
    for (int a = 0; a < 3; ++a) J[a] = i[a] / 2;
    const double low = weights[edge_number(e) * coarse.size + place(coarse, J)];
    return side < 0 ? low : 1 - low;
}

// How strongly the coarse point beside an edge point i along axis e pulls at it: a link counts as
// much as its other end is interpolated from that point (see kernels/box/weights2d.py).
__device__ inline double pull(
    const LevelLinks& l, const Grid& coarse, const real* weights, const int* i, int e, int side
) {
    const int o = 3 - e;
    int d[3] = {0, 0, 0};
    d[e] = side;
    double x = fmax(link(l, i, d), 0.0);
    for (int turn = -1; turn <= 1; turn += 2) {
        int slant[3] = {0, 0, 0}, along[3] = {0, 0, 0}, back[3] = {0, 0, 0}, to[3], centre[3];
        slant[e] = back[e] = side;
        slant[o] = along[o] = turn;
        back[o] = -turn;
        for (int a = 0; a < 3; ++a) {
            to[a] = i[a] + slant[a];
            centre[a] = i[a] + along[a];
            if (l.g.ring[a]) centre[a] = (centre[a] + l.g.n[a]) % l.g.n[a];
        }
        x += fmax(link(l, i, slant), 0.0) * weight_beside(l.g, coarse, weights, to, o, -turn);
        const double c = fmax(link(l, i, along), 0.0);
        if (c > 0 && !outside(l.g, centre)) {
            double sum = 0;
            for (int n = 0; n < 9; ++n) {
                const int to_next[3] = {0, n / 3 - 1, n % 3 - 1};
                if (n != 4) sum += fmax(link(l, centre, to_next), 0.0);
            }
            if (sum > 0) x += c * fmax(link(l, centre, back), 0.0) / sum;
        }
    }
    return x;
}

// One sweep over the weights of edges along an axis, in two dimensions where k jumps; `direct`: by
// the direct links alone. Jobs: (members, coarse points).
extern "C" __global__ void sweep(
    Grid g, Grid coarse, const real* links, real* weights, int axis, int direct, Index jobs
) {
    const Index job = job_of_thread();
    if (job >= jobs) return;
    const int low[3] = {0, 0, 0};
    int J[3], none;
    const Index m = decode(job, 1, coarse.n, low, J, &none);
    const int t[3] = {0, axis == 1, axis == 2};
    if (!there(g, J, t)) return;
    const LevelLinks l = links_at(g, links, m);
    real* w = weights + m * weights_of(coarse);
    const int i[3] = {0, 2 * J[1] + t[1], 2 * J[2] + t[2]};
    double side[2];
    for (int high = 0; high < 2; ++high) {
        const int d[3] = {0, axis == 1 ? 2 * high - 1 : 0, axis == 2 ? 2 * high - 1 : 0};
        side[high] = direct ? fmax(link(l, i, d), 0.0) : pull(l, coarse, w, i, axis, 2 * high - 1);
    }
    const double s = side[0] + side[1];
    w[edge_number(axis) * coarse.size + place(coarse, J)] = s > 0 ? side[0] / s : 0.5;
}

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
