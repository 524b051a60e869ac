"""From measured k-space to an image, with the weight of the prior found by self-validation."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml import (
    Gaussian,
    Identity,
    InverseProblem,
    LinearSystem,
    Result,
    SampleLook,
    Samples,
    Solver,
    Stop,
    solve,
)
from sciml._checks import Argument, ArgumentError, integer, need, number, told
from sciml.operators import SENSE, Wavelet
from sciml.operators.mri import power_of
from sciml.priors import L1Wavelet, TotalVariation

from ..krylov import CG
from ..proximal import FISTA, Convergence, PrimalDual
from .grappa import grappa
from .hold_out import NothingToHide, Search, hold_out, search
from .scan import Scan

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork, Denoiser

    from .plugged import Plugged
    from .posterior import Drawn

__all__ = ["Method", "Reconstruction", "check_draws", "largest_coefficient", "reconstruct"]

_DRAWS = 8  # images of SCORE: four pairs, for a usable deviation
_GRAPPA = 0.01  # GRAPPA's weight, where none is given
_SHARE = 0.1  # of the samples that are hidden to choose a weight
_STEPS = 16  # of weights that may be tried, each half of the one before
_FIRST = 2.0**-6  # is tried first: rather too much than too little
# Weights are compared by reconstructions to this tolerance, or of so many steps.
_ROUGH, _ROUGH_STEPS, _LOOK = 3e-4, 40, 5
# Of TV's dual step: where it is small the image is near soon, its certificate later.
_BALANCE, _ROUGH_BALANCE = 3.0, 1.0


class Method(enum.Enum):
    """How an image is made from undersampled k-space."""

    ZERO_FILLED = "zero-filled"  # A^H y over the coils' sum of squares
    SENSE = "sense"  # least squares with Tikhonov's weight
    L1_WAVELET = "l1-wavelet"
    TV = "tv"
    GRAPPA = "grappa"  # missing samples from their neighbours, then the coils combined
    SCORE = "score"  # the mean of draws from a posterior with a learned prior of heads
    LPN = "lpn"  # plug-and-play with a learned proximal operator of heads


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image, and what is known of it.

    Attributes:
        image: complex (*shape). kspace: complex (coil, *shape), what the image predicts of every
            sample, measured or not; of GRAPPA, what it filled in.
        method: what made it. reason: why it was chosen; empty where it was named.
        weight: of its prior, see `reconstruct`; of LPN, the noise level; 0 without one.
        misfit: ||y − A x|| / ||y|| over the measured samples.
        noise: the same of the noise alone: a misfit far above says that the image does not explain
            the data. Without a noise scan it is an upper bound. noise_is: where it is from.
        search: how the weight was found; None where it was given, or there is none.
        result: the certified solve; None for a closed form.
        seconds: in all.
        drawn: the draws that `image` is the mean of, with their certificate; None but of SCORE.
        convergence: what is proven of the iteration that made `image`, and was seen of it, in units
            of the brightest tissue; None but of LPN.
    """

    image: np.ndarray
    kspace: np.ndarray
    method: Method
    reason: str
    weight: float
    misfit: float
    noise: float | None
    seconds: float
    search: Search | None = None
    result: Result | None = field(default=None, repr=False)
    noise_is: str = ""
    drawn: Samples | None = field(default=None, repr=False)
    convergence: Convergence | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it was solved to the tolerance, was SAMPLED, or is a closed form; of LPN, whether
        it is proven, and was seen, to converge, too."""
        certified = self.convergence or self.drawn or self.result
        return certified is None or certified.ok


def reconstruct(
    scan: Scan,
    method: Method | None = None,
    *,
    weight: float | None = None,
    samples: int | None = None,
    network: Denoiser | ConvexNetwork | None = None,
    stop: Stop | None = None,
    rng: np.random.Generator | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Reconstruction:
    """The image that a scan shows.

    Args:
        scan: see `scan_of`.
        method: None chooses, by what each predicts of samples that are hidden from it.
        weight: of the prior, relative to the largest one that does not blot out the image: 0 to 1.
            Found by hiding a tenth of the samples if not given. GRAPPA's is Tikhonov's; LPN's the
            noise level that its network is told, relative to the brightest tissue.
        samples: how many images are drawn for SCORE, even; 8 if not given.
        network: what SCORE takes heads to be, see `draw_images`, or LPN, see `plug_in`.
        stop: of the last solve. rng: which samples are hidden, and the draws; fixed if not given.
        say: told of each step.

    Raises:
        TypeError: no Scan or Method. ValueError: a bad weight, samples that are not finite, or
            none left to hide; a weight with SCORE, which has none, `samples` without it, or
            a network with neither SCORE nor LPN.
    """
    began = time.perf_counter()
    need(scan, Scan, "a Scan", "scan_of(kspace)")
    if method is not None:
        need(method, Method, "a Method, such as Method.L1_WAVELET")
    if weight is not None and number(weight, "weight") > 1:
        raise ArgumentError("expected ", Argument("weight"), f" from 0 to 1, got {weight}")
    check_draws(method, weight, samples)
    if network is not None and method not in (Method.SCORE, Method.LPN):
        raise ArgumentError(
            "expected ", Argument("network"), " with the methods score and lpn alone"
        )
    if len(scan.kspace) == 1 and method in (Method.SENSE, Method.GRAPPA):
        raise ValueError(f"expected several coils for {method.value}, got one: use l1-wavelet")
    _check_finite(scan.kspace)
    scan, unit = _of_size_one(scan)
    rng = np.random.default_rng(0) if rng is None else rng
    noise_is, drawn, convergence = scan.sigma_is, None, None
    chosen, reason, found = _chosen(scan, method, weight, rng, say)
    A = SENSE(scan.maps, scan.mask, ndim=scan.mask.ndim)
    y, result = scan.kspace, None
    everything = SENSE(scan.maps, ndim=scan.mask.ndim)
    if chosen is Method.GRAPPA:
        weight = _GRAPPA if weight is None else weight
        say("filling in k-space")
        kspace = grappa(y, scan.mask, calibration=scan.calibration, lamda=weight)
        image = _combined(everything, kspace)
    elif chosen is Method.ZERO_FILLED:
        weight, image = 0.0, _combined(A, y)
        kspace = everything(image)
    elif chosen is Method.SCORE:
        drawn, sigma, noise_is = _drawn(scan, samples or _DRAWS, network, rng, say)
        weight, image, scan = 0.0, drawn.mean, replace(scan, sigma=sigma)
        kspace = everything(image)
    elif chosen is Method.LPN:
        plugged = _plugged(scan, weight, network, stop, rng, say)
        weight, found, convergence = plugged.level, plugged.search, plugged.convergence
        image, noise_is, scan = plugged.image, plugged.sigma_is, replace(scan, sigma=plugged.sigma)
        result, kspace = convergence.result, everything(image)
    else:
        if found is None and weight is None:
            found = _validated(scan, chosen, rng, say)
        weight = found.weight if weight is None and found is not None else float(weight or 0.0)
        say(f"{chosen.value}, weight {weight:.1e}")
        problem, solver = _posed(A, y, chosen).at(weight)
        stop = Stop(rtol=1e-3, max_iters=300) if stop is None else stop
        result = solve(problem, solver, stop=stop, throw=False)
        image = result.x
        kspace = everything(image)
    size = float(np.linalg.norm(y))
    misfit = float(np.linalg.norm(y - kspace * scan.mask)) / size
    samples = int(scan.mask.sum()) * len(y)
    noise = None if scan.sigma is None else scan.sigma * samples**0.5 / size
    seconds = time.perf_counter() - began
    image, kspace = image * unit, kspace * unit
    if drawn is not None:
        draws, std, error = (a * unit for a in (drawn.samples, drawn.std, drawn.mean_error))
        drawn = replace(drawn, samples=draws, mean=image, std=std, mean_error=error)
    return Reconstruction(
        image,
        kspace,
        chosen,
        reason,
        weight,
        misfit,
        noise,
        seconds,
        found,
        result,
        noise_is,
        drawn,
        convergence,
    )


def check_draws(method: Method | None, weight: float | None, samples: int | None) -> None:
    """Raise ValueError for options that the method has no use for, or samples that are odd."""
    if method is Method.SCORE and weight is not None:
        raise ArgumentError("expected no ", Argument("weight"), " with score, whose prior has none")
    if samples is None:
        return
    if method is not Method.SCORE:
        raise ArgumentError("expected ", Argument("samples"), " with the method score alone")
    if integer(samples, "samples", 2) % 2:
        raise ArgumentError(
            "expected ",
            Argument("samples"),
            f" even, got {samples}: half of them mirror the others",
        )


def _drawn(
    scan: Scan,
    n: int,
    network: Any,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> Drawn:
    from .posterior import draw_images  # and with it samplers, which other methods do without

    say("finding noise and brightness")

    def observe(look: SampleLook) -> None:
        say(f"drawing {n} images: {look.calls} calls of the network")

    return draw_images(scan, n=n, network=network, rng=rng, observe=observe)


def _plugged(
    scan: Scan,
    level: float | None,
    network: Any,
    stop: Stop | None,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> Plugged:
    from .plugged import plug_in  # see above

    return plug_in(scan, level=level, network=network, stop=stop, rng=rng, say=say)


def _combined(A: SENSE, kspace: np.ndarray) -> np.ndarray:
    """A^H y over the coils' sum of squares: maps of any size leave the image its own."""
    power = power_of(A.maps, A.ndim)
    return A.adjoint(kspace) / np.where(power > 0, power, 1)


