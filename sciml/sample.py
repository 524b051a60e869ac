"""The driver of posterior samplers: it counts, measures and certifies. Methods only step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np

from ._checks import integer, need, told
from ._mixing import effective_size, split_rhat
from .arrays import (
    Array,
    astype,
    dtype_of,
    is_array,
    is_torch,
    namespace,
    no_grad,
    nonfinite_members,
    pick,
    to_numpy,
    with_precision,
)
from .prior import Denoising, Scored, Tweedie, levels_of
from .problem import InverseProblem
from .result import Status
from .sampler import Sampler
from .samples import SampleError, SampleInterrupted, Samples
from .space import Space

__all__ = ["SampleLook", "sample"]

_SEED = 0x73616D706C65  # of no stream that a caller draws data from: their noise is not ours
_RHAT = 1.05
_EACH = 5  # least effective draws of half a chain (Bayesian Data Analysis, section 11.5)
_PROJECTIONS = 16
_WIDENED = 2.0  # more, in the median over the levels, is a prior that the data contradict
# More, at any level, is a prior far too wide. Channels of one site fade to a fifth of their power,
# which no Gaussian would, and are no reason to refuse.
_EXCESS = 10.0
_BAND = 0.1  # of misfit, beside 4 standard deviations of the noise's own


@dataclass(frozen=True)
class SampleLook:
    """What `observe` is shown after each step.

    Attributes:
        step: from 1. sigma: the noise level reached.
        calls: of the denoiser so far, for each chain. seconds: since the start.
    """

    step: int
    sigma: float
    calls: int
    seconds: float


def sample(
    problem: InverseProblem,
    sampler: Sampler,
    *,
    n: int = 8,
    budget: int = 150,
    rng: np.random.Generator | None = None,
    observe: Callable[[SampleLook], None] | None = None,
    throw: bool = True,
) -> Samples:
    """Draw from p(x | y) and certify the draws.

    SAMPLED means that the data misfit, evaluated in float64, lies within its band, that the data
    did not contradict the prior where the sampler looks at that, and of chains that go on at the
    last level that R-hat and effective sample size are within their limits. Draws
    that are independent runs have no mixing to check: `Samples.mean_error` tells what few of them
    leave unsure. `explain` says what was not checked. Nothing here or in a sampler knows the truth.

    Args:
        problem: InverseProblem whose prior has denoise(x, sigma) or score(x, sigma).
        sampler: a method, e.g. `solvers.DAPS()`.
        n: draws, >= 2: chains that run side by side.
        budget: calls of the denoiser a chain may take (all chains together make one call). Its
            Jacobian's counts as one more.
        rng: randomness; a fixed seed if not given.
        observe: called with a `SampleLook` after each step.
        throw: raise SampleError unless every member was SAMPLED.

    Returns:
        Samples, per member of the batch.

    Raises:
        SampleError: a member was not SAMPLED (throw=True); `.result` holds what was found.
        SampleInterrupted: Ctrl-C (throw=True), also a KeyboardInterrupt.
        TypeError, ValueError: bad arguments, before any work; a prior whose denoiser does not keep
            shape and dtype, at its first call.
    """
    _check(problem, sampler, rng, observe)
    integer(n, "n", 2)
    if sampler.mirrored and n % 2:
        raise ValueError(f"expected an even n for mirrored chains, got {n}: antithetic=False")
    integer(budget, "budget", 1)
    sampler.check(problem)
    rng = np.random.default_rng(_SEED) if rng is None else rng
    with no_grad(problem.y), np.errstate(all="ignore"):
        result = _Drive(problem, sampler, int(n), int(budget), rng, observe).run()
    if throw and not result.ok:
        interrupted = (np.asarray(result.status) == Status.INTERRUPTED).any()
        raise (SampleInterrupted if interrupted else SampleError)(result)
    return result


def _check(problem: Any, sampler: Any, rng: Any, observe: Any) -> None:
    need(problem, InverseProblem, "an InverseProblem", "InverseProblem(A, y, noise, prior)")
    if not isinstance(sampler, Sampler):
        got = f"the class {sampler.__name__}" if isinstance(sampler, type) else told(sampler)
        raise TypeError(f"expected a sampler, got {got}: pass an instance, e.g. solvers.DAPS()")
    if not isinstance(problem.prior, Denoising | Scored):
        raise TypeError(
            "expected a prior with denoise(x, sigma) or score(x, sigma) to draw with, got "
            f"{told(problem.prior)}: see sciml.priors"
        )
    need(rng, (np.random.Generator, NoneType), "rng as a numpy.random.Generator")
    if observe is not None and not callable(observe):
        raise TypeError(f"expected observe as a function of a SampleLook, got {told(observe)}")
    if any(is_torch(a) and a.requires_grad for a in problem.inputs().values()):
        raise TypeError("expected data without gradients, got tensors that require them")


class _Counting:
    """A prior that counts its calls, and has a denoiser and a score whichever it was given with."""

    def __init__(self, prior: Any, space: Space) -> None:
        self.inner, self.calls = prior, 0
        self._faces = Tweedie(prior, ndim=space.ndim)

    @property
    def sigma_range(self) -> tuple[float, float]:
        return levels_of(self.inner)

    def denoise(self, x: Array, sigma: Any) -> Array:
        self.calls += 1
        return self._fitting("denoise", self._faces.denoise(x, sigma), x)

    def score(self, x: Array, sigma: Any) -> Array:
        self.calls += 1
        return self._fitting("score", self._faces.score(x, sigma), x)

    def denoise_vjp(self, x: Array, sigma: Any, v: Array) -> tuple[Array, Array]:
        self.calls += 2
        return self.inner.denoise_vjp(x, sigma, v)

    def _fitting(self, name: str, found: Any, x: Array) -> Array:
        """What the caller's prior gave, if it is of the shape and dtype of x."""
        if not is_array(found):
            got = told(found)
        elif found.shape != x.shape or dtype_of(found) != dtype_of(x):
            got = f"{tuple(found.shape)}, {dtype_of(found)}"
        else:
            return found
        raise TypeError(
            f"expected {name}(x, sigma) of the prior {type(self.inner).__name__} to keep shape and "
            f"dtype of x, {tuple(x.shape)}, {dtype_of(x)}, got {got}"
        )


