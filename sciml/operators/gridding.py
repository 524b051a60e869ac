"""The non-uniform Fourier transform with its interpolation as a sparse matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._checks import integer, number
from .._library import library_of
from ..arrays import Array, astype, dtype_of, from_host, is_torch, namespace, real_dtype, to_numpy
from ..operator import Operator, Trait
from ..space import Space
from .fourier import FFT
from .nufft import check_coords, watched
from .sparse import Sparse

__all__ = ["GriddedNUFFT"]

_DEFAULT_RTOL = {np.dtype(np.complex64): 3e-7, np.dtype(np.complex128): 1e-11}


class GriddedNUFFT(Operator):
    """`NUFFT` as interpolation after a Fourier transform on a finer grid, one matrix for each step.

    Kaiser-Bessel interpolation with the width and shape of Beatty, Nishimura and Pauly, IEEE Trans.
    Med. Imaging 24, 2005. It needs no library of its own, takes more memory than `NUFFT`
    (width^d entries a sample) and is the form that runs in CuPy by its sparse matrices. Set up on
    the host.

    Args:
        coords, shape, dtype: as for `NUFFT`.
        oversampling: of the finer grid, from 1.25 to 2; a little more where that is faster.
            Rounding leaves some 1e-6 in complex64 at 1.5, and 1e-5 at 1.25.
        rtol: relative error that the width is chosen for; 3e-7 in complex64, 1e-11 in complex128 if
            not given.
        width: of the kernel, in cells of the finer grid, in place of what rtol asks for.

    Raises:
        TypeError, ValueError: as `NUFFT`; coordinates that require a gradient, which this form
            does not have.
    """

    recordable = False

    structure_names = ("weights",)

    def __init__(
        self,
        coords: Array,
        shape: tuple[int, ...],
        *,
        dtype: Any = np.complex64,
        oversampling: float = 2.0,
        rtol: float | None = None,
        width: int | None = None,
    ) -> None:
        from scipy.fft import next_fast_len

        space = Space(shape, dtype)
        check_coords(coords, space)
        if watched(coords):
            raise TypeError(
                "expected coordinates without gradient, got some that require one: use NUFFT"
            )
        if number(oversampling, "oversampling", least=1.25) > 2:
            raise ValueError(f"expected oversampling from 1.25 to 2, got {oversampling}")
        rtol = _DEFAULT_RTOL[space.dtype] if rtol is None else number(rtol, "rtol", least=1e-14)
        self.width = (
            _width(rtol, oversampling, space) if width is None else integer(width, "width", 2)
        )
        grid = tuple(next_fast_len(math.ceil(oversampling * n), False) or n for n in space.shape)
        betas = [_beta(self.width, m / n) for m, n in zip(grid, space.shape, strict=True)]
        super().__init__(space, Space(tuple(coords.shape[:-1]), space.dtype))
        self.fourier = FFT(Space(grid, space.dtype), centred=True)
        self.weights = from_host(_weights(space.shape, grid, self.width, betas), coords, float)
        places = to_numpy(coords).reshape(-1, space.ndim).astype(np.float64)
        matrix = _interpolation(places, grid, self.width, betas).astype(space.dtype)
        self.interpolation = Sparse(_in_library_of(coords, matrix), traits=(Trait.LINEAR,))

    @property
    def home(self) -> Array | None:
        return self.interpolation.home

    def _apply(self, x: Array) -> Array:
        xp, grid = namespace(x), self.fourier.domain
        batch = tuple(x.shape[: x.ndim - self.domain.ndim])
        finer = grid.zeros(x, batch)
        finer[(..., *self._inside)] = self._weighted(x)
        flat = xp.reshape(self.fourier(finer), (*batch, grid.size))
        return xp.reshape(self.interpolation(flat), (*batch, *self.range.shape))

    def _adjoint(self, y: Array) -> Array:
        xp, grid = namespace(y), self.fourier.domain
        batch = tuple(y.shape[: y.ndim - self.range.ndim])
        flat = self.interpolation.adjoint(xp.reshape(y, (*batch, self.range.size)))
        finer = self.fourier.adjoint(xp.reshape(flat, (*batch, *grid.shape)))
        return self._weighted(finer[(..., *self._inside)])

    def _weighted(self, x: Array) -> Array:
        return x * astype(self.weights, real_dtype(dtype_of(x)))

    @property
    def _inside(self) -> tuple[slice, ...]:
        """Where the image lies in the finer grid: the origins agree."""
        pairs = zip(self.fourier.domain.shape, self.domain.shape, strict=True)
        return tuple(slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m, n in pairs)

    @property
    def work(self) -> int:
        return self.interpolation.work + self.fourier.domain.size * 32


def _width(rtol: float, oversampling: float, space: Space) -> int:
    """The least width whose aliasing is below rtol, or the best one where rounding forbids that.

    Aliasing is about exp(-π W sqrt(1 - 1/α)). The weights of the pixels grow towards the edges by
    exp(π W (1 - 1/(2α) - sqrt(1 - 1/α))) an axis, and rounding errors of the transform with them,
    by about a tenth of that.
    """
    inner = math.sqrt(1 - 1 / oversampling)
    growth = 1 - 0.5 / oversampling - inner
    eps = float(np.finfo(space.real_dtype).eps)

    def error(width: int) -> float:
        rounding = eps * max(1.0, math.exp(math.pi * width * growth) / 10) ** space.ndim
        return 10 * math.exp(-math.pi * width * inner) + rounding

    enough = max(2, math.ceil(math.log(10 / rtol) / (math.pi * inner)))
    return min(range(2, enough + 1), key=error)


def _beta(width: int, oversampling: float) -> float:
    """Beatty et al., eq. 5."""
    return math.pi * math.sqrt((width / oversampling * (oversampling - 0.5)) ** 2 - 0.8)


def _weights(
    shape: tuple[int, ...], grid: tuple[int, ...], width: int, betas: list[float]
) -> np.ndarray:
    """What undoes the interpolation and the scale of the finer grid's transform, per pixel.

    The kernel I0(β sqrt(1 - (2u/W)²)) / I0(β) has the transform
    W sinh(z) / z / I0(β) with z² = β² - (π W n / G)².
    """
    total = np.ones(())
    for n, m, beta in zip(shape, grid, betas, strict=True):
        place = (np.arange(n) - n // 2) / m
        z = np.sqrt(beta**2 - (np.pi * width * place) ** 2)
        transform = width * np.sinh(z) / z / np.i0(beta)
        total = total[..., None] * (math.sqrt(m / n) / transform)
    return total


def _interpolation(
    coords: np.ndarray, grid: tuple[int, ...], width: int, betas: list[float]
) -> Any:
    """The kernel's values as a SciPy matrix, (samples, points of the finer centred grid)."""
    from scipy.sparse import csr_array

    count = len(coords)
    columns, values = np.zeros((count, 1), np.int64), np.ones((count, 1))
    for a, (m, beta) in enumerate(zip(grid, betas, strict=True)):
        at = coords[:, a, None] * m
        near = np.ceil(at - width / 2) + np.arange(width)  # the points less than W/2 away
        inside = np.maximum(1 - (2 * (near - at) / width) ** 2, 0)
        value = np.i0(beta * np.sqrt(inside)) / np.i0(beta)
        column = (near.astype(np.int64) + m // 2) % m
        columns = (columns[:, :, None] * m + column[:, None, :]).reshape(count, -1)
        values = (values[:, :, None] * value[:, None, :]).reshape(count, -1)
    ends = np.arange(count + 1, dtype=np.int64) * columns.shape[1]
    return csr_array(
        (values.reshape(-1), columns.reshape(-1), ends), shape=(count, math.prod(grid))
    )


def _in_library_of(like: Array, matrix: Any) -> Any:
    """A SciPy matrix as one of torch or CuPy, where `like` belongs to these."""
    if isinstance(like, np.ndarray):
        return matrix
    if is_torch(like):
        import torch

        parts = (matrix.indptr, matrix.indices, matrix.data)
        rows, columns, data = (torch.from_numpy(part).to(like.device) for part in parts)
        return torch.sparse_csr_tensor(rows, columns, data, size=matrix.shape)
    if library_of(like) == "cupy":
        from cupyx.scipy.sparse import csr_matrix

        return csr_matrix(matrix)
    raise TypeError(
        f"expected NumPy, CuPy or torch coordinates, got {type(like).__module__}: convert them"
    )
