"""FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009), with restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sciml.arrays import Array, namespace
from sciml.prior import Proximable
from sciml.problem import InverseProblem, Problem
from sciml.solver import Solver

from ._base import gradient, need_prior

__all__ = ["FISTA"]


class _State(NamedTuple):
    x: Array
    z: Array
    t: Array  # per member, shaped to broadcast against x
    estimate: Array
    flag: Any
    problem: InverseProblem
    slope: Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True)
class FISTA(Solver):
    """min f(x) + g(x), f the data term, by the proximal operator of g.

    Algorithm (4.1) to (4.3) with the constant step of the problem. The momentum is dropped where it
    points uphill (O'Donoghue and Candès, Found. Comput. Math. 15, 2015, section 3.2), which makes
    the method adapt to strong convexity.

    Args:
        momentum: False for the plain proximal gradient method.
    """

    momentum: bool = True

    def check(self, problem: Problem) -> None:
        need_prior(problem, self.name, Proximable, "prox, such as L1Wavelet(weight, W)")

    def init(self, problem: InverseProblem, x0: Array | None, rng: Any = None) -> _State:
        x = problem.start() if x0 is None else x0
        ones = problem.domain.norm(x) * 0 + 1
        norm = problem.domain.norm(problem.residual(x))
        return _State(x, x, ones, norm, 0, problem, gradient(problem))

    def advance(self, state: _State, k: int) -> _State:
        x, z, t, estimate, flag, problem, slope = state
        step, prox, space = problem.step, problem.prior.prox, problem.domain
        for _ in range(k):
            x_old = x
            x = prox(z - step * slope(z), step)  # (4.1)
            estimate = space.norm(x - z) / step
            if not self.momentum:
                z = x
                continue
            uphill = space.inner_real(z - x, x - x_old) > 0
            t_old = _where(uphill, t * 0 + 1, t)
            t = (1 + (1 + 4 * t_old**2) ** 0.5) / 2  # (4.2)
            z = x + _where(uphill, t * 0, (t_old - 1) / t) * (x - x_old)  # (4.3)
        return _State(x, z, t, estimate, flag, problem, slope)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if hasattr(condition, "ndim") and condition.ndim:
        return namespace(condition).where(condition, yes, no)
    return yes if bool(condition) else no
