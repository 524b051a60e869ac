"""Draws from p(image | k-space) with a learned prior of heads: mean, deviation and certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciml import Gaussian, Identity, InverseProblem, LinearSystem, SampleLook, Samples, sample
from sciml._checks import Argument, ArgumentError, need
from sciml.arrays import Array, from_host, namespace, to_numpy
from sciml.operator import Operator
from sciml.operators import SENSE, Wavelet
from sciml.priors import ScorePrior

from ..krylov import CG
from ..posterior import DAPS
from .scan import Scan

if TYPE_CHECKING:
    from sciml.networks import Denoiser

__all__ = ["Drawn", "brightness_of", "draw_images", "fitted", "need_slice", "noise_in"]

_CALLS = 20  # of the network for each chain; more change the mean little
_LEAST = 16  # rows and columns that the network halves down to its coarsest level
_BRIGHT = 99.5  # percentile of the magnitude that the network was trained to see as 1
_OBJECT = 0.1  # of the brightest pixel: what is above is no air
# The fit that noise is read off: hardly damped, so that what it leaves is noise.
_DAMP, _STEPS = 1e-4, 100
_FREE = 0.05  # share of the noise that such a fit has to leave


class Drawn(NamedTuple):
    """samples: of images. sigma: the noise they were drawn for, sigma_is: where that is from."""

    samples: Samples
    sigma: float
    sigma_is: str


class _Seen:
    """A prior of images that are 0 where no coil sees anything: k-space says nothing there.

    basis: DAPS takes what it does not know of x0 as uncorrelated in wavelets. In Fourier space or
    as one number for all pixels, edges and air would be as uncertain as each other.
    """

    def __init__(self, prior: ScorePrior, support: Array, basis: Operator) -> None:
        self.prior, self.support, self.basis = prior, support, basis
        self.sigma_range = prior.sigma_range

    def denoise(self, x: Array, sigma: float) -> Array:
        return self.prior.denoise(x, sigma) * self.support

    @staticmethod
    def pooled(diagonal: Array) -> Array:
        """The mean over a square of 3 x 3 coefficients, which mostly are of one band; the last row
        and column stand for what is beyond them."""
        xp, found = namespace(diagonal), diagonal
        for axis in (-2, -1):
            row = xp.moveaxis(found, axis, -1)
            row = xp.concat([row[..., :1], row, row[..., -1:]], axis=-1)
            found = xp.moveaxis((row[..., :-2] + row[..., 1:-1] + row[..., 2:]) / 3, -1, axis)
        return found


def draw_images(
    scan: Scan,
    *,
    n: int = 8,
    calls: int = _CALLS,
    network: Denoiser | None = None,
    like: Array | None = None,
    rng: np.random.Generator | None = None,
    observe: Callable[[SampleLook], None] | None = None,
) -> Drawn:
    """Draw n images given k-space, by decoupled annealing (`solvers.DAPS`).

    What is drawn is 0 where all maps are. The prior is scaled by `brightness_of` a SENSE image,
    the noise is that of `noise_in`.

    Args:
        scan: of a slice; its sigma is used where a noise scan told it, see `noise_in`.
        n: even, 2 or more. calls: of the network for each chain.
        network: of heads that are about 1 in their brightest tissue; that of
            `PretrainedDenoiser.SCORE_MRI` if not given.
        like: an array of CuPy's or torch's: they are drawn where it is, from the same numbers, and
            brought back; in host memory if not given.
        rng: a fixed seed if not given. observe: called after each noise level.

    Returns:
        Samples (n, *shape), complex, with their status: not thrown where it is not SAMPLED; and
        the noise.

    Raises:
        TypeError: no Scan. ValueError: a volume, a slice below 16 x 16, an n that is odd, k-space
            of zeros, a network for another size, or noise that nothing tells.
    """
    need_slice(scan, "score")
    if min(scan.mask.shape) < _LEAST:
        raise ValueError(
            f"expected a slice of at least {_LEAST} x {_LEAST} for score, got {scan.mask.shape}"
        )
    A, y = SENSE(scan.maps, scan.mask), scan.kspace
    support = (np.abs(scan.maps).max(axis=0) > 0).astype(A.domain.real_dtype)
    first = fitted(A, y)
    scale = brightness_of(first)
    if not scale > 0:
        raise ValueError("expected k-space with signal for score, got zeros")
    if network is None:
        from sciml.networks import PretrainedDenoiser, load_denoiser

        network = load_denoiser(PretrainedDenoiser.SCORE_MRI)
    learned = ScorePrior(network, scale=scale)
    if learned.shape not in (None, scan.mask.shape):
        raise ArgumentError(
            "expected ",
            Argument("network"),
            f" for slices of {scan.mask.shape}, got one for {learned.shape}: see "
            "PretrainedDenoiser.SCORE_MRI",
        )
    sigma, sigma_is = noise_in(scan, first)
    if like is not None:
        A = SENSE(*(from_host(np.array(a), like, a.dtype) for a in (scan.maps, scan.mask)))
        y = from_host(y, like, y.dtype)
    seen = support if like is None else from_host(support, like, support.dtype)
    prior = _Seen(learned, seen, Wavelet(A.domain))
    problem = InverseProblem(A, y, Gaussian(sigma), prior)
    found = sample(problem, DAPS(), n=n, budget=calls, rng=rng, observe=observe, throw=False)
    return Drawn(_emptied(found, support), sigma, sigma_is)


def need_slice(scan: Scan, name: str) -> None:
    """Raise TypeError or ValueError unless it is a scan of a slice; name: of the method."""
    need(scan, Scan, "a Scan", "scan_of(kspace)")
    if scan.mask.ndim != 2:
        raise ValueError(
            f"expected a slice for {name}, got a volume {scan.mask.shape}: its network knows slices"
        )


def brightness_of(image: np.ndarray) -> float:
    """What counts as 1: the 99.5th percentile of the magnitude, of pixels above a tenth of the
    brightest. Heads were brought to that for the training."""
    size = np.abs(image)
    inside = size[size > _OBJECT * size.max(initial=0.0)]
    return float(np.percentile(inside, _BRIGHT)) if inside.size else 0.0


def noise_in(scan: Scan, fit: np.ndarray | None = None) -> tuple[float, str]:
    """(√E|n|² of a complex sample of a coil, where that is from).

    That of the noise scan, where there is one. Else the lower of two that signal can only raise:
    the scan's own, from the outermost samples, and ||y − A x|| of a nearly undamped SENSE fit,
    over what the same fit leaves of white noise (a probe of the trace, Girard 1989). The latter
    knows what maps cannot explain either.

    Raises:
        ValueError: nothing tells it: one coil and few samples.
    """
    if scan.sigma is not None and scan.whitening is not None:
        return scan.sigma, scan.sigma_is
    A, kept = SENSE(scan.maps, scan.mask, ndim=scan.mask.ndim), scan.mask
    found = [] if scan.sigma is None else [(scan.sigma, scan.sigma_is)]
    x = fitted(A, scan.kspace) if fit is None else fit
    probe = A.range.random(np.random.default_rng(0)) * kept
    left = np.linalg.norm(probe - A(fitted(A, probe))) ** 2
    if left > _FREE * np.linalg.norm(probe) ** 2:
        rest = float(np.linalg.norm(scan.kspace - A(x)) / left**0.5)
        found.append((rest, "what a SENSE fit leaves"))
    found = [one for one in found if one[0] > 0]
    if not found:
        raise ValueError(
            "expected a noise scan for a learned prior, got none, and no samples that tell it"
        )
    return min(found)


def fitted(A: SENSE, y: np.ndarray, damp: float = _DAMP) -> np.ndarray:
    """A SENSE image; with next to no damping if not given. damp: relative to ‖A‖²."""
    normal = A.normal + (damp * A.norm_bound**2) * Identity(A.domain)
    method = CG()
    return method.advance(method.init(LinearSystem(normal, A.adjoint(y)), None), _STEPS).x


def _emptied(found: Samples, support: np.ndarray) -> Samples:
    """Draws in host memory, without the last traces of noise where no coil sees: no data are
    changed by it."""
    return replace(
        found,
        samples=to_numpy(found.samples) * support,
        mean=to_numpy(found.mean) * support,
        std=to_numpy(found.std) * support,
        mean_error=to_numpy(found.mean_error) * support,
    )
