"""Gaussian priors, whose denoiser, score, density and posterior have closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import need
from ..arrays import (
    Array,
    astype,
    check_float,
    from_host,
    is_array,
    namespace,
    to_numpy,
    with_precision,
)
from ..noise import Gaussian
from ..operator import Operator, Trait
from ..prior import per_member
from ..space import Space
from ._basis import Fixed

__all__ = ["GaussianPrior"]

# How far beyond the prior's own standard deviations its range of noise levels goes.
_BELOW, _ABOVE = 0.05, 10.0


class GaussianPrior:
    """x ~ N(mean, C), circular where complex: C = E (x − mean)(x − mean)^H.

    Args:
        mean: (*shape), float or complex: it says shape and dtype of x.
        variance: the diagonal of C, (*shape) or a number, > 0; with `basis` that of B C B^H.
        covariance: instead, C of raveled x, (n, n) Hermitian positive definite.
        basis: a unitary Operator B on x, e.g. FFT(space), in whose range C is diagonal.

    Raises:
        TypeError, ValueError: none or both of variance and covariance, or not positive.
    """

    def __init__(
        self,
        mean: Array,
        *,
        variance: Any = None,
        covariance: Any = None,
        basis: Operator | None = None,
    ) -> None:
        host = np.asarray(to_numpy(mean)) if is_array(mean) else np.asarray(mean)
        self.space = Space(host.shape, check_float(host.dtype, "the mean"))
        self._mean = astype(host, with_precision(host.dtype, np.float64))
        if (variance is None) == (covariance is None):
            told = "none" if variance is None else "both"
            raise ValueError(f"expected variance or covariance, got {told}")
        self.basis, self._vectors = basis, None
        if basis is not None:
            need(basis, Operator, "basis as an Operator", "FFT(space)")
            if Trait.UNITARY not in basis.traits or basis.domain != self.space:
                raise ValueError(f"expected a unitary basis on {self.space}, got {basis!r}")
        if covariance is not None:
            if basis is not None:
                raise ValueError("expected a covariance without a basis, got both")
            found, vectors = _eigen(covariance, self.space.size)
            self._vectors = vectors
            self.basis = _Eigenvectors(vectors, self.space)
        else:
            found = np.asarray(to_numpy(variance), dtype=np.float64)
        if found.size not in (1, self.space.size):
            raise ValueError(f"expected a variance of shape {self.space.shape}, got {found.shape}")
        whole = found.reshape(self.space.shape if found.size > 1 else ())
        found = np.broadcast_to(whole, self.space.shape).copy()
        if not (np.isfinite(found) & (found > 0)).all():
            raise ValueError("expected a positive definite covariance, got one that is not")
        self.variance = found

    def to(self, *, dtype: Any) -> GaussianPrior:
        """The same prior in another precision."""
        made = object.__new__(GaussianPrior)
        made.__dict__.update(self.__dict__)
        made.space = self.space.to(dtype)
        if self._vectors is not None:
            made.basis = _Eigenvectors(self._vectors, made.space)
        elif self.basis is not None:
            made.basis = self.basis.to(dtype=dtype)
        return made

    @property
    def mean(self) -> np.ndarray:
        """(*shape), of the dtype of x."""
        return astype(self._mean, self.space.dtype)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """A twentieth of the least standard deviation, ten times the largest."""
        least, most = self.variance.min() ** 0.5, self.variance.max() ** 0.5
        return _BELOW * float(least), _ABOVE * float(most)

    def denoise(self, x: Array, sigma: Any) -> Array:
        """mean + C (C + sigma² I)^-1 (x − mean)."""
        return self._filtered(x, sigma, lambda c, s2: c / (c + s2)) + self._centre(x)

    def score(self, x: Array, sigma: Any) -> Array:
        """−(C + sigma² I)^-1 (x − mean)."""
        return self._filtered(x, sigma, lambda c, s2: -1 / (c + s2))

    def denoise_vjp(self, x: Array, sigma: Any, v: Array) -> tuple[Array, Array]:
        variance, noise = self._variance(v), self._column(sigma, v) ** 2
        back = self._back(variance / (variance + noise) * self._to_coordinates(v))
        return self.denoise(x, sigma), back

    def log_density(self, x: Array, sigma: Any = None) -> np.ndarray:
        """log p_sigma(x) per member, host float64 (*batch); without sigma that of p."""
        z = self._coordinates(x)
        axes = tuple(range(-self.space.ndim, 0))
        s2 = 0.0 if sigma is None else np.asarray(to_numpy(self._column(sigma, x))) ** 2
        total = self.variance + s2
        square = np.abs(np.asarray(to_numpy(z)).astype(self._mean.dtype)) ** 2
        if self.space.is_complex:
            return -(square / total + np.log(np.pi * total)).sum(axis=axes)
        return -0.5 * (square / total + np.log(2 * np.pi * total)).sum(axis=axes)

    def random(self, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> np.ndarray:
        """Draws (*batch, *shape), NumPy."""
        wide = self.to(dtype=np.float64)
        z = wide.space.random(rng, batch) * self.variance**0.5
        return astype(self._mean + wide._back(z), self.space.dtype)

    def posterior(self, A: Operator, y: np.ndarray, noise: Gaussian) -> GaussianPrior:
        """That of x given y = A x + noise, as a matrix: for x of up to a few thousand entries.

        mean + C A^H (A C A^H + S)^-1 (y − A mean), C − C A^H (A C A^H + S)^-1 A C.
        """
        n, wide = self.space.size, A.to(dtype=np.float64)
        C = self.dense()
        eye = np.eye(n, dtype=C.dtype).reshape(n, *self.space.shape)
        M = np.asarray(noise.whiten(wide(eye))).reshape(n, -1).T
        b = np.asarray(noise.whiten(astype(y, M.dtype) - wide(self._mean))).reshape(-1)
        MC = M @ C
        G = MC @ M.conj().T + np.eye(len(b))
        gain = np.linalg.solve(G, MC).conj().T
        left = C - gain @ MC
        centre = self._mean.reshape(-1) + gain @ b
        left = (left + left.conj().T) / 2
        return GaussianPrior(
            astype(centre.reshape(self.space.shape), self.space.dtype), covariance=left
        )

    def dense(self) -> np.ndarray:
        """C of raveled x, (n, n), in double precision."""
        n, wide = self.space.size, self.to(dtype=np.float64)
        eye = np.eye(n, dtype=wide.space.dtype).reshape(n, *self.space.shape)
        z = wide._to_coordinates(eye)
        return wide._back(z * self.variance).reshape(n, n).T

    # -- coordinates in which C is diagonal ------------------------------------------------------

    def _centre(self, like: Array) -> Array:
        return from_host(self.mean, like, self.space.dtype)

    def _column(self, sigma: Any, x: Array) -> Any:
        return per_member(sigma, x, self.space.ndim)

    def _coordinates(self, x: Array) -> Array:
        self.space.check(x, "x")
        return self._to_coordinates(x - self._centre(x))

    def _to_coordinates(self, x: Array) -> Array:
        return x if self.basis is None else self.basis(x)

    def _back(self, z: Array) -> Array:
        return z if self.basis is None else self.basis.adjoint(z)

    def _filtered(self, x: Array, sigma: Any, gain: Any) -> Array:
        z = self._coordinates(x)
        return self._back(gain(self._variance(x), self._column(sigma, x) ** 2) * z)

    def _variance(self, like: Array) -> Array:
        return from_host(self.variance, like)


class _Eigenvectors(Fixed):
    """V^H on raveled x, in whatever library x is of."""

    fixed = ("there", "back")

    def __init__(self, vectors: np.ndarray, space: Space) -> None:
        vectors = astype(vectors if space.is_complex else np.real(vectors), space.dtype)
        self.there, self.back = vectors.conj(), np.ascontiguousarray(vectors.T)
        super().__init__(space, traits=(Trait.UNITARY,))

    def _apply(self, x: Array) -> Array:
        return self._turned(x, self.there)

    def _adjoint(self, y: Array) -> Array:
        return self._turned(y, self.back)

    def _turned(self, x: Array, matrix: np.ndarray) -> Array:
        xp = namespace(x)
        flat = xp.reshape(x, (*x.shape[: x.ndim - self.domain.ndim], self.domain.size))
        return xp.reshape(xp.matmul(flat, self.like(matrix, x)), x.shape)


def _eigen(covariance: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    C = np.asarray(to_numpy(covariance))
    C = astype(C, with_precision(C.dtype, np.float64))
    if C.shape != (n, n) or not np.allclose(C, C.conj().T, atol=1e-8 * np.abs(C).max()):
        raise ValueError(f"expected a Hermitian covariance ({n}, {n}), got shape {C.shape}")
    return np.linalg.eigh(C)
