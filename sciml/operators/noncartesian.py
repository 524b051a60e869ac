"""MRI along any trajectory: coil sensitivities and the non-uniform Fourier transform together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._checks import number
from .._fft import in_torch, torch_pays
from ..arrays import (
    Array,
    astype,
    check_same_place,
    dtype_of,
    namespace,
    real_dtype,
    sum_to,
)
from ..operator import Operator, Trait
from ..space import Space
from .mri import combined, maps_space, power_of, seen_by
from .nufft import NUFFT, watched
from .toeplitz import Toeplitz, check_weights

__all__ = ["NonCartesianSENSE"]


class NonCartesianSENSE(Operator):
    """x -> W^(1/2) F S_c x: each coil's samples (Pruessmann et al., Magn. Reson. Med. 46, 2001).

    F is the `NUFFT`. Density compensation W weights the samples in least squares:
    ||W^(1/2) y - A x||^2 = Σ_j w_j |y_j - (F S x)_j|^2, so that the data to go with A are
    `A.weighted(y)`, and A^H of these is the gridding reconstruction S^H F^H W y. Weighting saves
    iterations and costs signal to noise; without it least squares is the maximum of likelihood.

    `normal` is A^H A = Σ_c conj(S_c) F^H W F S_c in its `Toeplitz` form.

    Args:
        maps: sensitivities, complex, (*batch, coil, *shape). Their dtype is the operator's.
        coords: (*samples, d), d the axes of an image, in cycles per pixel from -1/2 to 1/2.
        weights: w >= 0, real, broadcasts against `samples`; none: all are 1.
        rtol: as for `NUFFT`.

    Raises:
        TypeError, ValueError: as `Coils` and `NUFFT`; weights that do not fit, or are negative.
        ModuleNotFoundError (when applied): finufft (cufinufft on a GPU) is not installed.
    """

    param_names = ("maps", "coords")
    structure_names = ("root",)

    def __init__(
        self,
        maps: Array,
        coords: Array,
        *,
        weights: Array | None = None,
        rtol: float | None = None,
    ) -> None:
        check_same_place(maps, coords)
        self.maps, self.coords, self.ndim = maps, coords, int(coords.shape[-1])
        batch, kspace, image = maps_space(maps, self.ndim)
        self.rtol = None if rtol is None else number(rtol, "rtol", least=1e-14)
        self.root = None
        if weights is not None:
            found = namespace(coords).sqrt(check_weights(weights, coords))
            self.root = astype(found, kspace.real_dtype)
        self.nufft = NUFFT(coords, image.shape, dtype=image.dtype, rtol=self.rtol)
        samples = Space((kspace.shape[0], *self.nufft.range.shape), image.dtype)
        super().__init__(image, samples, batch_shape=batch)

    def weighted(self, y: Array) -> Array:
        """W^(1/2) y for measured samples y (*batch, coil, *samples)."""
        self.range.check(y, "y")
        return self._weighted(y)

    def _weighted(self, y: Array) -> Array:
        return y if self.root is None else y * astype(self.root, real_dtype(dtype_of(y)))

    def _apply(self, x: Array) -> Array:
        return self._weighted(self.nufft(self._seen(x)))

    def _adjoint(self, y: Array) -> Array:
        return combined(self.maps, self.nufft.adjoint(self._weighted(y)), self.ndim)

    def _seen(self, x: Array) -> Array:
        return seen_by(self.maps, x, self.ndim)

    @property
    def _coil(self) -> int:
        return -1 - self.ndim

    @property
    def normal(self) -> Operator:
        if watched(self.coords):
            return super().normal
        return NonCartesianNormal(self)

    @property
    def work(self) -> int:
        return self.range.shape[0] * self.nufft.work

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        xp = namespace(x)
        back = self._weighted(ybar)
        full = self.nufft.adjoint(back) * xp.conj(xp.expand_dims(x, axis=self._coil))
        slopes = self.nufft.vjp_params(self._seen(x), back)
        return {"maps": sum_to(full, self.maps.shape)} | slopes

    def _with_arrays(self, change: Callable[[Array], Array]) -> Operator:
        made = super()._with_arrays(change)
        coords = made.coords  # pyright: ignore
        object.__setattr__(made, "nufft", self.nufft._with_arrays(lambda _: coords))
        return made


class NonCartesianNormal(Operator):
    """x -> Σ_c conj(S_c) T S_c x with the Toeplitz T. Made by `NonCartesianSENSE.normal`."""

    param_names = ("maps",)

    def __init__(self, A: NonCartesianSENSE) -> None:
        self.maps, self.ndim = A.maps, A.ndim
        weights = None if A.root is None else A.root * A.root
        self.toeplitz = Toeplitz(A.coords, A.domain.shape, weights=weights, dtype=A.domain.dtype)
        super().__init__(A.domain, traits={Trait.POSITIVE}, batch_shape=A.batch_shape)

    def _apply(self, x: Array) -> Array:
        if torch_pays(self.maps) and type(x) is np.ndarray:
            return self._sum(in_torch(x), in_torch(self.maps)).numpy()
        return self._sum(x, self.maps)

    def _sum(self, x: Array, maps: Array) -> Array:
        if (y := self.toeplitz.by_kernels(x, maps)) is not None:
            return y
        xp = namespace(x)
        seen = self.toeplitz.convolve(seen_by(maps, x, self.ndim))
        seen *= astype(xp.conj(maps), dtype_of(x))
        return xp.sum(seen, axis=-1 - self.ndim)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def diagonal(self) -> Array:
        return astype(power_of(self.maps, self.ndim), self.domain.dtype) * self.toeplitz.diagonal()
