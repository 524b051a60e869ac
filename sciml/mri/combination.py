"""From the images of all coils to one."""

from __future__ import annotations

from .._checks import integer
from ..arrays import Array, check_same_place, dtype_of, namespace
from ..operators.fourier import FFT
from ..space import Space

__all__ = ["combine"]


def combine(kspace: Array, maps: Array | None = None, *, ndim: int = 2) -> Array:
    """The image of fully sampled k-space.

    With maps, Σ_c conj(S_c) x_c / (Σ_c |S_c|²)^(1/2), which keeps the phase and has the noise of
    one coil everywhere (Roemer et al., Magn. Reson. Med. 16 (1990) 192); 0 where all maps are.
    Without, (Σ_c |x_c|²)^(1/2), which overestimates where there is noise only.

    Args:
        kspace: complex, (*batch, coil, *shape), centred.
        maps: complex, (*batch, coil, *shape); batch axes broadcast, so that maps
            (sets, coil, *shape) give one image a set.
        ndim: axes of space.

    Returns:
        Complex (*batch, *shape) with maps, real without.

    Raises:
        TypeError: k-space is real, or maps are of another library or device.
        ValueError: the axes do not fit.
    """
    ndim = integer(ndim, "ndim", 1)
    xp = namespace(kspace)
    if kspace.ndim <= ndim:
        raise ValueError(
            f"expected k-space (*batch, coil, *shape) with {ndim} axes of space, got "
            f"{tuple(kspace.shape)}"
        )
    axis = -1 - ndim
    images = FFT(Space(tuple(kspace.shape[axis:]), dtype_of(kspace)), axes=ndim, centred=True)
    seen = images.adjoint(kspace)
    if maps is None:
        return xp.sqrt(xp.sum(xp.real(seen * xp.conj(seen)), axis=axis))
    check_same_place(kspace, maps)
    if tuple(maps.shape[axis:]) != tuple(kspace.shape[axis:]):
        raise ValueError(f"expected maps of {tuple(kspace.shape[axis:])}, got {tuple(maps.shape)}")
    size = xp.sqrt(xp.sum(xp.real(maps * xp.conj(maps)), axis=axis))
    some = size > 0
    inverse = xp.where(some, 1 / xp.where(some, size, xp.ones_like(size)), size)
    return xp.sum(xp.conj(maps) * seen, axis=axis) * inverse
