"""The primal-dual method of Condat (J. Optim. Theory Appl. 158, 2013) and Vũ (2013)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sciml.arrays import Array, from_host, namespace
from sciml.prior import Splittable
from sciml.priors.classical import sums
from sciml.problem import InverseProblem, Problem
from sciml.solver import Solver

from ._base import SPLITTABLE, gradient, need_prior

__all__ = ["PrimalDual", "bound"]


class _State(NamedTuple):
    x: Array
    Kx: Array
    p: Array  # dual: the prior is max <p, K x> over vectors of lengths up to its weight
    slope_x: Array  # ∇f(x)
    KHp: Array
    estimate: Array
    flag: Any
    problem: InverseProblem
    slope: Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class PrimalDual(Solver):
    """min f(x) + weight ||K x||, f the data term: priors such as TotalVariation.

    Algorithm 3.1 of Condat with rho = 1, no solves and no proximal operator of the prior as a
    whole. Its estimate is an upper bound of the certified residual, by the dual variable: see
    `bound`.

    Args:
        balance: of the dual step to its middle value; larger favours the prior.
    """

    balance: float = 10.0

    def check(self, problem: Problem) -> None:
        need_prior(problem, self.name, Splittable, SPLITTABLE)

    def init(self, problem: InverseProblem, x0: Array | None, rng: Any = None) -> _State:
        x = problem.start() if x0 is None else x0
        slope, prior = gradient(problem), problem.prior
        Kx = prior.K(x)
        p = 0 * Kx
        slope_x, KHp = slope(x), 0 * x
        first = bound(problem, Kx, p, slope_x, KHp)
        return _State(x, Kx, p, slope_x, KHp, first, 0, problem, slope)

    def advance(self, state: _State, k: int) -> _State:
        x, Kx, p, slope_x, KHp, estimate, flag, problem, slope = state
        prior = problem.prior
        K, L = prior.K, 1 / problem.step
        sigma = self.balance * L / (2 * K.norm_bound**2)
        tau = 1 / (L / 2 + sigma * K.norm_bound**2)
        for _ in range(k):
            x = x - tau * (slope_x + KHp)
            Kx_old, Kx = Kx, K(x)
            p = prior.project(p + sigma * (2 * Kx - Kx_old), prior.weight)
            slope_x, KHp = slope(x), K.adjoint(p)
            estimate = bound(problem, Kx, p, slope_x, KHp)
        return _State(x, Kx, p, slope_x, KHp, estimate, flag, problem, slope)


def bound(problem: InverseProblem, Kx: Array, p: Array, slope_x: Array, KHp: Array) -> Array:
    """An upper bound of the gradient mapping's norm at x, by any dual p within the prior's ball.

    With u = prox_t(x − t ∇f): the proximal objective is 1-strongly convex, and p bounds its minimum
    from below, so that ½ ||x − u||² ≤ t (g(x) − <p, K x>) + ½ t² ||∇f + K^H p||².
    """
    space, prior = problem.domain, problem.prior
    xp, ndim = namespace(Kx), prior.K.domain.ndim
    inner = sums(xp.real(xp.conj(p) * Kx), prior.K.range.ndim)
    gap = prior.weight * sums(prior.lengths(Kx), ndim) - inner
    square = space.norm(slope_x + KHp) ** 2
    gap = from_host(gap.reshape(gap.shape + (1,) * (square.ndim - gap.ndim)), Kx)
    return (square + 2 * xp.abs(gap) / problem.step) ** 0.5
