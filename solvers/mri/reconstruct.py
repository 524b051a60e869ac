"""From measured k-space to an image, with the weight of the prior found by self-validation."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sciml import Gaussian, Identity, InverseProblem, LinearSystem, Result, Solver, Stop, solve
from sciml._checks import need, number, told
from sciml.operators import FFT, SENSE, Wavelet
from sciml.priors import L1Wavelet, TotalVariation
from sciml.space import Space

from ..krylov import CG
from ..proximal import FISTA, PrimalDual
from .hold_out import Search, hold_out, search

__all__ = ["Method", "Reconstruction", "reconstruct"]

_SHARE = 0.1  # of the samples that are hidden to choose a weight
_STEPS = 16  # of weights that are tried, each half of the one before
# Weights are compared by reconstructions to this tolerance, or of so many steps.
_ROUGH, _ROUGH_STEPS, _LOOK = 3e-4, 100, 5


class Method(enum.Enum):
    """How an image is made from undersampled k-space."""

    ZERO_FILLED = "zero-filled"  # A^H y
    SENSE = "sense"  # least squares with Tikhonov's weight
    L1_WAVELET = "l1-wavelet"
    TV = "tv"


@dataclass(frozen=True)
class Reconstruction:
    """An image, and what is known of it.

    Attributes:
        image: complex (*shape).
        method: what made it. weight: of its prior; 0 without one.
        misfit: ||y − A x|| / ||y|| over the measured samples.
        noise: the same of the noise alone, ||n|| / ||y||, where the noise is known.
        search: how the weight was found; None where it was given, or there is none.
        result: the certified solve; None for a closed form.
        seconds: in all.
    """

    image: np.ndarray
    method: Method
    weight: float
    misfit: float
    noise: float | None
    seconds: float
    search: Search | None = None
    result: Result | None = field(default=None, repr=False)


def reconstruct(
    kspace: np.ndarray,
    maps: np.ndarray,
    mask: np.ndarray,
    method: Method,
    *,
    weight: float | None = None,
    calibration: tuple[slice, ...] | None = None,
    sigma: float | None = None,
    stop: Stop | None = None,
    rng: np.random.Generator | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Reconstruction:
    """The image that k-space measured through the coils shows.

    Args:
        kspace: complex (coil, *shape), centred, of unit FFT; what the mask leaves out is ignored.
        maps: complex (coil, *shape), sensitivities. mask: bool (*shape).
        weight: of the prior, relative to the largest one that does not blot out the image: 0 to 1.
            Found by hiding a tenth of the samples if not given.
        calibration: what is never hidden. sigma: of the noise per complex sample, for the report.
        stop: of the last solve. rng: which samples are hidden; a fixed draw if not given.
        say: told of each step.

    Raises:
        TypeError, ValueError: shapes that do not fit, an empty mask, a bad weight.
    """
    began = time.perf_counter()
    need(method, Method, "a Method, such as Method.L1_WAVELET")
    y, mask = _checked(kspace, maps, mask)
    ndim = mask.ndim
    A = SENSE(maps, mask, ndim=ndim)
    stop = Stop(rtol=1e-3, max_iters=300) if stop is None else stop
    found: Search | None = None
    result: Result | None = None
    if method is Method.ZERO_FILLED:
        weight, image = 0.0, A.adjoint(y)
    else:
        if weight is None:
            rng = np.random.default_rng(0) if rng is None else rng
            kept = calibration or tuple(slice(0, 0) for _ in mask.shape)
            found = _validated(y, maps, mask, method, kept, rng, say)
            weight = found.weight
        number(weight, "weight")
        problem, solver = _posed(A, y, method, weight)
        result = solve(problem, solver, stop=stop, throw=False)
        image = result.x
    residual = float(np.linalg.norm(y - A(image)))
    size = float(np.linalg.norm(y))
    noise = None if sigma is None else sigma * np.sqrt(mask.sum() * len(y)) / size
    return Reconstruction(
        image, method, weight, residual / size, noise, time.perf_counter() - began, found, result
    )


def _checked(
    kspace: np.ndarray, maps: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if kspace.shape != maps.shape:
        raise ValueError(f"expected maps of k-space's shape {kspace.shape}, got {maps.shape}")
    if mask.shape != kspace.shape[1:]:
        raise ValueError(f"expected a mask of shape {kspace.shape[1:]}, got {mask.shape}")
    if not np.iscomplexobj(kspace) or not np.iscomplexobj(maps):
        raise TypeError(f"expected complex k-space and maps, got {kspace.dtype}, {maps.dtype}")
    mask = mask.astype(bool)
    if not mask.any():
        raise ValueError("expected a mask with samples, got an empty one: nothing was measured")
    y = kspace * mask
    if not np.isfinite(y).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise ValueError(f"expected finite k-space, got {told(y[bad])} at {bad}")
    return y, mask


def _validated(
    y: np.ndarray,
    maps: np.ndarray,
    mask: np.ndarray,
    method: Method,
    kept: tuple[slice, ...],
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> Search:
    seen, held = hold_out(mask, kept, _SHARE, rng)
    A, B = SENSE(maps, seen, ndim=mask.ndim), SENSE(maps, held, ndim=mask.ndim)
    hidden = y * held
    size = np.linalg.norm(hidden)

    def fit(weight: float, x0: np.ndarray | None) -> np.ndarray:
        say(f"weight {weight:.1e}")
        return _rough(A, y * seen, method, weight, x0)

    def error(x: np.ndarray) -> float:
        return float(np.linalg.norm(hidden - B(x)) / size)

    return search([2.0**-k for k in range(2, 2 + _STEPS)], fit, error)


def _posed(
    A: SENSE, y: np.ndarray, method: Method, weight: float
) -> tuple[LinearSystem | InverseProblem, Solver]:
    """Problem and method, for a weight relative to the one that blots out the image."""
    back, space = A.adjoint(y), A.domain
    if method is Method.SENSE:
        ridge = (weight * A.norm_bound**2) * Identity(space)
        return LinearSystem(A.normal + ridge, back), CG()
    if method is Method.TV:
        prior = TotalVariation(weight * float(np.abs(back).max()), space)
        return InverseProblem(A, y, Gaussian(1.0), prior), PrimalDual()
    W = Wavelet(space)
    penalty = L1Wavelet(weight * float(np.abs(W(back)).max()), W)
    return InverseProblem(A, y, Gaussian(1.0), penalty), FISTA()


def _rough(
    A: SENSE, y: np.ndarray, method: Method, weight: float, x0: np.ndarray | None
) -> np.ndarray:
    """A reconstruction to compare weights by: not certified, which would cost more than it."""
    problem, solver = _posed(A, y, method, weight)
    state = solver.init(problem, x0, None)
    for _ in range(_ROUGH_STEPS // _LOOK):
        state = solver.advance(state, _LOOK)
        if not float(state.estimate) > _ROUGH * float(problem.scale):
            break
    return state.x


def coil_images(kspace: np.ndarray) -> np.ndarray:
    """(coil, *shape): the inverse transform of each coil's k-space."""
    return FFT(Space(kspace.shape[1:], kspace.dtype), centred=True).adjoint(kspace)
