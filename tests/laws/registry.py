"""Every operator, registered once: each inherits all the laws. Solvers are in `methods`."""

from __future__ import annotations

import numpy as np

import solvers
from sciml import Operator, Space, Trait
from sciml.arrays import from_host
from sciml.operators import (
    FFT,
    NUFFT,
    SENSE,
    Blur,
    Boundary,
    CoilCompression,
    Coils,
    Dense,
    Diagonal,
    Diffusion,
    Downsample,
    Gradient,
    GriddedNUFFT,
    Identity,
    NodalDiffusion,
    NonCartesianSENSE,
    OffResonance,
    Pilots,
    PlaneWaves,
    Radon,
    RandomCirculant,
    Sampling,
    Side,
    Sparse,
    Spectrum,
    Toeplitz,
    Wavelet,
    block,
    hstack,
    vstack,
)
from solvers.pinn import LowRank, TriangularInverse
from tests.laws.cases import (
    COMPLEX,
    HOST,
    LIKE,
    MIXED,
    NUMPY,
    REAL,
    RING,
    SPARSE,
    TORCH,
    OperatorCase,
    coords,
    draw,
    field,
    mask,
    multigrid,
    noncartesian,
    small_jacobian,
    solid,
    sparse,
    sparse_batch,
    sparse_matrix,
    spd,
    two_dense,
)

