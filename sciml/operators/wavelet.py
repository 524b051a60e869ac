"""The orthonormal discrete wavelet transform, on arrays of any size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import integer, need
from ..arrays import Array, astype, dtype_of, namespace, real_dtype
from ..operator import Operator, Trait
from ..space import Space

__all__ = ["Wavelet"]

# Below this the compiled kernels gain nothing that their loading would not cost.
_COMPILED_FROM = 1 << 12


class Wavelet(Operator):
    """x -> W x, Mallat's pyramid with periodic ends (IEEE Trans. PAMI 11, 1989).

    The coefficients fill an array of the image's shape: at each level the averages come first along
    each axis, then the details. An axis of odd length passes its last entry on with the averages,
    so that the transform is orthonormal for every size.

    Args:
        space: of images, real or complex.
        wavelet: an orthonormal one of PyWavelets, such as "db4", "sym4" or "haar".
        levels: how often the averages are split; as many as leave 16 entries on the longest axis,
            and at least once, if not given. Axes of one entry are not split further.
        axes: how many trailing axes to transform; all of them if not given.

    Raises:
        ModuleNotFoundError: PyWavelets is not installed (extra `mri`).
        ValueError: the wavelet is unknown or not orthonormal.
    """

    def __init__(
        self,
        space: Space,
        wavelet: str = "db4",
        *,
        levels: int | None = None,
        axes: int | None = None,
    ) -> None:
        need(space, Space, "a Space for a Wavelet")
        count = space.ndim if axes is None else integer(axes, "axes", 1)
        if count > space.ndim:
            raise ValueError(f"expected axes from 1 to {space.ndim}, got {axes}")
        self.wavelet = wavelet
        low, high = _filters(wavelet)
        self._low, self._high = low, high
        self.axes = tuple(range(-count, 0))
        longest = max(space.shape[-count:])
        most = max(1, int(np.log2(max(longest, 1) / 16)))
        self.levels = most if levels is None else integer(levels, "levels", 0)
        super().__init__(space, traits={Trait.UNITARY})

    @cached_property
    def averages(self) -> tuple[slice, ...]:
        """Where the averages of the last level lie, along the transformed axes."""
        return tuple(slice(0, n) for n in self._shapes()[-1])

    def _shapes(self) -> list[tuple[int, ...]]:
        """Of the averages before each level, and of the last ones."""
        found = [tuple(self.domain.shape[a] for a in self.axes)]
        for _ in range(self.levels):
            found.append(tuple((n + 1) // 2 for n in found[-1]))
        return found

    def _apply(self, x: Array) -> Array:
        return self._pyramid(x, self._shapes()[:-1], self._split)

    def _adjoint(self, y: Array) -> Array:
        return self._pyramid(y, self._shapes()[-2::-1] if self.levels else [], self._join)

    def _pyramid(self, x: Array, shapes: list[tuple[int, ...]], act: Any) -> Array:
        xp = namespace(x)
        if type(x) is np.ndarray and x.size >= _COMPILED_FROM:
            return self._compiled(x, shapes, act == self._split)
        out = xp.asarray(x, copy=True)
        for shape in shapes:
            where = (..., *(slice(0, n) for n in shape))
            part = out[where]
            for axis in self.axes:
                part = act(part, axis)
            out[where] = part
        return astype(out, dtype_of(x))

    def _compiled(self, x: np.ndarray, shapes: list[tuple[int, ...]], forth: bool) -> np.ndarray:
        """The same for a large array of NumPy, level by level in place."""
        from ..kernels.wavelet import join, split

        act = split if forth else join
        out = np.array(x, order="C")
        flat = out.view(real_dtype(x.dtype))  # real and imaginary parts side by side
        parts = flat.shape[-1] // x.shape[-1]
        low, high = (np.array(h, flat.dtype) for h in (self._low, self._high))
        for shape in shapes:
            where = (..., *(slice(0, n) for n in shape[:-1]), slice(0, shape[-1] * parts))
            part = flat[where]
            for axis in self.axes:
                if axis == -1:
                    act(part.reshape(*part.shape[:-1], -1, parts), -2, low, high)
                else:
                    act(part, axis, low, high)
        return out

    def _split(self, x: Array, axis: int) -> Array:
        """Averages, then details, along an axis."""
        xp = namespace(x)
        n = x.shape[axis]
        if n < 2:
            return x
        moved = xp.moveaxis(x, axis, -1)
        even, rest = moved[..., : n - n % 2], moved[..., n - n % 2 :]
        phases = (even[..., 0::2], even[..., 1::2])
        low, high = (_analyse(phases, h) for h in (self._low, self._high))
        return xp.moveaxis(xp.concat([low, rest, high], axis=-1), -1, axis)

    def _join(self, y: Array, axis: int) -> Array:
        """What `_split` takes back: its adjoint."""
        xp = namespace(y)
        n = y.shape[axis]
        if n < 2:
            return y
        moved, half = xp.moveaxis(y, axis, -1), n // 2
        low, high = moved[..., :half], moved[..., n - half :]
        phases = [
            a + b
            for a, b in zip(_synthesise(low, self._low), _synthesise(high, self._high), strict=True)
        ]
        even = xp.reshape(xp.stack(phases, axis=-1), (*low.shape[:-1], 2 * half))
        rest = moved[..., half : n - half]
        return xp.moveaxis(xp.concat([even, rest], axis=-1), -1, axis)


def _filters(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        import pywt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "wavelets need PyWavelets: pip install 'sciml-solvers[mri]'"
        ) from error
    try:
        wavelet = pywt.Wavelet(name)  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"expected a wavelet such as 'db4', 'sym4' or 'haar', got {name!r}"
        ) from error
    if not (wavelet.orthogonal and _orthonormal(wavelet.dec_lo)):
        raise ValueError(f"expected an orthonormal wavelet such as 'db4', got {name!r}")
    return tuple(wavelet.dec_lo), tuple(wavelet.dec_hi)


def _orthonormal(low: Sequence[float]) -> bool:
    """Whether Σ_k h[k] h[k + 2 m] is 1 for m = 0, else 0: "dmey" is cut off, and is not."""
    products = np.correlate(low, low, "full")[len(low) - 1 :: 2]
    return bool(np.allclose(products, np.arange(len(products)) == 0, rtol=0, atol=1e-10))


def _analyse(phases: tuple[Array, Array], h: tuple[float, ...]) -> Array:
    """Σ_k h_k x[2 i + L / 2 − k], by the even and the odd entries of x."""
    xp, total, middle = namespace(phases[0]), 0, len(h) // 2
    for k, weight in enumerate(h):
        p = (middle - k) % 2
        total = total + weight * xp.roll(phases[p], -((middle - k - p) // 2), axis=-1)
    return total


def _synthesise(a: Array, h: tuple[float, ...]) -> list[Array]:
    """The even and the odd entries that `_analyse` takes a back to."""
    xp, found, middle = namespace(a), [0 * a, 0 * a], len(h) // 2
    for k, weight in enumerate(h):
        p = (middle - k) % 2
        found[p] = found[p] + weight * xp.roll(a, (middle - k - p) // 2, axis=-1)
    return found
