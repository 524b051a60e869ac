"""The methods of `run_restoration`: a learned prior, and rivals whose weights know the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml import InverseProblem, Operator, Status, Stop, solve
from sciml.operators import Filter, Radon, Wavelet, filtered_back_projection
from sciml.priors import L1Wavelet, LearnedProximal, TotalVariation
from sciml.solve import Look
from sciml.solver import Solver

from ..krylov import CG
from ..proximal import ADMM, FISTA, PlugAndPlayADMM, Watch
from .restoration_report import LEARNED

if TYPE_CHECKING:
    from sciml.networks import ConvexNetwork

__all__ = ["METHODS", "Case", "Restored", "Restorer", "learned", "restorers", "tuned"]

METHODS = ("tv", "l1-wavelet", "fbp", LEARNED)
# The weight tried first, in units of ||A|| / sigma: A^H S^-1 noise has entries of up to that size.
_FIRST, _MOST = 4.0, 11
_FALLEN = 0.3  # dB below the best: no weights beyond are tried
# A rival's run ends when its PSNR changes by less than so many dB in so many iterations, or after
# so many times the iterations that the learned prior may take.
_STILL, _ROUND, _LONGER = 0.005, 50, 10
_GREYS = 20.0
_BEFORE = 10  # iterations at each level above the learned prior's own
_LEVELS = 4  # of wavelets: averages are not in the norm, and blur hides more than those of two


@dataclass(frozen=True, eq=False)
class Case:
    """What every method is given of a problem.

    Attributes:
        A, y, sigma: y = A x + noise. factor: c of s_m = c sigma. first: an image to begin with.
        problem: prior -> InverseProblem. rtol, max_iters: of a solve.
    """

    A: Operator
    y: np.ndarray = field(repr=False)
    sigma: float
    factor: float
    first: np.ndarray = field(repr=False)
    problem: Callable[[Any], InverseProblem]
    rtol: float
    max_iters: int


@dataclass(frozen=True, eq=False)
class Restored:
    """What a method found: weight None where it has none; seconds of that run alone."""

    image: np.ndarray = field(repr=False)
    weight: float | None
    seconds: float
    iterations: int = 0
    status: str = "closed form"
    certificate: Mapping[str, Any] = field(default_factory=dict)


class _Stopwatch:
    """Seconds since it was made, without those spent in `paused`."""

    def __init__(self) -> None:
        self._began, self._off = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began - self._off

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._off += time.perf_counter() - began


# The PSNR of an image, for those whose weight is tuned by it.
Judge = Callable[[np.ndarray], float]
# None where a method does not apply.
Restorer = Callable[[Case, Judge], Restored | None]


def restorers(network: ConvexNetwork) -> dict[str, Restorer]:
    """Those of METHODS: total variation, wavelets, filtered back-projection, the learned prior."""
    made = (
        partial(tuned, prior=_total_variation, solver=_split),
        partial(tuned, prior=_wavelets, solver=lambda problem: FISTA()),
        _filtered,
        partial(learned, network=network),
    )
    return dict(zip(METHODS, made, strict=True))


def _total_variation(case: Case, weight: float) -> Any:
    return TotalVariation(weight, case.A.domain)


def _split(problem: InverseProblem) -> Solver:
    """ADMM that moves pixels by a twentieth of the grey values at once, whatever weight and sigma
    are: a primal-dual method moves what the data leave open by weight / L in a step."""
    return ADMM(rho=_GREYS * problem.prior.weight * problem.step)


def _wavelets(case: Case, weight: float) -> Any:
    return L1Wavelet(weight, Wavelet(case.A.domain, levels=_LEVELS))


def tuned(
    case: Case,
    judge: Judge,
    *,
    prior: Callable[[Case, float], Any],
    solver: Callable[[InverseProblem], Solver],
) -> Restored:
    """The weight of the highest PSNR: halved and doubled until it falls, then by sqrt(2).

    Each run begins with the image of the weight before, as in a homotopy; seconds and iterations
    are those of the last one.
    """
    norm = case.A.norm_bound
    assert norm is not None
    first = best = _run(case, judge, prior(case, _FIRST * norm / case.sigma), solver, case.first)
    for factor in (0.5, 2.0):
        found = first
        for _ in range(_MOST):
            other = prior(case, factor * (found.weight or 0))
            found = _run(case, judge, other, solver, found.image)
            if judge(found.image) < judge(best.image) - _FALLEN:
                break
            best = max(best, found, key=lambda one: judge(one.image))
        if best is not first:
            break
    middle = best
    for factor in (2**0.5, 0.5**0.5):
        other = prior(case, factor * (middle.weight or 0))
        found = _run(case, judge, other, solver, middle.image)
        best = max(best, found, key=lambda one: judge(one.image))
    return best


def _run(
    case: Case,
    judge: Judge,
    prior: Any,
    solver: Callable[[InverseProblem], Solver],
    start: np.ndarray,
) -> Restored:
    """Iterated until the PSNR stands still.

    No residual is asked for: it is relative to ||A^H y|| / sigma², and where sigma is small, what
    the data leave open moves so little in a step that any tolerance is met before it has.
    """
    problem = case.problem(prior)
    method = solver(problem)
    done, score, status = 0, judge(start), "MAX_ITERS"
    clock = _Stopwatch()
    state = method.init(problem, start, None)
    while done < _LONGER * case.max_iters:
        state, done = method.advance(state, _ROUND), done + _ROUND
        with clock.paused():
            before, score = score, judge(state.x)
        if abs(score - before) < _STILL:
            status = "STANDS STILL"
            break
    return Restored(state.x, prior.weight, clock.seconds, done, status)


def _filtered(case: Case, judge: Judge) -> Restored | None:
    """The window of the highest PSNR."""
    A, y = case.A, case.y
    if not isinstance(A, Radon):
        return None
    found = []
    for window in Filter:
        clock = _Stopwatch()
        image = filtered_back_projection(y, A, filter=window)
        found.append(Restored(image, None, clock.seconds))
    return max(found, key=lambda one: judge(one.image))


def learned(case: Case, judge: Judge, *, network: ConvexNetwork) -> Restored:
    """Plug-and-play ADMM at the native step, s_m = c sigma: of the truth nothing is known.

    It begins where a few iterations at twice the level end, those at four times, and so on up to
    the largest that the network knows: g is not convex, and from an image that shows nothing a
    small level stays near it. The native step over 1 / L is how much larger rounding of A x is in
    what f is given: where rtol is below that, double precision. Watching is not in the seconds.
    """
    least, most = network.sigmas
    level = min(max(case.factor * case.sigma, least), most)
    priors = [
        LearnedProximal(network, case.A.domain, sigma=s, solver=CG())
        for s in level * 2.0 ** np.arange(int(np.log2(most / level)), -1, -1)
    ]
    problem, method = case.problem(priors[-1]), PlugAndPlayADMM()
    clock, first = _Stopwatch(), case.first
    for prior in priors[:-1]:
        state = method.init(case.problem(prior), first, None)
        first = method.advance(state, _BEFORE).x
    if np.finfo(first.dtype).eps * priors[-1].native_step / problem.step > case.rtol:
        problem, first = problem.to(dtype=np.float64), first.astype(np.float64)
    with clock.paused():
        watch = Watch(problem, method, values=False)

    def observe(look: Look) -> None:
        with clock.paused():
            watch(look)

    stop = Stop(rtol=case.rtol, max_iters=case.max_iters)
    result = solve(problem, method, x0=first, stop=stop, observe=observe, throw=False)
    seconds = clock.seconds
    if result.status == Status.INTERRUPTED:
        raise KeyboardInterrupt
    seen = watch.certify(result)
    certificate = {
        "residual": float(result.residual),
        "fixed_point": float(seen.fixed_point[-1]) if len(seen.fixed_point) else np.nan,
        "level": level,
        "proven": seen.theory.proven,
        "explained": seen.explain(),
    }
    iterations = int(result.iterations) + _BEFORE * (len(priors) - 1)
    return Restored(result.x, None, seconds, iterations, _status(result), certificate)


def _status(result: Any) -> str:
    status = result.status
    assert isinstance(status, Status)
    return status.name
