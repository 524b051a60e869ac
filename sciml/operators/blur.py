"""Convolutions of images, and what a coarser detector keeps of them."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import integer, need, number
from .._fft import filtered, response
from ..arrays import (
    Array,
    all_finite,
    astype,
    check_float,
    dtype_of,
    from_host,
    namespace,
    no_grad,
    real_dtype,
    with_precision,
)
from ..operator import Operator, Trait
from ..space import Space
from .nufft import watched

__all__ = ["Blur", "Boundary", "Downsample", "gaussian_kernel"]

# Within three standard deviations lie 99.7 % of a Gaussian.
_REACH = 3.0
# A blur before decimation by f has this many f for its standard deviation: 29 % of the highest
# frequency that the coarse grid holds passes.
_PER_FACTOR = 0.5


class Boundary(enum.Enum):
    """What a convolution sees beyond the edges of an image."""

    CIRCULAR = "circular"  # the opposite side; the result has the image's size
    FULL = "full"  # zeros; the result is larger, by the kernel's size less one
    SYMMETRIC = "symmetric"  # its mirror image, the last pixel twice; of the image's size


class _Convolution(Operator):
    """x -> some entries of kernel * extended x, by one pair of FFTs.

    The extended image is laid on a ring so long that what wraps around is not picked.
    """

    recordable = False

    param_names = ("kernel",)
    _cached = ("_kept", "_bound")  # made of the kernel

    def __init__(
        self, kernel: Array, space: Space, boundary: Boundary, *, step: int, offset: int
    ) -> None:
        need(space, Space, "a Space of images")
        need(boundary, Boundary, "a Boundary member", "Boundary.CIRCULAR, for example")
        self.kernel, self.boundary = _checked(kernel, space, boundary), boundary
        size = space.shape[-kernel.ndim :]
        ring, picked, pads = [], [], []
        for n, m in zip(size, kernel.shape, strict=True):
            if boundary is Boundary.CIRCULAR:
                start, count, length, pad = 0, n, n, (0, 0)
            else:
                full = boundary is Boundary.FULL
                start, count = (0, n + m - 1) if full else (m - 1, n)
                pad = (0, 0) if full else (m - 1 - m // 2, m // 2)
                length = _fast(n + m - 1)
            ring.append(length)
            picked.append(slice(start + offset, start + count, step))
            pads.append(pad)
        self.ring, self._pads = tuple(ring), tuple(pads)
        self._picked = (..., *picked)
        out = tuple(-(-(s.stop - s.start) // step) for s in picked)
        super().__init__(space, Space((*space.shape[: -kernel.ndim], *out), space.dtype))

    def _apply(self, x: Array) -> Array:
        seen = filtered(self._extended(x), self.response, self.ring)[self._picked]
        return np.ascontiguousarray(seen) if isinstance(seen, np.ndarray) else seen

    def _adjoint(self, y: Array) -> Array:
        back = filtered(self._laid(y), namespace(y).conj(self.response), self.ring)
        return self._folded(back)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # Re<ybar, k * x> has the gradient Σ_i conj(x[i - j]) ybar[i] at k[j]
        xp, d = namespace(x, ybar), self.kernel.ndim
        seen = response(self._extended(x), self.ring, not self.domain.is_complex)
        full = filtered(self._laid(ybar), xp.conj(seen), self.ring)
        if self.boundary is Boundary.CIRCULAR:
            full = xp.roll(full, tuple(m // 2 for m in self.kernel.shape), axis=tuple(range(-d, 0)))
        grad = full[(..., *(slice(0, m) for m in self.kernel.shape))]
        grad = xp.sum(xp.reshape(grad, (-1, *self.kernel.shape)), axis=0)
        if dtype_of(self.kernel).kind == "f" and self.domain.is_complex:
            grad = xp.real(grad)
        return {"kernel": astype(grad, dtype_of(self.kernel))}

    # -- the spectrum ------------------------------------------------------------------------

    @property
    def response(self) -> Array:
        """The kernel's spectrum on the ring, in the precision of images."""
        return self._transformed() if watched(self.kernel) else self._kept

    @cached_property
    def _kept(self) -> Array:
        return self._transformed()

    def _transformed(self) -> Array:
        xp, d = namespace(self.kernel), self.kernel.ndim
        wide = astype(self.kernel, with_precision(dtype_of(self.kernel), np.float64))
        if self.boundary is Boundary.CIRCULAR:  # the kernel's middle is its origin
            for a, (n, m) in enumerate(zip(self.ring, self.kernel.shape, strict=True), -d):
                rest = (*wide.shape[:a], n - m, *wide.shape[d + a + 1 :])
                wide = xp.concat([wide, from_host(np.zeros(rest), wide, dtype_of(wide))], axis=a)
            shifts = tuple(-(m // 2) for m in self.kernel.shape)
            wide = xp.roll(wide, shifts, axis=tuple(range(-d, 0)))
        found = response(wide, self.ring, not self.domain.is_complex)
        return astype(found, with_precision(np.complex64, self.domain.dtype))

    def _with_arrays(self, change: Callable[[Array], Array]) -> Operator:
        made = super()._with_arrays(change)
        for memo in self._cached:
            vars(made).pop(memo, None)
        return made

    # -- beyond the edges --------------------------------------------------------------------

    def _extended(self, x: Array) -> Array:
        xp = namespace(x)
        for a, (before, after) in enumerate(self._pads, -len(self._pads)):
            if before or after:
                n = x.shape[a]
                ends = (slice(0, before), slice(n - after, n))
                first, last = (xp.flip(x[_along(a, s)], axis=a) for s in ends)
                x = xp.concat([first, x, last], axis=a)
        return x

    def _folded(self, z: Array) -> Array:
        """The adjoint of `_extended`, and of the zeros behind."""
        xp = namespace(z)
        for a, (before, after) in enumerate(self._pads, -len(self._pads)):
            n = self.domain.shape[a]
            body = z[_along(a, slice(before, before + n))]
            if before or after:
                body = xp.asarray(body, copy=True)
                beyond = (slice(0, before), slice(before + n, before + n + after))
                first, last = (xp.flip(z[_along(a, s)], axis=a) for s in beyond)
                body[_along(a, slice(0, before))] += first
                body[_along(a, slice(n - after, n))] += last
            z = body
        return np.ascontiguousarray(z) if isinstance(z, np.ndarray) else z

    def _laid(self, y: Array) -> Array:
        """y where it was picked, zeros elsewhere on the ring."""
        lead = tuple(y.shape[: y.ndim - len(self.ring)])
        if tuple(y.shape) == (*lead, *self.ring):
            return y
        laid = from_host(np.zeros((*lead, *self.ring)), y, dtype_of(y))
        laid[self._picked] = y
        return laid

    # -- norms -------------------------------------------------------------------------------

    @property
    def norm_bound(self) -> float:
        """A proven bound of ||A||, the lesser of two.

        The largest entry of the kernel's spectrum (extending by zeros and picking do not add to
        the norm), and the root of the largest row sum of |A| times its largest column sum.
        """
        return self._bound

    @cached_property
    def _bound(self) -> float:
        xp = namespace(self.kernel)
        with no_grad(self.kernel):
            largest = float(xp.max(abs(self.response)))
            wide: Any = self.to(dtype=np.float64)._with_arrays(abs)
            ones = from_host(np.ones(self.range.shape), wide.kernel, wide.range.dtype)
            rows, columns = float(xp.sum(wide.kernel)), float(xp.max(abs(wide.adjoint(ones))))
        schur = math.sqrt(rows * columns)
        return schur if self.boundary is Boundary.SYMMETRIC else min(largest, schur)


class Blur(_Convolution):
    """x -> kernel * x over the last axes: a convolution by FFTs.

    y[i] = Σ_j kernel[j] x[i − j + c] with c = m // 2 of a kernel of m entries an axis; for
    `Boundary.FULL` c = 0, and y has n + m − 1 entries an axis.

    Args:
        kernel: (rows, columns), or of as many axes as are to be blurred; real, or complex for
            complex images. Trained or estimated ones differentiate.
        space: of images (*channels, rows, columns), whose dtype the result has.
        boundary: what lies beyond the edges.

    Raises:
        TypeError: the kernel is no float array, or complex where images are real.
        ValueError: it has more axes than an image, is larger (SYMMETRIC: than twice an image), or
            not finite.
    """

    def __init__(
        self, kernel: Array, space: Space, *, boundary: Boundary = Boundary.CIRCULAR
    ) -> None:
        super().__init__(kernel, space, boundary, step=1, offset=0)

    @property
    def normal(self) -> Operator:
        """A^H A, by one pair of FFTs too but for SYMMETRIC."""
        if self.boundary is Boundary.SYMMETRIC or watched(self.kernel):
            return super().normal
        return BlurNormal(self)

    @property
    def norm_bound(self) -> float:
        """||A|| itself for CIRCULAR, the largest entry of the kernel's spectrum; else a bound."""
        return self._bound


class BlurNormal(Operator):
    """x -> A^H A x for a circular or full blur. Made by `Blur.normal`.

    A full convolution loses nothing, so that A^H A is a corner of the circulant one of |spectrum|².
    """

    recordable = False

    param_names = ("power",)

    def __init__(self, A: Blur) -> None:
        xp = namespace(A.kernel)
        self.power, self.ring = xp.real(A.response * xp.conj(A.response)), A.ring
        self.energy = float(xp.sum(abs(A.kernel) ** 2))
        self._bound = A.norm_bound**2
        super().__init__(A.domain, traits={Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        power = astype(self.power, real_dtype(dtype_of(x)))
        seen = filtered(x, power, self.ring)[(..., *(slice(0, n) for n in self._size))]
        return np.ascontiguousarray(seen) if isinstance(seen, np.ndarray) else seen

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    @property
    def _size(self) -> tuple[int, ...]:
        return self.domain.shape[-len(self.ring) :]

    def diagonal(self) -> Array:
        """The kernel's energy Σ |k|², the same for every pixel."""
        return self.domain.zeros(self.power) + self.energy

    @property
    def norm_bound(self) -> float:
        return self._bound


class Downsample(_Convolution):
    """x -> every f-th pixel of the blurred x: what a coarser detector sees, for super-resolution.

    Coarse pixel i lies in the middle of fine pixels f i to f i + f − 1, for kernels whose size is
    even where f is; they are ceil((n − (f − 1) // 2) / f) an axis: n / f where f divides n.

    Args:
        space: of fine images (*channels, rows, columns).
        factor: f.
        kernel: as for `Blur`; a Gaussian of standard deviation f / 2 if not given, of which 29 %
            of the highest frequency on the coarse grid passes. `np.full((f, f), f**-2)` is the
            mean of f x f pixels.
        boundary: CIRCULAR or SYMMETRIC.
        like: an array of the library and on the device that the Gaussian is wanted in; NumPy
            without.

    Raises:
        TypeError, ValueError: as `Blur`; a factor that is no integer >= 1 or larger than the image.
    """

    def __init__(
        self,
        space: Space,
        factor: int,
        *,
        kernel: Array | None = None,
        boundary: Boundary = Boundary.SYMMETRIC,
        like: Array | None = None,
    ) -> None:
        need(space, Space, "a Space of images")
        self.factor = integer(factor, "factor", 1)
        if boundary is Boundary.FULL:
            raise ValueError(
                "expected Boundary.CIRCULAR or SYMMETRIC for a Downsample, got Boundary.FULL: a "
                "coarse image has no pixels beyond the edges"
            )
        taken: Any = kernel
        if taken is None:
            taken = self._gaussian(space)
            if like is not None:
                taken = from_host(taken, like, np.float64)
        namespace(taken)
        if self.factor > min(space.shape[-taken.ndim :]):
            raise ValueError(f"expected a factor up to the size of {space.shape}, got {factor}")
        offset = (self.factor - 1) // 2
        super().__init__(taken, space, boundary, step=self.factor, offset=offset)

    def _gaussian(self, space: Space) -> np.ndarray:
        f, sigma = self.factor, _PER_FACTOR * self.factor
        size = 2 * math.ceil(_REACH * sigma) + f % 2
        return gaussian_kernel(sigma, size=size, ndim=min(2, space.ndim))


def gaussian_kernel(sigma: float, *, size: int | None = None, ndim: int = 2) -> np.ndarray:
    """A Gaussian at the pixels' middles, of sum 1: float64 (size, ..., size).

    Args:
        sigma: standard deviation in pixels, > 0.
        size: pixels an axis; 2 ⌈3 sigma⌉ + 1 if not given, and at least 5: it then reaches three
            standard deviations. Fang, Buchanan and Sulam (ICLR 2024) cut at max(5, ⌊3 sigma⌋),
            made odd: 5 pixels for 1.6, which blurs less.
        ndim: axes.
    """
    sigma = number(sigma, "sigma")
    if sigma == 0:
        raise ValueError("expected sigma > 0, got 0: no blur is the Identity")
    reach = max(5, 2 * math.ceil(_REACH * sigma) + 1)
    size = reach if size is None else integer(size, "size", 1)
    place = np.arange(size) - (size - 1) / 2
    line = np.exp(-(place**2 - (place**2).min()) / (2 * sigma**2))  # never all zero
    line /= line.sum()
    kernel = line
    for _ in range(integer(ndim, "ndim", 1) - 1):
        kernel = np.multiply.outer(kernel, line)
    return kernel


def _checked(kernel: Array, space: Space, boundary: Boundary) -> Array:
    namespace(kernel)
    dtype = check_float(dtype_of(kernel), "a kernel")
    if dtype.kind == "c" and not space.is_complex:
        raise TypeError(f"expected a real kernel for {space.dtype} images, got {dtype}")
    if not 1 <= kernel.ndim <= space.ndim or 0 in kernel.shape:
        raise ValueError(
            f"expected a kernel of 1 to {space.ndim} axes for images {space.shape}, got "
            f"{tuple(kernel.shape)}"
        )
    for n, m in zip(space.shape[-kernel.ndim :], kernel.shape, strict=True):
        most = {Boundary.CIRCULAR: n, Boundary.SYMMETRIC: 2 * n, Boundary.FULL: m}[boundary]
        if m > most:
            raise ValueError(
                f"expected a kernel of up to {most} pixels along an axis of {n} "
                f"({boundary}), got {m}: cut it, or take Boundary.FULL"
            )
    if not all_finite(kernel.detach() if watched(kernel) else kernel):
        raise ValueError("expected a finite kernel, got NaN or Inf in it")
    return kernel


def _fast(n: int) -> int:
    """The next size whose transform is fast."""
    from scipy.fft import next_fast_len

    found: Any = next_fast_len(n, real=True)
    return int(found)


def _along(axis: int, what: slice) -> tuple[Any, ...]:
    return (..., what, *(slice(None),) * (-1 - axis))
