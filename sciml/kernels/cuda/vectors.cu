// Fused vector updates of Krylov methods, for `members` vectors of n reals, one after the other.
//
// Each array is read once and written once. Scalars are read where they are, on the device. Sums
// come in parts, one a block, which `finish` adds up in a fixed order: the result depends on the
// launch alone. Blocks are (128 or another power of two), grids (parts, members).

// x_new = x + alpha p, r_new = r - alpha q, and parts of ||r_new||^2. alpha: one a member.
extern "C" __global__ void descend(
    Index n, const real* x, const real* r, const real* p, const real* q, const real* alpha,
    real* x_new, real* r_new, real* parts
) {
    DYNAMIC_SHARED(real, room);
    const real a = alpha[blockIdx.y];
    const Index first = n * blockIdx.y;
    real square = 0;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        const real now = r[first + i] - a * q[first + i];
        x_new[first + i] = x[first + i] + a * p[first + i];
        r_new[first + i] = now;
        square += now * now;
    }
    square = block_sum(square, room);
    if (threadIdx.x == 0) parts[blockIdx.y * (Index)gridDim.x + blockIdx.x] = square;
}

// out = z + beta p. beta: one a member.
extern "C" __global__ void add_scaled(
    Index n, const real* z, const real* beta, const real* p, real* out
) {
    const real b = beta[blockIdx.y];
    const Index first = n * blockIdx.y;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        out[first + i] = z[first + i] + b * p[first + i];
    }
}

// Parts of <x, y>.
extern "C" __global__ void inner(Index n, const real* x, const real* y, real* parts) {
    DYNAMIC_SHARED(real, room);
    const Index first = n * blockIdx.y;
    real sum = 0;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        sum += x[first + i] * y[first + i];
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.y * (Index)gridDim.x + blockIdx.x] = sum;
}

// Parts of <x, y> = sum conj(x) y, for n complex numbers: (members, 2, parts), real parts first.
extern "C" __global__ void inner_complex(Index n, const real* x, const real* y, real* parts) {
    DYNAMIC_SHARED(real, room);
    const Index first = 2 * n * blockIdx.y;
    real re = 0, im = 0;
    for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x; i < n; i += (Index)gridDim.x * blockDim.x) {
        const Index at = first + 2 * i;
        re += x[at] * y[at] + x[at + 1] * y[at + 1];
        im += x[at] * y[at + 1] - x[at + 1] * y[at];
    }
    re = block_sum(re, room);
    if (threadIdx.x == 0) parts[2 * blockIdx.y * (Index)gridDim.x + blockIdx.x] = re;
    __syncthreads();
    im = block_sum(im, room);
    if (threadIdx.x == 0) parts[(2 * blockIdx.y + 1) * (Index)gridDim.x + blockIdx.x] = im;
}

// sums[m] = what the `count` parts of member m add up to; one block a member.
extern "C" __global__ void finish(Index count, const real* parts, real* sums) {
    DYNAMIC_SHARED(real, room);
    const Index first = count * blockIdx.x;
    real sum = 0;
    for (Index i = threadIdx.x; i < count; i += blockDim.x) sum += parts[first + i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
