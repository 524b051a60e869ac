"""Linear channel estimation: least squares and linear minimum mean square error."""

from __future__ import annotations

import time

import numpy as np

from sciml import LeastSquares, LinearSystem, Operator, Space, Stop, Trait, solve
from sciml._checks import told
from sciml.arrays import Array, real_dtype
from sciml.operators import Dense, Pilots

from ..direct import Direct
from ..krylov import LSQR
from .estimate import ChannelEstimate, checked, finished

__all__ = ["least_squares", "lmmse"]


def least_squares(
    Y: np.ndarray, P: np.ndarray, sigma2: float, *, stop: Stop | None = None
) -> ChannelEstimate:
    """H of least norm among those of least ||Y − H P||, by LSQR from zero, certified.

    With fewer pilots than transmitting antennas it fits the noise, and is 0 wherever the pilots do
    not look. `lmmse(Y, P, sigma2)` regularises it.

    Args:
        Y: (*batch, Nr, Np). P: (Nt, Np). sigma2: E|n|² per entry of Y; enters the misfit alone.

    Raises:
        TypeError, ValueError: bad arrays or a bad sigma2.
    """
    began = time.perf_counter()
    Y, P, sigma2 = checked(Y, P, sigma2)
    problem = LeastSquares(Pilots(P, Y.shape[-2]), Y)
    stop = Stop(rtol=1e-5) if stop is None else stop
    result = solve(problem, LSQR(), stop=stop, throw=False)
    return finished(result.x, Y, P, sigma2, began, result=result)


def lmmse(
    Y: np.ndarray,
    P: np.ndarray,
    sigma2: float,
    covariance: np.ndarray | None = None,
    *,
    std: bool = True,
) -> ChannelEstimate:
    """The posterior mean of h ~ CN(0, R) and its standard deviation.

    With h = H.reshape(-1), y = A h + n: h = R A^H z, (A R A^H + σ² I) z = y; the covariance of what
    is left is R − R A^H (A R A^H + σ² I)^-1 A R. No other linear estimator has a lower mean square
    error over channels of covariance R, and for Gaussian ones none at all. The system for z is
    solved by Cholesky and certified.

    Args:
        Y: (*batch, Nr, Np). P: (Nt, Np). sigma2: E|n|² per entry of Y.
        covariance: R, (Nr Nt, Nr Nt), Hermitian and positive semidefinite, see `sample_covariance`
            and `sciml.datasets.channel_covariance`. None: the identity, which is least squares with
            Tikhonov's weight σ².
        std: False saves its time.

    Raises:
        TypeError, ValueError: bad arrays or a bad sigma2.
    """
    began = time.perf_counter()
    Y, P, sigma2 = checked(Y, P, sigma2)
    (nt, pilots), nr, batch = P.shape, Y.shape[-2], Y.shape[:-2]
    if covariance is None:
        return _white(Y, P, sigma2, began, std=std)
    R = _covariance(covariance, nr * nt)
    P128, y = P.astype(np.complex128), Y.astype(np.complex128).reshape(*batch, nr * pilots)
    seen = (P128.T @ R.reshape(nr, nt, nr * nt)).reshape(nr * pilots, nr * nt)  # A R
    K = (seen.reshape(-1, nr, nt) @ P128.conj()).reshape(nr * pilots, nr * pilots)
    K = (K + K.conj().T) / 2 + sigma2 * np.eye(len(K))
    factor = _Cholesky(K)
    system = LinearSystem(Dense(K, traits={Trait.POSITIVE}), y)
    result = solve(system, Direct(M=factor), stop=Stop(rtol=1e-8), throw=False)
    H = (result.x @ seen.conj()).reshape(*batch, nr, nt)
    found = None
    if std:
        explained = np.sum(np.abs(factor.halved(seen)) ** 2, axis=0)
        left = np.maximum(np.real(np.diagonal(R)) - explained, 0)
        found = np.sqrt(left).reshape(nr, nt).astype(real_dtype(Y.dtype))
    return finished(H, Y, P, sigma2, began, std=found, result=result)


def _white(
    Y: np.ndarray, P: np.ndarray, sigma2: float, began: float, *, std: bool
) -> ChannelEstimate:
    """R = I: every row of H for itself."""
    wide = P.astype(np.complex128)
    K = wide.conj().T @ wide + sigma2 * np.eye(P.shape[1])  # z K = y, row by row: K^T z = y
    factor = _Cholesky(K.T.copy())
    system = LinearSystem(Dense(K.T.copy(), traits={Trait.POSITIVE}), Y.astype(np.complex128))
    result = solve(system, Direct(M=factor), stop=Stop(rtol=1e-8), throw=False)
    found = None
    if std:
        explained = np.sum(np.abs(factor.halved(wide.T)) ** 2, axis=0)
        left = np.sqrt(np.maximum(1 - explained, 0)).astype(real_dtype(Y.dtype))
        found = np.broadcast_to(left, (Y.shape[-2], len(P))).copy()
    return finished(result.x @ wide.conj().T, Y, P, sigma2, began, std=found, result=result)


def _covariance(R: np.ndarray, size: int) -> np.ndarray:
    if not isinstance(R, np.ndarray) or R.shape != (size, size):
        got = R.shape if isinstance(R, np.ndarray) else told(R)
        raise ValueError(f"expected a covariance ({size}, {size}), got {got}")
    scale = float(np.abs(R).max(initial=0.0))
    if not np.isfinite(scale) or np.abs(R - R.conj().T).max() > 1e-6 * scale:
        raise ValueError("expected a Hermitian covariance without NaN or Inf, got another matrix")
    return R.astype(np.complex128, copy=False)


class _Cholesky(Operator):
    """K^-1 of a dense positive definite K, by its factor."""

    def __init__(self, K: np.ndarray) -> None:
        from scipy.linalg import cholesky

        self.lower = cholesky(K, lower=True)
        super().__init__(Space((len(K),), K.dtype), traits={Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        from scipy.linalg import cho_solve

        columns = x.reshape(-1, x.shape[-1]).T
        return cho_solve((self.lower, True), columns).T.reshape(x.shape)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def halved(self, x: np.ndarray) -> np.ndarray:
        """L^-1 x, K = L L^H: (n, any)."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.lower, x, lower=True)