OPERATORS: dict[str, OperatorCase] = {
    "identity": OperatorCase(lambda r, d, a: Identity(Space((3, 4), d)), (Identity,)),
    "dense tall": OperatorCase(lambda r, d, a: Dense(a(draw(r, d, 9, 6))), (Dense,)),
    "dense positive": OperatorCase(
        lambda r, d, a: Dense(a(spd(r, d, 8)), traits={Trait.POSITIVE}), (Dense,)
    ),
    "dense per member": OperatorCase(lambda r, d, a: Dense(a(draw(r, d, 2, 3, 5, 6))), (Dense,)),
    "diagonal": OperatorCase(lambda r, d, a: Diagonal(a(draw(r, d, 3, 4))), (Diagonal,)),
    "diagonal per member": OperatorCase(
        lambda r, d, a: Diagonal(a(draw(r, d, 3, 4)), ndim=1), (Diagonal,)
    ),
    "sparse wide": OperatorCase(
        lambda r, d, a: sparse(sparse_matrix(r, d, 9, 14), a), (Sparse,), libraries=SPARSE
    ),
    "sparse large": OperatorCase(
        lambda r, d, a: sparse(sparse_matrix(r, d, 400, 350), a), (Sparse,), libraries=SPARSE
    ),
    "sparse Hermitian": OperatorCase(
        lambda r, d, a: Sparse((m := sparse_matrix(r, d, 20, 20)) + m.conj().T.tocsr()),
        (Sparse,),
        libraries=(NUMPY,),
    ),
    "sparse per member": OperatorCase(sparse_batch, (Sparse,), libraries=SPARSE),
    "fft": OperatorCase(lambda r, d, a: FFT(Space((4, 5, 6), d)), (FFT,), dtypes=COMPLEX),
    "fft centred, last axes": OperatorCase(
        lambda r, d, a: FFT(Space((3, 7, 6), d), axes=2, centred=True), (FFT,), dtypes=COMPLEX
    ),
    "coils": OperatorCase(lambda r, d, a: Coils(a(draw(r, d, 3, 5, 4))), (Coils,), dtypes=COMPLEX),
    "coils per member, 3-D": OperatorCase(
        lambda r, d, a: Coils(a(draw(r, d, 2, 3, 4, 3, 5)), ndim=3), (Coils,), dtypes=COMPLEX
    ),
    "sampling": OperatorCase(
        lambda r, d, a: Sampling(a(mask(r, 5, 4)), Space((3, 5, 4), d)), (Sampling,)
    ),
    "blur": OperatorCase(lambda r, d, a: Blur(a(draw(r, d, 3, 4)), Space((2, 6, 5), d)), (Blur,)),
    "blur in full, along a line": OperatorCase(
        lambda r, d, a: Blur(a(draw(r, d, 4)), Space((3, 6), d), boundary=Boundary.FULL), (Blur,)
    ),
    "blur, mirrored": OperatorCase(
        lambda r, d, a: Blur(
            a(r.standard_normal((4, 7))), Space((5, 4), d), boundary=Boundary.SYMMETRIC
        ),
        (Blur,),
    ),
    "blur, normal": OperatorCase(
        lambda r, d, a: Blur(a(draw(r, d, 3, 2)), Space((2, 6, 5), d)).normal, ()
    ),
    "blur in full, normal": OperatorCase(
        lambda r, d, a: Blur(a(draw(r, d, 3, 7)), Space((6, 5), d), boundary=Boundary.FULL).normal,
        (),
    ),
    "downsample": OperatorCase(
        lambda r, d, a: Downsample(Space((2, 9, 8), d), 2, like=a(np.zeros(1))), (Downsample,)
    ),
    "downsample on a ring": OperatorCase(
        lambda r, d, a: Downsample(
            Space((9, 7), d), 3, kernel=a(draw(r, d, 3, 3)), boundary=Boundary.CIRCULAR
        ),
        (Downsample,),
    ),
    "random circulant": OperatorCase(
        lambda r, d, a: RandomCirculant(Space((6, 7), d), 15, rng=r, like=a(np.zeros(1))),
        (RandomCirculant,),
        dtypes=REAL,
    ),
    "random circulant, Gaussian": OperatorCase(
        lambda r, d, a: RandomCirculant(
            Space((5, 3), d), 4, rng=r, spectrum=Spectrum.GAUSSIAN, like=a(np.zeros(1))
        ),
        (RandomCirculant,),
        dtypes=REAL,
    ),
    "radon": OperatorCase(lambda r, d, a: Radon(Space((8, 8), d), 9), (Radon,), dtypes=REAL),
    "radon, few wide detectors": OperatorCase(
        lambda r, d, a: Radon(
            Space((7, 10), d), r.uniform(-4, 4, 5), detectors=4, spacing=1.3, pixel=0.5
        ),
        (Radon,),
        dtypes=REAL,
    ),
    "sense": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 3, 6, 5)), a(mask(r, 6, 5))), (SENSE,), dtypes=COMPLEX
    ),
    "sense per member": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 2, 3, 4, 5)), a(mask(r, 3, 4, 5))),
        (SENSE,),
        dtypes=COMPLEX,
    ),
    "sense of lines, 3-D": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 3, 4, 3, 5)), a(mask(r, 4, 3, 1)), ndim=3),
        (SENSE,),
        dtypes=COMPLEX,
    ),
    "sense, normal": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 5, 6, 5)), a(mask(r, 6, 5))).normal,
        (),
        dtypes=COMPLEX,
    ),
    "sense of lines, normal, 3-D": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 3, 4, 3, 5)), a(mask(r, 4, 3, 1)), ndim=3).normal,
        (),
        dtypes=COMPLEX,
    ),
    "sense per member, normal": OperatorCase(
        lambda r, d, a: SENSE(a(draw(r, d, 2, 3, 4, 5)), a(mask(r, 3, 4, 5))).normal,
        (),
        dtypes=COMPLEX,
    ),
    "wavelet": OperatorCase(
        lambda r, d, a: Wavelet(Space((11, 14), d), "db2", levels=2), (Wavelet,)
    ),
    "wavelet of the last axis": OperatorCase(
        lambda r, d, a: Wavelet(Space((3, 9), d), "haar", levels=3, axes=1), (Wavelet,)
    ),
    "gradient": OperatorCase(lambda r, d, a: Gradient(Space((4, 5, 3), d)), (Gradient,)),
    "gradient of the last axes": OperatorCase(
        lambda r, d, a: Gradient(Space((2, 5, 1), d), axes=2), (Gradient,)
    ),
    "nufft, 1-D": OperatorCase(
        lambda r, d, a: NUFFT(a(coords(r, d, 17, 1)), (12,), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft of lines": OperatorCase(
        lambda r, d, a: NUFFT(a(coords(r, d, 5, 8, 2)), (7, 6), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft, 3-D": OperatorCase(
        lambda r, d, a: NUFFT(a(coords(r, d, 40, 3)), (4, 5, 3), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft, normal": OperatorCase(
        lambda r, d, a: NUFFT(a(coords(r, d, 5, 8, 2)), (7, 6), dtype=d).normal,
        (Toeplitz,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "toeplitz, weighted, 3-D": OperatorCase(
        lambda r, d, a: Toeplitz(
            a(coords(r, d, 6, 5, 3)), (4, 3, 5), weights=a(r.random((6, 1))), dtype=d
        ),
        (Toeplitz,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense": OperatorCase(
        lambda r, d, a: noncartesian(r, d, a, 3, 6, 5),
        (NonCartesianSENSE,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense per member": OperatorCase(
        lambda r, d, a: noncartesian(r, d, a, 2, 3, 4, 5),
        (NonCartesianSENSE,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense, normal": OperatorCase(
        lambda r, d, a: noncartesian(r, d, a, 5, 6, 5).normal,
        (),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense per member, normal": OperatorCase(
        lambda r, d, a: noncartesian(r, d, a, 2, 3, 4, 5).normal,
        (),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "gridded nufft, 1-D": OperatorCase(
        lambda r, d, a: GriddedNUFFT(a(coords(r, d, 17, 1)), (12,), dtype=d),
        (GriddedNUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "gridded nufft of lines": OperatorCase(
        lambda r, d, a: GriddedNUFFT(a(coords(r, d, 5, 8, 2)), (7, 6), dtype=d, oversampling=1.5),
        (GriddedNUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "fft off resonance": OperatorCase(
        lambda r, d, a: OffResonance(
            FFT(Space((6, 5), d), centred=True),
            a(r.uniform(-60, 90, (6, 5))),
            a(np.linspace(0, 0.02, 5)),
        ),
        (OffResonance,),
        dtypes=COMPLEX,
    ),
    "non-Cartesian sense off resonance, per member": OperatorCase(
        lambda r, d, a: OffResonance(
            noncartesian(r, d, a, 2, 3, 4, 5),
            a(r.uniform(-60, 90, (4, 5))),
            a(np.linspace(0, 0.02, 7)),
            segments=4,
        ),
        (OffResonance,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "coil compression": OperatorCase(
        lambda r, d, a: CoilCompression(a(draw(r, d, 3, 5)), (4, 6)),
        (CoilCompression,),
        dtypes=COMPLEX,
    ),
    "coil compression along lines": OperatorCase(
        lambda r, d, a: CoilCompression(a(draw(r, d, 4, 3, 5)), (2, 4, 3), readout=-2),
        (CoilCompression,),
        dtypes=COMPLEX,
    ),
    "pilots": OperatorCase(
        lambda r, d, a: Pilots(a(draw(r, d, 6, 4)), 3), (Pilots,), dtypes=COMPLEX
    ),
    "pilots per member": OperatorCase(
        lambda r, d, a: Pilots(a(draw(r, d, 2, 3, 4, 5)), 3), (Pilots,), dtypes=COMPLEX
    ),
    "pilots, normal": OperatorCase(
        lambda r, d, a: Pilots(a(draw(r, d, 2, 6, 4)), 3).normal, (), dtypes=COMPLEX
    ),
    "plane waves": OperatorCase(
        lambda r, d, a: PlaneWaves(3, 5, oversampling=1.5, dtype=d, like=a(np.zeros(1))),
        (PlaneWaves,),
        dtypes=COMPLEX,
    ),
    "diffusion": OperatorCase(
        lambda r, d, a: Diffusion(a(field(r, d, 5, 7)), boundary=MIXED), (Diffusion,), dtypes=REAL
    ),
    "diffusion on a ring": OperatorCase(
        lambda r, d, a: Diffusion(a(field(r, d, 6, 4)), boundary=RING, spacing=(0.5, 2.0)),
        (Diffusion,),
        dtypes=REAL,
    ),
    "diffusion around solids, 3-D": OperatorCase(
        lambda r, d, a: Diffusion(a(field(r, d, 4, 5, 6)), ndim=3, solid=solid(4, 5, 6)),
        (Diffusion,),
        dtypes=REAL,
    ),
    "diffusion per member": OperatorCase(
        lambda r, d, a: Diffusion(a(field(r, d, 3, 5, 6)), ndim=2), (Diffusion,), dtypes=REAL
    ),
    "nodal diffusion": OperatorCase(
        lambda r, d, a: NodalDiffusion(a(field(r, d, 6, 5))), (NodalDiffusion,), dtypes=REAL
    ),
    "nodal diffusion per member, 3-D": OperatorCase(
        lambda r, d, a: NodalDiffusion(a(field(r, d, 2, 5, 4, 6)), ndim=3),
        (NodalDiffusion,),
        dtypes=REAL,
    ),
    "multigrid": OperatorCase(
        lambda r, d, a: multigrid(Diffusion(a(field(r, d, 12, 11)), boundary=MIXED)),
        (),
        dtypes=REAL,
        libraries=SPARSE,
    ),
    "bodies around multigrid": OperatorCase(
        lambda r, d, a: solvers.Bodies(solvers.Multigrid(dtype=np.dtype(d)))(
            Diffusion(a((1 + 4 * (r.random((12, 11)) < 0.3)).astype(d)))
        ),
        (),
        dtypes=REAL,
        libraries=SPARSE,
    ),
    "multigrid on a ring, per member": OperatorCase(
        lambda r, d, a: multigrid(Diffusion(a(field(r, d, 3, 9, 11)), ndim=2, boundary=RING)),
        (),
        dtypes=REAL,
        libraries=SPARSE,
    ),
    "fast Poisson": OperatorCase(
        lambda r, d, a: solvers.FastPoisson()(Diffusion(a(np.full((6, 7), 2, d)), boundary=MIXED)),
        (),
        dtypes=REAL,
    ),
    "fast Poisson, scaled, per member, 3-D": OperatorCase(
        lambda r, d, a: solvers.FastPoisson()(
            Diffusion(a(field(r, d, 2, 4, 5, 6)), ndim=3, boundary=(*RING, Side.DIRICHLET))
        ),
        (),
        dtypes=REAL,
    ),
    "deflation of means": OperatorCase(
        lambda r, d, a: solvers.Deflation(blocks=2)(
            Diffusion(a(field(r, d, 5, 6)), boundary=MIXED)
        ),
        (),
        dtypes=REAL,
        libraries=HOST,
    ),
    "deflation of vectors": OperatorCase(
        lambda r, d, a: solvers.Deflation(a(draw(r, d, 3, 8)), M=solvers.Jacobi())(
            Dense(a(spd(r, d, 8)), traits={Trait.POSITIVE})
        ),
        (),
        libraries=HOST,
    ),
    "Jacobian of a network's residual": OperatorCase(
        lambda r, d, a: small_jacobian(d), (), dtypes=REAL, libraries=(TORCH,)
    ),
    "basis scaled apart": OperatorCase(
        lambda r, d, a: LowRank(
            a(np.linalg.qr(draw(r, d, 9, 4))[0]), a(r.random(4).astype(d) + 0.1), 2.0
        ),
        (),
        dtypes=REAL,
    ),
    "inverse of a triangle": OperatorCase(
        lambda r, d, a: TriangularInverse(a(np.tril(spd(r, d, 7)))),
        (),
        dtypes=REAL,
        libraries=HOST,
    ),
    "adjoint": OperatorCase(lambda r, d, a: Dense(a(draw(r, d, 7, 4))).H, ()),
    "product": OperatorCase(
        lambda r, d, a: Dense(a(draw(r, d, 4, 6))) @ Dense(a(draw(r, d, 6, 5))), ()
    ),
    "normal": OperatorCase(lambda r, d, a: Dense(a(draw(r, d, 7, 4))).normal, ()),
    "sum": OperatorCase(lambda r, d, a: (t := two_dense(r, d, a))[0] + t[1], ()),
    "difference": OperatorCase(lambda r, d, a: (t := two_dense(r, d, a))[0] - t[1], ()),
    "multiple": OperatorCase(lambda r, d, a: -2.5 * Dense(a(spd(r, d, 6))), ()),
    "complex multiple": OperatorCase(
        lambda r, d, a: (1 + 2j) * Dense(a(draw(r, d, 5, 6))), (), dtypes=COMPLEX
    ),
    "stacked": OperatorCase(lambda r, d, a: vstack(two_dense(r, d, a)), ()),
    "side by side": OperatorCase(lambda r, d, a: hstack(two_dense(r, d, a)), ()),
    "blocks": OperatorCase(
        lambda r, d, a: block([[two_dense(r, d, a)[0], None], [None, two_dense(r, d, a)[1]]]), ()
    ),
}


def operator_params() -> list[tuple[str, str, str]]:
    """(name, library, dtype) of every case."""
    return [
        (name, library, dtype)
        for name, case in OPERATORS.items()
        for library in case.libraries
        for dtype in case.dtypes
    ]


def make_operator(name: str, library: str, dtype: str, rng: np.random.Generator) -> Operator:
    like = LIKE[library]
    return OPERATORS[name].make(rng, np.dtype(dtype), lambda x: from_host(x, like, x.dtype))
