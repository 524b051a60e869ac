"""The residuals of a physics-informed loss as a vector r(theta), and their Jacobian.

A loss sum_t w_t mean(e_t²) is ||r||² with r = (sqrt(w_t / n_t) e_t)_t. J = dr/dtheta is an operator
that needs backward passes only; where it fits into memory it can be had as a matrix too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sciml._checks import number, told

from .recorded import Jacobian

__all__ = ["PointwiseResiduals", "Residuals", "Term"]

# J of the fast way has to agree with backward passes to this, relatively.
_AGREES = 1e-7
# As many columns of further parameters are made one by one.
_EXTRA = 64


@dataclass(frozen=True)
class Term:
    """One term of the loss, weight · mean(error²).

    Attributes:
        error: float64 (rows, columns): e.g. the PDE's residual at each point, one column an
            equation.
        points: rows of the inputs that it is evaluated at: as many as `error` has rows, or twice
            as many, where row i compares points i and i + rows (a periodic boundary).
        weight: not negative.
        name: for errors.
    """

    error: Tensor
    points: slice
    weight: float = 1.0
    name: str = "the residual"

    @property
    def scaled(self) -> Tensor:
        """sqrt(weight / size) error, (rows, columns): its squares sum up to the loss term."""
        return math.sqrt(self.weight / self.error.numel()) * self.error


class Residuals:
    """r(theta), with ||r||² the loss.

    Args:
        parameters: float64 leaf tensors that require gradients, all on one device. theta is made
            of them, one after the other.
        function: () -> r, float64 (rows,), at the parameters' present values, differentiable
            twice.

    Raises:
        TypeError, ValueError: parameters of another kind or precision, or none.
    """

    def __init__(self, parameters: Sequence[Tensor], function: Callable[[], Tensor]) -> None:
        self.parameters = tuple(parameters)
        if not self.parameters:
            raise ValueError("expected at least one parameter to train, got none")
        for p in self.parameters:
            if not isinstance(p, Tensor) or not p.is_leaf or not p.requires_grad:
                raise TypeError(f"expected leaf tensors that require gradients, got {told(p)}")
            if p.dtype != torch.float64:
                raise TypeError(f"expected float64 parameters, got {p.dtype}: call .double()")
        self._function = function

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.parameters)

    def theta(self) -> Tensor:
        """A copy of the parameters' values, (size,)."""
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    def assign(self, theta: Tensor) -> None:
        """Put the values `theta` (size,) into the parameters, in place."""
        with torch.no_grad():
            for p, part in zip(self.parameters, self._split(theta), strict=True):
                p.copy_(part)

    def value(self) -> Tensor:
        """r at the present values, (rows,), without a graph."""
        return self._checked(self._function()).detach()

    def linearise(self) -> tuple[Tensor, Jacobian]:
        """(r, J) at the present values; J refuses to work once they have changed.

        Raises:
            FloatingPointError: r holds NaN or Inf.
        """
        with torch.enable_grad():
            r = self._checked(self._function())
        if not bool(torch.isfinite(r).all()):
            raise FloatingPointError(self._blame(r.detach()))
        return r.detach(), Jacobian(r, self.parameters, self._matrix)

    @property
    def constants(self) -> bool:
        """Whether there are unknown constants."""
        return False

    def units(self, jacobian: Jacobian) -> tuple[float, ...]:
        """What to measure each unknown constant in; there are none here."""
        return ()

    def scale(self, units: Sequence[float]) -> Tensor:
        """(size,), what to measure changes of theta in: 1, and `units` for unknown constants, 0 for
        one that is to keep its value."""
        return self.theta().fill_(1)

    def _matrix(self, jacobian: Jacobian) -> Tensor:
        return jacobian.by_rows()

    def _checked(self, r: Tensor) -> Tensor:
        if not isinstance(r, Tensor) or r.ndim != 1 or not r.numel() or r.dtype != torch.float64:
            raise TypeError(f"expected residuals as a float64 tensor (rows,), got {told(r)}")
        return r

    def _blame(self, r: Tensor) -> str:
        bad = int((~torch.isfinite(r)).sum())
        return (
            f"expected finite residuals, got NaN or Inf in {bad} of {r.numel()}: check the "
            "equation, the data and the first weights"
        )

    def _split(self, theta: Tensor) -> list[Tensor]:
        sizes = [p.numel() for p in self.parameters]
        pieces = torch.split(theta, sizes)
        return [v.reshape(p.shape) for v, p in zip(pieces, self.parameters, strict=True)]


