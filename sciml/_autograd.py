"""Gradients in torch: through a certified solve, and w.r.t. an operator's parameters.

For A x = b the implicit function theorem gives, with A^H lam = xbar,
    bbar = lam,   thetabar = -d/dtheta Re<lam, A(theta) x>,
so that a backward pass is one more certified solve.
"""

from __future__ import annotations

from typing import Any

import torch

from .arrays import Array
from .operator import Operator
from .problem import LinearSystem, Problem
from .result import Result
from .solver import Solver

__all__ = ["differentiable_solve", "torch_vjp_params"]


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
        def backward(ctx: Any, *grads: Any) -> Any:
            (xbar,) = grads
            (x,) = ctx.saved_tensors
            back = LinearSystem(plain.H, xbar.contiguous())
            lam = solve(back, found[0].solver.adjoint(), stop=how["stop"]).x
            wanted = ctx.needs_input_grad[1:]
            theta: list[Any] = [None] * len(names)
            if any(wanted):
                slopes = plain.vjp_params(x, lam)
                theta = [-slopes[n] if w else None for n, w in zip(names, wanted, strict=True)]
            return (_sum_to(lam, ctx.b_shape), *theta)

    x = Solve.apply(problem.b, *tensors)
    from dataclasses import replace

    return replace(found[0], x=x)


def _sum_to(grad: Any, shape: Any) -> Any:
    """The gradient of a broadcast: summed over the axes that were expanded."""
    extra = grad.ndim - len(shape)
    if extra:
        grad = grad.sum(dim=tuple(range(extra)))
    return grad
