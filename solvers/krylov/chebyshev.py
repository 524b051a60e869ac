"""Chebyshev iteration (Golub and Varga 1961): CG without inner products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from sciml._checks import told
from sciml.arrays import Array, from_host
from sciml.operator import Operator
from sciml.problem import LinearSystem, Problem

from ._base import HermitianKrylov, begin, no_flag
from .spectrum import extreme_eigenvalues

__all__ = ["Chebyshev"]


class _State(NamedTuple):
    x: Array
    r: Array
    d: Array
    rho: Array
    theta: Array  # middle of the spectrum, per member
    delta: Array  # half its width
    estimate: Array
    flag: Any
    A: Operator
    M: Operator


@dataclass(frozen=True, kw_only=True)
class Chebyshev(HermitianKrylov):
    """Chebyshev iteration for Hermitian positive definite A and M.

    Saad (2003), algorithm 12.1 on M A. Inner products are needed only for the residual norm.

    Args:
        bounds: (lowest, highest) eigenvalue of M A, numbers, or host arrays of A's batch
            shape. Found by
            Lanczos when the solver is prepared if not given, and widened (lowest by a half,
            highest by a tenth), because Lanczos approaches them from inside.
    """

    bounds: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bounds is not None and not _in_order(self.bounds):
            raise ValueError(f"expected bounds 0 < lowest < highest, got {told(self.bounds)}")

    def prepare(self, problem: Problem) -> Self:
        ready = super().prepare(problem)
        if ready.bounds is not None:
            return ready
        M = ready.M if isinstance(ready.M, Operator) else None
        assert isinstance(problem, LinearSystem)  # by `check`
        low, high = extreme_eigenvalues(problem, M)
        definite = low > 0
        if not definite.any():
            raise np.linalg.LinAlgError(
                "expected a positive definite A, but Lanczos found the eigenvalue "
                f"{np.min(low):.3g}"
            )
        # No bounds suit a matrix that is not definite: it will diverge, and spoil no other.
        low, high = np.where(definite, low, 1.0), np.where(definite, high, 1.0)
        return replace(ready, bounds=(0.5 * low, 1.1 * high))

    def init(self, problem: LinearSystem, x0: Array | None, rng: Any = None) -> _State:
        if self.bounds is None:
            raise ValueError("expected a prepared Chebyshev: call prepare(problem) first")
        x, r = begin(problem, x0)
        M = self._M(problem)
        low, high = (_column(bound, r, problem.domain.ndim) for bound in self.bounds)
        theta, delta = (high + low) / 2, (high - low) / 2
        z = M(r) if self.M else r
        estimate = problem.domain.norm(r)
        return _State(
            x, r, z / theta, delta / theta, theta, delta, estimate, no_flag(estimate),
            problem.A, M,
        )  # fmt: skip

    def advance(self, state: _State, k: int) -> _State:
        A, M, space = state.A, state.M, state.A.domain
        x, r, d, rho, theta, delta, estimate, flag = state[:8]
        sigma = theta / delta
        for _ in range(k):
            x = x + d
            r = r - A(d)
            z = M(r) if self.M else r
            rho_new = 1 / (2 * sigma - rho)
            d = (rho_new * rho) * d + (2 * rho_new / delta) * z
            rho = rho_new
            estimate = space.norm(r)
        return _State(x, r, d, rho, theta, delta, estimate, flag, A, M)


def _in_order(bounds: Any) -> bool:
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        return False
    low, high = (np.asarray(bound) for bound in bounds)
    if low.dtype.kind not in "fiu" or high.dtype.kind not in "fiu":
        return False
    return bool(np.all(low > 0) and np.all(high > low) and np.all(np.isfinite(high)))


def _column(values: Any, like: Array, ndim: int) -> Array:
    """Host numbers per member, shaped to broadcast against `like` (*batch, *shape)."""
    values = np.asarray(values, dtype=np.float64)
    return from_host(values.reshape(values.shape + (1,) * ndim), like)
