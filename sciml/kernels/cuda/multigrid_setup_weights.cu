// Interpolation of a geometric multigrid: the weights that are stored.

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
