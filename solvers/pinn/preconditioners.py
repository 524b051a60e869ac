"""Preconditioners of the parameters: operators P for which P A P^T is well conditioned.

Training in z with theta = P^T z is gradient descent theta <- theta - eta P^T P grad: `P.normal` is
what a solver takes as its M, close to A^-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from sciml._checks import integer, need, number
from sciml.arrays import Array, check_float, dtype_of, from_host, namespace, to_numpy
from sciml.operator import Operator, Trait
from sciml.operators import Diagonal
from sciml.space import Space

from .conditioning import _dense, _finite, _right, need_positive

__all__ = [
    "Factor",
    "LowRank",
    "Sketch",
    "TriangularInverse",
    "Weighting",
    "analytic",
    "best_weight",
    "gram",
    "nystrom",
    "sketch",
]


class Factor(Enum):
    """How `gram` takes the root of A."""

    CHOLESKY = "cholesky"
    EIGEN = "eigen"


class LowRank(Operator):
    """x -> U (d * U^T x) + s (x - U U^T x): d on the columns of U, s on what is left.

    Args:
        basis: U (n, r), orthonormal columns, real. values: d (r,) > 0. rest: s > 0.
    """

    param_names = ("basis", "values")

    def __init__(self, basis: Array, values: Array, rest: float) -> None:
        namespace(basis, values)
        if basis.ndim != 2 or tuple(values.shape) != (basis.shape[1],):
            raise ValueError(
                f"expected a basis (n, r) and values (r,), got {tuple(basis.shape)} and "
                f"{tuple(values.shape)}"
            )
        self.basis, self.values, self.rest = basis, values, number(rest, "rest")
        space = Space((int(basis.shape[0]),), check_float(dtype_of(basis), "a basis"))
        super().__init__(space, traits={Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        along = x @ self.basis
        return self.rest * x + (along * (self.values - self.rest)) @ self.basis.T

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)


class TriangularInverse(Operator):
    """x -> L^-1 x for a lower triangular L (n, n), real."""

    param_names = ("factor",)

    def __init__(self, factor: Array) -> None:
        namespace(factor)
        if factor.ndim != 2 or factor.shape[0] != factor.shape[1]:
            raise ValueError(f"expected a factor (n, n), got {tuple(factor.shape)}")
        self.factor = factor
        super().__init__(Space((int(factor.shape[0]),), check_float(dtype_of(factor), "a factor")))

    def _apply(self, x: Array) -> Array:
        return self._solve(x, adjoint=False)

    def _adjoint(self, y: Array) -> Array:
        return self._solve(y, adjoint=True)

    def _solve(self, x: Array, *, adjoint: bool) -> Array:
        if isinstance(x, np.ndarray):
            from scipy.linalg import solve_triangular

            columns = x.reshape(-1, self.domain.size).T
            found = solve_triangular(self.factor, columns, lower=True, trans=1 if adjoint else 0)
            return np.ascontiguousarray(found.T).reshape(x.shape)
        import torch

        # x^T L^-T = (L^-1 x)^T, from the right, so that the batch are rows
        L = self.factor if adjoint else self.factor.T
        rows = torch.linalg.solve_triangular(
            L, x.reshape(-1, self.domain.size), upper=not adjoint, left=False
        )
        return rows.reshape(x.shape)


def analytic(symbol: Array, *, zero: float = 1.0) -> Diagonal:
    """P_kk = 1 / |symbol(k)|, and `zero` where the symbol is 0.

    De Ryck et al. (2024), section 4: for features that D maps to symbol(k) times orthonormal ones.

    Args:
        symbol: (n,), real or complex. zero: gamma > 0.
    """
    namespace(symbol)
    size = np.abs(to_numpy(symbol)).astype(np.float64)
    if size.ndim != 1 or not np.isfinite(size).all():
        raise ValueError(f"expected a finite symbol (n,), got shape {size.shape}")
    if number(zero, "zero") == 0:
        raise ValueError("expected zero > 0, got 0: P would lose these features")
    inverse = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), zero)
    return Diagonal(from_host(inverse, symbol))


def gram(A: Operator, damping: float = 0.0, *, factor: Factor = Factor.CHOLESKY) -> Operator:
    """P with P (A + damping I) P^T = I, from the matrix of A.

    P is L^-1 with A + damping I = L L^T, or (A + damping I)^-1/2 by its eigenvectors. For linear
    models the second is the inverse of what `gram` preconditions: gradient descent then is a direct
    solve, and no cheaper than one.

    Args:
        A: real, positive semidefinite, on vectors. damping: epsilon >= 0, in the units of A.

    Raises:
        numpy.linalg.LinAlgError: A + damping I is not positive definite to rounding.
    """
    need_positive(A)
    damping = number(damping, "damping")
    need(factor, Factor, "factor as a Factor")
    matrix = _finite(_dense(A).astype(np.float64))
    matrix = (matrix + matrix.T) / 2 + damping * np.eye(len(matrix))
    if factor is Factor.EIGEN:
        values, basis = np.linalg.eigh(matrix)
        if not values[0] > len(values) * np.finfo(A.domain.real_dtype).eps * values[-1]:
            raise np.linalg.LinAlgError(_singular(damping, f"its least eigenvalue {values[0]:.3g}"))
        return LowRank(_as(basis, A), _as(values**-0.5, A), 1.0)
    try:
        L = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(_singular(damping, "a pivot <= 0")) from None
    return TriangularInverse(_as(L, A))


@dataclass(frozen=True, eq=False)
class Sketch:
    """A of rank r, near a positive semidefinite A: U diag(values) U^T.

    Attributes:
        basis: U (n, r), orthonormal columns. values: (r,) >= 0, descending.
    """

    basis: Array
    values: Array

    def inverse(self, damping: float) -> LowRank:
        """Near (lambda_r + mu) (A + mu I)^-1: the Nyström preconditioner, a solver's M."""
        return LowRank(self.basis, self._relative(damping), 1.0)

    def root(self, damping: float) -> LowRank:
        """P with P^2 = inverse(damping)."""
        return LowRank(self.basis, self._relative(damping) ** 0.5, 1.0)

    def _relative(self, damping: float) -> Array:
        if number(damping, "damping") == 0:
            raise ValueError("expected damping > 0, got 0")
        return (self.values[-1] + damping) / (self.values + damping)


