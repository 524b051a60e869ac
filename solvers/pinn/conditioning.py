"""How well conditioned the training of a physics-informed model is: A = J^T J and its spectrum.

De Ryck, Bonnet, Mishra and de Bezenac, An operator preconditioning perspective on training in
physics-informed machine learning, ICLR 2024: gradient descent on a PINN's loss is, linearised,
theta <- theta - eta (A theta - b) with
    A_ij = <D phi_i, D phi_j>_Omega + lambda <phi_i, phi_j>_boundary,    phi_i = d u / d theta_i,
so that it takes O(kappa(A)) steps; in other variables, theta = P^T z, it is P A P^T that counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sciml._checks import need, number
from sciml.algebra import Adjoint, Compose
from sciml.arrays import Array, from_host, is_torch, to_numpy
from sciml.operator import Operator, Trait
from sciml.problem import LinearSystem

from ..krylov.spectrum import extreme_eigenvalues
from .jacobian import PDE, Quadrature, ResidualJacobian, residual_jacobian

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from .recorded import Jacobian

__all__ = ["Conditioning", "Spectrum", "conditioning", "error_bound", "spectrum"]

Recipe = Callable[[Operator], Operator]  # A -> P

_DENSE_UP_TO = 2000  # parameters: a singular value decomposition of that size takes seconds
_STEPS = 200  # of Lanczos


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a positive semidefinite operator.

    Attributes:
        eigenvalues: host float64, ascending: all of them, or the extreme two Ritz values.
        size: of the operator.
        rank: eigenvalues above rounding; None where they are not all known.
        kappa: the largest over the smallest of those; where `exact` is False a lower bound.
        exact: whether all eigenvalues were computed.
        how: what was computed, in words.
    """

    eigenvalues: np.ndarray
    size: int
    rank: int | None
    kappa: float
    exact: bool
    how: str

    def learned(self, share: float = 0.1) -> int:
        """Eigenvalues of at least `share` of the largest: what 1 / share epochs of descent learn.

        Raises:
            ValueError: not all eigenvalues are known.
        """
        if not self.exact:
            raise ValueError(
                "expected all eigenvalues to count them, got the extreme two: raise dense_up_to"
            )
        return int((self.eigenvalues >= number(share, "share") * self.eigenvalues[-1]).sum())

    def plot(self, ax: Axes | None = None, label: str = "") -> Axes:
        """The eigenvalues above rounding, from the largest on.

        Raises:
            ValueError: not all eigenvalues are known.
        """
        if self.rank is None:
            raise ValueError(
                "expected all eigenvalues to plot them, got the extreme two: raise dense_up_to"
            )
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        ax.semilogy(1 + np.arange(self.rank), self.eigenvalues[::-1][: self.rank], label=label)
        ax.set_xlabel("index")
        ax.set_ylabel("eigenvalue")
        if label:
            ax.legend(frameon=False)
        return ax

    def explain(self) -> str:
        """A sentence for a person."""
        if self.exact:
            share = "" if self.rank == self.size else f" over the {self.rank} that are not 0"
            near = f"{self.learned()} eigenvalues are at least a tenth of the largest"
            return f"kappa = {self.kappa:.4g}{share}, {near} ({self.how})"
        return f"kappa >= {self.kappa:.4g} ({self.how})"


def spectrum(
    A: Operator, P: Operator | None = None, *, dense_up_to: int = _DENSE_UP_TO, steps: int = _STEPS
) -> Spectrum:
    """The spectrum of A, or of P A P^T.

    Of a `deepxde.Model` in one line: `spectrum(residuals(model).linearise()[1])`.

    Up to `dense_up_to` parameters all eigenvalues, and where A is J.normal the squares of the
    singular values of J P^T, by which small ones keep their digits; block by block, and for more
    parameters, where the matrix of J is sparse and A falls apart. Else the extreme two by Lanczos'
    method, whose Ritz values lie inside the spectrum.

    Args:
        A: with the trait POSITIVE, real, on vectors; or the J of `residual_jacobian` or of
            `Residuals.linearise`, for J.normal.
        P: on the same vectors, linear; need not be symmetric.

    Raises:
        TypeError: A is not known to be positive. ValueError: P does not fit, or NaN comes out.
    """
    A = A.normal if _is_jacobian(A) else A
    need_positive(A)
    need(P, (Operator, type(None)), "P as an Operator")
    if P is not None and (P.domain != A.domain or P.range != A.domain or P.batch_shape):
        raise ValueError(f"expected P from {A.domain} to itself, got {P!r}")
    n, J = A.domain.size, _root(A)
    rows = 0 if J is None else J.range.size
    if n > dense_up_to:
        found = None if J is None else _by_blocks(J, P, dense_up_to)
        if found is None:
            return _extremes(A, P, steps)
        values, how = found
    elif J is not None:
        values = _squares(_right(_dense(J), P))[::-1]
        how = f"all singular values of the {rows} x {n} matrix of J{'' if P is None else ' P^T'}"
    else:
        M = _right(_right(_dense(A), P).T, P)
        values = np.linalg.eigvalsh(_finite((M + M.T) / 2))[::-1]
        how = f"all eigenvalues of the {n} x {n} matrix"
    eps = np.finfo(A.domain.real_dtype).eps
    noise = n * eps if J is None else (max(rows, n) * eps) ** 2
    rank = int((values > noise * values[0]).sum())
    kappa = float(values[0] / values[rank - 1]) if rank else math.nan
    return Spectrum(np.maximum(values[::-1], 0.0), n, rank, kappa, True, how)


