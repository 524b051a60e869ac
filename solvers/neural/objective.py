"""What direction networks are trained to make small, differentiable and unsupervised."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .systems import Batch

if TYPE_CHECKING:
    from sciml.networks import DirectionNetwork, Stencil

__all__ = ["Loss", "iterations", "step_loss", "trajectory_loss"]

_TINY = 1e-30
_TOLERANCE = 0.1  # that ITERATIONS counts to, of the residual at the start of the window


class Loss(Enum):
    """What a step is judged by; ITERATIONS judges a window of several together."""

    RESIDUAL = "residual"  # ‖r − A q (q·r)/(q·Aq)‖² / ‖r‖² (Kaneda et al., 2205.10763)
    ENERGY = "energy"  # log(1 − cos(q, e)), the angle in the A-norm (after Rudikov et al., FCG-NO)
    ITERATIONS = "iterations"  # steps until ‖r‖ is a tenth (Arisaka and Li, 2206.08594)


def step_loss(loss: Loss, r: Tensor, e: Tensor, q: Tensor, Aq: Tensor) -> Tensor:
    """The loss of one exact line search along q, (batch,), for A e = r.

    The search leaves 1 − cos² of the energy of e. ENERGY has 1 − cos in its place, whose slope does
    not vanish where q is of no use yet. ITERATIONS has the logarithm of what is left of ‖r‖.
    """
    reach = _dot(q, r) / _dot(q, Aq).clamp_min(_TINY)
    if loss is not Loss.ENERGY:
        left = r - _column(reach, r) * Aq
        share = _dot(left, left) / _dot(r, r).clamp_min(_TINY)
        return share if loss is Loss.RESIDUAL else torch.log(share.clamp_min(1e-12)) / 2
    energy = (_dot(e, r) * _dot(q, Aq)).clamp_min(_TINY)
    return torch.log((1 - _dot(q, r) / energy.sqrt()).clamp_min(1e-6))


def iterations(reductions: Tensor, tolerance: float) -> Tensor:
    """How many of the steps end with ‖r‖ above `tolerance` times the first, (batch,).

    Arisaka and Li, Principled Acceleration of Iterative Numerical Methods Using Machine Learning
    (arXiv 2206.08594): Σ 1[log e > log tol] forward, and backward the slope of
    σ(relu(log e − log tol)) in place of that of each indicator, straight through.

    Args:
        reductions: log of what each step leaves of ‖r‖, (steps, batch).
        tolerance: in (0, 1).
    """
    above = torch.relu(reductions.cumsum(0) - math.log(tolerance))
    soft = torch.sigmoid(above)
    return (soft + ((above > 0).to(soft.dtype) - soft).detach()).sum(0)


def trajectory_loss(
    network: DirectionNetwork,
    batch: Batch,
    *,
    horizon: int = 1,
    loss: Loss = Loss.RESIDUAL,
    bfloat16: bool = False,
) -> Tensor:
    """The mean loss over `horizon` steps of the method itself, after `batch.warm` of its steps.

    So the network learns from residuals that its own running solve meets. Gradients do not flow
    from one step to the next. horizon=1 on a batch of warm 0 is the loss of the paper. With
    bfloat16 the network's convolutions run in it, and all else in float32. ITERATIONS is counted
    over the horizon, which should be long enough to reach a tenth.
    """
    A, e = batch.stencil, batch.error * batch.stencil.fluid
    constants = A.fluid * _column(~A.held, e).to(e.dtype)
    e = _without(e, constants)
    system = network.prepare(A)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    losses = []
    for step in range(batch.warm + horizon):
        counts = step >= batch.warm
        with torch.set_grad_enabled(counts and torch.is_grad_enabled()):
            e = e / _column(_norm(e), e)
            r = A(e)
            with torch.autocast(r.device.type, torch.bfloat16, enabled=bfloat16):
                q, Aq, qAq = _direction(network, system, A, r, kept)
            if counts:
                losses.append(step_loss(loss, r, e, q, Aq))
        q, Aq, qAq = q.detach(), Aq.detach(), qAq.detach()
        e = _without(e - _column(_dot(q, r) / qAq, q) * q, constants)
        kept = [*kept[-1:], (q, Aq, qAq)]
    each = torch.stack(losses)
    return (iterations(each, _TOLERANCE) if loss is Loss.ITERATIONS else each).mean()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).flatten(1).sum(1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _without(e: Tensor, constants: Tensor) -> Tensor:
    """e less its mean over the fluid, where constants are in the null space."""
    total = _dot(constants, constants).clamp_min(1)
    return e - _column(_dot(e, constants) / total, e) * constants


def residual_history(
    network: DirectionNetwork,
    batch: Batch,
    most: int,
    tolerance: float,
    *,
    bfloat16: bool = False,
) -> np.ndarray:
    """‖r‖ relative to the first, before each step until all are below `tolerance`: (steps, batch).

    In single precision and without safeguards: for judging a network while it is trained.
    """
    A, e = batch.stencil, batch.error * batch.stencil.fluid
    r, system = A(e), network.prepare(A)
    first = _norm(r)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    found = []
    for _ in range(most):
        found.append((_norm(r) / first).numpy())
        if (found[-1] <= tolerance).all():
            break
        with torch.autocast(r.device.type, torch.bfloat16, enabled=bfloat16):
            q, Aq, qAq = _direction(network, system, A, r, kept)
        r = r - _column(_dot(q, r) / qAq, q) * Aq
        kept = [*kept[-1:], (q, Aq, qAq)]
    return np.array(found)


def _direction(
    network: DirectionNetwork, system: Any, A: Stencil, r: Tensor, kept: list[Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """(q, A q, ⟨q, A q⟩): the network's direction, A-orthogonal to the last two."""
    q = network(r / _column(_norm(r), r), system).float() * A.fluid
    for p, Ap, pAp in kept:
        q = q - _column(_dot(q, Ap) / pAp, q) * p
    Aq = A(q)
    return q, Aq, _dot(q, Aq).clamp_min(_TINY)


def _norm(r: Tensor) -> Tensor:
    return r.flatten(1).norm(dim=1).clamp_min(_TINY)
