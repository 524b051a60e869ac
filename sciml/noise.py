"""What is known of the noise in measured data."""

from __future__ import annotations

import numpy as np

from .arrays import Array, dtype_of, from_host, is_array, namespace
from .space import Space

__all__ = ["Gaussian"]


class Gaussian:
    """Additive Gaussian noise, complex circular where the data are complex.

    Args:
        sigma: standard deviation per entry (complex: E|n|^2 = sigma^2), a positive float or an
            array that broadcasts against the data.
        covariance: instead of sigma, E n n^H between the entries along one axis of the data (the
            coils of an MRI scanner, say): (c, c) Hermitian positive definite, a NumPy array.
        axis: that axis, counted from the end: -3 for data (*batch, coil, ky, kx).

    Raises:
        ValueError: sigma not positive, covariance not Hermitian positive definite, or both given.
    """

    def __init__(
        self,
        sigma: float | Array | None = None,
        *,
        covariance: np.ndarray | None = None,
        axis: int = -1,
    ) -> None:
        if (sigma is None) == (covariance is None):
            raise ValueError(
                "expected sigma or covariance, got " + ("none" if sigma is None else "both")
            )
        self.sigma, self.axis = sigma, axis
        self.factor = None if covariance is None else _inverse_cholesky(covariance)
        if sigma is not None:
            smallest = float(namespace(sigma).min(sigma)) if is_array(sigma) else float(sigma)
            if not smallest > 0:
                raise ValueError(f"expected sigma > 0, got {smallest}")
        if axis >= 0:
            raise ValueError(f"expected axis counted from the end, below 0, got {axis}")

    def whiten(self, r: Array) -> Array:
        """S^-1/2 r: unit variance per entry, for r = n."""
        return r / self.sigma if self.factor is None else self._along(self.factor, r)

    def weigh(self, r: Array) -> Array:
        """S^-1 r, S the covariance."""
        if self.factor is None:
            return r / self.sigma / self.sigma
        return self._along(self.factor.conj().T, self._along(self.factor, r))

    def draw(self, y: Array, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> Array:
        """A realisation of the noise in data shaped as y, (*batch, *y.shape)."""
        unit = Space((1,), dtype_of(y)).random(rng, (*batch, *y.shape))
        n = from_host(unit[..., 0], y, dtype_of(y))
        if self.factor is None:
            return n * self.sigma
        return self._along(np.linalg.inv(self.factor), n)

    @property
    def gain(self) -> float:
        """||S^-1||_2."""
        if self.factor is not None:
            return float(np.linalg.norm(self.factor, 2) ** 2)
        sigma = self.sigma
        least = float(namespace(sigma).min(sigma)) if is_array(sigma) else float(sigma)  # type: ignore[arg-type]
        return least**-2

    def _along(self, matrix: np.ndarray, r: Array) -> Array:
        xp = namespace(r)
        dtype = dtype_of(r)
        if dtype.kind != "c":
            matrix = np.real(matrix)
        square = from_host(matrix, r, dtype)
        moved = xp.moveaxis(r, self.axis, -1)
        return xp.moveaxis(xp.matmul(moved, xp.matrix_transpose(square)), -1, self.axis)


def _inverse_cholesky(covariance: np.ndarray) -> np.ndarray:
    """L^-1 with covariance = L L^H."""
    S = np.asarray(covariance)
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not np.allclose(S, S.conj().T):
        raise ValueError(f"expected a Hermitian covariance (c, c), got shape {S.shape}")
    try:
        return np.linalg.inv(np.linalg.cholesky(S))
    except np.linalg.LinAlgError:
        raise ValueError("expected a positive definite covariance, got one that is not") from None