class _Drive:
    """One run. Per-member bookkeeping is in host arrays of the batch's shape."""

    def __init__(
        self,
        problem: InverseProblem,
        sampler: Sampler,
        n: int,
        budget: int,
        rng: np.random.Generator,
        observe: Callable[[SampleLook], None] | None,
    ) -> None:
        self.problem, self.sampler, self.n, self.budget = problem, sampler, n, budget
        self.rng, self.observe = rng, observe
        self.batch = problem.batch
        self.status = np.full(self.batch, int(Status.SAMPLED))
        self.prior = _Counting(problem.prior, problem.domain)
        self.levels: list[float] = []
        self.widened: np.ndarray | None = None
        self.excess: np.ndarray | None = None
        self.traces: list[np.ndarray] = []
        self.notes: list[str] = []
        self.began = time.perf_counter()
        directions = Space(problem.domain.shape, with_precision(problem.domain.dtype, np.float64))
        d = directions.random(np.random.default_rng(0), (_PROJECTIONS,)).reshape(_PROJECTIONS, -1)
        self.directions = d / np.linalg.norm(d, axis=1, keepdims=True)

    def run(self) -> Samples:
        bad = self._nonfinite_input()
        if bad.all():  # an empty batch, too
            start = self.problem.domain.zeros(self.problem.y, (self.n, *self.batch))
            return self._result(start, bad)
        posed = copy.copy(self.problem)
        posed.prior = self.prior
        if bad.any():
            y = self.problem.y
            posed.y = pick(bad, namespace(y).zeros_like(y), y)
        x, done = None, False
        try:
            state = self.sampler.init(posed, self.n, self.budget, self.rng)
            x = state.x
            while not state.done and self.prior.calls < self.budget:
                state = self.sampler.advance(state)
                x = self._keep(state.x, x)
                if (self.status == Status.NONFINITE_OUTPUT).all():
                    break
                self._look(state)
            done = state.done
        except KeyboardInterrupt:
            self._end(~bad, Status.INTERRUPTED)
        if x is None:
            x = self.problem.domain.zeros(self.problem.y, (self.n, *self.batch))
        if not done:
            self._end(~bad, Status.UNMIXED)
        if self.prior.calls > self.budget:
            self.notes.append(f"The sampler took more than its budget of {self.budget} calls.")
            self._end(~bad, Status.UNMIXED)
        return self._result(x, bad)

    def _nonfinite_input(self) -> np.ndarray:
        """Members whose input holds NaN or Inf; the input is named."""
        found = np.zeros(self.batch, bool)
        own = self.problem.A.batch_shape == self.batch
        for name, array in self.problem.inputs().items():
            shared = name.startswith("A.") and not own
            lead = tuple(array.shape[: len(self.batch)])
            per_member = self.batch if lead == self.batch and not shared else ()
            bad = np.broadcast_to(nonfinite_members(array, per_member), self.batch)
            if bad.any():
                self.notes.append(f"Input {name} holds NaN or Inf.")
                found = found | bad
        self._end(found, Status.NONFINITE_INPUT)
        return found

    def _keep(self, x: Array, before: Array) -> Array:
        """x, but for members with NaN or Inf what they were before."""
        bad = np.asarray(nonfinite_members(x, (self.n, *self.batch)).any(axis=0))
        if not bad.any():
            return x
        self._end(bad, Status.NONFINITE_OUTPUT)
        return pick(np.broadcast_to(bad, (self.n, *self.batch)), before, x)

    def _look(self, state: Any) -> None:
        self.levels.append(float(state.sigma))
        self.widened = getattr(state, "widened", None)
        self.excess = getattr(state, "excess", None)
        if state.settled and not self.sampler.independent:
            self.traces.append(self._projected(state.x))
        if self.observe is not None:
            seconds = time.perf_counter() - self.began
            self.observe(SampleLook(len(self.levels), self.levels[-1], self.prior.calls, seconds))

    def _projected(self, x: Array) -> np.ndarray:
        """(n, *batch, projections) float64 on the host."""
        host = np.asarray(to_numpy(x)).reshape(self.n, *self.batch, self.problem.domain.size)
        return np.real(host @ self.directions.conj().T)

    def _end(self, which: np.ndarray, status: Status) -> None:
        self.status[which & (self.status == Status.SAMPLED)] = status

    # -- the certificate -----------------------------------------------------------------------

    def _result(self, x: Array, bad: np.ndarray) -> Samples:
        misfit, band = self._misfit(x)
        self._end(~((misfit >= band[0]) & (misfit <= band[1])), Status.MISFIT)
        if self.widened is not None:
            self._end(~(self.widened <= _WIDENED), Status.MISFIT)
        if self.excess is not None:
            self._end(~(self.excess <= _EXCESS), Status.MISFIT)
        rhat = ess = None
        enough = _EACH * 2 * self.n
        if not self.sampler.independent:
            rhat, ess = self._mixing()
            self._end(~((rhat <= _RHAT) & (ess >= enough)), Status.UNMIXED)
        mean, std, error = self._moments(x)
        degrees = self.n // 2 if self.sampler.mirrored else self.n - 1

        statuses = np.array([Status(int(s)) for s in self.status.reshape(-1)], dtype=object)

        def shaped(values: np.ndarray) -> Any:
            return values.reshape(self.batch) if self.batch else values.reshape(-1)[0]

        return Samples(
            samples=x,
            mean=mean,
            std=std,
            mean_error=error,
            degrees=0 if self.sampler.deterministic else degrees,
            status=shaped(statuses),
            misfit=shaped(misfit),
            band=band,
            rhat=None if rhat is None else shaped(rhat),
            ess=None if ess is None else shaped(ess),
            rhat_limit=_RHAT,
            ess_limit=enough,
            widened=None if self.widened is None else shaped(self.widened),
            widened_limit=_WIDENED,
            excess=None if self.excess is None else shaped(self.excess),
            excess_limit=_EXCESS,
            calls=self.prior.calls,
            seconds=time.perf_counter() - self.began,
            history=np.array(self.levels),
            sampler=self.sampler,
            notes=tuple(self.notes),
        )

    def _misfit(self, x: Array) -> tuple[np.ndarray, tuple[float, float]]:
        """Whitened square misfit per measured entry, averaged over draws; and its band."""
        A, noise = self.problem.A.to(dtype=np.float64), self.problem.noise
        wide = with_precision(dtype_of(self.problem.y), np.float64)
        y = astype(self.problem.y, wide)
        axes = tuple(range(-A.range.ndim, 0))
        m = self.problem.measured
        total = np.zeros(self.batch)
        for i in range(self.n):  # one at a time: draws in double precision may be large
            one = astype(x[i, ...], with_precision(dtype_of(x), np.float64))
            r = noise.whiten(y - A(one))
            total = total + np.asarray(to_numpy(namespace(r).sum(abs(r) ** 2, axis=axes)))
        sd = math.sqrt((1 if wide.kind == "c" else 2) / float(m.min(initial=A.range.size)))
        return total / m / self.n, (max(0.0, 1 - _BAND - 4 * sd), 1 + _BAND + 4 * sd)

    def _mixing(self) -> tuple[np.ndarray, np.ndarray]:
        """(worst R-hat, least effective sample size) of chains that went on at the last level."""
        if len(self.traces) < 4:
            self.notes.append("The chains did not come to the last level, or made few steps there.")
            return np.full(self.batch, np.inf), np.zeros(self.batch)
        draws = np.stack(self.traces)
        return split_rhat(draws).max(axis=-1), effective_size(draws).min(axis=-1)

    def _moments(self, x: Array) -> tuple[Array, Array, Array]:
        """(mean, standard deviation, standard error of the mean).

        Unbiased: E|x − mean|² lacks the variance of the mean.
        """
        xp = namespace(x)
        mean = xp.mean(x, axis=0)
        spread = xp.mean(abs(x - mean) ** 2, axis=0)
        if not self.sampler.mirrored:
            std = xp.sqrt(spread * (self.n / (self.n - 1)))
            return mean, std, std / self.n**0.5
        pairs = self.n // 2
        if pairs < 2:
            return mean, xp.sqrt(spread), xp.full_like(spread, float("nan"))
        # pairs are independent of each other, their members are not
        average = (x[:pairs, ...] + x[pairs:, ...]) / 2
        error = xp.sum(abs(average - mean) ** 2, axis=0) / (pairs * (pairs - 1))
        return mean, xp.sqrt(spread + error), xp.sqrt(error)
