"""s y + (1 − s) f(y) = x for f = ∇ψ of a convex network: how a learned prox takes other steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..operator import Operator, Trait
from ..result import Status
from ..space import Space

if TYPE_CHECKING:
    from torch import Tensor

    from ..networks import ConvexNetwork
    from ..solver import Solver

__all__ = ["blended", "steepness"]

_NEWTON = 60  # steps at most; a handful is usual
_HALVINGS = 30
_DAMPING = 1e-3  # of the curvature, times min(1, ‖residual‖)
_POWERS = 6


def blended(
    network: ConvexNetwork, x: Tensor, s: float, sigma: Tensor | None, solver: Solver, rtol: float,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(y, ‖s y + (1 − s) f(y) − x‖ per member).

    The left side is the gradient of s/2 ‖y‖² + (1 − s) ψ(y), which must be convex. Newton's method
    with a curvature that is damped as the residual is (Li, Fukushima, Qi and Yamashita, Comput.
    Optim. Appl. 28, 2004) and halved steps; members go on until each is done. One that cannot be
    solved comes back with what is left of it.

    Args:
        x: float64 (members, *element). solver: of the linear systems, for positive definite ones.
        rtol: of the residual, relative to what it is the difference of. start: of y; x without.
    """
    import torch

    from ..problem import LinearSystem
    from ..solve import Stop, solve

    def f(y: Tensor, which: Any) -> Tensor:
        return network(y, None if sigma is None else sigma[which])

    def residual(y: Tensor, which: Any) -> Tensor:
        with torch.no_grad():
            return s * y + (1 - s) * f(y, which) - x[which]

    everyone = torch.arange(len(x), device=x.device)
    y = (x if start is None else start).clone()
    F = residual(y, everyone)
    scale = _norm(x) + _norm(F)
    for _ in range(_NEWTON):
        left = _norm(F)
        todo = torch.nonzero(torch.isfinite(left) & (left > rtol * scale))[:, 0]
        if not len(todo):
            break
        y0, F0 = y[todo], F[todo]
        A = _Curvature(lambda v, todo=todo: f(v, todo), y0, s, _DAMPING * left[todo].clamp(max=1))
        stop = Stop(rtol=float(left[todo].max().sqrt().clamp(1e-6, 0.1)), max_iters=500)
        found = solve(LinearSystem(A, -F0), solver, stop=stop, throw=False)
        if (np.asarray(found.status) == Status.INTERRUPTED).any():
            raise KeyboardInterrupt
        d = found.x
        slope, t = _inner(F0, d), x.new_ones(len(todo))
        for _ in range(_HALVINGS):
            there = residual(y0 + _column(t, d) * d, todo)
            far = ~(_inner(there, d) <= 0.5 * slope.abs())  # well past the minimum, or NaN
            if not bool(far.any()):
                break
            t = torch.where(far, t / 2, t)
        y[todo] = y0 + _column(t, d) * d
        F[todo] = residual(y[todo], todo)
    return y, _norm(F)


class _Curvature(Operator):
    """v -> (s + damping) v + (1 − s) f'(y) v, y and damping per member; f' is symmetric."""

    def __init__(self, f: Any, y: Tensor, s: float, damping: Tensor) -> None:
        import torch

        super().__init__(
            Space(tuple(y.shape[1:])),
            traits=(Trait.POSITIVE,),
            batch_shape=(len(y),),
        )
        self.s, self.damping = s, _column(damping, y)
        with torch.enable_grad():
            own = y.detach().requires_grad_()
            there = f(own)
        # the graph lives in here: nothing of it is a parameter of this operator
        self.pulled = lambda v: torch.autograd.grad(there, own, v, retain_graph=True)[0]

    def _apply(self, x: Any) -> Any:
        return (self.s + self.damping) * x + (1 - self.s) * self.pulled(x)

    def _adjoint(self, y: Any) -> Any:
        return self._apply(y)


def steepness(network: ConvexNetwork, y: Tensor, sigma: Tensor | None) -> Tensor:
    """(members,), ‖f'(y) v‖ for a v of length 1: never above ‖f'(y)‖, by a few power iterations."""
    import torch

    f = _Curvature(lambda x: network(x, sigma), y, 0.0, y.new_zeros(len(y)))
    v = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, least = v.to(y), y.new_zeros(len(y))
    for _ in range(_POWERS):
        v = v / _column(_norm(v).clamp(min=torch.finfo(v.dtype).tiny), v)
        v = f.pulled(v)
        least = torch.maximum(least, _norm(v))
    return least


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    return a.square().flatten(1).sum(1).sqrt()


def _column(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *(1,) * (like.ndim - 1))
