"""An image under a learned proximal operator: as smooth as hidden samples ask, and proven to be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sciml import Gaussian, InverseProblem, Look, Stop, solve
from sciml._checks import Argument, ArgumentError, need, number, told
from sciml.operators import SENSE
from sciml.priors import LearnedProximal

from ..krylov import CG
from ..proximal import FISTA, Convergence, PlugAndPlayADMM, Watch
from .hold_out import NothingToHide, Search, hold_out, search
from .posterior import brightness_of, fitted, need_slice, noise_in
from .scan import Scan

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork

    from ..proximal._base import Watchable

__all__ = ["Plugged", "plug_in"]

_SHARE = 0.1  # of the samples that are hidden to choose a level
_FACTOR = 2**0.5  # between levels that may be tried
_FIRST = 1.5  # times the data's noise is tried first: rather too much than too little
_DAMP = 2.0**-6  # of the first image: undamped, its noise may be brighter than the head
# Levels are compared by images to this tolerance, or of so many steps.
_ROUGH, _ROUGH_STEPS, _LOOK = 1e-3, 40, 5
# The certified solve is slower: in double precision, watched, and without momentum where that has
# no theorem. It begins where the tolerance is nearly met.
_NEAR, _NEAR_STEPS = 2.0, 300
_ASTRAY = 1.5  # times the least estimate so far
# The prior's weight in units of L, at least 1: what is above makes steps tend to 0, provably.
_ROOM = 1.05


class Plugged(NamedTuple):
    """An image, and what is known of it.

    Attributes:
        image: complex (*shape). level: what the network was told, relative to the brightest tissue.
        sigma: the noise that is taken for the data's, sigma_is: where that is from.
        convergence: the theorem, what was seen of it, and the certified solve.
        search: how the level was found; None where it was given, the network knows one alone, or no
            samples can be hidden: it is the noise's then.
    """

    image: np.ndarray
    level: float
    sigma: float
    sigma_is: str
    convergence: Convergence
    search: Search | None


def plug_in(
    scan: Scan,
    *,
    level: float | None = None,
    network: ConvexNetwork | None = None,
    ratio: float = 1.0,
    stop: Stop | None = None,
    rng: np.random.Generator | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Plugged:
    """min ½ ‖y − A x‖² / sigma² + w φ(x), prox_φ = f a network for images, by plug-and-play.

    Real and imaginary part go through f by themselves, over `brightness_of` a SENSE image. w is
    1.05 L / ratio², L = ‖A‖² / sigma². With a ratio of 1 the native step of the prior is just below
    1 / L, so that each proximal gradient step is one evaluation of f, and the objective provably
    falls whatever f is. For other ratios it is ADMM at the native step, which has no theorem above
    1: `convergence` says so, and is not ok. How smooth x gets is left to the noise level that f is
    told: φ is another one for each. At level = ratio sigma / √2 ‖A‖ (of a real number, as the
    network counts) x is about the mode of the posterior; hidden samples tell whether more or less
    is better.

    Args:
        scan: of a slice; its sigma is used where a noise scan told it, see `noise_in`.
        level: found on hidden samples if not given; where none can be hidden, the noise's.
        network: of heads that are about 1 in their brightest tissue; that of
            `PretrainedProximal.LPN_MRI` if not given.
        ratio: of the prior's level to that of the noise, above 0, where the two are in balance.
        stop: of the certified solve. rng: which samples are hidden; a fixed seed if not given.
        say: told of each step.

    Raises:
        TypeError: no Scan, or no ConvexNetwork. ValueError: a volume, k-space of zeros, a network
            for other data, a level it does not know, or noise that nothing tells.
    """
    need_slice(scan, "lpn")
    maps, y = _of_everywhere(scan)
    A = SENSE(maps, scan.mask)
    if not number(ratio, "ratio") > 0:
        raise ValueError(f"expected ratio > 0, got {ratio}")
    network = _checked(network, A)
    level = _known(level, network)
    say("finding noise and brightness")
    first = fitted(A, y, _DAMP)
    scale = brightness_of(first)
    if not scale > 0:
        raise ValueError("expected k-space with signal for lpn, got zeros")
    sigma, sigma_is = noise_in(scan)
    unit = A.domain.real_dtype.type(scale)
    y, x = y / unit, first / unit
    noise = Gaussian(sigma / scale)

    def posed(A: SENSE, y: np.ndarray, level: float) -> InverseProblem:
        weight = _ROOM * A.norm_bound**2 * noise.gain / ratio**2
        told = level if network.told_sigma else None
        prior = LearnedProximal(network, A.domain, sigma=told, weight=weight, solver=CG())
        return InverseProblem(A, y, noise, prior)

    found = None
    if level is None:
        rng = np.random.default_rng(0) if rng is None else rng
        own = float(np.clip(ratio * sigma / scale / 2**0.5 / A.norm_bound, *network.sigmas))
        level = own
        with suppress(NothingToHide):
            found, x = _validated(scan, A, y, posed, _levels(network), _FIRST * own, rng, say)
            level = found.weight
    say(f"lpn, noise level {level:.3f}")
    stop = Stop(rtol=1e-3, max_iters=300) if stop is None else stop
    x = _rough(posed(A, y, level), x, _NEAR * stop.rtol, _NEAR_STEPS)
    problem = posed(A, y, level).to(dtype=np.complex128)
    method = _method(problem, momentum=False)
    watch = Watch(problem, method, start=False)
    looks: list[Look] = []

    def observe(look: Look) -> None:
        watch(look)
        looks[:] = [look]
        say(f"lpn, noise level {level:.3f}: step {look.iteration}")

    x0 = x.astype(np.complex128)
    result = solve(problem, method, x0=x0, stop=stop, observe=observe, throw=False)
    seen = watch.certify(result)
    if seen.seen is None:  # too few steps to compare: one more from the answer
        end = looks[-1]
        more = method.advance(end.state, 1)
        watch(replace(end, iteration=end.iteration + 1, state=more))
        seen = watch.certify(result)
    image = (result.x * scale).astype(scan.kspace.dtype)
    return Plugged(image, level, sigma, sigma_is, seen, found)


def _of_everywhere(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """(maps, k-space), with one coil more where none sees anything: it has measured 0.

    Nothing would hold these pixels but their neighbours, and the head run over into the air.
    """
    power = (np.abs(scan.maps) ** 2).sum(axis=0)
    unseen = (power == 0).astype(power.dtype)
    if not unseen.any():
        return scan.maps, scan.kspace
    more = (power.max() ** 0.5 * unseen).astype(scan.maps.dtype)
    maps = np.concatenate([scan.maps, more[None]])
    return maps, np.concatenate([scan.kspace, 0 * scan.kspace[:1]])


def _checked(network: ConvexNetwork | None, A: SENSE) -> ConvexNetwork:
    """It, or the package's; ValueError unless it takes images of this size, of one channel."""
    from sciml.networks import ConvexNetwork, PretrainedProximal, load_proximal

    if network is None:
        network = load_proximal(PretrainedProximal.LPN_MRI)
    need(network, ConvexNetwork, "a ConvexNetwork", "see sciml.networks.load_proximal")
    element = tuple(network.element)
    fits = len(element) == 3 and element[0] == 1
    sizes = zip(element[1:], A.domain.shape, strict=True) if fits else ()
    if not fits or any(isinstance(n, int) and n != m for n, m in sizes):
        raise ArgumentError(
            "expected ",
            Argument("network"),
            f" for slices of {A.domain.shape}, got one for {element}: see "
            "PretrainedProximal.LPN_MRI",
        )
    return network


