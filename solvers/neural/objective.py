"""What direction networks are trained to make small, differentiable and unsupervised."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .systems import Batch

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork, Stencil

__all__ = ["Loss", "step_loss", "trajectory_loss"]

_TINY = 1e-30


class Loss(Enum):
    """What a step is judged by."""

    RESIDUAL = "residual"  # ‖r − A q (q·r)/(q·Aq)‖² / ‖r‖² (Kaneda et al., 2205.10763)
    ENERGY = "energy"  # log ‖e − q (q·r)/(q·Aq)‖²_A / ‖e‖²_A (after Rudikov et al., FCG-NO)


def step_loss(loss: Loss, r: Tensor, e: Tensor, q: Tensor, Aq: Tensor) -> Tensor:
    """The loss of one exact line search along q, (batch,), for A e = r."""
    reach = _dot(q, r) / _dot(q, Aq).clamp_min(_TINY)
    if loss is Loss.RESIDUAL:
        left = r - _column(reach, r) * Aq
        return _dot(left, left) / _dot(r, r).clamp_min(_TINY)
    energy = _dot(e, r).clamp_min(_TINY)
    return torch.log((1 - reach * _dot(q, r) / energy).clamp_min(1e-6))


def trajectory_loss(
    network: DirectionNetwork, batch: Batch, *, horizon: int = 1, loss: Loss = Loss.RESIDUAL
) -> Tensor:
    """The mean loss over `horizon` steps of the method itself, after `batch.warm` of its steps.

    So the network learns from residuals that its own running solve meets. Gradients do not flow
    from one step to the next. horizon=1 on a batch of warm 0 is the loss of the paper.
    """
    A, e = batch.stencil, batch.error * batch.stencil.fluid
    constants = A.fluid * (A.extra.flatten(1).sum(1) == 0).to(e.dtype).view(-1, *(1,) * (e.ndim - 1))
    e = _without(e, constants)
    system = network.prepare(A)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    losses = []
    for step in range(batch.warm + horizon):
        counts = step >= batch.warm
        with torch.set_grad_enabled(counts and torch.is_grad_enabled()):
            e = e / _column(e.flatten(1).norm(dim=1).clamp_min(_TINY), e)
            r = A(e)
            unit = r.flatten(1).norm(dim=1).clamp_min(_TINY)
            q = network(r / _column(unit, r), system) * A.fluid
            for p, Ap, pAp in kept:  # classical Gram-Schmidt against the last two
                q = q - _column(_dot(q, Ap) / pAp, q) * p
            Aq = A(q)
            if counts:
                losses.append(step_loss(loss, r, e, q, Aq).mean())
        q, Aq = q.detach(), Aq.detach()
        qAq = _dot(q, Aq).clamp_min(_TINY)
        e = _without(e - _column(_dot(q, r.detach()) / qAq, q) * q, constants)
        kept = [*kept[-1:], (q, Aq, qAq)]
    return torch.stack(losses).mean()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).flatten(1).sum(1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _without(e: Tensor, constants: Tensor) -> Tensor:
    """e less its mean over the fluid, where constants are in the null space."""
    total = _dot(constants, constants).clamp_min(1)
    return e - _column(_dot(e, constants) / total, e) * constants
