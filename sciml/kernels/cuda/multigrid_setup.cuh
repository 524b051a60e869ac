// What the kernels of a geometric multigrid's set-up share: links, interpolation, jobs.
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
    static constexpr bool wide = false;
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
    static constexpr bool wide = true;
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

__device__ inline Index job_of_thread() { return blockIdx.x * (Index)blockDim.x + threadIdx.x; }

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