def _known(level: float | None, network: ConvexNetwork) -> float | None:
    """The level, if it is one of the network's; its own where it knows one alone."""
    least, most = network.sigmas
    if level is None:
        return None if network.told_sigma else least
    if not least <= number(level, "weight") <= most:
        raise ArgumentError(
            "expected ",
            Argument("weight"),
            f" from {least:g} to {most:g} with lpn, the noise level its network is told, got "
            f"{told(level)}",
        )
    return float(level)


def _levels(network: ConvexNetwork) -> list[float]:
    """From the largest on."""
    least, most = network.sigmas
    count = int(np.log(most / least) / np.log(_FACTOR) + 1e-9) + 1
    return [most / _FACTOR**k for k in range(count)]


def _validated(
    scan: Scan,
    A: SENSE,
    y: np.ndarray,
    posed: Callable[[SENSE, np.ndarray, float], InverseProblem],
    levels: list[float],
    near: float,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> tuple[Search, np.ndarray]:
    """(the level by which hidden samples are predicted best, the image of the best one tried).

    near: of the first one.
    """
    kept = scan.region or tuple(slice(0, 0) for _ in scan.mask.shape)
    seen, held = hold_out(scan.mask, kept, _SHARE, rng)
    A, B = SENSE(A.maps, seen), SENSE(A.maps, held)
    known, hidden = y * seen, y * held
    size = float(np.linalg.norm(hidden))
    tried: dict[float, np.ndarray] = {}

    def fit(level: float, x: np.ndarray | None) -> np.ndarray:
        say(f"lpn: trying noise level {level:.3f}")
        assert x is not None
        x = _rough(posed(A, known, level), x, _ROUGH)
        tried[error(x)] = x
        return x

    def error(x: np.ndarray) -> float:
        return float(np.linalg.norm(hidden - B(x))) / size

    start = int(np.argmin(np.abs(np.log(levels) - np.log(near))))
    found = search(levels, fit, error, start=start, x0=fitted(A, known, _DAMP))
    return found, tried[min(found.errors)]


def _method(problem: InverseProblem, *, momentum: bool) -> Watchable:
    """At the prior's native step: proximal gradient steps if it is up to 1 / L, else ADMM.

    momentum: faster, without a theorem.
    """
    if problem.step == problem.prior.native_step:
        return FISTA(momentum=momentum)
    return PlugAndPlayADMM()


def _rough(
    problem: InverseProblem, x: np.ndarray, rtol: float, steps: int = _ROUGH_STEPS
) -> np.ndarray:
    """An image to compare levels by, or to begin at: not certified, which costs more than it.

    Momentum can lead away for a g that is not convex: the best image counts, and it ends there.
    """
    method = _method(problem, momentum=True)
    state, scale = method.init(problem, x, None), float(problem.scale)
    best, least = x, float("inf")
    for _ in range(steps // _LOOK):
        state = method.advance(state, _LOOK)
        left = float(state.estimate)
        if left < least:
            best, least = state.x, left
        if not rtol * scale < left < _ASTRAY * least:
            break
    return best
