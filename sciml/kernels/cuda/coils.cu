// Coil sensitivities around Fourier transforms of `members` images of `size` pixels.
//
// `coils_spread` reads the image and the maps and writes the coil images; `coils_gather` reads maps
// and coil images and writes the image; `coils_weigh` reads and writes k-space once, with the mask
// and the scale of transforms that have none. A thread has a pixel, and goes through its coils, so
// that neighbours read neighbours and an image is read or written once. Blocks are (256), grids
// (pixels, members). `maps` may be null, for 1: then there is one coil.

__device__ inline Complex times(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ inline Complex conjugate(Complex a) { return {a.re, -a.im}; }

// Member m has the maps m % owners. n1 and n2 are an image's last two axes; an axis whose bit is set
// in `odd` is turned by its entries of `turns`, which hold those of the image's own axes in their
// order; `first1` and `first2` tell where these begin. `add`: to what is there.
struct Coils {
    Index size, coils, n1, n2, first1, first2;
    unsigned members, owners;
    int odd, add;
};

// What a pixel is turned by: exp(-pi i index / n) of each axis, say.
__device__ inline Complex turn_of(const Coils& s, const Complex* turns, Index i) {
    Complex turn = {1, 0};
    if (s.odd & 1) turn = times(turn, turns[i / (s.n1 * s.n2)]);
    if (s.odd & 2) turn = times(turn, turns[s.first1 + i / s.n2 % s.n1]);
    if (s.odd & 4) turn = times(turn, turns[s.first2 + i % s.n2]);
    return turn;
}

// y_c = S_c t x.
extern "C" __global__ void coils_spread(
    Coils s, const StoredComplex* __restrict__ maps, const Complex* __restrict__ turns,
    const Complex* __restrict__ x, Complex* y
) {
    const Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    if (i >= s.size) return;
    const Complex turn = turn_of(s, turns, i);
    for (unsigned m = blockIdx.y; m < s.members; m += gridDim.y) {
        const Complex seen = times(x[m * s.size + i], turn);
        const StoredComplex* own = maps == 0 ? maps : maps + m % s.owners * s.coils * s.size + i;
        Complex* ym = y + m * s.coils * s.size + i;
        for (Index c = 0; c < s.coils; ++c) {
            const StoredComplex one = maps == 0 ? StoredComplex{1, 0} : own[c * s.size];
            ym[c * s.size] = times({(real)one.re, (real)one.im}, seen);
        }
    }
}

// x = sum_c conj(S_c t) y_c, coil after coil.
extern "C" __global__ void coils_gather(
    Coils s, const StoredComplex* __restrict__ maps, const Complex* __restrict__ turns,
    const Complex* __restrict__ y, Complex* x
) {
    const Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    if (i >= s.size) return;
    const Complex back = conjugate(turn_of(s, turns, i));
    for (unsigned m = blockIdx.y; m < s.members; m += gridDim.y) {
        const StoredComplex* own = maps == 0 ? maps : maps + m % s.owners * s.coils * s.size + i;
        const Complex* ym = y + m * s.coils * s.size + i;
        Complex sum = {0, 0};
        for (Index c = 0; c < s.coils; ++c) {
            const StoredComplex one = maps == 0 ? StoredComplex{1, 0} : own[c * s.size];
            const Complex part = times({(real)one.re, -(real)one.im}, ym[c * s.size]);
            sum.re += part.re;
            sum.im += part.im;
        }
        sum = times(sum, back);
        const Complex before = s.add ? x[m * s.size + i] : Complex{0, 0};
        x[m * s.size + i] = {before.re + sum.re, before.im + sum.im};
    }
}

// y_c *= scale w_c, in place. `rows`: of w, 1 for all coils or one a coil, for `members` of y.
extern "C" __global__ void coils_weigh(
    Index size, unsigned rows, unsigned members, real scale, const stored* __restrict__ weights, Complex* y
) {
    const Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x;
    if (i >= size) return;
    for (unsigned m = blockIdx.y; m < members; m += gridDim.y) {
        const real w = scale * weights[m % rows * size + i];
        Complex* at = y + m * size + i;
        *at = {w * at->re, w * at->im};
    }
}
