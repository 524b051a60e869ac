"""What proximal methods share: the problems they take, and the gradient of the data term."""

from __future__ import annotations

from collections.abc import Callable

from sciml._checks import told
from sciml.arrays import Array, is_array
from sciml.operator import Trait
from sciml.problem import InverseProblem, Problem

__all__ = ["SPLITTABLE", "gradient", "need_linear", "need_prior"]

# What a Splittable prior has, in words.
SPLITTABLE = "K, lengths and project, such as TotalVariation(weight, space)"


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
