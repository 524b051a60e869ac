// y = base + A x for a sparse A and `members` vectors x, (members, columns), one after the other.
//
// `csr`: `lanes` neighbouring threads of a warp take a row together, so that the entries of
// neighbouring rows are read in one piece. `ell`: entries in columns as long as the matrix has rows,
// one thread a row. Both read each entry of A, the index and the value, once for every four members,
// x where the indices say, and base; they write y. Sums run in a fixed order that depends neither on
// the number of members nor on which of them it is. Blocks are (256), grids (rows, members / 4).
//
// `tail`: what a V-cycle does below the level where a launch costs more than a product does.

__device__ inline void add(real& sum, stored a, real x) { sum += a * x; }
__device__ inline void add(Complex& sum, StoredComplex a, Complex x) {
    sum.re += a.re * x.re - a.im * x.im;
    sum.im += a.re * x.im + a.im * x.re;
}

__device__ inline real plus(real a, real b) { return a + b; }
__device__ inline Complex plus(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }

// The value of the lane whose number differs in one bit.
__device__ inline real across(real value, int bit) {
    return __shfl_xor_sync(0xffffffffu, value, bit);
}
__device__ inline Complex across(Complex value, int bit) {
    return {across(value.re, bit), across(value.im, bit)};
}

// Rows and columns of A, its entries (0 where one A serves all members, else how many each has), and
// how a row is divided: among so many lanes, or into so many columns of `ell`.
struct Matrix {
    Index rows, columns, members, entries;
    int lanes, width;
};

// MEMBERS sums of one row, by all lanes of a warp; `row` may lie behind the last one.
template <int MEMBERS, class End, class A, class V>
__device__ inline void sum_row(
    const Matrix& s, int lanes, Index row, const End* ends, const int* indices, const A* data,
    const V* base, const V* x, V* y
) {
    const int lane = threadIdx.x & (lanes - 1);  // a power of two
    const bool inside = row < s.rows;
    const Index first = inside ? ends[row] : 0, last = inside ? ends[row + 1] : 0;
    V sum[MEMBERS];
    for (int m = 0; m < MEMBERS; ++m) sum[m] = V();
    for (Index k = first + lane; k < last; k += lanes) {
        const A a = data[k];
        const V* at = x + indices[k];
        for (int m = 0; m < MEMBERS; ++m) add(sum[m], a, at[m * s.columns]);
    }
    for (int bit = lanes / 2; bit > 0; bit /= 2) {
        for (int m = 0; m < MEMBERS; ++m) sum[m] = plus(sum[m], across(sum[m], bit));
    }
    if (inside && lane == 0) {
        for (int m = 0; m < MEMBERS; ++m) {
            const Index at = m * s.rows + row;
            y[at] = base == 0 ? sum[m] : plus(base[at], sum[m]);
        }
    }
}

template <class End, class A, class V>
__device__ inline void sum_rows(
    const Matrix& s, const End* ends, const int* indices, const A* data, const V* base, const V* x,
    V* y
) {
    const unsigned lanes = s.lanes;  // divisions of eight bytes would cost as much as a row
    const Index row = blockIdx.x * (Index)(blockDim.x / lanes) + threadIdx.x / lanes;
    for (Index m = blockIdx.y * (Index)4; m < s.members; m += gridDim.y * (Index)4) {
        const V *xm = x + m * s.columns, *bm = base == 0 ? base : base + m * s.rows;
        V* ym = y + m * s.rows;
        if (s.entries == 0 && m + 4 <= s.members) {
            sum_row<4>(s, s.lanes, row, ends, indices, data, bm, xm, ym);
            continue;
        }
        for (Index i = 0; i < 4 && m + i < s.members; ++i) {
            const V* bi = base == 0 ? base : bm + i * s.rows;
            const A* own = data + (m + i) * s.entries;
            sum_row<1>(s, s.lanes, row, ends, indices, own, bi, xm + i * s.columns, ym + i * s.rows);
        }
    }
}

