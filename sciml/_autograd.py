"""Gradients in torch: through a certified solve, and w.r.t. an operator's parameters.

For A x = b the implicit function theorem gives, with A^H lam = xbar,
    bbar = lam,   thetabar = -d/dtheta Re<lam, A(theta) x>,
so that a backward pass is one more certified solve.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .arrays import Array, sum_to
from .operator import Operator
from .problem import LinearSystem, Problem
from .result import Result, SolveError, Stop
from .solver import Solver

__all__ = ["TorchOperator", "differentiable_solve", "torch_vjp_params"]

# A gradient is not solved for more loosely than this, however loose the forward solve was.
_LOOSEST = 1e-3
# What is asked for where the forward solve left nothing to go by.
_TIGHTEST = 1e-10


def torch_vjp_params(A: Operator, x: Array, ybar: Array) -> dict[str, Array]:
    """Gradients of Re<ybar, A x> w.r.t. A's tensors, by autograd through `A._apply`."""
    with torch.enable_grad():
        leaves = {n: p.detach().requires_grad_() for n, p in A.params.items()}
        order = iter(leaves.values())
        y = A._with_arrays(lambda p: next(order))(x.detach())
        if not y.requires_grad:
            raise TypeError(
                f"{type(A).__name__} detaches its parameters from autograd: "
                "define vjp_params(x, ybar)"
            )
        grads = torch.autograd.grad(y, list(leaves.values()), ybar, allow_unused=True)
    return {
        n: torch.zeros_like(p) if g is None else g
        for (n, p), g in zip(leaves.items(), grads, strict=True)
    }


def differentiable_solve(problem: Problem, solver: Solver, *, throw: bool, **how: Any) -> Result:
    """`solve` whose x carries gradients to b and to A's parameters.

    Raises:
        TypeError: the problem is not a LinearSystem, or would drop the gradient of a failed solve.
    """
    from .solve import solve

    if not isinstance(problem, LinearSystem):
        raise TypeError(
            f"expected a LinearSystem to differentiate through, got {type(problem).__name__}: "
            "detach its tensors, or pose it as a linear system"
        )
    A, names = problem.A, list(problem.A.params)
    tensors = list(problem.A.params.values())
    plain = A._with_arrays(lambda p: p.detach() if isinstance(p, torch.Tensor) else p)
    found: list[Result] = []

    class Solve(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, b: Any, *theta: Any) -> Any:
            result = solve(LinearSystem(plain, b.detach()), solver, throw=throw, **how)
            found.append(result)
            ctx.save_for_backward(result.x)
            ctx.b_shape = b.shape
            return result.x.clone()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *grads: Any) -> Any:
            if not found[0].ok:  # throw=False let it pass; a gradient of it would be wrong
                raise SolveError(found[0])
            (xbar,) = grads
            (x,) = ctx.saved_tensors
            back = LinearSystem(plain.H, xbar.contiguous())
            limit = _backward_stop(found[0], how["stop"])
            lam = solve(back, found[0].solver.adjoint(), stop=limit).x
            wanted = ctx.needs_input_grad[1:]
            theta: list[Any] = [None] * len(names)
            if any(wanted):
                slopes = plain.vjp_params(x, lam)
                theta = [-slopes[n] if w else None for n, w in zip(names, wanted, strict=True)]
            return (sum_to(lam, ctx.b_shape), *theta)

    x = Solve.apply(problem.b, *tensors)
    return replace(found[0], x=x)


def _backward_stop(found: Result, stop: Stop) -> Stop:
    """The relative tolerance that the forward solve had: atol is in the units of b, not of xbar."""
    targets = np.asarray(found.target, dtype=float).reshape(-1)
    asked = targets[targets > 0]  # 0 where b = 0 needed no tolerance
    relative = float(np.exp(np.log(asked).mean())) if asked.size else max(stop.rtol, _TIGHTEST)
    return replace(stop, rtol=min(relative, _LOOSEST), atol=0.0)


class TorchOperator:
    """See `sciml.adapters.as_torch`."""

    def __init__(self, A: Operator) -> None:
        self.A = A
        self.names = [n for n, p in A.params.items() if isinstance(p, torch.Tensor)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _apply(self.A, self.names, x, *(self.A.params[n] for n in self.names))

    def __repr__(self) -> str:
        return f"{self.A!r}.as_torch()"


def _apply(A: Operator, names: list[str], x: torch.Tensor, *theta: torch.Tensor) -> torch.Tensor:
    plain = A._with_arrays(lambda p: p.detach() if isinstance(p, torch.Tensor) else p)

    class Apply(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, *theta: Any) -> Any:
            ctx.save_for_backward(x)
            return _through(plain, x)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            (ybar,) = grads
            (x,) = ctx.saved_tensors
            xbar = TorchOperator(A.H)(ybar) if ctx.needs_input_grad[0] else None
            wanted = ctx.needs_input_grad[1:]
            if any(wanted) and torch.is_grad_enabled():
                raise RuntimeError(
                    f"expected first derivatives w.r.t. the parameters of {A!r}, got "
                    "create_graph=True: call A(x) itself if it is made of torch operations"
                )
            found = plain.vjp_params(x.detach(), ybar.detach()) if any(wanted) else {}
            slopes = (found[n] if w else None for n, w in zip(names, wanted, strict=True))
            return (None if xbar is None else sum_to(xbar, x.shape), *slopes)

    return Apply.apply(x, *theta)  # type: ignore[return-value]


def _through(A: Operator, x: torch.Tensor) -> torch.Tensor:
    """A x, through a shared-memory NumPy view where A's parameters are NumPy arrays."""
    x = x.detach()
    if isinstance(A.home, np.ndarray) and x.device.type == "cpu":
        return torch.from_numpy(np.ascontiguousarray(A(x.resolve_conj().numpy())))
    return A(x)
