"""Gradient descent on a quadratic loss: what training a linear model is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from sciml._checks import number
from sciml.arrays import Array, from_host
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem

from ..krylov._base import HermitianKrylov, begin, no_flag
from ..krylov.spectrum import extreme_eigenvalues

__all__ = ["GradientDescent"]

# The highest Ritz value is below the highest eigenvalue by less than this share of it.
_ROOM = 0.02


class _State(NamedTuple):
    x: Array
    r: Array
    step: Array  # per member
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class GradientDescent(HermitianKrylov):
    """theta <- theta + eta M (b - A theta), with M = P^T P gradient descent in other variables.

    An iteration is an epoch with the whole sample. The error falls by (kappa - 1) / (kappa + 1) in
    each, kappa of P A P^T. For Hermitian positive definite A and M. CG with the same M takes about
    sqrt(kappa) where this takes kappa: it is here to show what training does.

    Args:
        M: `P.normal`, or None.
        rate: eta; 2 / (lowest + highest eigenvalue of M A) if not given, by Lanczos when prepared.
    """

    rate: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is not None and not isinstance(self.rate, np.ndarray):
            number(self.rate, "rate")

    def prepare(self, problem: Problem) -> Self:
        ready = super().prepare(problem)
        if ready.rate is not None:
            return ready
        assert isinstance(problem, LinearSystem)  # by `check`
        M = ready.M if isinstance(ready.M, Operator) else None
        low, high = extreme_eigenvalues(problem, M)
        definite = high > 0
        if not definite.any():
            raise np.linalg.LinAlgError(
                f"expected a positive A, but Lanczos found no eigenvalue above {np.max(high):.3g}"
            )
        high = np.where(definite, high, 1.0)
        return replace(ready, rate=2 / (np.maximum(low, 0.0) + (1 + _ROOM) * high))

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        if self.rate is None:
            raise ValueError("expected a prepared GradientDescent: call prepare(problem) first")
        x, r = begin(problem, x0)
        rate = np.asarray(self.rate, np.float64)
        step = from_host(rate.reshape(rate.shape + (1,) * problem.domain.ndim), r)
        estimate = problem.domain.norm(r)
        return _State(x, r, step, estimate, no_flag(estimate), problem.A, self._M(problem))

    def advance(self, state: _State, k: int) -> _State:
        A, M, space = state.A, state.M, state.A.domain
        x, r, step, estimate, flag = state[:5]
        for _ in range(k):
            d = step * (M(r) if self.M else r)
            x = x + d
            r = r - A(d)
            estimate = space.norm(r)
        return _State(x, r, step, estimate, flag, A, M)
