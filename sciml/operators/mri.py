"""Cartesian MRI: coil sensitivities, sampling, and both together with the Fourier transform.

Images are (*batch, *shape), k-space is (*batch, coil, *shape), both centred: the origin lies at
index n // 2 of each axis. The transform is orthonormal, so that noise keeps its size.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import integer, told
from .._fft import fft, ifft, in_torch, torch_pays
from ..arrays import (
    Array,
    astype,
    check_float,
    dtype_of,
    from_host,
    namespace,
    on_cpu,
    real_dtype,
    sum_to,
    to_numpy,
)
from ..operator import Operator, Trait
from ..space import Space
from .fourier import FFT

__all__ = ["SENSE", "Coils", "Sampling"]

# Coil images of so many bytes stay in the caches between a product's passes over them, which makes
# it twice as fast as one over all coils (8 coils of 320 x 320, 2 cores with 2 MB each).
_CACHE = 1 << 22


class Coils(Operator):
    """x -> S_c x for each coil c: what the coils of a scanner see of an image.

    Args:
        maps: sensitivities, complex, (*batch, coil, *shape).
        ndim: axes of an image, 2 or 3 (or 1).

    Raises:
        TypeError, ValueError: maps are not complex, or have no coil axis.
    """

    param_names = ("maps",)

    def __init__(self, maps: Array, *, ndim: int = 2) -> None:
        self.maps, self.ndim = maps, integer(ndim, "ndim", 1)
        batch, coils, image = maps_space(maps, self.ndim)
        super().__init__(image, coils, batch_shape=batch)

    def _apply(self, x: Array) -> Array:
        return seen_by(self.maps, x, self.ndim)

    def _adjoint(self, y: Array) -> Array:
        return combined(self.maps, y, self.ndim)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        xp = namespace(x)
        full = ybar * xp.conj(xp.expand_dims(x, axis=-1 - self.ndim))
        return {"maps": sum_to(full, self.maps.shape)}

    @property
    def norm_bound(self) -> float:
        """||A||, the largest root-sum-of-squares of the maps at a point."""
        return _most(self.maps, self.ndim)


class Sampling(Operator):
    """k -> mask k: the samples that were measured, zeros elsewhere.

    Images too, real ones among them: the pixels that were seen, for inpainting.

    Args:
        mask: bool or 0 and 1, an array that broadcasts against the space's shape: (ky, kx) serves
            all coils.
        space: of k-space, (coil, *shape) for several coils.

    Raises:
        ValueError: the mask does not fit, holds other values, or is empty.
    """

    structure_names = ("mask",)

    def __init__(self, mask: Array, space: Space) -> None:
        self.mask = checked_mask(mask, space.shape, space.real_dtype)
        super().__init__(space, traits={Trait.DIAGONAL, Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        return x * _weights(self.mask, x)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    @property
    def norm_bound(self) -> float:
        """1: something was measured."""
        return 1.0

    def diagonal(self) -> Array:
        xp = namespace(self.mask)
        return xp.broadcast_to(astype(self.mask, self.domain.dtype), self.domain.shape)


class SENSE(Operator):
    """x -> mask F S_c x: the k-space of each coil (Pruessmann et al., Magn. Reson. Med. 42, 1999).

    `Sampling(mask, ...) @ FFT(..., centred=True) @ Coils(maps)` in one. Its normal operator does
    without the shifts and transforms only the axes along which the mask varies.

    Args:
        maps: sensitivities, complex, (*batch, coil, *shape).
        mask: as for `Sampling`, against (coil, *shape); None: everything was measured.
        ndim: axes of an image, 2 or 3.

    Raises:
        TypeError, ValueError: as `Coils` and `Sampling`.
    """

    recordable = False

    param_names = ("maps",)
    structure_names = ("mask",)

    def __init__(self, maps: Array, mask: Array | None = None, *, ndim: int = 2) -> None:
        if isinstance(maps, np.ndarray):  # transposed ones would slow every product down
            maps = np.ascontiguousarray(maps)
        self.maps, self.ndim = maps, integer(ndim, "ndim", 1)
        batch, kspace, image = maps_space(maps, self.ndim)
        xp = namespace(maps)
        if mask is None:
            mask = xp.ones((1,) * self.ndim, dtype=xp.real(maps[..., :1]).dtype)
        self.mask = checked_mask(mask, kspace.shape, kspace.real_dtype)
        super().__init__(image, kspace, batch_shape=batch)

    @property
    def fourier(self) -> FFT:
        """The transform of one coil's image."""
        return FFT(self.domain, centred=True)

    def _apply(self, x: Array) -> Array:
        return self.fourier(seen_by(self.maps, x, self.ndim)) * _weights(self.mask, x)

    def _adjoint(self, y: Array) -> Array:
        seen = self.fourier.adjoint(y * _weights(self.mask, y))
        return combined(self.maps, seen, self.ndim)

    @property
    def normal(self) -> SENSENormal:
        return SENSENormal(self)

    @property
    def norm_bound(self) -> float:
        """The largest root-sum-of-squares of the maps at a point."""
        return _most(self.maps, self.ndim)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        xp = namespace(x)
        seen = self.fourier.adjoint(ybar * _weights(self.mask, ybar))
        full = seen * xp.conj(xp.expand_dims(x, axis=-1 - self.ndim))
        return {"maps": sum_to(full, self.maps.shape)}


