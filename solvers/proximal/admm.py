"""ADMM (Boyd, Parikh, Chu, Peleato, Eckstein, Found. Trends Mach. Learn. 3, 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sciml._checks import integer, number
from sciml.arrays import Array, is_array
from sciml.operator import Operator
from sciml.prior import Splittable
from sciml.problem import InverseProblem, LinearSystem, Problem
from sciml.solver import Solver

from ..krylov import CG
from ._base import SPLITTABLE, gradient, need_prior
from .primal_dual import bound

__all__ = ["ADMM"]


class _State(NamedTuple):
    x: Array
    z: Array
    u: Array
    estimate: Array
    flag: Any
    problem: InverseProblem
    slope: Callable[[Array], Array]
    H: Operator  # A^H S^-1 A + rho K^H K
    rho: float


@dataclass(frozen=True, kw_only=True)
class ADMM(Solver):
    """min f(x) + g(K x), f the data term, split at z = K x: scaled form (3.5) to (3.7).

    The x-step is a few iterations of CG from the last x. Takes priors such as TotalVariation and
    L1Wavelet, and noise of one size. The estimate bounds the certified residual, see
    `primal_dual.bound`.

    Args:
        rho: weight of the split, in units of the data term's curvature 1 / step.
        inner: iterations of CG in a step.
    """

    rho: float = 1.0
    inner: int = 5

    def __post_init__(self) -> None:
        integer(self.inner, "inner", 1)
        number(self.rho, "rho", least=1e-12)

    def check(self, problem: Problem) -> None:
        found = need_prior(problem, self.name, Splittable, SPLITTABLE)
        if found.noise.sigma is None or is_array(found.noise.sigma):
            raise TypeError("ADMM expected noise of one size, Gaussian(sigma): whiten y and A")

    def init(self, problem: InverseProblem, x0: Array | None, rng: Any = None) -> _State:
        x, prior, rho = (
            problem.start() if x0 is None else x0,
            problem.prior,
            self.rho / problem.step,
        )
        sigma: Any = problem.noise.sigma
        H = float(sigma) ** -2 * problem.A.normal + rho * prior.K.normal
        slope, z = gradient(problem), prior.K(x)
        u = 0 * z
        first = bound(problem, z, u, slope(x), 0 * x)
        return _State(x, z, u, first, 0, problem, slope, H, rho)

    def advance(self, state: _State, k: int) -> _State:
        x, z, u, estimate, flag, problem, slope, H, rho = state
        prior, back = problem.prior, -slope(0 * x)
        for _ in range(k):
            system = LinearSystem(H, back + rho * prior.K.adjoint(z - u))
            x = CG().advance(CG().init(system, x, None), self.inner).x  # (3.5)
            v = (Kx := prior.K(x)) + u
            u = prior.project(v, prior.weight / rho)  # (3.7), for v = u + K x
            z = v - u  # (3.6): the proximal operator, by Moreau's decomposition
            estimate = bound(problem, Kx, rho * u, slope(x), rho * prior.K.adjoint(u))
        return _State(x, z, u, estimate, flag, problem, slope, H, rho)
