"""Normal operators of non-uniform transforms as convolutions.

(A^H W A x)_n = Σ_m h(n - m) x_m with h(d) = 1/N Σ_j w_j exp(2πi k_j·d): a Toeplitz matrix, which is
a corner of a circulant one of twice the size in each axis (Fessler, Lee, Olafsson, Shi and Noll,
IEEE Trans. Signal Process. 53, 2005). What is transformed is N points, not 2^d N: the even and the
odd frequencies of a zero-padded signal are the transforms of the signal itself and of the signal
times exp(-πi n/N), and the cropped inverse is half the sum of theirs.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .._fft import in_torch, torch_pays
from ..arrays import (
    Array,
    astype,
    check_same_place,
    dtype_of,
    from_host,
    is_torch,
    namespace,
    real_dtype,
    to_numpy,
)
from ..operator import Operator, Trait
from ..space import Space
from .nufft import NUFFT, check_coords, watched

__all__ = ["Toeplitz"]


class Toeplitz(Operator):
    """x -> A^H W A x for the `NUFFT` A of these coordinates, by FFTs of the image's own size.

    `spectrum` is what the circulant multiplies by, real, (2, ..., 2, *shape): the even and the odd
    frequencies of each axis apart. It is computed once, in double precision.

    Args:
        coords: (*samples, d), cycles per pixel, as for `NUFFT`.
        shape: of the image, d axes.
        weights: w >= 0, real, broadcasts against `samples`; ones if not given.
        dtype: complex64 or complex128, of images.

    Raises:
        TypeError, ValueError: as `NUFFT`; weights that do not fit, or are negative.
        ModuleNotFoundError: finufft (cufinufft on a GPU) is not installed.
    """

    recordable = False

    param_names = ("spectrum",)
    structure_names = ("twiddles",)

    def __init__(
        self,
        coords: Array,
        shape: tuple[int, ...],
        *,
        weights: Array | None = None,
        dtype: Any = np.complex64,
    ) -> None:
        space = Space(shape, dtype)
        check_coords(coords, space)
        if watched(coords, weights):
            raise TypeError(
                "expected coordinates and weights without gradients, got some that require them: "
                "detach them, or compose A.H @ A"
            )
        self.spectrum = _spectrum(coords, space, weights)
        turns = [np.exp(-1j * np.pi * np.arange(n) / n) for n in space.shape]
        self.twiddles = from_host(np.concatenate(turns), coords, np.complex128)
        super().__init__(space, traits={Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        if torch_pays(x) and isinstance(self.spectrum, np.ndarray):
            return self.convolve(in_torch(x)).numpy()
        return self.convolve(x)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def convolve(self, x: Array) -> Array:
        """A^H W A x for x (*any axes, *shape), in the library of x."""
        xp, d = namespace(x), self.domain.ndim
        if 0 in x.shape:  # torch refuses to transform an empty batch
            return xp.zeros_like(x)
        if (y := self.by_kernels(x)) is not None:
            return y
        spectrum, turns = self._of(x)
        axes = tuple(range(-d, 0))
        total: Any = None
        for parity in itertools.product((0, 1), repeat=d):
            turn: Any = math.prod(t for t, odd in zip(turns, parity, strict=True) if odd)
            z = x * turn if any(parity) else x
            z = xp.fft.fftn(z, axes=axes)
            z *= spectrum[parity]
            z = xp.fft.ifftn(z, axes=axes, norm="forward")
            if any(parity):
                z *= xp.conj(turn)
            total = z if total is None else total + z
        return astype(total, dtype_of(x))

    def by_kernels(self, x: Array, maps: Array | None = None) -> Array | None:
        """A^H W A x on a GPU, or Σ_c conj(S_c) A^H W A S_c x for maps (*own, coil, *shape).

        One kernel before, between and after the transforms. None where kernels do not serve.
        """
        if type(x) is np.ndarray:
            return None
        from ..kernels import cuda
        from ..kernels.cuda.coils import gather, serves, spread, weigh
        from ..kernels.cuda.sparse import ready

        d = self.domain.ndim
        device = cuda.device_of(x, self.spectrum, *(() if maps is None else (maps,)))
        batch = tuple(x.shape[: x.ndim - d])
        if device is None or 0 in batch or not (maps is None or serves(maps, batch, d)):
            return None
        xp, axes, x = namespace(x), tuple(range(-d, 0)), ready(x)
        turns, total = astype(self.twiddles, dtype_of(x)), None
        for parity in itertools.product((0, 1), repeat=d):
            plain = maps is None and not any(parity)
            z = x if plain else spread(device, maps, x, d, turns, parity)
            z = ready(xp.fft.fftn(z, axes=axes))
            weigh(device, z, ready(self.spectrum[parity]), d)
            z = ready(xp.fft.ifftn(z, axes=axes, norm="forward"))
            total = z if plain else gather(device, maps, z, d, turns, parity, total)
        return total

    def _of(self, x: Array) -> tuple[Array, list[Array]]:
        """(spectrum, the twiddles of each axis) in the library and precision of x."""
        held = [self.spectrum, self.twiddles]
        if is_torch(x):
            held = [in_torch(a) if isinstance(a, np.ndarray) else a for a in held]
        elif type(x) is np.ndarray:
            held = [to_numpy(a) for a in held]
        spectrum, twiddles = astype(held[0], real_dtype(dtype_of(x))), astype(held[1], dtype_of(x))
        turns, at = [], 0
        for a, n in enumerate(self.domain.shape):
            turns.append(twiddles[at : at + n].reshape(n, *(1,) * (self.domain.ndim - a - 1)))
            at += n
        return spectrum, turns

    def diagonal(self) -> Array:
        """h(0), the same for every pixel."""
        xp = namespace(self.spectrum)
        value = astype(xp.sum(self.spectrum), self.domain.dtype)
        return xp.broadcast_to(value, self.domain.shape)


def _spectrum(coords: Array, space: Space, weights: Array | None) -> Array:
    """The circulant's eigenvalues over 2^d N, so that plain sums serve as transforms."""
    xp, d = namespace(coords), space.ndim
    w = check_weights(weights, coords)
    # 1. h(d) for d = 0..N-1 and then -N..-1 along each axis: one adjoint transform of the weights
    #    for each of these 2^d blocks, so that no larger grid than the image's is interpolated on
    A = NUFFT(coords, space.shape, dtype=np.complex128)
    centres = np.array(list(itertools.product(*((n // 2, n // 2 - n) for n in space.shape))))
    blocks = []
    for centre in centres:
        turn = xp.sum(astype(coords, np.float64) * from_host(centre, w), axis=-1)
        blocks.append(w * xp.exp(astype(turn, np.complex128) * 2j * np.pi))
    h = xp.reshape(A.adjoint(xp.stack(blocks)) / math.sqrt(space.size), (*(2,) * d, *space.shape))
    beside = tuple(a for axis in range(d) for a in (axis, d + axis))
    h = xp.reshape(xp.permute_dims(h, beside), tuple(2 * n for n in space.shape))
    # 2. h(-d) = conj h(d) but for entries at -N, which no two pixels are apart: the real part of
    #    the spectrum changes these alone
    full = xp.real(xp.fft.fftn(h)) / (space.size << d)
    # 3. frequency 2 j + p of each axis to [p, j]
    split = xp.reshape(full, tuple(m for n in space.shape for m in (n, 2)))
    order = (*(2 * a + 1 for a in range(d)), *(2 * a for a in range(d)))
    spectrum = xp.empty_like(astype(xp.reshape(full, (*(2,) * d, *space.shape)), space.real_dtype))
    spectrum[...] = astype(xp.permute_dims(split, order), space.real_dtype)
    return spectrum


def check_weights(weights: Array | None, coords: Array) -> Array:
    """The weights as float64 in the shape of the samples, ones if None."""
    xp, samples = namespace(coords), tuple(coords.shape[:-1])
    if weights is None:
        return xp.ones_like(astype(coords[..., 0], np.float64))
    check_same_place(coords, weights)
    real = dtype_of(weights).kind == "f"
    try:
        fits = real and np.broadcast_shapes(tuple(weights.shape), samples) == samples
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"expected real weights that broadcast against samples {samples}, got "
            f"{dtype_of(weights)} {tuple(weights.shape)}"
        )
    if not bool(xp.all((weights >= 0) & xp.isfinite(weights))):
        raise ValueError("expected finite weights >= 0, got others among them")
    return xp.broadcast_to(astype(weights, np.float64), samples)