class SENSENormal(Operator):
    """x -> Σ_c conj(S_c) F^H mask F S_c x. Made by `SENSE.normal`.

    F^H mask F is a convolution, which commutes with shifts: none are done. Along axes on which the
    mask is constant it is the identity: these are not transformed. The axes that are come last in
    the arrays kept here, since transforms along an axis that is strided in memory are slow.
    """

    recordable = False

    param_names = ("maps",)
    structure_names = ("mask", "spectrum")

    def __init__(self, A: SENSE) -> None:
        self.maps, self.mask, self.ndim = A.maps, A.mask, A.ndim
        host = to_numpy(A.mask)
        host = host.reshape((1,) * (A.ndim + 1 - host.ndim) + host.shape)
        space = range(-A.ndim, 0)
        varying = [a for a in space if (host != host.take([0], a)).any()]
        for a, n in zip(space, A.domain.shape, strict=True):
            host = np.roll(host, -(n // 2), axis=a) if a in varying else host.take([0], a)
        self.axes = tuple(range(-len(varying), 0))
        self._order = (*(a for a in space if a not in varying), *varying)
        self.spectrum = from_host(
            np.ascontiguousarray(_permuted(host, self._order)), A.mask, dtype_of(A.mask)
        )
        # On the host the maps and their conjugates are kept as the products want them: to make them
        # anew costs as much as a transform.
        self._kept: tuple[Array, Array] | None = None
        if isinstance(A.maps, np.ndarray):
            laid = np.ascontiguousarray(_permuted(A.maps, self._order))
            self._kept = laid, laid.conj()
        super().__init__(A.domain, traits={Trait.POSITIVE}, batch_shape=A.batch_shape)

    def _apply(self, x: Array) -> Array:
        if (y := self._by_kernels(x)) is not None:
            return y
        kept = self._kept
        laid = _permuted(self.maps, self._order) if kept is None else kept[0]
        back = namespace(x).conj(laid) if kept is None else kept[1]
        arrays = (laid, back, self.spectrum)
        restored = self._restored
        if type(x) is np.ndarray and torch_pays(laid):
            x = _permuted(in_torch(x), self._order).contiguous()
            total = self._sum(x, *map(in_torch, arrays))
            return _permuted(total, restored).contiguous().numpy()
        return _permuted(self._sum(_permuted(x, self._order), *arrays), restored)

    @property
    def _restored(self) -> tuple[int, ...]:
        return tuple(self._order.index(a) - self.ndim for a in range(-self.ndim, 0))

    def _by_kernels(self, x: Array) -> Array | None:
        """The same on a GPU: one kernel before, between and after the transforms, which are not
        scaled apart from the mask. None where kernels do not serve."""
        if type(x) is np.ndarray:
            return None
        from ..kernels.cuda import coils
        from ..kernels.cuda.sparse import ready

        if (device := _device_of(self.maps, x)) is None:
            return None
        maps, weights = self._there
        if not coils.serves(maps, tuple(x.shape[: x.ndim - self.ndim]), self.ndim):
            return None
        xp, scale = namespace(x), 1 / math.prod(maps.shape[a] for a in self.axes)
        seen = coils.spread(device, maps, ready(_permuted(x, self._order)), self.ndim)
        if self.axes:
            seen = ready(xp.fft.fftn(seen, axes=self.axes))
        coils.weigh(device, seen, weights, self.ndim, scale)
        if self.axes:
            seen = ready(xp.fft.ifftn(seen, axes=self.axes, norm="forward"))
        return _permuted(coils.gather(device, maps, seen, self.ndim), self._restored)

    @cached_property
    def _there(self) -> tuple[Array, Array]:
        """(maps, mask for each pixel) in the order of the products, for kernels on a GPU."""
        from ..kernels.cuda.sparse import ready

        maps, spectrum = ready(_permuted(self.maps, self._order)), self.spectrum
        full = (spectrum.shape[0], *maps.shape[-self.ndim :])
        return maps, ready(namespace(spectrum).broadcast_to(spectrum, full))

    def _with_arrays(self, change: Any) -> Operator:
        made = super()._with_arrays(change)
        vars(made).pop("_there", None)
        return made

    def _sum(self, x: Array, maps: Array, back: Array, spectrum: Array) -> Array:
        """Σ_c conj(S_c) F^H mask F S_c x, all in one library, a few coils at a time."""
        xp, coil = namespace(x), -1 - self.ndim
        coils = maps.shape[coil]
        size = max(coils * math.prod(x.shape), math.prod(maps.shape)) * dtype_of(x).itemsize
        parts = min(coils, max(1, -(-size // _CACHE))) if on_cpu(x) else 1
        total: Any = 0
        for part in np.array_split(np.arange(coils), parts):
            some = (..., slice(part[0], part[-1] + 1), *(slice(None),) * self.ndim)
            weights = spectrum[some] if spectrum.shape[0] > 1 else spectrum
            seen = seen_by(maps[some], x, self.ndim)
            if self.axes:
                seen = fft(seen, self.axes)
            seen *= _weights(weights, x)
            if self.axes:
                seen = ifft(seen, self.axes)
            seen *= astype(back[some], dtype_of(x))
            total = total + xp.sum(seen, axis=coil)
        return total

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def diagonal(self) -> Array:
        xp = namespace(self.maps)
        share = xp.mean(self.spectrum, axis=tuple(range(-self.ndim, 0)), keepdims=True)
        power = _squares(self.maps) * astype(share, self.domain.real_dtype)
        return astype(xp.sum(power, axis=-1 - self.ndim), self.domain.dtype)

    @property
    def norm_bound(self) -> float:
        return _most(self.maps, self.ndim) ** 2


def _permuted(x: Array, order: tuple[int, ...]) -> Array:
    """x with its last axes, counted from the end, in this order."""
    if order == tuple(range(-len(order), 0)):
        return x
    lead = x.ndim - len(order)
    return namespace(x).permute_dims(x, (*range(lead), *(x.ndim + a for a in order)))


def seen_by(maps: Array, x: Array, ndim: int) -> Array:
    """S_c x of each coil, in the dtype of x."""
    if type(x) is not np.ndarray and (device := _device_of(maps, x)) is not None:
        from ..kernels.cuda import coils, sparse

        if coils.serves(maps, tuple(x.shape[: x.ndim - ndim]), ndim):
            return coils.spread(device, maps, sparse.ready(x), ndim)
    return astype(maps * namespace(x).expand_dims(x, axis=-1 - ndim), dtype_of(x))


def combined(maps: Array, y: Array, ndim: int) -> Array:
    """Σ_c conj(S_c) y_c of coil images, the adjoint of `seen_by`."""
    if type(y) is not np.ndarray and (device := _device_of(maps, y)) is not None:
        from ..kernels.cuda import coils, sparse

        if coils.serves(maps, tuple(y.shape[: y.ndim - ndim - 1]), ndim):
            return coils.gather(device, maps, sparse.ready(y), ndim)
    xp = namespace(y)
    return xp.sum(xp.conj(maps) * y, axis=-1 - ndim)


def _device_of(*arrays: Array) -> Any:
    from ..kernels import cuda

    return cuda.device_of(*arrays)


def power_of(maps: Array, ndim: int) -> Array:
    """Σ_c |S_c|² at each point, real."""
    return namespace(maps).sum(_squares(maps), axis=-1 - ndim)


def _squares(maps: Array) -> Array:
    xp = namespace(maps)
    return xp.real(maps * xp.conj(maps))


def _most(maps: Array, ndim: int) -> float:
    return float(namespace(maps).max(power_of(maps, ndim))) ** 0.5


def maps_space(maps: Array, ndim: int) -> tuple[tuple[int, ...], Space, Space]:
    """(batch shape, space of k-space, space of an image)."""
    namespace(maps)
    dtype = check_float(dtype_of(maps), "maps")
    if dtype.kind != "c":
        raise TypeError(f"expected complex maps, got {dtype}")
    if maps.ndim <= ndim:
        raise ValueError(
            f"expected maps (*batch, coil, *shape) with {ndim} axes of space, got "
            f"{tuple(maps.shape)}: give one coil an axis of length 1"
        )
    split = maps.ndim - ndim - 1
    shape = tuple(maps.shape)
    return shape[:split], Space(shape[split:], dtype), Space(shape[split + 1 :], dtype)


def checked_mask(mask: Any, shape: tuple[int, ...], real: np.dtype) -> Array:
    """A mask of measured samples in the real dtype of k-space.

    Raises:
        ValueError: it does not broadcast to `shape`, holds other values than 0 and 1, or is empty.
    """
    xp = namespace(mask)
    if mask.ndim > len(shape) or any(
        m not in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(
            f"expected a mask that broadcasts against k-space {shape}, got {tuple(mask.shape)}"
        )
    values = astype(mask, real)
    if not bool(xp.all((values == 0) | (values == 1))):
        raise ValueError(f"expected a mask of 0 and 1, got other values in {told(mask)}")
    if not bool(xp.any(values == 1)):
        raise ValueError("expected a mask with samples, got an empty one: nothing was measured")
    return values


def _weights(mask: Array, like: Array) -> Array:
    """The mask in the precision of `like`."""
    return astype(mask, real_dtype(dtype_of(like)))