def _of_size_one(scan: Scan) -> tuple[Scan, np.float32 | np.float64]:
    """(the scan over a power of two that brings its samples near 1, that power).

    Squares of tiny or huge samples would vanish or overflow in single precision.
    """
    largest = float(np.abs(scan.kspace.astype(np.complex128)).max())
    power = np.frexp(largest)[1] if largest > 0 else 0
    real = np.finfo(scan.kspace.dtype).dtype.type
    unit = real(2.0 ** int(np.clip(power, -120, 120)))
    sigma = None if scan.sigma is None else scan.sigma / float(unit)
    calibration = None if scan.calibration is None else scan.calibration / unit
    kspace = scan.kspace / unit
    return replace(scan, kspace=kspace, sigma=sigma, calibration=calibration), unit


def _chosen(
    scan: Scan,
    method: Method | None,
    weight: float | None,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> tuple[Method, str, Search | None]:
    """(method, why, its search where there was one)."""
    if method is not None:
        return method, "", None
    if scan.complete:
        return Method.ZERO_FILLED, "every sample was measured", None
    if weight is not None:
        return Method.L1_WAVELET, "a weight was given", None
    tried: dict[Method, Search] = {}
    seed = int(rng.integers(1 << 31))  # both are judged by the same hidden samples
    for one in (Method.L1_WAVELET, Method.TV):
        try:
            tried[one] = _validated(scan, one, np.random.default_rng(seed), say)
        except NothingToHide:
            return Method.GRAPPA, "no samples can be hidden to choose a weight by", None
    best = min(tried, key=lambda one: min(tried[one].errors))
    told = " and ".join(f"{one.value} {min(s.errors):.4f}" for one, s in tried.items())
    reason = f"it predicts hidden samples best, with errors of {told}"
    return best, reason, tried[best]


def _check_finite(y: np.ndarray) -> None:
    if not np.isfinite(y).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise ValueError(f"expected finite k-space, got {told(y[bad])} at {bad}")


def _validated(
    scan: Scan, method: Method, rng: np.random.Generator, say: Callable[[str], None]
) -> Search:
    """The weight by which hidden samples are predicted best."""
    kept = scan.region or tuple(slice(0, 0) for _ in scan.mask.shape)
    seen, held = hold_out(scan.mask, kept, _SHARE, rng)
    ndim = scan.mask.ndim
    A, B = SENSE(scan.maps, seen, ndim=ndim), SENSE(scan.maps, held, ndim=ndim)
    posed, hidden = _posed(A, scan.kspace * seen, method, _ROUGH_BALANCE), scan.kspace * held
    size = float(np.linalg.norm(hidden))

    def fit(weight: float, x: np.ndarray | None) -> np.ndarray:
        say(f"{method.value}: trying weight {weight:.1e}")
        return _rough(posed, weight, x)

    def error(x: np.ndarray) -> float:
        return float(np.linalg.norm(hidden - B(x))) / size

    x0 = None
    if method is not Method.SENSE:  # whose image is near enough to start the others from
        x0 = _rough(_posed(A, scan.kspace * seen, Method.SENSE), _FIRST, None)
    weights = [2.0**-k for k in range(2, 2 + _STEPS)]
    return search(weights, fit, error, start=weights.index(_FIRST), x0=x0)


@dataclass(frozen=True)
class _Posed:
    """Problems that differ in their weight, relative to the one that blots out the image.

    at: weight -> (problem, method). scale: of their residuals.
    """

    at: Callable[[float], tuple[LinearSystem | InverseProblem, Solver]]
    scale: float


def _posed(A: SENSE, y: np.ndarray, method: Method, balance: float = _BALANCE) -> _Posed:
    back, space = A.adjoint(y), A.domain
    scale = float(space.norm(back))
    if method is Method.SENSE:
        normal, most = A.normal, A.norm_bound**2

        def damped(weight: float) -> tuple[LinearSystem, Solver]:
            return LinearSystem(normal + (weight * most) * Identity(space), back), CG()

        return _Posed(damped, scale)
    if method is Method.TV:
        brightest = float(np.abs(back).max())

        def varied(weight: float) -> tuple[InverseProblem, Solver]:
            prior = TotalVariation(weight * brightest, space)
            return InverseProblem(A, y, Gaussian(1.0), prior), PrimalDual(balance=balance)

        return _Posed(varied, scale)
    W = Wavelet(space)
    largest = largest_coefficient(W, back)

    def sparse(weight: float) -> tuple[InverseProblem, Solver]:
        # Averages are counted in: outside the maps nothing else would hold them.
        prior = L1Wavelet(weight * largest, W, averages=True)
        return InverseProblem(A, y, Gaussian(1.0), prior), FISTA()

    return _Posed(sparse, scale)


def largest_coefficient(W: Wavelet, back: np.ndarray) -> float:
    """The weight of an L1 norm of W x from which on x = 0 is the minimum, for back = A^H y."""
    return float(np.abs(W(back)).max())


def _rough(posed: _Posed, weight: float, x0: np.ndarray | None) -> np.ndarray:
    """A reconstruction to compare weights by: not certified, which would cost more than it."""
    problem, solver = posed.at(weight)
    state = solver.init(problem, x0, None)
    for _ in range(_ROUGH_STEPS // _LOOK):
        state = solver.advance(state, _LOOK)
        if not float(state.estimate) > _ROUGH * posed.scale:
            break
    return state.x