def need_positive(A: Operator) -> None:
    """Refuse an A that is not known to be real, positive semidefinite and on vectors."""
    need(A, Operator, "an Operator A")
    if Trait.POSITIVE not in A.traits or A.batch_shape or A.domain.ndim != 1 or A.domain.is_complex:
        raise TypeError(
            f"expected a real A on vectors with the trait POSITIVE, such as J.normal, got {A!r}"
        )


def _extremes(A: Operator, P: Operator | None, steps: int) -> Spectrum:
    J = _root(A)
    if P is None:
        M = A
    elif J is not None:
        M = (J @ P.H).normal
    else:
        M = P @ A @ P.H
    like = np.zeros(1) if A.home is None else A.home
    low, high = extreme_eigenvalues(LinearSystem(M, M.range.zeros(like)), steps=steps)
    low, high = float(low), float(high)
    if not math.isfinite(low + high):
        raise ValueError("expected finite numbers of A and P, got NaN or Inf")
    least = max(low, A.domain.size * np.finfo(A.domain.real_dtype).eps * high)
    how = f"Lanczos, {min(steps, A.domain.size)} steps, {A.domain.size} parameters"
    return Spectrum(np.array([low, high]), A.domain.size, None, high / least, False, how)


def _by_blocks(J: Operator, P: Operator | None, limit: int) -> tuple[np.ndarray, str] | None:
    """All eigenvalues where the parameters fall into sets that A does not couple, else None."""
    from scipy.sparse.csgraph import connected_components

    if P is not None and Trait.DIAGONAL not in P.traits:
        return None
    try:
        matrix = J.assemble().tocsc()
    except TypeError:
        return None
    count, label = connected_components(abs(matrix).T @ abs(matrix), directed=False)
    largest = int(np.bincount(label).max())
    if largest > limit:
        return None
    scale = np.ones(J.domain.size) if P is None else to_numpy(P.diagonal())
    order = np.argsort(label, kind="stable")
    found = []
    for columns in np.split(order, np.cumsum(np.bincount(label))[:-1]):
        part = matrix[:, columns]
        found.append(_squares(part[np.unique(part.indices)].toarray() * scale[columns]))
    how = f"all singular values of J, in {count} blocks of up to {largest} parameters"
    return np.sort(np.concatenate(found))[::-1], how


def _squares(B: np.ndarray) -> np.ndarray:
    """The eigenvalues of B^T B, ascending."""
    values = np.zeros(B.shape[1])
    values[: min(B.shape)] = np.linalg.svd(_finite(B), compute_uv=False) ** 2
    return values[::-1]


def _root(A: Operator) -> Operator | None:
    """J where A was built as J.normal."""
    if not isinstance(A, Compose):
        return None
    adjoint, J = A.parts
    return J if isinstance(adjoint, Adjoint) and adjoint.H is J else None


def _is_jacobian(A: Any) -> bool:
    """Whether A is dr / dtheta, of a module's residual or of `Residuals`."""
    if isinstance(A, ResidualJacobian):
        return True
    if not isinstance(A, Operator) or not is_torch(A.home):
        return False
    from .recorded import Jacobian  # loads torch, which A has loaded

    return isinstance(A, Jacobian)


def _right(M: np.ndarray, P: Operator | None) -> np.ndarray:
    """M P^T, in float64."""
    if P is None:
        return M.astype(np.float64)
    like = np.zeros(1) if P.home is None else P.home
    return to_numpy(P(from_host(M, like, P.domain.dtype))).astype(np.float64)


def _dense(A: Operator) -> np.ndarray:
    """The matrix of A on the host, whatever library its parameters are of."""
    J = _root(A)
    if J is not None and _is_jacobian(J):
        matrix = J.dense().astype(np.float64)
        return matrix.T @ matrix
    if _is_jacobian(A) or not is_torch(A.home):
        return A.dense()
    eye = from_host(np.eye(A.domain.size), A.home, A.domain.dtype)
    return np.ascontiguousarray(to_numpy(A(eye)).T)