class PointwiseResiduals(Residuals):
    """Residuals each of which depends on the network at one point, or at a pair of points.

    J as a matrix is then a few backward passes: with a copy of the weights for every point, the
    gradient of the sum of all residuals holds each one's own gradient. This is checked against
    a plain backward pass once for each set of points; where residuals are not of that kind (an
    integral over points, say) J is made row by row.

    Args:
        network: float64, (points, dim) -> (points, outputs), each output from its own input.
        inputs: float64 (points, dim).
        terms: (inputs, outputs) -> the terms of the loss; derivatives of outputs w.r.t. inputs by
            `torch.autograd.grad(..., create_graph=True)`.
        extra: further parameters, which `terms` reads: unknown constants of an equation.

    Raises:
        TypeError, ValueError: as `Residuals`, and for terms that fit neither points nor network;
            `linearise` for a term that depends on no parameter.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        terms: Callable[[Tensor, Tensor], Sequence[Term]],
        *,
        extra: Sequence[Tensor] = (),
    ) -> None:
        self.network, self.inputs, self.extra = network, inputs.detach(), tuple(extra)
        self._terms = terms
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self._names = [n for n, _ in named]
        self.pointwise: bool | None = None  # not yet checked
        self._seen = False  # whether every term is known to depend on the parameters
        super().__init__([*(p for _, p in named), *self.extra], self._joined)

    def terms(self) -> list[Term]:
        """The terms of the loss at the present values, with their graphs."""
        inputs = self.inputs.clone().requires_grad_()
        with torch.enable_grad():
            return self._sound(inputs, self.network(inputs))

    def linearise(self) -> tuple[Tensor, Jacobian]:
        found = super().linearise()
        if not self._seen:
            self._need_dependence()
            self._seen = True
        return found

    def rows(self) -> list[slice]:
        """Which rows of r each term has."""
        ends, found = 0, []
        for term in self.terms():
            found.append(slice(ends, ends + term.error.numel()))
            ends += term.error.numel()
        return found

    @property
    def constants(self) -> bool:
        return bool(self.extra)

    def units(self, jacobian: Jacobian) -> tuple[float, ...]:
        """For each tensor of `extra` that by which J is as large as by the network's weights.

        Constants have units of their own, on which a damped step would depend. Infinity where
        nothing sees a constant.
        """
        if not self.extra:
            return ()
        u = _wave(jacobian.residual, jacobian.range.size)  # as a random one: no direction lacks
        pulled = self._split(jacobian.adjoint(u))[: len(self._names)]
        typical = sum(float(g.square().sum()) for g in pulled) ** 0.5 / float(u.norm())
        found, done = [], jacobian.domain.size - sum(p.numel() for p in self.extra)
        for p in self.extra:
            v = jacobian.residual.new_zeros(jacobian.domain.size)
            v[done : done + p.numel()] = _wave(v, p.numel())
            length = float(jacobian(v).norm() / v.norm())
            found.append(typical / length if typical > 0 and length > 0 else math.inf)
            done += p.numel()
        return tuple(found)

    def scale(self, units: Sequence[float]) -> Tensor:
        scale = super().scale(units)
        parts = self._split(scale)[len(self._names) :]
        for part, unit in zip(parts, units, strict=True):
            part.fill_(unit if math.isfinite(unit) else 1.0)
        return scale

    def _joined(self) -> Tensor:
        return torch.cat([term.scaled.reshape(-1) for term in self.terms()])

    def _sound(self, inputs: Tensor, outputs: Tensor) -> list[Term]:
        if outputs.ndim != 2 or len(outputs) != len(inputs):
            raise ValueError(
                f"expected a network from {tuple(inputs.shape)} to ({len(inputs)}, outputs), "
                f"got {tuple(outputs.shape)}"
            )
        terms = list(self._terms(inputs, outputs))
        if not terms:
            raise ValueError("expected at least one term of the loss, got none")
        for term in terms:
            _check(term, len(inputs), outputs.shape[1])
        return terms

    def _need_dependence(self) -> None:
        """Refuse a term that no parameter changes: it would be trained on without a word."""
        for term in self.terms():
            error, found = term.error, ()
            if error.requires_grad:
                found = torch.autograd.grad(
                    error.sum(), self.parameters, retain_graph=True, allow_unused=True
                )
            if all(g is None for g in found):
                raise ValueError(
                    f"expected {term.name} to depend on what is trained, got one that does not: "
                    "compute it from the network's output by torch alone, without detach(), or "
                    "leave it out"
                )

    def _blame(self, r: Tensor) -> str:
        for term in self.terms():
            bad = (~torch.isfinite(term.error)).any(dim=1).nonzero().reshape(-1)
            if len(bad):
                where = self.inputs[term.points][int(bad[0])].tolist()
                return (
                    f"expected finite residuals, got NaN or Inf in {term.name} at {len(bad)} of "
                    f"{len(term.error)} points, the first at x = {where}: check the equation and "
                    "the data there, and the first weights"
                )
        return super()._blame(r)

    # -- J as a matrix ------------------------------------------------------------------------

    def _matrix(self, jacobian: Jacobian) -> Tensor:
        if self.pointwise is False or sum(p.numel() for p in self.extra) > _EXTRA:
            return jacobian.by_rows()
        try:
            J = self._by_points(jacobian)
        except (RuntimeError, _NotPointwise):  # vmap says so of networks it cannot take
            if self.pointwise:
                raise
            self.pointwise = False
            return jacobian.by_rows()
        if self.pointwise is None:
            u = _wave(J, len(J))
            plain = jacobian.adjoint(u)
            error = torch.linalg.vector_norm(J.T @ u - plain)
            self.pointwise = bool(error <= _AGREES * torch.linalg.vector_norm(plain))
        return J if self.pointwise else jacobian.by_rows()

    def _by_points(self, jacobian: Jacobian) -> Tensor:
        trained = self.parameters[: len(self._names)]
        count = len(self.inputs)
        copies = {
            n: p.detach().expand(count, *p.shape).requires_grad_()
            for n, p in zip(self._names, trained, strict=True)
        }
        inputs = self.inputs.clone().requires_grad_()

        def at(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self.network, weights, (x[None],))[0]

        with torch.enable_grad():
            terms = self._sound(inputs, torch.func.vmap(at)(copies, inputs))
        J = inputs.new_zeros(jacobian.range.size, jacobian.domain.size)
        for group in _passes(terms):
            total = torch.stack([entry.column.sum() for entry in group]).sum()
            found = torch.autograd.grad(
                total, list(copies.values()), retain_graph=True,
                allow_unused=True, materialize_grads=True,
            )  # fmt: skip
            done = 0
            for g in found:
                g = g.reshape(count, -1)
                for entry in group:
                    entry.put(g[entry.points], J[entry.rows, done : done + g.shape[1]])
                done += g.shape[1]
        for k in range(sum(p.numel() for p in trained), jacobian.domain.size):
            unit = J.new_zeros(jacobian.domain.size)
            unit[k] = 1
            J[:, k] = jacobian(unit)
        return J


def _wave(like: Tensor, size: int) -> Tensor:
    return torch.cos(torch.arange(size, dtype=like.dtype, device=like.device))


class _NotPointwise(Exception):
    pass


@dataclass(frozen=True)
class _Column:
    """A column of a term: its values (count,), its rows in r and its points."""

    column: Tensor
    rows: slice
    points: slice

    def put(self, gradients: Tensor, J: Tensor) -> None:
        """The gradients at its points into its rows of J; those of a pair of points are added."""
        count = len(J)
        J.copy_(gradients[:count])
        if len(gradients) > count:
            J += gradients[count:]


def _passes(terms: Sequence[Term]) -> list[list[_Column]]:
    """Columns in groups that share no point, each for one backward pass."""
    groups: list[list[_Column]] = []
    start = 0
    for term in terms:
        error, size = term.scaled, term.error.numel()
        if term.points.stop - term.points.start not in (len(error), 2 * len(error)):
            raise _NotPointwise
        for k in range(error.shape[1]):
            entry = _Column(
                error[:, k], slice(start + k, start + size, error.shape[1]), term.points
            )
            for group in groups:
                if all(_apart(entry.points, other.points) for other in group):
                    group.append(entry)
                    break
            else:
                groups.append([entry])
        start += size
    return groups


def _apart(a: slice, b: slice) -> bool:
    return a.stop <= b.start or b.stop <= a.start


def _check(term: Term, points: int, outputs: int) -> None:
    number(term.weight, f"the weight of {term.name}")
    error, count = term.error, term.points.stop - term.points.start
    if not 0 <= term.points.start <= term.points.stop <= points:
        raise ValueError(f"expected {term.name} at some of {points} points, got {term.points}")
    if count == 0:
        raise ValueError(
            f"expected at least one point for {term.name}, got none: sample more points, or check "
            "the function that says which points belong to it"
        )
    if error.ndim != 2 or error.numel() == 0 or len(error) > count:
        raise ValueError(
            f"expected {term.name} as (points, equations), got {tuple(error.shape)} at {count} "
            "points: check how many outputs the network has, and which of them is meant"
        )
    # the condition's points are among `points`: both are what a column can have been broadcast to
    if error.shape[1] > 1 and error.shape[1] in (count, points) and error.shape[1] != outputs:
        raise ValueError(
            f"expected {term.name} as (points, equations), got {tuple(error.shape)}: (points,) met "
            "(points, 1), so that each point was compared with all: keep the last axis, u[:, 0:1]"
        )
