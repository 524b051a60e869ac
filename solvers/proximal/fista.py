"""FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009), with restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sciml._checks import number
from sciml.arrays import Array, namespace
from sciml.prior import Proximable
from sciml.problem import InverseProblem, Problem

from ._base import (
    Condition,
    Theory,
    Watchable,
    believed,
    gradient,
    lipschitz,
    margin,
    need_prior,
    still,
    weakness,
    within,
)

__all__ = ["FISTA"]


class _State(NamedTuple):
    x: Array
    z: Array
    t: Array  # per member, shaped to broadcast against x
    estimate: Array
    flag: Any
    problem: InverseProblem
    slope: Callable[[Array], Array]
    off: Any  # how far x may be from the proximal operator, per member
    y: Array | None  # of x, for priors with a native step


@dataclass(frozen=True, kw_only=True)
class FISTA(Watchable):
    """min f(x) + g(x), f the data term, by the proximal operator of g.

    Algorithm (4.1) to (4.3) with a constant step. The momentum is dropped where it points uphill
    (O'Donoghue and Candès, Found. Comput. Math. 15, 2015, section 3.2), which makes the method
    adapt to strong convexity.

    Without momentum, plug-and-play proximal gradient descent: f + g falls in every iteration, by
    (1 / step − (L + w) / 2) ||x_k+1 − x_k||² or more, where L is the Lipschitz constant of ∇f and
    g + w / 2 ||x||² is convex, as x_k+1 is least for a (1 / step − w)-convex majorant of f + g (the
    descent lemma). For a learned prior at its native step, w = 1 / step: step < 1 / L (Fang,
    Buchanan and Sulam, ICLR 2024).

    Args:
        momentum: False for the plain proximal gradient method.
        step: of the gradient and of the proximal operator; the problem's without.
    """

    momentum: bool = True
    step: float | None = None

    def __post_init__(self) -> None:
        if self.step is not None and not number(self.step, "step") > 0:
            raise ValueError(f"expected step > 0, got {self.step}")

    def check(self, problem: Problem) -> None:
        need_prior(problem, self.name, Proximable, "prox, such as L1Wavelet(weight, W)")

    def init(self, problem: InverseProblem, x0: Array | None, rng: Any = None) -> _State:
        x = problem.start() if x0 is None else x0
        ones = problem.domain.norm(x) * 0 + 1
        norm = problem.domain.norm(problem.residual(x))
        return _State(x, x, ones, norm, 0, problem, gradient(problem), 0.0, None)

    def advance(self, state: _State, k: int) -> _State:
        x, z, t, estimate, flag, problem, slope, off, y = state
        step, prior, space = self.prox_step(problem), problem.prior, problem.domain
        for _ in range(k):
            x_old = x
            x, off, y = within(prior, z - step * slope(z), step, y)  # (4.1)
            estimate = space.norm(x - z) / min(step, problem.step)
            if not self.momentum:
                z = x
                continue
            uphill = space.inner_real(z - x, x - x_old) > 0
            t_old = _where(uphill, t * 0 + 1, t)
            t = (1 + (1 + 4 * t_old**2) ** 0.5) / 2  # (4.2)
            z = x + _where(uphill, t * 0, (t_old - 1) / t) * (x - x_old)  # (4.3)
        return _State(x, z, t, estimate, flag, problem, slope, off, y)

    # -- what is proven of it ----------------------------------------------------------------

    def prox_step(self, problem: InverseProblem) -> float:
        return problem.step if self.step is None else float(self.step)

    def theory(self, problem: InverseProblem) -> Theory:
        (least, most, notes), w = lipschitz(problem), weakness(problem.prior)
        notes += believed(problem.prior)
        step = self.prox_step(problem)
        told = f"step = {step:.4g}, L between {least:.4g} and {most:.4g}"
        if w is None:
            return Theory("", notes=(*notes, "The prior does not say how far from convex it is."))
        if self.momentum:
            if w > 0:
                return Theory("", notes=(*notes, "With momentum no theorem is known for g that "
                              "are not convex: FISTA(momentum=False) has one."))  # fmt: skip
            asked = Condition(f"step <= 1 / L ({told})", margin(1 / step, (least, most)))
            promise = (
                "f + g tends to its minimum, if the momentum is dropped finitely often (Beck and "
                "Teboulle 2009)"
            )
            return Theory(promise, (asked,), notes=notes)
        half = ((least + w) / 2, (most + w) / 2)
        asked = (
            Condition(f"1 / step >= (L + w) / 2 ({told}, w = {w:.4g})", margin(1 / step, half)),
            Condition(f"1 / step >= w (w = {w:.4g})", margin(1 / step, (w, w))),
        )
        decrease = max(1 / step - half[1], 0.0)
        promise = f"f + g does not rise{still(decrease)} (descent lemma)"
        return Theory(promise, asked, "f + g", decrease, notes)

    def moving(self, state: _State) -> tuple[Array, ...]:
        return (state.x, state.z) if self.momentum else (state.x,)

    def valued(self, state: _State) -> tuple[Array, Array | None]:
        return state.x, state.y

    def merit(self, state: _State, problem: InverseProblem, f: np.ndarray, g: np.ndarray) -> Any:
        return f + g


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if hasattr(condition, "ndim") and condition.ndim:
        return namespace(condition).where(condition, yes, no)
    return yes if bool(condition) else no
