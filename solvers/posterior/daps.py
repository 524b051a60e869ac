"""Decoupled annealing with exact Gaussian conditionals (after Zhang et al., arXiv 2407.01521)."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import need, number
from sciml.arrays import Array, astype, dtype_of, from_host, namespace, to_numpy
from sciml.operator import Operator
from sciml.operators import FFT
from sciml.prior import levels_of
from sciml.problem import InverseProblem
from sciml.sampler import Sampler

from ._base import Annealed, Draw, Noise, aligned, karras, need_linear

__all__ = ["DAPS", "Covariance"]

# The probe moves x_t by this share of its noise: a derivative still, and far above rounding.
_PROBE = 0.1
# Levels worth a visit, over the spread of draws: noise that hides how wrong these still are, and
# noise that is nothing beside it.
_ABOVE, _BELOW = 2.0, 0.125


class Covariance(enum.Enum):
    """How wide p(x0 | x_t) is taken to be about its mean D(x_t)."""

    PROBED = "sigma² diag(J) in the prior's basis, J the denoiser's Jacobian, by one more call"
    ISOTROPIC = "sigma²"


class _Tools(NamedTuple):
    problem: InverseProblem
    noise: Noise
    draw: Draw
    basis: Operator | None


@dataclass(frozen=True, kw_only=True)
class DAPS(Sampler):
    """At each noise level draw x0 from p(x0 | x_t, y), then x_t anew from N(x0, sigma² I).

    Algorithm 1 of the paper. p(x0 | x_t) is taken as a Gaussian about D(x_t), and x0 drawn exactly
    given the data, where the paper takes Langevin steps. With the true covariance sigma² J of
    p(x0 | x_t) all draws are exact for a Gaussian prior, in any number of levels; PROBED has its
    diagonal in the basis that the prior names (`prior.basis`), else in Fourier
    space for complex x of two axes or more, else entry by entry.

    Where the data contradict that Gaussian, it is made wider (`Draw.asked`): draws then explain
    the data, at a head or a site unlike those that the prior knows, too. By how much, in the median
    over the levels, is `Samples.widened`, and part of the certificate. One that is far too wide is
    left as it is, and told by `Samples.excess`.

    Levels run from the prior's largest to its least, but none is spent where it tells nothing: once
    draws spread less than the noise of their level, those that are left run from twice that spread
    to an eighth of it. The spread is that of the chains, of the worst member of a batch above and
    of the best below, and is looked at anew after each level; a single chain keeps all levels.

    Args:
        covariance: PROBED (two calls a level) or ISOTROPIC (one).
        rho: of the noise levels (`karras`); all the budget is used.
        antithetic: mirror the noise of half of the chains: the mean is better, n must be even.
    """

    covariance: Covariance = Covariance.PROBED
    rho: float = 7.0
    antithetic: bool = True

    def __post_init__(self) -> None:
        need(self.covariance, Covariance, "covariance as a Covariance", "Covariance.PROBED")
        number(self.rho, "rho", least=1e-3)

    @property
    def mirrored(self) -> bool:
        return self.antithetic

    def check(self, problem: InverseProblem) -> None:
        need_linear(problem, self.name)

    def init(
        self, problem: InverseProblem, n: int, budget: int, rng: np.random.Generator
    ) -> Annealed:
        each = 2 if self.covariance is Covariance.PROBED else 1
        least, most = levels_of(problem.prior)
        levels = karras(max(1, budget // each), most, least, self.rho)
        noise = Noise(problem, n, rng, mirrored=self.antithetic)
        basis = _basis(problem) if each == 2 else None
        x = most * noise.of(problem.domain)
        return Annealed(x, x, 0, levels, _Tools(problem, noise, Draw.of(problem, basis), basis))

    def advance(self, state: Annealed) -> Annealed:
        problem, noise, draw, basis = state.tools
        sigma, x_t = state.levels[state.step], state.noisy
        D = problem.prior.denoise(x_t, sigma)
        root: Any = sigma
        r, asked = draw.left(D), state.asked
        coordinates = problem.domain if basis is None else basis.range
        if self.covariance is Covariance.PROBED:
            root = sigma * _diagonal(problem, basis, noise, x_t, D, sigma) ** 0.5
            asked = (*asked, draw.asked(r, root, noise.of(coordinates)))
            wider = from_host(asked[-1].wider ** 0.5, problem.y, dtype_of(root))
            root = root * aligned(wider, problem, coordinates)
        x = draw(D, root, noise.of(coordinates), noise.of_data(), r)  # line 4
        step, levels = state.step + 1, state.levels
        if step < len(levels):
            levels = levels[:step] + self._ahead(levels[step - 1 :], x, state.tools)
            x_t = x + levels[step] * noise.of(problem.domain)  # line 5
        return Annealed(x, x_t, step, levels, state.tools, asked=asked)

    def _ahead(self, levels: list[float], x: Array, tools: _Tools) -> list[float]:
        """The levels after the first of `levels`, given what was drawn at it."""
        now, *left = levels
        least, most = _spread(x, tools)
        if x.shape[0] == 1 or not most < now:
            return left
        above = min(left[0], _ABOVE * most)
        below = max(levels_of(tools.problem.prior)[0], _BELOW * least)
        if len(left) == 1 or not below < above:
            return left
        return karras(len(left), above, below, self.rho)


def _spread(x: Array, tools: _Tools) -> tuple[float, float]:
    """The standard deviation of chains about their mean, the least and the most of all members.

    The power of a deviation weighs it, in the prior's basis: few coefficients may hold it all.
    """
    problem, basis = tools.problem, tools.basis
    xp = namespace(x)
    off = x - xp.mean(x, axis=0, keepdims=True)
    off = off if basis is None else basis(off)
    power = astype(abs(off), np.dtype(np.float64)) ** 2
    inner = (0, *range(1 + len(problem.batch), power.ndim))
    whole, square = (to_numpy(xp.sum(power**k, axis=inner)) for k in (1, 2))
    mean = square / np.where(whole > 0, whole, 1) / 2  # of a complex Gaussian its variance
    known = mean[np.isfinite(mean)]  # a member that failed counts no more
    if known.size == 0:
        return math.inf, math.inf
    return float(known.min()) ** 0.5, float(known.max()) ** 0.5


def _given(problem: InverseProblem) -> Any:
    """The prior as the caller gave it, not as `sample` counts it."""
    return getattr(problem.prior, "inner", problem.prior)


def _basis(problem: InverseProblem) -> Operator | None:
    found = getattr(_given(problem), "basis", None)
    if isinstance(found, Operator):
        return found.to(dtype=problem.domain.real_dtype)
    fourier = problem.domain.is_complex and problem.domain.ndim > 1
    return FFT(problem.domain) if fourier else None


def _diagonal(
    problem: InverseProblem, basis: Operator | None, noise: Noise, x: Array, D: Array, sigma: float
) -> Array:
    """diag(B J B^H) at x, by one finite difference along z with |B z| = 1 (Hutchinson's estimate).

    Exact where B J B^H is diagonal. Elsewhere it is right on average and scattered, and where it
    happens to be 0 or less the data cannot move a coefficient: priors with `pooled` average it over
    coefficients that are alike.
    """
    space = problem.domain if basis is None else basis.range
    xp, probe = namespace(x), noise.of(space)
    z = probe / abs(probe)
    step = _PROBE * sigma
    moved = problem.prior.denoise(x + step * (z if basis is None else basis.adjoint(z)), sigma)
    Jz = (moved - D) / step
    Jz = Jz if basis is None else basis(Jz)
    found = xp.real(xp.conj(z) * Jz) if dtype_of(Jz).kind == "c" else z * Jz
    mean = xp.mean(found, axis=0, keepdims=True)
    pooled = getattr(_given(problem), "pooled", None)
    return xp.clip(mean if pooled is None else pooled(mean), 0.0, 1.0)
