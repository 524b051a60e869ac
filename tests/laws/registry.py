"""Every operator, registered once: each inherits all the laws. Solvers are in `methods`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import torch

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
from solvers.pinn import LowRank, Quadrature, TriangularInverse, residual_jacobian

NUMPY, TORCH, STRICT = "numpy", "torch", "strict"
LIKE = {NUMPY: np.zeros(1), TORCH: torch.zeros(1), STRICT: array_api_strict.zeros(1)}
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")


@dataclass(frozen=True)
class OperatorCase:
    """make(rng, dtype, array) -> Operator, where array(x) brings a NumPy array to the library."""

    make: Callable[[np.random.Generator, np.dtype, Callable[[np.ndarray], Any]], Operator]
    classes: tuple[type, ...]
    dtypes: tuple[str, ...] = REAL + COMPLEX
    libraries: tuple[str, ...] = (NUMPY, TORCH, STRICT)


def _draw(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return Space(shape, np.dtype(dtype)).random(rng)


def _spd(rng: np.random.Generator, dtype: Any, n: int) -> np.ndarray:
    m = _draw(rng, dtype, n, n)
    return (m @ m.conj().T / n + np.eye(n)).astype(dtype)


def _sparse_matrix(rng: np.random.Generator, dtype: Any, rows: int, columns: int) -> Any:
    from scipy.sparse import csr_array

    dense = _draw(rng, dtype, rows, columns) * (rng.random((rows, columns)) < 0.3)
    dense[rows // 2] = 0  # an empty row
    return csr_array(dense)


def _sparse(matrix: Any, array: Callable[[np.ndarray], Any], **how: Any) -> Sparse:
    """The matrix in the library of `array`."""
    like = array(np.zeros(1))
    if isinstance(like, np.ndarray):
        return Sparse(matrix, **how)
    if not isinstance(like, torch.Tensor):
        from cupyx.scipy.sparse import csr_matrix

        parts = tuple(map(array, (matrix.data, matrix.indices, matrix.indptr)))
        return Sparse(csr_matrix(parts, shape=matrix.shape), **how)
    ends, columns = (array(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices))
    csr = torch.sparse_csr_tensor(ends, columns, array(matrix.data), size=matrix.shape)
    return Sparse(csr, **how)


def _sparse_batch(rng: np.random.Generator, dtype: Any, array: Any) -> Operator:
    matrix = _sparse_matrix(rng, dtype, 12, 9)
    return _sparse(matrix, array, values=array(_draw(rng, dtype, 2, 3, matrix.nnz)))


def _two(rng: np.random.Generator, dtype: Any, array: Any) -> tuple[Dense, Dense]:
    return Dense(array(_draw(rng, dtype, 6, 5))), Dense(array(_draw(rng, dtype, 6, 5)))


def _k(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """A positive coefficient of contrast about 1e3."""
    return np.exp(1.5 * rng.standard_normal(shape)).astype(dtype)


def _solid(*shape: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[(slice(1, 3),) * len(shape)] = True
    return mask


def _mask(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Half of the samples, the first among them."""
    mask = rng.random(shape) < 0.5
    mask.reshape(-1)[0] = True
    return mask.astype(np.float64)


