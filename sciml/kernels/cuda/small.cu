// Conjugate gradients with 1 / diagonal for many small stencils in two dimensions, a block each.
//
// Coefficients of the faces, 1 / diagonal, x, r, p and A p stay in shared memory from the first step
// to the last: memory is read once and written once, whatever the number of steps. A member stops by
// itself. Sums go through warps, then over warps, in an order that depends on the launch alone.
// Blocks are (columns, rows), a power of two each, of at least a warp.

struct Plane {
    int n0, n1, ring0, ring1;
};

// use(row, column, entry) for the points of this thread.
template <class Use>
__device__ inline void each_point(const Plane& g, Use use) {
    for (int i = threadIdx.y; i < g.n0; i += blockDim.y) {
        for (int j = threadIdx.x; j < g.n1; j += blockDim.x) use(i, j, i * g.n1 + j);
    }
}

__device__ inline int thread_of_block() { return threadIdx.x + blockDim.x * threadIdx.y; }

// The sum over each warp, to its entry of `room`; after a barrier `total` has the block's.
__device__ inline void gather(real value, real* room) {
    for (int half = 16; half > 0; half /= 2) value += __shfl_xor_sync(0xffffffffu, value, half);
    if (thread_of_block() % 32 == 0) room[thread_of_block() / 32] = value;
}

__device__ inline real total(const real* room) {
    real sum = 0;
    for (int w = 0; w < (int)(blockDim.x * blockDim.y) / 32; ++w) sum += room[w];
    return sum;
}

// A p at a point, as fluxes: constants give exactly 0 where nothing holds them.
__device__ inline real product(
    const Plane& g, int i, int j, int at, const real* down, const real* across, const real* p
) {
    const int round0 = (g.n0 - 1) * g.n1, round1 = g.n1 - 1;
    const real own = p[at];
    const real above = i > 0 ? p[at - g.n1] : g.ring0 ? p[at + round0] : real(0);
    const real below = i + 1 < g.n0 ? p[at + g.n1] : g.ring0 ? p[at - round0] : real(0);
    const real left = j > 0 ? p[at - 1] : g.ring1 ? p[at + round1] : real(0);
    const real right = j + 1 < g.n1 ? p[at + 1] : g.ring1 ? p[at - round1] : real(0);
    return (down[at] * (own - above) + down[at + g.n1] * (own - below))
         + (across[at + i] * (own - left) + across[at + i + 1] * (own - right));
}

// Up to `most` steps of each member, from (x, r, p) and the <r, z> before it that `given` and
// `befores` hold, 0 at the start. One that was flagged, or whose residual is at most its goal, or
// no number, takes none. Curvature that is not positive sets `curved` as the flag.
//
// downs, acrosses: faces (owners, n0 + 1, n1) and (owners, n0, n1 + 1), those at the ends of a ring
// twice. masses: (owners, n0, n1), or null. given, left: (members, 3, n0, n1).
//
// The 1 is of blocks that a processor has at least: without it CUDA 12.8 takes 32 registers on sm_80
// and spills.
extern "C" __global__ void __launch_bounds__(512, 1) conjugate(
    Plane g, Index most, int curved, const Index* owners, const real* downs, const real* acrosses,
    const real* masses, const double* goals, const real* given, const real* befores,
    const int* flagged, const Index* taken, real* left, real* next_befores, real* estimates,
    int* flags, Index* steps
) {
    DYNAMIC_SHARED(real, down);
    const int n = g.n0 * g.n1, thread = thread_of_block(), threads = blockDim.x * blockDim.y;
    real *across = down + n + g.n1, *inv = across + n + g.n0;
    real *x = inv + n, *r = x + n, *p = r + n, *q = p + n, *room = q + n;
    const Index m = blockIdx.x, owner = owners[m];
    downs += owner * (n + g.n1);
    acrosses += owner * (n + g.n0);
    const real* mass = masses == 0 ? 0 : masses + owner * n;
    given += 3 * n * m;
    left += 3 * n * m;
    for (int t = thread; t < n + g.n1; t += threads) down[t] = downs[t];
    for (int t = thread; t < n + g.n0; t += threads) across[t] = acrosses[t];
    __syncthreads();
    real rz = 0, rr = 0;
    const auto weigh = [&](int at) {
        rz += r[at] * (inv[at] * r[at]);
        rr += r[at] * r[at];
    };
    const auto sum_up = [&]() {
        gather(rz, room);
        gather(rr, room + 16);
        __syncthreads();
        rz = total(room);
        rr = total(room + 16);
    };
    each_point(g, [&](int i, int, int at) {
        const real faces = (down[at] + down[at + g.n1]) + (across[at + i] + across[at + i + 1]);
        const real diagonal = mass == 0 ? faces : faces + mass[at];
        inv[at] = diagonal == 0 ? real(0) : 1 / diagonal;
        x[at] = given[at];
        r[at] = given[n + at];
        p[at] = given[2 * n + at];
        weigh(at);
    });
    sum_up();
    const double goal = goals[m];
    real before = befores[m], estimate = sqrt(rr);
    int flag = flagged[m];
    Index step = 0;
    while (step < most && !flag && estimate > goal) {
        const real beta = before == 0 ? real(0) : rz / before;
        each_point(g, [&](int, int, int at) { p[at] = inv[at] * r[at] + beta * p[at]; });
        __syncthreads();
        real curvature = 0;
        each_point(g, [&](int i, int j, int at) {
            real y = product(g, i, j, at, down, across, p);
            if (mass != 0) y += mass[at] * p[at];
            q[at] = y;
            curvature += p[at] * y;
        });
        gather(curvature, room + 32);
        __syncthreads();
        curvature = total(room + 32);
        if (curvature != curvature) {
            estimate = curvature;  // x is what it was before
            break;
        }
        if (rz < 0 || curvature <= 0) {
            flag = curved;
            break;
        }
        const real alpha = rz / curvature;
        before = rz;
        rz = rr = 0;
        each_point(g, [&](int, int, int at) {
            x[at] += alpha * p[at];
            r[at] -= alpha * q[at];
            weigh(at);
        });
        sum_up();
        estimate = sqrt(rr);
        ++step;
    }
    each_point(g, [&](int, int, int at) {
        left[at] = x[at];
        left[n + at] = r[at];
        left[2 * n + at] = p[at];
    });
    if (thread == 0) {
        next_befores[m] = before;
        estimates[m] = estimate;
        flags[m] = flag;
        steps[m] = taken[m] + step;
    }
}
