"""Covariances of channels from few samples."""

from __future__ import annotations

import enum

import numpy as np

from sciml._checks import need, told

__all__ = ["Structure", "sample_covariance"]


class Structure(enum.Enum):
    """What is taken to be known of a covariance before samples are seen.

    FULL: nothing; the sample covariance, shrunk to a multiple of the identity.
    KRONECKER: R = R_r ⊗ R_t, what receivers and transmitters see is independent.
    TOEPLITZ: it depends on the distance between antennas alone, at both ends, as for lines of equal
    antennas in a far field of uncorrelated paths.
    """

    FULL = "full"
    KRONECKER = "kronecker"
    TOEPLITZ = "toeplitz"


def sample_covariance(H: np.ndarray, structure: Structure = Structure.FULL) -> np.ndarray:
    """An estimate of E[h h^H], h = H.reshape(-1), of mean zero: complex128, (Nr Nt, Nr Nt).

    FULL and KRONECKER are shrunk towards the identity by the weight of Ledoit and Wolf (J.
    Multivariate Anal. 88, 2004), which estimates from the samples alone what is best in the mean
    square. TOEPLITZ averages over all pairs of antennas at a distance; negative eigenvalues, which
    no covariance has, are set to 0.

    Args:
        H: complex, (n, Nr, Nt), n >= 2.

    Raises:
        TypeError, ValueError: no such array.
    """
    need(structure, Structure, "a Structure", "Structure.FULL")
    if not isinstance(H, np.ndarray) or H.dtype.kind != "c" or H.ndim != 3:
        got = H.shape if isinstance(H, np.ndarray) else told(H)
        raise TypeError(f"expected complex channels (n, Nr, Nt), got {got}")
    if len(H) < 2 or not np.isfinite(H).all():
        raise ValueError(f"expected two or more finite channels, got {len(H)}")
    H = H.astype(np.complex128, copy=False)
    n, nr, nt = H.shape
    if structure is Structure.TOEPLITZ:
        return _toeplitz(H)
    if structure is Structure.FULL:
        h = H.reshape(n, -1)
        return _shrunk(h.T @ h.conj() / n, np.mean(np.sum(np.abs(h) ** 2, axis=1) ** 2), n)
    seen = H @ H.conj().swapaxes(1, 2)  # ||H^H H|| = ||H H^H||: it serves both ends
    fourth = np.mean(np.sum(np.abs(seen) ** 2, axis=(1, 2)))
    rows = H.reshape(-1, nt)
    over_r = _shrunk(seen.mean(axis=0) / nt, fourth / nt**2, n)
    over_t = _shrunk(rows.T @ rows.conj() / (n * nr), fourth / nr**2, n)
    return np.kron(over_r, over_t) * (nr / np.trace(over_r).real)


def _shrunk(S: np.ndarray, fourth: float, n: int) -> np.ndarray:
    """(1 − w) S + w μ I for the mean S of n independent matrices, `fourth` their mean ||·||²."""
    size = len(S)
    mean = np.trace(S).real / size
    spread = np.linalg.norm(S - mean * np.eye(size)) ** 2  # δ²
    noise = (fourth - np.linalg.norm(S) ** 2) / n  # β²
    weight = min(noise, spread) / spread if spread > 0 else 1.0
    return (1 - weight) * S + weight * mean * np.eye(size)


def _toeplitz(H: np.ndarray) -> np.ndarray:
    """Means over the diagonals, by the Fourier transform of the channels padded with zeros."""
    n, nr, nt = H.shape
    power = np.zeros((2 * nr, 2 * nt))
    for one in H:
        power += np.abs(np.fft.fft2(one, power.shape)) ** 2
    lags = np.fft.ifft2(power / n)
    for axis, size in enumerate((nr, nt)):
        lag = np.fft.fftfreq(2 * size, 1 / (2 * size))
        pairs = np.maximum(size - np.abs(lag), 1)
        lags = lags / (pairs[:, None] if axis == 0 else pairs)
    r, t = (np.subtract.outer(np.arange(k), np.arange(k)) for k in (nr, nt))
    R = lags[r[:, None, :, None], t[None, :, None, :]].reshape(nr * nt, nr * nt)
    values, vectors = np.linalg.eigh((R + R.conj().T) / 2)
    return (vectors * np.maximum(values, 0)) @ vectors.conj().T
