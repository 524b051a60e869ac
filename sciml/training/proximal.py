"""Losses that teach a convex network ψ whose f = ∇ψ is the proximal operator of −sigma² log p.

Fang, Buchanan and Sulam, Learned proximal networks (ICLR 2024, arXiv 2310.14344). With
y = x + sigma n the mean square loss leads to f(y) = E[x | y]; proximal matching leads, as γ → 0, to
the mode of p(x | y),

    argmax_x p(x | y) = argmin_x −sigma² log p(x) + ½ ‖x − y‖²,

which is the proximal operator of −sigma² log p at y (their Theorem 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import integer, number
from ..networks.convex import ConvexNetwork
from .plan import Plan

__all__ = [
    "Noisy",
    "ProximalMatching",
    "Stage",
    "matching_loss",
    "mean_absolute_loss",
    "mean_square_loss",
    "published_stages",
]


@dataclass(frozen=True, eq=False)
class Noisy:
    """A batch: y = x + sigma n, real (batch, *element), x of the same shape, and sigma (batch,).

    x may have axes before these: several draws of p(x | y) for each y, where they can be had. What
    is minimised is then the same, with less chance in it.
    """

    x: Tensor
    y: Tensor
    sigma: Tensor


def mean_square_loss(network: ConvexNetwork, batch: Noisy) -> Tensor:
    """The mean of |f(y) − x|² over all entries: least for f(y) = E[x | y]."""
    return _error(network, batch).square().mean()


def mean_absolute_loss(network: ConvexNetwork, batch: Noisy) -> Tensor:
    """The mean of |f(y) − x| over all entries: least for the medians of p(x | y)."""
    return _error(network, batch).abs().mean()


def matching_loss(network: ConvexNetwork, batch: Noisy, gamma: float) -> Tensor:
    """Proximal matching: the mean over members of 1 − exp(−‖f(y) − x‖² / γ²).

    Members that are off by several γ teach nothing: it wants a network that is near already.
    """
    square = _error(network, batch).square().sum(tuple(range(1 - batch.y.ndim, 0)))
    return -torch.expm1(-square / gamma**2).mean()


@dataclass(frozen=True)
class Stage:
    """Some steps of a training.

    Args:
        steps: of it. rate: learning rate. gamma: of proximal matching, a norm ‖f(y) − x‖ of an
            element, over sigma for a network for many levels; None for the mean absolute loss.
    """

    steps: int
    rate: float
    gamma: float | None = None

    def __post_init__(self) -> None:
        integer(self.steps, "steps", 1)
        number(self.rate, "rate")
        if self.gamma is not None and not number(self.gamma, "gamma") > 0:
            raise ValueError(f"expected gamma > 0 or None, got {self.gamma}")


@dataclass(frozen=True)
class ProximalMatching:
    """A loss in stages, each with its γ.

    Args:
        stages: at least one, in turn.
        square: all of them with the mean square loss instead: E[x | y], to compare with.
    """

    stages: tuple[Stage, ...]
    square: bool = False

    def __post_init__(self) -> None:
        if not self.stages or not all(isinstance(s, Stage) for s in self.stages):
            raise ValueError(f"expected one Stage or more, got {self.stages!r}")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(s.steps for s in self.stages)

    def plan(self, *, ema: float | None = None, every: int = 100) -> Plan:
        """The plan with these steps and learning rates. See `Plan`."""
        rates = tuple((s.steps, s.rate) for s in self.stages)
        return Plan(self.steps, rates[0][1], clip=None, ema=ema, every=every, rates=rates)

    def shortened(self, factor: int) -> ProximalMatching:
        """The same with a `factor`th of the steps, one a stage at least."""
        fewer = (Stage(max(1, s.steps // factor), s.rate, s.gamma) for s in self.stages)
        return ProximalMatching(tuple(fewer), self.square)

    def at(self, progress: float) -> Callable[[ConvexNetwork, Noisy], Tensor]:
        """The loss after this share of the steps."""
        if self.square:
            return mean_square_loss
        step = round(progress * self.steps)
        gamma = self.stages[-1].gamma
        for stage in self.stages:
            if step < stage.steps:
                gamma = stage.gamma
                break
            step -= stage.steps
        if gamma is None:
            return mean_absolute_loss
        return lambda network, batch: matching_loss(network, batch, gamma)


def published_stages(size: int | None = None) -> tuple[Stage, ...]:
    """The paper's schedule.

    Args:
        size: entries of an image: 20,000 steps with the mean absolute loss at 1e-3, then four times
            5,000 at 1e-4 with γ = 0.08 √size · 8, 4, 2, 1. None: that of its one-dimensional
            examples, γ from 0.5 to 0.1, 44,000 steps.
    """
    if size is not None:
        least = 0.08 * math.sqrt(integer(size, "size", 1))
        return (Stage(20_000, 1e-3), *(Stage(5_000, 1e-4, least * 2**k) for k in (3, 2, 1, 0)))
    return (
        Stage(10_000, 1e-3), Stage(10_000, 1e-4),
        Stage(2_000, 1e-3, 0.5), Stage(2_000, 1e-4, 0.5),
        Stage(4_000, 1e-4, 0.4), Stage(4_000, 1e-4, 0.3),
        Stage(4_000, 1e-5, 0.2), Stage(4_000, 1e-5, 0.1), Stage(4_000, 1e-6, 0.1),
    )  # fmt: skip


def _error(network: ConvexNetwork, batch: Noisy) -> Tensor:
    """f(y) − x; of a network for many levels in units of sigma, so that all of them count."""
    if not network.told_sigma:
        return network(batch.y) - batch.x
    unit = batch.sigma.reshape(-1, *(1,) * network.ndim)
    return (network(batch.y, batch.sigma) - batch.x) / unit
