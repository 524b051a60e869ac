"""What proximal methods share: the problems they take, and the gradient of the data term."""

from __future__ import annotations

from collections.abc import Callable

from sciml._checks import told
from sciml.arrays import Array, is_array
from sciml.operator import Trait
from sciml.problem import InverseProblem, Problem

__all__ = ["gradient", "need_linear", "need_prior"]


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


def need_prior(problem: Problem, name: str, needs: tuple[str, ...], hint: str) -> InverseProblem:
    """The same, with a prior that has these methods."""
    found = need_linear(problem, name)
    if not all(hasattr(found.prior, one) for one in needs):
        raise TypeError(
            f"{name} expected a prior with {' and '.join(needs)}, got {told(found.prior)}: {hint}"
        )
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
