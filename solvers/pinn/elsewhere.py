"""What a trained model leaves of its equations where it was not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sciml._checks import integer

from .causal import Causal
from .deepxde import lent_residuals, load_deepxde
from .precision import seeded

__all__ = ["Elsewhere", "elsewhere"]

_TOGETHER = 2_000  # points whose derivatives are in memory at once


@dataclass(frozen=True)
class Elsewhere:
    """The residual of one equation at points that the model was not trained on, in its units.

    Attributes:
        name: `PDE 0` and so on, in the order of the equations.
        trained: its root mean square at the training points. found: at the others.
        largest: the largest size there. where: at which point, float64 (dim,).
    """

    name: str
    trained: float
    found: float
    largest: float
    where: np.ndarray

    @property
    def ratio(self) -> float:
        """found / trained: near 1 the training points stand for the domain, far above they were
        too few, and the loss says nothing of the solution."""
        return self.found / self.trained if self.trained else float("inf")


def elsewhere(model: Any, *, count: int = 10_000, seed: int = 0) -> tuple[Elsewhere, ...]:
    """The residuals of a `deepxde.Model`'s equations at `count` points drawn over its domain.

    They are those of the equation itself, without the weights of `Causal`, by automatic
    differentiation in float64, of any model, however it was trained. Conditions are not looked at:
    see the model's losses.

    Args:
        seed: of the points.

    Raises:
        TypeError: no `deepxde.Model`, or one without an equation on a geometry.
        ValueError: `count` below 1; as `residuals`.
    """
    integer(count, "count", 1)
    dde = load_deepxde()
    with lent_residuals(model) as found:
        data = model.data
        if getattr(data, "geom", None) is None or getattr(data, "pde", None) is None:
            raise TypeError(
                f"expected a model with an equation on a geometry, got {type(data).__name__}: "
                "deepxde.data.PDE or TimePDE"
            )
        inside = next(t.points for t in found.terms() if t.name.startswith("PDE "))
        trained = _equations(dde, model, found.network, found.inputs[inside].numpy())
        with seeded(dde, seed):
            points = np.asarray(data.geom.random_points(count), float)
        pieces = [
            _equations(dde, model, found.network, points[i : i + _TOGETHER])
            for i in range(0, len(points), _TOGETHER)
        ]
    told = []
    for k, (before, errors) in enumerate(
        zip(trained, map(torch.cat, zip(*pieces, strict=True)), strict=True)
    ):
        sizes = errors.abs().amax(dim=1)
        worst = int(sizes.argmax())
        told.append(
            Elsewhere(f"PDE {k}", _rms(before), _rms(errors), float(sizes[worst]), points[worst])
        )
    return tuple(told)


def _equations(dde: Any, model: Any, network: Any, points: np.ndarray) -> list[torch.Tensor]:
    """The residual of each equation, (points, any)."""
    x = torch.from_numpy(points).requires_grad_()
    aux = getattr(model.data, "auxiliary_var_fn", None)
    known = () if aux is None else (torch.as_tensor(aux(points), dtype=torch.float64),)
    dde.grad.clear()
    model.net.auxiliary_vars = known[0] if known else None
    equation = model.data.pde
    if isinstance(equation, Causal):
        equation = equation.equation
    try:
        found = equation(x, network(x), *known)
    finally:
        dde.grad.clear()
    parts = found if isinstance(found, list | tuple) else [found]
    return [part.detach().reshape(len(points), -1) for part in parts]


def _rms(errors: torch.Tensor) -> float:
    return float(errors.square().mean().sqrt())