extern "C" __global__ void csr(
    Matrix s, const int* __restrict__ ends, const int* __restrict__ indices,
    const stored* __restrict__ data, const real* base, const real* __restrict__ x, real* y
) {
    sum_rows(s, ends, indices, data, base, x, y);
}

extern "C" __global__ void csr_complex(
    Matrix s, const int* __restrict__ ends, const int* __restrict__ indices,
    const StoredComplex* __restrict__ data, const Complex* base, const Complex* __restrict__ x,
    Complex* y
) {
    sum_rows(s, ends, indices, data, base, x, y);
}

// The same for 2^31 entries or more.
extern "C" __global__ void csr_long(
    Matrix s, const Index* __restrict__ ends, const int* __restrict__ indices,
    const stored* __restrict__ data, const real* base, const real* __restrict__ x, real* y
) {
    sum_rows(s, ends, indices, data, base, x, y);
}

extern "C" __global__ void csr_complex_long(
    Matrix s, const Index* __restrict__ ends, const int* __restrict__ indices,
    const StoredComplex* __restrict__ data, const Complex* base, const Complex* __restrict__ x,
    Complex* y
) {
    sum_rows(s, ends, indices, data, base, x, y);
}

// Entry w of a row lies at (w, row); an index of -1 tells that the row has ended.
template <int MEMBERS, class A, class V>
__device__ inline void sum_columns(
    const Matrix& s, Index row, const int* indices, const A* data, const V* base, const V* x, V* y
) {
    V sum[MEMBERS];
    for (int m = 0; m < MEMBERS; ++m) sum[m] = V();
    for (Index w = 0, k = row; w < s.width; ++w, k += s.rows) {
        const int column = indices[k];
        if (column < 0) break;
        const A a = data[k];
        for (int m = 0; m < MEMBERS; ++m) add(sum[m], a, x[m * s.columns + column]);
    }
    for (int m = 0; m < MEMBERS; ++m) {
        const Index at = m * s.rows + row;
        y[at] = base == 0 ? sum[m] : plus(base[at], sum[m]);
    }
}

template <class A, class V>
__device__ inline void sum_all_columns(
    const Matrix& s, const int* indices, const A* data, const V* base, const V* x, V* y
) {
    const Index row = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    if (row >= s.rows) return;
    for (Index m = blockIdx.y * (Index)4; m < s.members; m += gridDim.y * (Index)4) {
        const V *xm = x + m * s.columns, *bm = base == 0 ? base : base + m * s.rows;
        V* ym = y + m * s.rows;
        if (m + 4 <= s.members) {
            sum_columns<4>(s, row, indices, data, bm, xm, ym);
            continue;
        }
        for (Index i = 0; m + i < s.members; ++i) {
            const V* bi = base == 0 ? base : bm + i * s.rows;
            sum_columns<1>(s, row, indices, data, bi, xm + i * s.columns, ym + i * s.rows);
        }
    }
}

extern "C" __global__ void ell(
    Matrix s, const int* __restrict__ indices, const stored* __restrict__ data, const real* base,
    const real* __restrict__ x, real* y
) {
    sum_all_columns(s, indices, data, base, x, y);
}

extern "C" __global__ void ell_complex(
    Matrix s, const int* __restrict__ indices, const StoredComplex* __restrict__ data,
    const Complex* base, const Complex* __restrict__ x, Complex* y
) {
    sum_all_columns(s, indices, data, base, x, y);
}

// CSR to the columns of `ell`; indices or data may be null, and are left out then.
template <class A>
__device__ inline void lay(
    const Matrix& s, const int* ends, const int* indices, const A* data, int* columns, A* values
) {
    const Index row = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    if (row >= s.rows) return;
    const Index first = ends[row], count = ends[row + 1] - first;
    for (Index w = 0, k = row; w < s.width; ++w, k += s.rows) {
        if (columns != 0) columns[k] = w < count ? indices[first + w] : -1;
        if (values != 0) values[k] = w < count ? data[first + w] : A();
    }
}

