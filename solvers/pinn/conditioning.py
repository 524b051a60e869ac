"""How well conditioned the training of a physics-informed model is: A = J^T J and its spectrum.

De Ryck, Bonnet, Mishra and de Bezenac, An operator preconditioning perspective on training in
physics-informed machine learning, ICLR 2024: gradient descent on a PINN's loss is, linearised,
theta <- theta - eta (A theta - b) with
    A_ij = <D phi_i, D phi_j>_Omega + lambda <phi_i, phi_j>_boundary,    phi_i = d u / d theta_i,
so that it takes O(kappa(A)) steps; in other variables, theta = P^T z, it is P A P^T that counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import need, number, told
from sciml.algebra import Adjoint, Compose
from sciml.arrays import Array, dtype_of, from_host, is_array, is_torch, to_numpy
from sciml.operator import Operator, Trait
from sciml.problem import LinearSystem
from sciml.space import Space

from ..krylov.spectrum import extreme_eigenvalues

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Conditioning",
    "Quadrature",
    "ResidualJacobian",
    "Spectrum",
    "conditioning",
    "error_bound",
    "residual_jacobian",
    "spectrum",
]

Field = Callable[["Tensor"], "Tensor"]  # one point (d,) -> a number, or (m,) of m outputs
PDE = Callable[[Field, "Tensor"], "Tensor"]  # (u, one point) -> a number, or (r,) of r equations
Recipe = Callable[[Operator], Operator]  # A -> P

_DENSE_UP_TO = 2000  # parameters: a singular value decomposition of that size takes seconds
_STEPS = 200  # of Lanczos
_CHUNK = 128  # vectors that J is applied to at a time


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Points and weights by which an integral is taken: sum_q weights_q f(points_q).

    Args:
        points: (n, d), of any array library in host memory.
        weights: (n,), none negative; 1 / n each if not given: the mean that a PINN's loss takes.

    Raises:
        TypeError, ValueError: no points, other shapes, or values that are not finite.
    """

    points: Any
    weights: Any = None

    def __post_init__(self) -> None:
        points = _host(self.points, "points")
        if points.ndim != 2 or not points.size:
            raise ValueError(
                f"expected points (n, d) with n, d >= 1, got shape {points.shape}: a single "
                "coordinate is points[:, None]"
            )
        n = len(points)
        weights = np.full(n, 1 / n) if self.weights is None else _host(self.weights, "weights")
        if weights.shape != (n,) or (weights < 0).any() or not weights.any():
            raise ValueError(
                f"expected weights ({n},), none negative and not all 0, got shape {weights.shape}"
                + (f" with the least {weights.min():.3g}" if weights.size else "")
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def equispaced(
        cls, low: Sequence[float], high: Sequence[float], counts: Sequence[int]
    ) -> Quadrature:
        """The periodic rule on a box, counts[i] points along axis i: high is left out.

        Exact for trigonometric polynomials of degree below counts[i] in each coordinate.
        """
        axes = [
            np.linspace(a, b, n, endpoint=False) for a, b, n in zip(low, high, counts, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        volume = math.prod(b - a for a, b in zip(low, high, strict=True))
        return cls(points, np.full(len(points), volume / len(points)))


class _Network:
    """A torch module as a function of its trained parameters, raveled in their order."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def theta(self) -> Tensor:
        """The parameters now, (parameters,)."""
        import torch

        return torch.cat([p.detach().reshape(-1) for p in self.trained.values()])

    def field(self, theta: Tensor) -> Field:
        """u(.; theta) at one point (d,): a number where the model has one output, else (m,)."""
        import torch

        parts = torch.split(theta, [p.numel() for p in self.trained.values()])
        pairs = zip(self.trained.items(), parts, strict=True)
        values = {name: part.reshape(p.shape) for (name, p), part in pairs}
        for name, kept in (*self.model.named_parameters(), *self.model.named_buffers()):
            if name not in values:
                wide = kept.is_floating_point()
                values[name] = kept.detach().to(theta.dtype) if wide else kept

        def u(x: Tensor) -> Tensor:
            found = torch.func.functional_call(self.model, values, (x[None],))[0]
            return found[0] if found.shape[0] == 1 else found

        return u


def _rows(pde: PDE, u: Field, x: Tensor) -> Tensor:
    """D u at each of the points x (n, d): (n, equations)."""
    import torch

    return torch.func.vmap(lambda point: pde(u, point).reshape(-1))(x)


class ResidualJacobian(Operator):
    """J: a change of the parameters -> the change of the weighted residual, matrix-free.

    Rows are sqrt(w_q) (D u)(x_q) of the interior, then sqrt(lambda w_q) u(x_q) of the boundary,
    so that A = J.normal. By Jacobian-vector products of torch.func; D need not be linear: A is
    then the Gauss-Newton matrix at theta. Built by `residual_jacobian`, which checks.

    Args:
        model: its parameters with requires_grad are the domain, raveled in their order.
        terms: (D, points (n, d), weights (n,)) each, on the host.
    """

    param_names = ("theta",)

    def __init__(
        self, model: nn.Module, terms: Sequence[tuple[PDE, np.ndarray, np.ndarray]]
    ) -> None:
        self.network, self.terms = _Network(model), tuple(terms)
        self.theta = self.network.theta()
        dtype = dtype_of(self.theta)
        rows = self.residual(self.theta).shape[0]
        super().__init__(Space((self.theta.shape[0],), dtype), Space((rows,), dtype))

    def residual(self, theta: Tensor) -> Tensor:
        """The weighted residual (rows,) at theta (parameters,)."""
        import torch

        u, rows = self.network.field(theta), []
        for pde, points, weights in self.terms:
            root = from_host(np.sqrt(weights), theta)
            rows.append((root[:, None] * _rows(pde, u, from_host(points, theta))).reshape(-1))
        return torch.cat(rows)

    def _apply(self, x: Array) -> Array:
        import torch

        def push(v: Tensor) -> Tensor:
            return torch.func.jvp(self.residual, (self.theta,), (v,))[1]

        return _each(push, x, self.range)

    def _adjoint(self, y: Array) -> Array:
        import torch

        pulled: Any = torch.func.vjp(self.residual, self.theta)
        return _each(lambda w: pulled[1](w)[0], y, self.domain)

    def dense(self) -> np.ndarray:
        """J (rows, parameters) on the host, by whichever of its sides is shorter."""
        import torch

        n, rows = self.domain.size, self.range.size
        eye = torch.eye(min(n, rows), dtype=self.theta.dtype, device=self.theta.device)
        if n > rows:
            return to_numpy(self._adjoint(eye))
        return np.ascontiguousarray(to_numpy(self._apply(eye)).T)


def _each(act: Callable[[Tensor], Tensor], x: Tensor, target: Space) -> Tensor:
    """`act` for each vector of x (*batch, n), `_CHUNK` of them at a time."""
    import torch

    if x.ndim == 1:
        return act(x)
    flat = x.reshape(-1, x.shape[-1])
    if not flat.shape[0]:
        return target.zeros(x, tuple(x.shape[:-1]))
    found = torch.func.vmap(act, chunk_size=_CHUNK)(flat)
    return found.reshape(*x.shape[:-1], -1)


def residual_jacobian(
    model: nn.Module,
    pde: PDE,
    *,
    interior: Quadrature,
    boundary: Quadrature | None = None,
    weight: float = 1.0,
    condition: PDE | None = None,
) -> ResidualJacobian:
    """J of a PINN's residual at the model's present parameters; A = J.normal is positive.

    Args:
        model: (n, d) -> (n, m), any torch module; with float64 parameters A is best resolved.
        pde: (u, x) -> D u at one point x (d,), a number or (r,) for r equations, by torch.func, as
            in `lambda u, x: -torch.func.hessian(u)(x).trace()`. u(x) is a number where m = 1,
            else (m,). A source term makes no difference.
        interior, boundary: where the residual is taken; no boundary where it holds by construction.
        weight: lambda, of the boundary.
        condition: what is to hold there, as pde; u itself if not given.

    Raises:
        TypeError: no module, or parameters that are no floats of one precision.
        ValueError: points that the model cannot take, outputs of the wrong dimension, or a
            residual that is not finite.
    """
    import torch

    need(model, torch.nn.Module, "model as a torch module")
    network = _Network(model)
    kinds = sorted({str(p.dtype) for p in network.trained.values()})
    if len(kinds) != 1 or kinds[0] not in ("torch.float32", "torch.float64"):
        raise TypeError(
            f"expected parameters to train, all float32 or all float64, got {kinds or 'none'}: "
            "cast the model, for example with model.double()"
        )
    given = [("interior", pde, interior, 1.0)]
    if boundary is not None:
        known = (lambda u, x: u(x)) if condition is None else condition
        given.append(("boundary", known, boundary, number(weight, "weight")))
    for name, operator, rule, _ in given:
        need(rule, Quadrature, f"{name} as a Quadrature", "Quadrature(points, weights)")
        if not callable(operator):
            raise TypeError(f"expected a function (u, x) -> D u at x, got {told(operator)}")
        _try(network, name, operator, rule)
    return ResidualJacobian(model, [(op, q.points, w * q.weights) for _, op, q, w in given])


def _try(network: _Network, name: str, pde: PDE, rule: Quadrature) -> None:
    """Evaluate the model and D at the points of `rule`, and say clearly what does not fit."""
    import torch

    theta = network.theta()
    x = from_host(rule.points, theta)
    try:
        with torch.no_grad():
            out = network.model(x)
    except RuntimeError as error:
        raise ValueError(
            f"expected a model that takes the {name}'s points {tuple(x.shape)}, got: {error}"
        ) from None
    if not is_torch(out) or out.ndim != 2 or out.shape[0] != len(x):
        got = f"shape {tuple(out.shape)}" if is_torch(out) else told(out)
        raise ValueError(f"expected an output ({len(x)}, m) for {len(x)} points, got {got}")
    u = network.field(theta)
    value = pde(u, x[0])
    if not is_torch(value) or value.ndim > 1 or not value.is_floating_point():
        got = f"shape {tuple(value.shape)}" if is_torch(value) else told(value)
        kind = "a number" if out.shape[1] == 1 else f"of shape ({out.shape[1]},)"
        raise ValueError(
            f"expected D u at one point of the {name} as a number or a vector (equations,), got "
            f"{got}: u(x) is {kind} here; take a trace or a component of its derivatives"
        )
    bad = ~torch.isfinite(_rows(pde, u, x)).all(dim=1)
    if bad.any():
        at = ", ".join(f"{c:.6g}" for c in rule.points[int(torch.nonzero(bad)[0])])
        raise ValueError(
            f"expected a finite residual, got NaN or Inf at {int(bad.sum())} of {len(x)} points of "
            f"the {name}, the first ({at}): check the model's parameters, and D there"
        )


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

    def explain(self) -> str:
        """A sentence for a person."""
        if self.exact:
            share = "" if self.rank == self.size else f", over the {self.rank} that are not 0"
            return f"kappa = {self.kappa:.4g}{share} ({self.how})"
        return f"kappa >= {self.kappa:.4g} ({self.how})"


def spectrum(
    A: Operator, P: Operator | None = None, *, dense_up_to: int = _DENSE_UP_TO, steps: int = _STEPS
) -> Spectrum:
    """The spectrum of A, or of P A P^T.

    Up to `dense_up_to` parameters all eigenvalues, and where A is J.normal the squares of the
    singular values of J P^T, by which small ones keep their digits. Above it the extreme two by
    Lanczos' method, whose Ritz values lie inside the spectrum.

    Args:
        A: with the trait POSITIVE, real, on vectors.
        P: on the same vectors, linear; need not be symmetric.

    Raises:
        TypeError: A is not known to be positive. ValueError: P does not fit, or NaN comes out.
    """
    need(A, Operator, "an Operator A")
    if Trait.POSITIVE not in A.traits or A.batch_shape or A.domain.ndim != 1 or A.domain.is_complex:
        raise TypeError(
            f"expected a real A on vectors with the trait POSITIVE, such as J.normal, got {A!r}"
        )
    need(P, (Operator, type(None)), "P as an Operator")
    if P is not None and (P.domain != A.domain or P.range != A.domain or P.batch_shape):
        raise ValueError(f"expected P from {A.domain} to itself, got {P!r}")
    if A.domain.size > dense_up_to:
        return _extremes(A, P, steps)
    n, J = A.domain.size, _root(A)
    if J is not None:
        B = _right(_dense(J), P)
        rows = len(B)
        values = np.zeros(n)
        values[: min(rows, n)] = np.linalg.svd(_finite(B), compute_uv=False) ** 2
        noise = (max(rows, n) * np.finfo(A.domain.real_dtype).eps) ** 2
        how = f"all singular values of the {rows} x {n} matrix of J{_times(P)}"
    else:
        M = _right(_right(_dense(A), P).T, P)
        values = np.linalg.eigvalsh(_finite((M + M.T) / 2))[::-1]
        noise = n * np.finfo(A.domain.real_dtype).eps
        how = f"all eigenvalues of the {n} x {n} matrix"
    rank = int((values > noise * values[0]).sum())
    kappa = float(values[0] / values[rank - 1]) if rank else math.nan
    return Spectrum(np.maximum(values[::-1], 0.0), n, rank, kappa, True, how)


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


def _root(A: Operator) -> Operator | None:
    """J where A was built as J.normal."""
    if not isinstance(A, Compose):
        return None
    adjoint, J = A.parts
    return J if isinstance(adjoint, Adjoint) and adjoint.H is J else None


def _right(M: np.ndarray, P: Operator | None) -> np.ndarray:
    """M P^T, in float64."""
    if P is None:
        return M.astype(np.float64)
    like = np.zeros(1) if P.home is None else P.home
    return to_numpy(P(from_host(M, like, P.domain.dtype))).astype(np.float64)


def _dense(A: Operator) -> np.ndarray:
    """The matrix of A on the host, whatever library its parameters are of."""
    if isinstance(A, ResidualJacobian) or not is_torch(A.home):
        return A.dense()
    eye = from_host(np.eye(A.domain.size), A.home, A.domain.dtype)
    return np.ascontiguousarray(to_numpy(A(eye)).T)


def _finite(M: np.ndarray) -> np.ndarray:
    if not np.isfinite(M).all():
        raise ValueError(f"expected finite entries of J, A and P, got NaN or Inf in {M.shape}")
    return M


def _times(P: Operator | None) -> str:
    return "" if P is None else " P^T"


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

    def explain(self) -> str:
        """A paragraph for a person."""
        lines = [f"A of {self.plain.size} parameters: {self.plain.explain()}."]
        if self.preconditioned is not None:
            lines.append(f"P A P^T: {self.preconditioned.explain()}.")
        lines.append("Gradient descent takes about kappa steps for each factor of e in the error.")
        return " ".join(lines)


def conditioning(
    model: nn.Module,
    pde: PDE,
    *,
    interior: Quadrature,
    boundary: Quadrature | None = None,
    weight: float = 1.0,
    condition: PDE | None = None,
    P: Operator | Recipe | None = None,
    dense_up_to: int = _DENSE_UP_TO,
) -> Conditioning:
    """Diagnose the training of `model` on `pde` at the model's present parameters.

    Args:
        model, pde, interior, boundary, weight, condition: see `residual_jacobian`.
        P: a preconditioner of the parameters, or a recipe A -> P such as
            `lambda A: solvers.pinn.gram(A, 1e-8)`.
        dense_up_to: parameters up to which all eigenvalues are computed.

    Raises:
        TypeError, ValueError: as `residual_jacobian` and `spectrum`.
    """
    J = residual_jacobian(
        model, pde, interior=interior, boundary=boundary, weight=weight, condition=condition
    )
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
    least = float(found.eigenvalues[0])
    if not found.exact or found.rank != found.size:
        what = "too large to know its least eigenvalue" if not found.exact else "singular"
        raise ValueError(
            f"expected A of full rank, up to {_DENSE_UP_TO} parameters, got one {what}"
        )
    r = to_numpy(problem.residual(theta)).astype(np.float64)
    if P is None:
        return float(np.linalg.norm(r)) / least
    size = np.linalg.norm(_right(np.eye(found.size), P), 2)
    return float(size * np.linalg.norm(_right(r[None], P))) / least


def _host(values: Any, name: str) -> np.ndarray:
    """Coordinates or weights in float64 on the host."""
    if not is_array(values):
        raise TypeError(f"expected {name} as an array, got {told(values)}")
    found = np.array(to_numpy(values), np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"expected finite {name}, got NaN or Inf")
    return found
