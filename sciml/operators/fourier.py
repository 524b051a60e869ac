"""The discrete Fourier transform."""

from __future__ import annotations

from .._checks import integer, need
from .._fft import fft, ifft
from ..arrays import Array, namespace
from ..operator import Operator, Trait
from ..space import Space

__all__ = ["FFT"]


class FFT(Operator):
    """The orthonormal discrete Fourier transform over the last axes.

    Args:
        space: complex space of the input, which is also that of the output.
        axes: how many trailing axes to transform; all of them if not given.
        centred: zero frequency and origin in the middle (index n // 2) of each axis, as in MRI.
    """

    recordable = False

    def __init__(self, space: Space, *, axes: int | None = None, centred: bool = False) -> None:
        need(space, Space, "a complex Space for an FFT")
        if not space.is_complex:
            raise TypeError(f"expected a complex space for an FFT, got {space.dtype}")
        count = space.ndim if axes is None else integer(axes, "axes", 1)
        if count > space.ndim:
            raise ValueError(f"expected axes from 1 to {space.ndim}, got {axes}")
        self.axes = tuple(range(-count, 0))
        self.centred = bool(centred)
        super().__init__(space, traits=(Trait.UNITARY,))

    def _apply(self, x: Array) -> Array:
        return self._transform(x, inverse=False)

    def _adjoint(self, y: Array) -> Array:
        return self._transform(y, inverse=True)

    def _transform(self, x: Array, *, inverse: bool) -> Array:
        xp = namespace(x)
        if self.centred:
            x = xp.fft.ifftshift(x, axes=self.axes)
        y = ifft(x, self.axes) if inverse else fft(x, self.axes)
        return xp.fft.fftshift(y, axes=self.axes) if self.centred else y