extern "C" __global__ void fill(
    Matrix s, const int* ends, const int* indices, const stored* data, int* columns, stored* values
) {
    lay(s, ends, indices, data, columns, values);
}

extern "C" __global__ void fill_complex(
    Matrix s, const int* ends, const int* indices, const StoredComplex* data, int* columns,
    StoredComplex* values
) {
    lay(s, ends, indices, data, columns, values);
}

// -- the small levels of a V-cycle -----------------------------------------------------------------

const int TAIL_LANES = 8;

// y = base + A x by one block, for one member; written before any thread goes on.
template <class A, class V>
__device__ inline void block_product(
    Index rows, const int* ends, const int* indices, const A* data, const V* base, const V* x, V* y
) {
    const Matrix s = {rows, 0, 1, 0, TAIL_LANES, 0};
    const Index step = blockDim.x / TAIL_LANES;
    for (Index first = 0; first < rows; first += step) {
        const Index row = first + threadIdx.x / TAIL_LANES;
        sum_row<1>(s, TAIL_LANES, row, ends, indices, data, base, x, y);
    }
    __syncthreads();
}

// e = V b for one member, a block each, on all levels of a stack: see kernels/amg.py, of which
// `layout` is a part. The room of a member has three entries for each unknown of all levels.
template <class A, class V>
__device__ inline void small_levels(
    int levels, Index total, Index size, const Index* layout, const int* ends, const int* indices,
    const A* data, const A* coarsest, const V* given, V* room, V* found
) {
    V *b = room + blockIdx.x * 3 * total, *u = b + total, *e = u + total;
    const Index n = levels > 0 ? layout[0] : size;  // of the level that is given
    for (Index i = threadIdx.x; i < n; i += blockDim.x) b[i] = given[blockIdx.x * n + i];
    __syncthreads();
    for (int i = 0; i < levels; ++i) {
        const Index* level = layout + 7 * i;
        const Index at = level[2], below = level[3];
        block_product(level[0], ends + level[4], indices, data, (V*)0, b + at, e + at);
        block_product(level[1], ends + level[5], indices, data, (V*)0, e + at, b + below);
    }
    const Index bottom = total - size;
    for (Index i = threadIdx.x; i < size; i += blockDim.x) {
        V sum = V();
        for (Index j = 0; coarsest != 0 && j < size; ++j) add(sum, coarsest[j * size + i], b[bottom + j]);
        e[bottom + i] = coarsest == 0 ? b[bottom + i] : sum;
    }
    __syncthreads();
    for (int i = levels - 1; i >= 0; --i) {
        const Index* level = layout + 7 * i;
        const Index at = level[2], below = level[3];
        block_product(level[0], ends + level[6], indices, data, b + at, e + below, u + at);
        block_product(level[0], ends + level[4], indices, data, b + at, u + at, e + at);
    }
    for (Index i = threadIdx.x; i < n; i += blockDim.x) found[blockIdx.x * n + i] = e[i];
}

extern "C" __global__ void __launch_bounds__(512) tail(
    int levels, Index total, Index size, const Index* layout, const int* ends, const int* indices,
    const stored* data, const stored* coarsest, const real* given, real* room, real* found
) {
    small_levels(levels, total, size, layout, ends, indices, data, coarsest, given, room, found);
}

extern "C" __global__ void __launch_bounds__(512) tail_complex(
    int levels, Index total, Index size, const Index* layout, const int* ends, const int* indices,
    const StoredComplex* data, const StoredComplex* coarsest, const Complex* given, Complex* room,
    Complex* found
) {
    small_levels(levels, total, size, layout, ends, indices, data, coarsest, given, room, found);
}
