"""Losses that teach a denoiser, from clean or from noisy data, and what they are drawn from.

All errors are relative to what the denoiser's linear part leaves, `Denoiser.linear_error`: with one
power for all entries that is EDM's weight 1 / c_out² (Karras et al. 2022, table 1).

What EDM's preconditioning replaces: a schedule with zero terminal signal-to-noise ratio and its
v-prediction (Lin et al., Common diffusion noise schedules and sample steps are flawed, WACV 2024).
They mend networks that predict the noise, which says nothing of x0 where no signal is left. Here
F's target is (sigma x0 − n) / √(1 + sigma²) for sigma_data = 1 and n of E|n|² = 1. That is −v, and
near x0 where sigma is large; and no level is the last that a sampler could mistake for pure noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .._checks import number
from ..networks.denoiser import Denoiser

__all__ = [
    "LogNormal",
    "LogUniform",
    "Noised",
    "SureScore",
    "ambient_loss",
    "denoising_loss",
    "noised",
    "sure_loss",
]


class Levels(Protocol):
    """A distribution of noise levels."""

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Levels > 0, float64 (count,)."""
        ...


@dataclass(frozen=True)
class LogUniform:
    """exp of a uniform number; `shift` is taken off, as SURE-Score does with the data's own noise.

    Args:
        low, high: 0 < low < high. shift: up to low.
    """

    low: float
    high: float
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf or not 0 <= self.shift <= self.low:
            raise ValueError(f"expected 0 <= shift <= low < high, got {self}")

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.exp(rng.uniform(math.log(self.low), math.log(self.high), count)) - self.shift


@dataclass(frozen=True)
class LogNormal:
    """exp of a normal number (EDM: mean −1.2, spread 1.2, for sigma_data = 0.5)."""

    mean: float = -1.2
    spread: float = 1.2

    def __post_init__(self) -> None:
        number(self.spread, "spread")
        number(self.mean, "mean", least=-math.inf)

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.exp(self.mean + self.spread * rng.standard_normal(count))


@dataclass(frozen=True, eq=False)
class Noised:
    """A batch of data and all that is random about a step.

    Attributes:
        x: complex (batch, rows, columns), data that hold noise of their own. own: (batch,), its
            level; 0: clean. added: (batch,), the level of what is added. noise: CN(0, 1) like x.
        extra: γ CN(0, 1) of input perturbation, or None. probe: ±1 ± i like x.
    """

    x: Tensor
    own: Tensor
    added: Tensor
    noise: Tensor
    extra: Tensor | None
    probe: Tensor

    @property
    def total(self) -> Tensor:
        """The level of all noise, (batch,)."""
        return (self.own.square() + self.added.square()).sqrt()

    def on(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(what the network sees of x, what its noise is measured from)."""
        level = self.added[:, None, None]
        start = x if self.extra is None else x + level * self.extra
        return start + level * self.noise, start


def noised(
    x: Tensor,
    own: Tensor,
    levels: Levels,
    rng: np.random.Generator,
    *,
    perturbation: float = 0.0,
) -> Noised:
    """A batch with the noise for one step.

    Args:
        x: complex (batch, rows, columns). own: (batch,), the level of the noise in it.
        levels: of the noise to add; from own on, all of it together is what is trained.
        perturbation: γ of Ning et al., Input perturbation reduces exposure bias in diffusion models
            (ICML 2023), eq. 8: the network sees √(1 + γ²) times the noise that it is told of. It
            then is no exact E[x0 | x]; 0 for posteriors that are to be calibrated.
    """
    real = x.real.dtype

    def normal() -> Tensor:
        drawn = rng.standard_normal((2, *x.shape), np.float32)
        return torch.complex(*torch.from_numpy(drawn).to(real)) / math.sqrt(2)

    extra = number(perturbation, "perturbation") * normal() if perturbation else None
    signs = torch.from_numpy(2 * rng.integers(0, 2, (2, *x.shape), np.int8) - 1).to(real)
    added = torch.from_numpy(levels(rng, len(x))).to(real)
    return Noised(x, own.to(real), added, normal(), extra, torch.complex(*signs))


def denoising_loss(network: Denoiser, batch: Noised) -> Tensor:
    """Denoising score matching (Vincent 2011), the data taken as clean, whatever they are."""
    return _denoising(network, batch, batch.x)


def ambient_loss(network: Denoiser, batch: Noised) -> Tensor:
    """Denoising from noisy data (Daras, Cherapanamjeri and Daskalakis 2024, arXiv 2411.02780).

    For x_t = y + noise with levels own < total, Tweedie's formula gives for any x0
    E[y | x_t] = r x_t + (1 − r) E[x0 | x_t] with r = own² / total²: a D whose right side predicts y
    best is E[x0 | x_t], at all levels above `own`. Clean members (own = 0) train all levels.
    """
    seen, y = batch.on(batch.x)
    total = batch.total
    r = (batch.own / total).square()[:, None, None]
    predicted = r * seen + (1 - r) * network(seen, total)
    return _relative(network, predicted - y, total)


def sure_loss(network: Denoiser, batch: Noised) -> Tensor:
    """Stein's unbiased estimate of the error of h(y) = D(y, own), without x0.

    E|h − x0|² = E[|h − y|² − own² + own² div h / N] over N complex entries, div h over real and
    imaginary parts: Hutchinson's estimate with one probe of ±1 ± i, of an exact derivative.
    """
    return _sure(network, batch)[0]


@dataclass(frozen=True)
class SureScore:
    """SURE-Score with one network: Aali, Arvinte, Kumar and Tamir (Asilomar 2023, 2305.01166).

    SURE at the data's noise, and denoising score matching of h(y) = D(y, own) in place of clean
    data, the gradient through h included; the latter's weight grows linearly with training.
    Levels to add: LogUniform(own, high, shift=own).

    Args:
        weight: of score matching at the end. start: at the beginning.
    """

    weight: float = 1.0
    start: float = 0.0

    def at(self, progress: float) -> Callable[[Denoiser, Noised], Tensor]:
        """The loss after this share of the training."""
        now = self.start + (self.weight - self.start) * progress

        def loss(network: Denoiser, batch: Noised) -> Tensor:
            sure, h = _sure(network, batch)
            return sure + now * _denoising(network, batch, h)

        return loss


def _denoising(network: Denoiser, batch: Noised, x: Tensor) -> Tensor:
    seen, start = batch.on(x)
    return _relative(network, network(seen, batch.added) - start, batch.added)


def _sure(network: Denoiser, batch: Noised) -> tuple[Tensor, Tensor]:
    y, own, b = batch.x, batch.own, batch.probe
    h, change = torch.func.jvp(lambda v: network(v, own), (y,), (b,))[:2]
    divergence = (b.conj() * change).real
    noise = own.square()[:, None, None]
    error = (h - y).abs().square() - noise + noise * divergence
    return (error.mean((1, 2)) / network.linear_error(own).detach()).mean(), h


def _relative(network: Denoiser, error: Tensor, sigma: Tensor) -> Tensor:
    size = error.abs().square().mean((1, 2))
    return (size / network.linear_error(sigma).detach()).mean()
