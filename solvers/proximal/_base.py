"""What proximal methods share: the problems they take, the data term, and what is proven."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml._checks import told
from sciml.arrays import Array, is_array
from sciml.operator import Operator, Trait
from sciml.prior import Bounded, Native, Splittable
from sciml.priors import LearnedProximal, Tikhonov
from sciml.problem import InverseProblem, Problem
from sciml.solver import Solver

__all__ = [
    "SPLITTABLE",
    "Condition",
    "Curvature",
    "Theory",
    "Watchable",
    "believed",
    "gradient",
    "lipschitz",
    "margin",
    "need_linear",
    "need_prior",
    "still",
    "weakness",
    "within",
]

# What a Splittable prior has, in words.
SPLITTABLE = "K, lengths and project, such as TotalVariation(weight, space)"

_ROUNDING = 1e-9  # of a condition, relative


def need_linear(problem: Problem, name: str) -> InverseProblem:
    """`problem` if it is an InverseProblem with a linear A.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(problem, InverseProblem):
        raise TypeError(
            f"{name} expected an InverseProblem, got {type(problem).__name__}: "
            "InverseProblem(A, y, Gaussian(sigma), prior)"
        )
    if Trait.LINEAR not in problem.A.traits:
        raise TypeError(f"{name} expected a linear A, got nonlinear {problem.A!r}")
    return problem


def need_prior(problem: Problem, name: str, kind: type, needs: str) -> InverseProblem:
    """The same, with a prior of a protocol of `sciml.prior`; `needs`: in words, and an example."""
    found = need_linear(problem, name)
    if not isinstance(found.prior, kind):
        raise TypeError(f"{name} expected a prior with {needs}, got {told(found.prior)}")
    return found


def gradient(problem: InverseProblem) -> Callable[[Array], Array]:
    """x -> A^H S^-1 (A x − y), by the normal operator where the noise is of one size."""
    sigma = problem.noise.sigma
    if sigma is None or is_array(sigma):
        return lambda x: -problem.descent(x)
    normal, weight = problem.A.normal, float(sigma) ** -2
    back = problem.A.adjoint(problem.y)

    def of(x: Array) -> Array:
        return weight * (normal(x) - back)

    return of


class Curvature(Operator):
    """A^H S^-1 A + rho I, for the x-step of ADMM."""

    def __init__(self, problem: InverseProblem, rho: float) -> None:
        A = problem.A
        super().__init__(A.domain, traits=(Trait.POSITIVE,), batch_shape=A.batch_shape)
        self.A, self.noise, self.rho = A, problem.noise, rho

    def _apply(self, x: Array) -> Array:
        sigma = self.noise.sigma
        if sigma is None or is_array(sigma):
            return self.A.adjoint(self.noise.weigh(self.A(x))) + self.rho * x
        return float(sigma) ** -2 * self.A.normal(x) + self.rho * x

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)


def within(prior: Any, v: Array, step: float, y: Array | None) -> tuple[Array, Any, Array | None]:
    """(z, off, y): the proximal operator at v, and how far off z may be per member (0: exact).

    Args:
        y: of the call before, of priors with a native step: see there.
    """
    if isinstance(prior, Native):
        z, off = prior.prox_within(v, step, near=y)
        return z, off, z + (prior.native_step / step) * (v - z)
    if isinstance(prior, Bounded):
        return *prior.prox_within(v, step), None
    return prior.prox(v, step), 0.0, None


# -- what is proven of a method on a problem -------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """What a theorem asks for: that a margin, known to be in an interval, is not negative.

    Attributes:
        text: in words. margin: (least, most), divided by the condition's larger side.
    """

    text: str
    margin: tuple[float, float]

    @property
    def holds(self) -> bool | None:
        """None where what is known does not decide."""
        if self.margin[0] >= -_ROUNDING:
            return True
        return False if self.margin[1] < -_ROUNDING else None


@dataclass(frozen=True)
class Theory:
    """What is proven of a method on a problem, and whether its conditions hold.

    Attributes:
        promise: in words, with its source; "" if no theorem is known.
        conditions: of the promise.
        falls: what no iteration lets rise, in words; "" if that is not promised.
        decrease: by at least decrease ||x_k+1 − x_k||² in every iteration.
        notes: further findings in words.
    """

    promise: str
    conditions: tuple[Condition, ...] = ()
    falls: str = ""
    decrease: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def proven(self) -> bool | None:
        """Whether there is a promise and its conditions hold; None where that is undecided."""
        held = [c.holds for c in self.conditions]
        if not self.promise or False in held:
            return False
        return None if None in held else True


class Watchable(Solver):
    """A method with a theory, for `Watch`."""

    @abstractmethod
    def theory(self, problem: InverseProblem) -> Theory:
        """What is proven of it on `problem`."""

    @abstractmethod
    def moving(self, state: Any) -> tuple[Array, ...]:
        """What its map goes from and to, x first: it stands still at a fixed point alone."""

    @abstractmethod
    def valued(self, state: Any) -> tuple[Array, Array | None]:
        """(z, y): where f + g is evaluated, and y of `within` for it."""

    @abstractmethod
    def merit(self, state: Any, problem: InverseProblem, f: np.ndarray, g: np.ndarray) -> Any:
        """What its theory says falls, per member, from f and g there; host float64."""

    @abstractmethod
    def prox_step(self, problem: InverseProblem) -> float:
        """The step at which it calls the prior's proximal operator."""


def weakness(prior: Any) -> float | None:
    """w >= 0 with a convex g + w / 2 ||x||², None if the prior does not tell."""
    if isinstance(prior, Native):
        return float(prior.weakness)
    return 0.0 if isinstance(prior, Splittable | Tikhonov) else None


def believed(prior: Any) -> tuple[str, ...]:
    """What a theory takes from the prior's maker, in words."""
    if not isinstance(prior, LearnedProximal) or prior.lipschitz is None:
        return ()
    return (f"L of f = {prior.lipschitz:g} was told, not measured.",)


def lipschitz(problem: InverseProblem) -> tuple[float, float, tuple[str, ...]]:
    """(least, most, notes): the constant L of the data term's gradient, checked and not believed.

    From above by A's own bound of its norm, unless Lanczos' method has seen more than that.
    """
    least, most = problem.curvature
    bound = problem.A.norm_bound
    if bound is None:
        return least, most, ()
    said = bound**2 * problem.noise.gain
    if least > said * (1 + 100 * np.finfo(problem.domain.real_dtype).eps):
        text = (
            f"{problem.A!r} says that its norm is at most {bound:.6g}, which is not so: "
            f"it makes L at most {said:.6g}, and L is at least {least:.6g}."
        )
        return least, most, (text,)
    return min(least, said), min(most, said), ()


def margin(left: float, right: tuple[float, float]) -> tuple[float, float]:
    """left − right, from the interval of right, relative to the larger."""
    size = max(abs(left), abs(right[1]), math.ulp(0.0))
    return (left - right[1]) / size, (left - right[0]) / size


def still(decrease: float) -> str:
    """What more is true of a merit, bounded from below, that falls by decrease ||step||²."""
    return ", and steps tend to 0" if decrease > 0 else ""