def sketch(A: Operator, rank: int, *, rng: np.random.Generator) -> Sketch:
    """The randomised Nyström approximation of A, from `rank` products A v.

    Frangella, Tropp and Udell, Randomized Nyström Preconditioning, SIAM J. Matrix Anal. Appl. 44
    (2023), algorithm 2.1.

    Args:
        A: real, positive semidefinite, on vectors. rank: 1 to the size of A. rng: draws it.

    Raises:
        ValueError: a rank above the size of A, or NaN in A's products.
    """
    need_positive(A)
    n, rank = A.domain.size, integer(rank, "rank", 1)
    need(rng, np.random.Generator, "rng as a numpy.random.Generator")
    if rank > n:
        raise ValueError(f"expected rank <= {n}, got {rank}")
    like = np.zeros(1) if A.home is None else A.home
    omega = np.linalg.qr(rng.standard_normal((n, rank)))[0]  # 1, 2
    Y = to_numpy(A(from_host(omega.T, like, A.domain.dtype))).astype(np.float64).T  # 3
    shift = float(np.finfo(A.domain.real_dtype).eps * np.linalg.norm(_finite(Y)))  # 4
    shift, C = _shifted(omega.T @ Y, shift)
    Y = Y + shift * omega  # 5
    U, sizes, _ = np.linalg.svd(np.linalg.solve(C, Y.T).T, full_matrices=False)  # 7, 8
    return Sketch(_as(U, A), _as(np.maximum(sizes**2 - shift, 0.0), A))  # 9


def _shifted(core: np.ndarray, shift: float) -> tuple[float, np.ndarray]:
    """(s, Cholesky's factor of core + s I) with s the least of shift, 10 shift, ... that has one.

    The eigenvalues of a network's A fall below rounding: the products' errors can exceed `shift`.
    """
    core, eye = (core + core.T) / 2, np.eye(len(core))
    while True:
        try:
            return shift, np.linalg.cholesky(core + shift * eye)  # 6
        except np.linalg.LinAlgError:
            shift = max(10 * shift, np.finfo(float).tiny)


def nystrom(A: Operator, rank: int, damping: float, *, rng: np.random.Generator) -> LowRank:
    """P with P^2 the randomised Nyström preconditioner of A + damping I, from `rank` products A v.

    Frangella, Tropp and Udell (2023), (1.3). Where the eigenvalues beyond `rank` are below damping,
    kappa of P (A + damping I) P is a small constant; that of P A P is not where A is singular.

    Args:
        A, rank, rng: see `sketch`. damping: mu > 0, in the units of A.
    """
    if number(damping, "damping") == 0:
        raise ValueError("expected damping > 0, got 0")
    return sketch(A, rank, rng=rng).root(damping)


@dataclass(frozen=True)
class Weighting:
    """The boundary's weight lambda at which kappa is least, and that kappa."""

    weight: float
    kappa: float


def best_weight(
    interior: Operator,
    boundary: Operator,
    P: Operator | None = None,
    *,
    within: tuple[float, float] = (1e-6, 1e6),
) -> Weighting:
    """The lambda that minimises kappa(P (D^T D + lambda V^T V) P^T).

    The largest eigenvalue is a convex function of lambda and the least a concave one: their ratio
    has no minimum but the global one, and a search along a line finds it.

    Args:
        interior: D, parameters -> rows of D u. boundary: V, parameters -> rows of u there.
        within: least and largest lambda.

    Raises:
        ValueError: no lambda makes A definite: some parameter moves neither.
    """
    need(interior, Operator, "interior as an Operator")
    need(boundary, Operator, "boundary as an Operator")
    if interior.domain != boundary.domain:
        raise ValueError(f"expected one domain, got {interior.domain} and {boundary.domain}")
    low, high = (number(edge, "within") for edge in within)
    if not 0 < low < high:
        raise ValueError(f"expected within as 0 < least < largest, got {within}")
    from scipy.optimize import minimize_scalar

    parts = [_finite(_right(_dense(part), P)) for part in (interior, boundary)]
    of_interior, of_boundary = (B.T @ B for B in parts)

    def kappa(logarithm: float) -> float:
        values = np.linalg.eigvalsh(of_interior + math.exp(logarithm) * of_boundary)
        noise = len(values) * np.finfo(float).eps * values[-1]
        return float(values[-1] / max(values[0], noise))

    found: Any = minimize_scalar(
        kappa, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-5}
    )
    if not found.fun < 0.1 / (interior.domain.size * np.finfo(float).eps):
        raise ValueError("expected parameters that D u or u on the boundary sees, got a singular A")
    return Weighting(math.exp(found.x), float(found.fun))


def _singular(damping: float, found: str) -> str:
    return (
        f"expected A + {damping:g} I positive definite, got {found}: raise damping (features that "
        "neither D nor the boundary sees make A singular)"
    )


def _as(values: np.ndarray, A: Operator) -> Array:
    """In the library and dtype of A."""
    like = np.zeros(1) if A.home is None else A.home
    return from_host(np.ascontiguousarray(values), like, A.domain.dtype)
