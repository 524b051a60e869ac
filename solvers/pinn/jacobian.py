"""The derivative of a physics-informed model's residual by its parameters, as an Operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml._checks import need, number, told
from sciml.arrays import Array, dtype_of, from_host, is_array, is_torch, to_numpy
from sciml.operator import Operator
from sciml.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["PDE", "Quadrature", "ResidualJacobian", "residual_jacobian"]

Field = Callable[["Tensor"], "Tensor"]  # one point (d,) -> a number, or (m,) of m outputs
PDE = Callable[[Field, "Tensor"], "Tensor"]  # (u, one point) -> a number, or (r,) of r equations

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


def _host(values: Any, name: str) -> np.ndarray:
    """Coordinates or weights in float64 on the host."""
    if not is_array(values):
        raise TypeError(f"expected {name} as an array, got {told(values)}")
    found = np.array(to_numpy(values), np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"expected finite {name}, got NaN or Inf")
    return found