def _finite(M: np.ndarray) -> np.ndarray:
    if not np.isfinite(M).all():
        raise ValueError(f"expected finite entries of J, A and P, got NaN or Inf in {M.shape}")
    return M


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What `conditioning` found: A and its spectrum, with and without P.

    Attributes:
        A: J.normal, matrix-free. plain: the spectrum of A.
        P: the preconditioner. preconditioned: the spectrum of P A P^T. None where none was given.
    """

    A: Operator
    plain: Spectrum
    P: Operator | None = None
    preconditioned: Spectrum | None = None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Both spectra, on one pair of axes; see `Spectrum.plot`."""
        ax = self.plain.plot(ax, "A")
        return ax if self.preconditioned is None else self.preconditioned.plot(ax, "P A Pᵀ")

    def explain(self) -> str:
        """A paragraph for a person."""
        lines = [f"A of {self.plain.size} parameters: {self.plain.explain()}."]
        if self.preconditioned is not None:
            lines.append(f"P A P^T: {self.preconditioned.explain()}.")
        lines.append("Gradient descent takes about kappa steps for each factor of e in the error.")
        found = (s for s in (self.plain, self.preconditioned) if s is not None)
        if any(s.rank is not None and s.rank < s.size for s in found):
            lines.append("Of directions whose eigenvalue is 0 in rounding it learns nothing.")
        return " ".join(lines)


def conditioning(
    model: nn.Module | ResidualJacobian | Jacobian,
    pde: PDE | None = None,
    *,
    interior: Quadrature | None = None,
    boundary: Quadrature | None = None,
    weight: float = 1.0,
    condition: PDE | None = None,
    P: Operator | Recipe | None = None,
    dense_up_to: int = _DENSE_UP_TO,
) -> Conditioning:
    """Diagnose the training of `model` on `pde` at the model's present parameters.

    Args:
        model, pde, interior, boundary, weight, condition: see `residual_jacobian`. Or J alone in
            place of them, such as `solvers.pinn.deepxde.residuals(model).linearise()[1]`.
        P: a preconditioner of the parameters, or a recipe A -> P such as
            `lambda A: solvers.pinn.gram(A, 1e-8)`.
        dense_up_to: parameters up to which all eigenvalues are computed.

    Raises:
        TypeError, ValueError: as `residual_jacobian` and `spectrum`.
    """
    J, equation, points = cast(Any, model), cast(Any, pde), cast(Any, interior)
    if not _is_jacobian(model):
        J = residual_jacobian(
            J, equation, interior=points, boundary=boundary, weight=weight, condition=condition
        )
    elif not (pde is interior is boundary is condition is None):
        raise TypeError("expected J alone, got a pde, points or a condition beside it")
    A = J.normal
    found: Any = P(A) if callable(P) and not isinstance(P, Operator) else P
    after = None if found is None else spectrum(A, found, dense_up_to=dense_up_to)
    return Conditioning(A, spectrum(A, dense_up_to=dense_up_to), found, after)


def error_bound(problem: LinearSystem, theta: Array, P: Operator | None = None) -> float:
    """An upper bound of ||theta - theta*||_2, for the minimiser theta* of a linear model.

    ||P^T|| ||P (b - A theta)|| / lambda_min(P A P^T), from the residual in double precision. Where
    the features are orthonormal it is the L2 distance of u from the best that the model can be.

    Args:
        problem: A theta = b with A = J.normal, up to 2,000 parameters. theta: (parameters,).

    Raises:
        TypeError, ValueError: as `spectrum`; A is singular, or too large.
    """
    need(problem, LinearSystem, "a LinearSystem A theta = b")
    found = spectrum(problem.A, P)
    if not found.exact or found.rank != found.size:
        what = "too large to know its least eigenvalue" if not found.exact else "singular"
        raise ValueError(
            f"expected A of full rank, up to {_DENSE_UP_TO} parameters, got one {what}"
        )
    low, high = float(found.eigenvalues[0]), float(found.eigenvalues[-1])
    noise = found.size * np.finfo(problem.domain.real_dtype).eps
    if _root(problem.A) is None:
        least = low - noise * high
    else:  # the rounding is that of singular values
        least = max(math.sqrt(low) - noise * math.sqrt(high), 0.0) ** 2
    if not least > 0:
        raise ValueError(f"expected a least eigenvalue above rounding, got {low:.3g} of {high:.3g}")
    r = to_numpy(problem.residual(theta)).astype(np.float64)
    if P is None:
        return float(np.linalg.norm(r)) / least
    size = np.linalg.norm(_right(np.eye(found.size), P), 2)
    return float(size * np.linalg.norm(_right(r[None], P))) / least
