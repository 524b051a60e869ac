"""Causal weights: later times count once earlier ones are learned.

Wang, Sankaran and Perdikaris, Respecting causality is all you need for training physics-informed
neural networks, Computer Methods in Applied Mechanics and Engineering 421 (2024).

causal = Causal(equation, edges=np.linspace(0, 1, 11), epsilon=10.0)
data = deepxde.data.TimePDE(geometry, causal, conditions, ...)  # in the equation's place
model.train(iterations=200, callbacks=[causal.callback()])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml._checks import integer, number, told

__all__ = ["Causal"]

Equation = Callable[[Tensor, Tensor], Any]  # (x, u) -> errors (n, k), or a list of such


class Causal:
    """The errors of an equation, times sqrt(w) of the slab of time that a point is in.

    w_i = exp(-epsilon sum_{k < i} L_k), with L_k the mean square of the plain errors in slab k.
    Weights change in `update` only, so that a Gauss-Newton step has one loss; `Progress.changes`
    says what the loss was after a change.

    Args:
        equation: (x, u) -> errors (n, k) at the points x (n, d), or a list of them.
        edges: of the slabs, ascending (slabs + 1,). Points beyond count to the outermost.
        epsilon: how strictly; the paper raises it in steps from 1e-2 to 1e2.
        axis: of time.

    Attributes:
        weights: (slabs,), 1 each before the first update.
    """

    def __init__(
        self, equation: Equation, *, edges: Sequence[float] | np.ndarray, epsilon: float = 1.0,
        axis: int = -1,
    ) -> None:  # fmt: skip
        if not callable(equation):
            raise TypeError(f"expected an equation (x, u) -> errors, got {told(equation)}")
        self.equation, self.epsilon, self.axis = equation, number(epsilon, "epsilon"), axis
        self.edges = np.array(edges, np.float64)
        if self.edges.ndim != 1 or len(self.edges) < 2 or not (np.diff(self.edges) > 0).all():
            raise ValueError(f"expected edges ascending, (slabs + 1,), got {told(edges)}")
        self.weights = torch.ones(len(self.edges) - 1, dtype=torch.float64)

    @property
    def least(self) -> float:
        """The last slab's weight: the paper's criterion to stop is that it exceeds 0.99."""
        return float(self.weights[-1])

    def __call__(self, x: Tensor, u: Tensor) -> Any:
        """The weighted errors, in place of the equation's."""
        root = self.weights.to(x).sqrt()[self.slabs(x)][:, None]
        errors = self.equation(x, u)
        if isinstance(errors, list | tuple):
            return [root * _column(e, x) for e in errors]
        return root * _column(errors, x)

    def slabs(self, x: Tensor) -> Tensor:
        """The slab of each point, int64 (n,)."""
        inner = torch.as_tensor(self.edges[1:-1]).to(x)
        return torch.bucketize(x.detach()[:, self.axis].contiguous(), inner, right=True)

    def losses(self, x: Tensor, u: Tensor) -> Tensor:
        """L of each slab, (slabs,): 0 where no point is."""
        errors = self.equation(x, u)
        parts = errors if isinstance(errors, list | tuple) else [errors]
        squares = torch.stack([_column(e, x).detach().square().mean(dim=1) for e in parts]).sum(0)
        where, empty = self.slabs(x), squares.new_zeros(len(self.weights))
        total = empty.index_add(0, where, squares)
        count = empty.index_add(0, where, torch.ones_like(squares))
        return total / count.clamp(min=1)

    def update(self, x: Tensor, u: Tensor) -> None:
        """New weights, from the errors of u = network(x); x requires gradients.

        Raises:
            FloatingPointError: NaN or Inf among the errors.
        """
        found = self.losses(x, u).double().cpu()
        if not bool(torch.isfinite(found).all()):
            raise FloatingPointError("expected finite errors of the equation, got NaN or Inf")
        before = torch.cumsum(found, 0) - found
        self.weights = torch.exp(-self.epsilon * before)

    def callback(self, every: int = 1) -> Any:
        """A callback of DeepXDE that updates the weights at the start and each `every` steps.

        With every = 1 a restored training has the weights that an uninterrupted one has.
        """
        from .deepxde import load_deepxde

        every = integer(every, "every", 1)
        dde, causal = load_deepxde(), self

        class Updates(dde.callbacks.Callback):
            steps = 0

            def on_train_begin(self) -> None:
                if self.model.data.pde is not causal:
                    raise ValueError(
                        "expected a model of the weighted equation, got another one: "
                        "deepxde.data.TimePDE(geometry, causal, ...)"
                    )
                self._update()

            def on_epoch_end(self) -> None:
                self.steps += 1
                if self.steps % every == 0:
                    self._update()

            def _update(self) -> None:
                def operator(x: Tensor, u: Tensor) -> Tensor:
                    causal.update(x, u)
                    return u

                self.model.predict(self.model.data.train_x_all, operator=operator)

        return Updates()


def _column(error: Tensor, x: Tensor) -> Tensor:
    if error.ndim != 2 or len(error) != len(x):
        raise ValueError(
            f"expected errors ({len(x)}, equations) at {len(x)} points, got {tuple(error.shape)}: "
            "keep the last axis, u[:, 0:1]"
        )
    return error