def _coords(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """Frequencies in cycles per pixel, in the precision of `dtype`."""
    return rng.uniform(-0.5, 0.5, shape).astype(Space((1,), dtype).real_dtype)


def _noncartesian(rng: np.random.Generator, dtype: Any, array: Any, *maps: int) -> Operator:
    return NonCartesianSENSE(
        array(_draw(rng, dtype, *maps)),
        array(_coords(rng, dtype, 4, 7, 2)),
        weights=array(rng.random((4, 1)).astype(Space((1,), dtype).real_dtype)),
    )


def _residual_jacobian(dtype: Any) -> Operator:
    """Of a small network that was never trained, with Laplace's operator inside."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    rng = np.random.default_rng(1)
    return residual_jacobian(
        net.to(getattr(torch, np.dtype(dtype).name)),
        lambda u, x: -torch.func.hessian(u)(x).trace(),
        interior=Quadrature(rng.random((5, 2))),
        boundary=Quadrature(rng.random((3, 2))),
        weight=2.0,
    )


def _multigrid(A: Operator) -> Operator:
    return solvers.Multigrid(dtype=A.domain.dtype)(A)


SPARSE = (NUMPY, TORCH)
HOST = (NUMPY, TORCH)  # finufft, and factorisations, run in host memory
MIXED = (Side.DIRICHLET, (Side.NEUMANN, Side.DIRICHLET))
RING = (Side.PERIODIC, Side.NEUMANN)

OPERATORS: dict[str, OperatorCase] = {
    "identity": OperatorCase(lambda r, d, a: Identity(Space((3, 4), d)), (Identity,)),
    "dense tall": OperatorCase(lambda r, d, a: Dense(a(_draw(r, d, 9, 6))), (Dense,)),
    "dense positive": OperatorCase(
        lambda r, d, a: Dense(a(_spd(r, d, 8)), traits={Trait.POSITIVE}), (Dense,)
    ),
    "dense per member": OperatorCase(lambda r, d, a: Dense(a(_draw(r, d, 2, 3, 5, 6))), (Dense,)),
    "diagonal": OperatorCase(lambda r, d, a: Diagonal(a(_draw(r, d, 3, 4))), (Diagonal,)),
    "diagonal per member": OperatorCase(
        lambda r, d, a: Diagonal(a(_draw(r, d, 3, 4)), ndim=1), (Diagonal,)
    ),
    "sparse wide": OperatorCase(
        lambda r, d, a: _sparse(_sparse_matrix(r, d, 9, 14), a), (Sparse,), libraries=SPARSE
    ),
    "sparse large": OperatorCase(
        lambda r, d, a: _sparse(_sparse_matrix(r, d, 400, 350), a), (Sparse,), libraries=SPARSE
    ),
    "sparse Hermitian": OperatorCase(
        lambda r, d, a: Sparse((m := _sparse_matrix(r, d, 20, 20)) + m.conj().T.tocsr()),
        (Sparse,),
        libraries=(NUMPY,),
    ),
    "sparse per member": OperatorCase(_sparse_batch, (Sparse,), libraries=SPARSE),
    "fft": OperatorCase(lambda r, d, a: FFT(Space((4, 5, 6), d)), (FFT,), dtypes=COMPLEX),
    "fft centred, last axes": OperatorCase(
        lambda r, d, a: FFT(Space((3, 7, 6), d), axes=2, centred=True), (FFT,), dtypes=COMPLEX
    ),
    "coils": OperatorCase(lambda r, d, a: Coils(a(_draw(r, d, 3, 5, 4))), (Coils,), dtypes=COMPLEX),
    "coils per member, 3-D": OperatorCase(
        lambda r, d, a: Coils(a(_draw(r, d, 2, 3, 4, 3, 5)), ndim=3), (Coils,), dtypes=COMPLEX
    ),
    "sampling": OperatorCase(
        lambda r, d, a: Sampling(a(_mask(r, 5, 4)), Space((3, 5, 4), d)), (Sampling,)
    ),
    "blur": OperatorCase(lambda r, d, a: Blur(a(_draw(r, d, 3, 4)), Space((2, 6, 5), d)), (Blur,)),
    "blur in full, along a line": OperatorCase(
        lambda r, d, a: Blur(a(_draw(r, d, 4)), Space((3, 6), d), boundary=Boundary.FULL), (Blur,)
    ),
    "blur, mirrored": OperatorCase(
        lambda r, d, a: Blur(
            a(r.standard_normal((4, 7))), Space((5, 4), d), boundary=Boundary.SYMMETRIC
        ),
        (Blur,),
    ),
    "blur, normal": OperatorCase(
        lambda r, d, a: Blur(a(_draw(r, d, 3, 2)), Space((2, 6, 5), d)).normal, ()
    ),
    "blur in full, normal": OperatorCase(
        lambda r, d, a: Blur(a(_draw(r, d, 3, 7)), Space((6, 5), d), boundary=Boundary.FULL).normal,
        (),
    ),
    "downsample": OperatorCase(
        lambda r, d, a: Downsample(Space((2, 9, 8), d), 2, like=a(np.zeros(1))), (Downsample,)
    ),
    "downsample on a ring": OperatorCase(
        lambda r, d, a: Downsample(
            Space((9, 7), d), 3, kernel=a(_draw(r, d, 3, 3)), boundary=Boundary.CIRCULAR
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
        lambda r, d, a: SENSE(a(_draw(r, d, 3, 6, 5)), a(_mask(r, 6, 5))), (SENSE,), dtypes=COMPLEX
    ),
    "sense per member": OperatorCase(
        lambda r, d, a: SENSE(a(_draw(r, d, 2, 3, 4, 5)), a(_mask(r, 3, 4, 5))),
        (SENSE,),
        dtypes=COMPLEX,
    ),
    "sense of lines, 3-D": OperatorCase(
        lambda r, d, a: SENSE(a(_draw(r, d, 3, 4, 3, 5)), a(_mask(r, 4, 3, 1)), ndim=3),
        (SENSE,),
        dtypes=COMPLEX,
    ),
    "sense, normal": OperatorCase(
        lambda r, d, a: SENSE(a(_draw(r, d, 5, 6, 5)), a(_mask(r, 6, 5))).normal,
        (),
        dtypes=COMPLEX,
    ),
    "sense of lines, normal, 3-D": OperatorCase(
        lambda r, d, a: SENSE(a(_draw(r, d, 3, 4, 3, 5)), a(_mask(r, 4, 3, 1)), ndim=3).normal,
        (),
        dtypes=COMPLEX,
    ),
    "sense per member, normal": OperatorCase(
        lambda r, d, a: SENSE(a(_draw(r, d, 2, 3, 4, 5)), a(_mask(r, 3, 4, 5))).normal,
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
        lambda r, d, a: NUFFT(a(_coords(r, d, 17, 1)), (12,), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft of lines": OperatorCase(
        lambda r, d, a: NUFFT(a(_coords(r, d, 5, 8, 2)), (7, 6), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft, 3-D": OperatorCase(
        lambda r, d, a: NUFFT(a(_coords(r, d, 40, 3)), (4, 5, 3), dtype=d),
        (NUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "nufft, normal": OperatorCase(
        lambda r, d, a: NUFFT(a(_coords(r, d, 5, 8, 2)), (7, 6), dtype=d).normal,
        (Toeplitz,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "toeplitz, weighted, 3-D": OperatorCase(
        lambda r, d, a: Toeplitz(
            a(_coords(r, d, 6, 5, 3)), (4, 3, 5), weights=a(r.random((6, 1))), dtype=d
        ),
        (Toeplitz,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense": OperatorCase(
        lambda r, d, a: _noncartesian(r, d, a, 3, 6, 5),
        (NonCartesianSENSE,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense per member": OperatorCase(
        lambda r, d, a: _noncartesian(r, d, a, 2, 3, 4, 5),
        (NonCartesianSENSE,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense, normal": OperatorCase(
        lambda r, d, a: _noncartesian(r, d, a, 5, 6, 5).normal,
        (),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "non-Cartesian sense per member, normal": OperatorCase(
        lambda r, d, a: _noncartesian(r, d, a, 2, 3, 4, 5).normal,
        (),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "gridded nufft, 1-D": OperatorCase(
        lambda r, d, a: GriddedNUFFT(a(_coords(r, d, 17, 1)), (12,), dtype=d),
        (GriddedNUFFT,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "gridded nufft of lines": OperatorCase(
        lambda r, d, a: GriddedNUFFT(a(_coords(r, d, 5, 8, 2)), (7, 6), dtype=d, oversampling=1.5),
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
            _noncartesian(r, d, a, 2, 3, 4, 5),
            a(r.uniform(-60, 90, (4, 5))),
            a(np.linspace(0, 0.02, 7)),
            segments=4,
        ),
        (OffResonance,),
        dtypes=COMPLEX,
        libraries=HOST,
    ),
    "coil compression": OperatorCase(
        lambda r, d, a: CoilCompression(a(_draw(r, d, 3, 5)), (4, 6)),
        (CoilCompression,),
        dtypes=COMPLEX,
    ),
    "coil compression along lines": OperatorCase(
        lambda r, d, a: CoilCompression(a(_draw(r, d, 4, 3, 5)), (2, 4, 3), readout=-2),
        (CoilCompression,),
        dtypes=COMPLEX,
    ),
    "pilots": OperatorCase(
        lambda r, d, a: Pilots(a(_draw(r, d, 6, 4)), 3), (Pilots,), dtypes=COMPLEX
    ),
    "pilots per member": OperatorCase(
        lambda r, d, a: Pilots(a(_draw(r, d, 2, 3, 4, 5)), 3), (Pilots,), dtypes=COMPLEX
    ),
    "pilots, normal": OperatorCase(
        lambda r, d, a: Pilots(a(_draw(r, d, 2, 6, 4)), 3).normal, (), dtypes=COMPLEX
    ),
    "plane waves": OperatorCase(
        lambda r, d, a: PlaneWaves(3, 5, oversampling=1.5, dtype=d, like=a(np.zeros(1))),
        (PlaneWaves,),
        dtypes=COMPLEX,
    ),
    "diffusion": OperatorCase(
        lambda r, d, a: Diffusion(a(_k(r, d, 5, 7)), boundary=MIXED), (Diffusion,), dtypes=REAL
    ),
    "diffusion on a ring": OperatorCase(
        lambda r, d, a: Diffusion(a(_k(r, d, 6, 4)), boundary=RING, spacing=(0.5, 2.0)),
        (Diffusion,),
        dtypes=REAL,
    ),
    "diffusion around solids, 3-D": OperatorCase(
        lambda r, d, a: Diffusion(a(_k(r, d, 4, 5, 6)), ndim=3, solid=_solid(4, 5, 6)),
        (Diffusion,),
        dtypes=REAL,
    ),
    "diffusion per member": OperatorCase(
        lambda r, d, a: Diffusion(a(_k(r, d, 3, 5, 6)), ndim=2), (Diffusion,), dtypes=REAL
    ),
    "nodal diffusion": OperatorCase(
        lambda r, d, a: NodalDiffusion(a(_k(r, d, 6, 5))), (NodalDiffusion,), dtypes=REAL
    ),
    "nodal diffusion per member, 3-D": OperatorCase(
        lambda r, d, a: NodalDiffusion(a(_k(r, d, 2, 5, 4, 6)), ndim=3),
        (NodalDiffusion,),
        dtypes=REAL,
    ),
    "multigrid": OperatorCase(
        lambda r, d, a: _multigrid(Diffusion(a(_k(r, d, 12, 11)), boundary=MIXED)),
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
        lambda r, d, a: _multigrid(Diffusion(a(_k(r, d, 3, 9, 11)), ndim=2, boundary=RING)),
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
            Diffusion(a(_k(r, d, 2, 4, 5, 6)), ndim=3, boundary=(*RING, Side.DIRICHLET))
        ),
        (),
        dtypes=REAL,
    ),
    "deflation of means": OperatorCase(
        lambda r, d, a: solvers.Deflation(blocks=2)(Diffusion(a(_k(r, d, 5, 6)), boundary=MIXED)),
        (),
        dtypes=REAL,
        libraries=HOST,
    ),
    "deflation of vectors": OperatorCase(
        lambda r, d, a: solvers.Deflation(a(_draw(r, d, 3, 8)), M=solvers.Jacobi())(
            Dense(a(_spd(r, d, 8)), traits={Trait.POSITIVE})
        ),
        (),
        libraries=HOST,
    ),
    "Jacobian of a network's residual": OperatorCase(
        lambda r, d, a: _residual_jacobian(d), (), dtypes=REAL, libraries=(TORCH,)
    ),
    "basis scaled apart": OperatorCase(
        lambda r, d, a: LowRank(
            a(np.linalg.qr(_draw(r, d, 9, 4))[0]), a(r.random(4).astype(d) + 0.1), 2.0
        ),
        (),
        dtypes=REAL,
    ),
    "inverse of a triangle": OperatorCase(
        lambda r, d, a: TriangularInverse(a(np.tril(_spd(r, d, 7)))),
        (),
        dtypes=REAL,
        libraries=HOST,
    ),
    "adjoint": OperatorCase(lambda r, d, a: Dense(a(_draw(r, d, 7, 4))).H, ()),
    "product": OperatorCase(
        lambda r, d, a: Dense(a(_draw(r, d, 4, 6))) @ Dense(a(_draw(r, d, 6, 5))), ()
    ),
    "normal": OperatorCase(lambda r, d, a: Dense(a(_draw(r, d, 7, 4))).normal, ()),
    "sum": OperatorCase(lambda r, d, a: (t := _two(r, d, a))[0] + t[1], ()),
    "difference": OperatorCase(lambda r, d, a: (t := _two(r, d, a))[0] - t[1], ()),
    "multiple": OperatorCase(lambda r, d, a: -2.5 * Dense(a(_spd(r, d, 6))), ()),
    "complex multiple": OperatorCase(
        lambda r, d, a: (1 + 2j) * Dense(a(_draw(r, d, 5, 6))), (), dtypes=COMPLEX
    ),
    "stacked": OperatorCase(lambda r, d, a: vstack(_two(r, d, a)), ()),
    "side by side": OperatorCase(lambda r, d, a: hstack(_two(r, d, a)), ()),
    "blocks": OperatorCase(
        lambda r, d, a: block([[_two(r, d, a)[0], None], [None, _two(r, d, a)[1]]]), ()
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
