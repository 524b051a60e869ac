"""The Fourier transform of an image at any frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import number
from ..arrays import (
    Array,
    all_finite,
    astype,
    check_float,
    dtype_of,
    from_host,
    host_view,
    is_torch,
    like_host,
    namespace,
    on_cpu,
    to_numpy,
)
from ..operator import Operator
from ..space import Space
from ._plans import Plans, same_memory

if TYPE_CHECKING:
    from .toeplitz import Toeplitz

__all__ = ["NUFFT"]

# Multiplications to interpolate one sample, and to transform one pixel.
_SAMPLE_WORK, _PIXEL_WORK = 128, 128
# Single precision holds what the default asks for.
_DEFAULT_RTOL = {np.dtype(np.complex64): 3e-7, np.dtype(np.complex128): 1e-12}


class NUFFT(Operator):
    """x -> y_j = 1/sqrt(N) Σ_n x_n exp(-2πi k_j·(n - c)), the transform at frequencies k_j.

    c = shape // 2 is the origin of the image and N its number of pixels, so that on the frequencies
    of a centred grid this is `FFT(..., centred=True)`. Computed by finufft (Barnett, Magland and
    af Klinteberg, SIAM J. Sci. Comput. 41, 2019) in host memory, each transform of a batch on one
    thread, and by cufinufft on a GPU. The adjoint is exact: the transpose of what is computed.

    `normal` is the same operator's `Toeplitz` form. With `coords` that require a gradient it is
    A^H A as it stands, which differentiates.

    Args:
        coords: k, (*samples, d) with d = 1, 2 or 3, float, in cycles per pixel: from -1/2 to 1/2.
            The range's shape is `samples`.
        shape: of the image, d axes.
        dtype: complex64 or complex128, of images and samples.
        rtol: relative error (2-norm) of A x; 3e-7 in complex64, 1e-12 in complex128 if not given.
            complex64 is computed in double precision unless rtol >= 5e-8 max(shape): rounded
            positions would not allow for less. Single precision is a third faster.

    Raises:
        TypeError, ValueError: coordinates are no float array (*samples, d), not finite, or beyond
            1/2; a real dtype.
        ModuleNotFoundError (when applied): finufft, or cufinufft, is not installed.
    """

    recordable = False

    param_names = ("coords",)

    def __init__(
        self,
        coords: Array,
        shape: tuple[int, ...],
        *,
        dtype: Any = np.complex64,
        rtol: float | None = None,
    ) -> None:
        space = Space(shape, dtype)
        self.coords = check_coords(coords, space)
        self.rtol = None if rtol is None else number(rtol, "rtol", least=1e-14)
        super().__init__(space, Space(tuple(coords.shape[:-1]), space.dtype))
        self._plans = self._new_plans()

    def _new_plans(self) -> Plans:
        rtol = _DEFAULT_RTOL[self.domain.dtype] if self.rtol is None else self.rtol
        return Plans(self.coords, self.domain.shape, self.domain.dtype, rtol)

    def _apply(self, x: Array) -> Array:
        if watched(x, self.coords):
            return self.as_torch()(x)
        return self._transform(x, adjoint=False)

    def _adjoint(self, y: Array) -> Array:
        if watched(y, self.coords):
            return self.H.as_torch()(y)
        return self._transform(y, adjoint=True)

    def _transform(self, x: Array, *, adjoint: bool) -> Array:
        source, target = (self.range, self.domain) if adjoint else (self.domain, self.range)
        batch = tuple(x.shape[: x.ndim - source.ndim])
        count = math.prod(batch)
        scale = 1 / math.sqrt(self.domain.size)
        view = host_view(x)
        if not count:
            return target.zeros(x, batch)
        if view is None:
            return self._transform_on_device(x, count, batch, scale, adjoint=adjoint)
        flat = view.reshape(count, *(source.shape if not adjoint else (source.size,)))
        out = np.empty((count, *(target.shape if adjoint else (target.size,))), target.dtype)
        kernel = self._plans.adjoint if adjoint else self._plans.transform
        from ..kernels._threads import in_threads  # numba, which importing operators must not load

        in_threads(kernel, count, count * self.work, (flat, out))
        out *= scale
        return like_host(out.reshape(*batch, *target.shape), x)

    def _transform_on_device(
        self, x: Array, count: int, batch: tuple[int, ...], scale: float, *, adjoint: bool
    ) -> Array:
        if on_cpu(x):
            raise TypeError(
                f"expected NumPy, CuPy or torch arrays for a NUFFT, got {type(x).__module__}: "
                "convert them"
            )
        xp = namespace(x)
        shape = (self.range.size,) if adjoint else self.domain.shape
        y = self._plans.on_device(xp.reshape(x, (count, *shape)), adjoint=adjoint)
        target = self.domain if adjoint else self.range
        return xp.reshape(astype(y * scale, target.dtype), (*batch, *target.shape))

    @property
    def normal(self) -> Operator:
        return super().normal if watched(self.coords) else self.toeplitz()

    def toeplitz(self, weights: Array | None = None) -> Toeplitz:
        """A^H W A in its fast form; weights >= 0 as `Toeplitz` takes them."""
        from .toeplitz import Toeplitz

        return Toeplitz(self.coords, self.domain.shape, weights=weights, dtype=self.domain.dtype)

    @property
    def work(self) -> int:
        return self.range.size * _SAMPLE_WORK + self.domain.size * _PIXEL_WORK

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # d/dk_a of A x is A (-2πi n_a x): one transform an axis, and the real part of its product
        xp, slopes = namespace(x), []
        for a, n in enumerate(self.domain.shape):
            place = from_host(np.arange(n) - n // 2, x).reshape(
                n, *(1,) * (self.domain.ndim - a - 1)
            )
            change = self(astype(x * (-2j * np.pi * place), self.domain.dtype))
            product = xp.real(xp.conj(ybar) * change)
            summed = xp.sum(xp.reshape(product, (-1, *self.range.shape)), axis=0)
            slopes.append(astype(summed, dtype_of(self.coords)))
        return {"coords": xp.stack(slopes, axis=-1)}

    def _with_arrays(self, change: Callable[[Array], Array]) -> Operator:
        made = super()._with_arrays(change)
        if not same_memory(made.coords, self.coords):  # pyright: ignore
            object.__setattr__(made, "_plans", made._new_plans())  # pyright: ignore
        return made

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = super()._with_precision(dtype)
        object.__setattr__(made, "_plans", made._new_plans())  # pyright: ignore
        return made


def check_coords(coords: Array, space: Space) -> Array:
    """The coordinates, once they are found to be some for images of `space`."""
    xp = namespace(coords)
    if not space.is_complex:
        raise TypeError(f"expected a complex dtype for a NUFFT, got {space.dtype}")
    if check_float(dtype_of(coords), "coordinates").kind == "c":
        raise TypeError(f"expected real coordinates, got {dtype_of(coords)}")
    if space.ndim > 3 or coords.ndim < 2 or coords.shape[-1] != space.ndim or 0 in coords.shape:
        raise ValueError(
            "expected an image of 1, 2 or 3 axes and coordinates (*samples, d) with d its number "
            f"of axes, got {space.shape} and {tuple(coords.shape)}"
        )
    if not all_finite(coords):
        raise ValueError("expected finite coordinates, got NaN or Inf among them")
    largest = float(to_numpy(xp.max(abs(coords))))
    if largest > 0.5 * (1 + 1e-6):
        raise ValueError(
            f"expected coordinates from -1/2 to 1/2 cycles per pixel, got one of {largest:.4g}: "
            "divide cycles per field of view by the shape, radians per pixel by 2π"
        )
    return coords


def watched(*arrays: Array | None) -> bool:
    """Whether autograd watches one of these."""
    return any(a is not None and is_torch(a) and a.requires_grad for a in arrays)
