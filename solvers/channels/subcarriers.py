"""Channels at subcarriers that no pilot was sent on, from those where one was.

Everywhere Y is complex (*batch, subcarriers, antennas), of which the rows `seen` were measured in
noise of E|n|² = sigma²; the other rows are not looked at. `frequencies` are those of the rows, in
Hz, evenly spaced or not. sigma broadcasts against (*batch, antennas).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from sciml import Gaussian, InverseProblem, Samples, Space, sample
from sciml._checks import need, number, told
from sciml.arrays import real_dtype
from sciml.operators import Sampling
from sciml.priors import ScorePrior

from ..posterior import DAPS
from .estimate import ChannelEstimate

if TYPE_CHECKING:
    from sciml.networks import Denoiser
    from sciml.sample import SampleLook
    from sciml.sampler import Sampler

__all__ = [
    "Interpolation",
    "aligning_phases",
    "delay_limited",
    "interpolate",
    "lmmse_subcarriers",
    "score_subcarriers",
    "uniform_delays",
]


class Interpolation(Enum):
    """LINEAR: of the complex numbers. POLAR: of magnitude and unwrapped phase. SPLINE: cubic, not a
    knot at either end, of the complex numbers. The edges go on as the last piece does."""

    LINEAR = "linear"
    POLAR = "polar"
    SPLINE = "spline"


def interpolate(
    Y: np.ndarray,
    seen: np.ndarray,
    frequencies: np.ndarray,
    how: Interpolation = Interpolation.LINEAR,
) -> np.ndarray:
    """The channel at all frequencies, what was seen as it is.

    Raises:
        TypeError, ValueError: bad arrays, fewer than four rows seen, or frequencies not ascending.
    """
    Y, seen, f = _checked(Y, seen, frequencies)
    need(how, Interpolation, "an Interpolation", "Interpolation.LINEAR")
    if seen.sum() < 4 or not (np.diff(f) > 0).all():
        raise ValueError("expected four or more rows seen, at ascending frequencies")
    from scipy.interpolate import CubicSpline, interp1d

    def line(values: np.ndarray) -> np.ndarray:
        return interp1d(f[seen], values, axis=-2, fill_value="extrapolate")(f)  # type: ignore[arg-type]

    known = Y[..., seen, :]
    match how:
        case Interpolation.LINEAR:
            found = line(known)
        case Interpolation.POLAR:
            phase = np.unwrap(np.angle(known), axis=-2)
            found = np.maximum(line(np.abs(known)), 0) * np.exp(1j * line(phase))
        case Interpolation.SPLINE:
            found = CubicSpline(f[seen], known, axis=-2)(f)
    return np.where(seen[:, None], Y, found).astype(Y.dtype)


def aligning_phases(
    Y: np.ndarray, seen: np.ndarray, frequencies: np.ndarray, sigma: np.ndarray | float = 1.0
) -> np.ndarray:
    """Factors of modulus 1 that take timing and antennas' phases off Y, from the rows seen.

    The timing is the mean delay, by the phase that turns between neighbours at the commonest
    distance; phases of antennas are those of the strongest eigenvector of their Gram matrix. Both
    count antennas by their noise, sigma. Multiplied with Y they bring the mean delay to 0 and the
    antennas into phase: (*batch, subcarriers, antennas).
    """
    Y, seen, f = _checked(Y, seen, frequencies)
    Y = Y / _deviations(sigma, Y)[..., None, :]
    rows = np.flatnonzero(seen)
    steps = np.round(np.diff(f[rows]), 3)
    if not len(steps):
        raise ValueError("expected two or more rows seen")
    distances, counts = np.unique(steps, return_counts=True)
    step = distances[np.argmax(counts)]
    first = rows[:-1][steps == step]
    second = rows[1:][steps == step]
    turn = np.sum(Y[..., second, :] * Y[..., first, :].conj(), axis=(-2, -1))
    delay = -np.angle(turn) / (2 * np.pi * step)
    timing = np.exp(2j * np.pi * delay[..., None] * f)[..., None]
    still = timing[..., seen, :] * Y[..., seen, :]
    strongest = np.linalg.eigh(np.swapaxes(still, -2, -1) @ still.conj())[1][..., -1]
    return timing * np.exp(-1j * np.angle(strongest))[..., None, :]


def delay_limited(
    Y: np.ndarray,
    seen: np.ndarray,
    frequencies: np.ndarray,
    sigma: np.ndarray | float = 1.0,
    *,
    window: tuple[float, float] = (-150e-9, 250e-9),
) -> np.ndarray:
    """Least squares among channels whose delays lie in a window about the mean one.

    They are spanned by the leading eigenvectors of `uniform_delays`, two more than window times
    bandwidth: sequences of Slepian (Bell Syst. Tech. J. 57, 1978), on the grid that there is. The
    mean delay is taken off first, see `aligning_phases`; the fit replaces what was seen too.

    Args:
        window: seconds, about the mean delay; the default is as long as Wi-Fi's short guard
            interval. With more eigenvectors than rows seen there is no fit.
    """
    Y, seen, f = _checked(Y, seen, frequencies)
    R = uniform_delays(f, window, 1)
    count = math.ceil((window[1] - window[0]) * float(np.ptp(f))) + 2
    if count > seen.sum():
        raise ValueError(
            f"expected a window of at most {seen.sum()} modes, got {count}: shorten it"
        )
    modes = np.linalg.eigh(R)[1][:, -count:]
    fit = modes @ np.linalg.pinv(modes[seen])
    phases = aligning_phases(Y, seen, f, sigma)
    return (fit @ (phases * Y)[..., seen, :] * phases.conj()).astype(Y.dtype)


def uniform_delays(
    frequencies: np.ndarray, window: tuple[float, float], antennas: int
) -> np.ndarray:
    """E[h h^H] of independent antennas and delays uniform in the window, of power 1, h = H.reshape
    (-1): what a robust estimator assumes (Li, Cimini and Sollenberger, IEEE Trans. Commun. 46,
    1998)."""
    low, high = window
    if not low < high:
        raise ValueError(f"expected a window (low, high) in seconds, got {window}")
    lags = np.subtract.outer(frequencies, frequencies)
    over_f = np.exp(-1j * np.pi * lags * (low + high)) * np.sinc(lags * (high - low))
    return np.kron(over_f, np.eye(antennas))


def lmmse_subcarriers(
    Y: np.ndarray, seen: np.ndarray, sigma: np.ndarray | float, covariance: np.ndarray
) -> ChannelEstimate:
    """The posterior mean of h ~ CN(0, R), h = H.reshape(-1), and its standard deviation.

    h = R A^H (A R A^H + S)^-1 y for each member, whose noise may be its own: by Cholesky.

    Args:
        covariance: R, (size, size), Hermitian and positive semidefinite.

    Raises:
        TypeError, ValueError: bad arrays.
    """
    from scipy.linalg import cho_solve, cholesky, solve_triangular

    began = time.perf_counter()
    Y, seen, _ = _checked(Y, seen, None)
    deviation = _deviations(sigma, Y)
    size = Y.shape[-2] * Y.shape[-1]
    if not isinstance(covariance, np.ndarray) or covariance.shape != (size, size):
        got = getattr(covariance, "shape", told(covariance))
        raise ValueError(f"expected a covariance ({size}, {size}), got {got}")
    kept = np.repeat(seen, Y.shape[-1])
    across, inner = covariance[:, kept], covariance[np.ix_(kept, kept)]
    y = Y[..., seen, :].reshape(-1, int(kept.sum())).astype(np.complex128)
    noise = np.tile(deviation.reshape(len(y), -1) ** 2, int(seen.sum()))
    mean = np.empty((len(y), size), np.complex128)
    left = np.empty((len(y), size))
    for i, (one, own) in enumerate(zip(y, noise, strict=True)):
        lower = cholesky(inner + np.diag(own), lower=True)
        mean[i] = across @ cho_solve((lower, True), one)
        explained = solve_triangular(lower, across.conj().T, lower=True)
        left[i] = np.real(np.diagonal(covariance)) - np.sum(np.abs(explained) ** 2, axis=0)
    std = np.sqrt(np.maximum(left, 0)).reshape(Y.shape).astype(real_dtype(Y.dtype))
    return _finished(mean.reshape(Y.shape), Y, seen, deviation, std, began)


def score_subcarriers(
    Y: np.ndarray,
    seen: np.ndarray,
    sigma: np.ndarray | float,
    network: Denoiser,
    *,
    sampler: Sampler | None = None,
    n: int = 8,
    budget: int = 30,
    rng: np.random.Generator | None = None,
    observe: Callable[[SampleLook], None] | None = None,
) -> ChannelEstimate:
    """Mean and deviation of draws from p(H | Y), the prior a denoiser's, certified by `sample`.

    Args:
        network: the prior's, for channels (subcarriers, antennas) of mean power 1.
        sampler: DAPS() without. n: draws. budget: calls of the network for each.
        rng, observe: as of `sample`.

    Raises:
        TypeError, ValueError: bad arrays, or another size than the network's.
    """
    from sciml.networks import Denoiser

    began = time.perf_counter()
    Y, seen, _ = _checked(Y, seen, None)
    deviation = _deviations(sigma, Y)
    need(network, Denoiser, "a Denoiser", "see sciml.networks.load_denoiser")
    if network.shape not in (None, Y.shape[-2:]):
        raise ValueError(
            f"expected (subcarriers, antennas) = {network.shape}, which the prior was trained on, "
            f"got {Y.shape[-2:]}: train one for them, or use another method"
        )
    A = Sampling(seen[:, None], Space(Y.shape[-2:], Y.dtype))
    noise = Gaussian(deviation[..., None, :].astype(real_dtype(Y.dtype)))
    problem = InverseProblem(A, np.where(seen[:, None], Y, 0), noise, ScorePrior(network))
    sampler = DAPS() if sampler is None else sampler
    found = sample(problem, sampler, n=n, budget=budget, rng=rng, observe=observe, throw=False)
    return _finished(found.mean, Y, seen, deviation, found.std, began, found)


def _checked(
    Y: np.ndarray, seen: np.ndarray, frequencies: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not isinstance(Y, np.ndarray) or Y.dtype.kind != "c" or Y.ndim < 2:
        raise TypeError(
            f"expected Y as complex (*batch, subcarriers, antennas), got {getattr(Y, 'shape', Y)}"
        )
    seen = np.asarray(seen)
    if seen.dtype != bool or seen.shape != Y.shape[-2:-1] or not seen.any():
        raise ValueError(
            f"expected seen as bool ({Y.shape[-2]},), not all False, got {seen.dtype} {seen.shape}"
        )
    if not np.isfinite(Y[..., seen, :]).all():
        raise ValueError("expected finite Y where it was seen, got NaN or Inf")
    f = np.zeros(len(seen)) if frequencies is None else np.asarray(frequencies, np.float64)
    if f.shape != seen.shape or not np.isfinite(f).all():
        raise ValueError(f"expected {len(seen)} finite frequencies, got {told(frequencies)}")
    return Y, seen, f


def _deviations(sigma: np.ndarray | float, Y: np.ndarray) -> np.ndarray:
    """(*batch, antennas)."""
    wanted = (*Y.shape[:-2], Y.shape[-1])
    try:
        found = np.broadcast_to(np.asarray(sigma, np.float64), wanted)
    except (ValueError, TypeError):
        raise ValueError(f"expected sigma to broadcast to {wanted}, got {told(sigma)}") from None
    if not (np.isfinite(found) & (found > 0)).all():
        number(-1.0 if found.size else 0.0, "sigma")
        raise ValueError("expected sigma finite and > 0")
    return found


def _finished(
    H: np.ndarray,
    Y: np.ndarray,
    seen: np.ndarray,
    deviation: np.ndarray,
    std: np.ndarray,
    began: float,
    result: Samples | None = None,
) -> ChannelEstimate:
    rest = (Y - H)[..., seen, :] / deviation[..., None, :]
    misfit = np.sqrt(np.mean(np.abs(rest) ** 2, axis=(-2, -1)))
    seconds = time.perf_counter() - began
    return ChannelEstimate(H.astype(Y.dtype, copy=False), std, misfit, seconds, result)
