"""Training of a learned proximal operator at its work: images restored by plug-and-play."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciml._checks import integer, number

if TYPE_CHECKING:
    from torch import Tensor

    from sciml.networks import ConvexNetwork

    from .score_data import Pool

__all__ = ["Blurred", "Restoring"]

_PLAIN = 0.15  # of the squares are noisy only


@dataclass(frozen=True, eq=False)
class Blurred:
    """Squares x, real (batch, rows, columns), and y = h x + noise on a ring.

    Attributes:
        h: the blur's real spectrum, (batch, rows, columns // 2 + 1). noise: its level, (batch,).
    """

    x: Tensor
    y: Tensor
    h: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Restoring:
    """The mean of log ‖z − x‖² for z that plug-and-play ADMM restores from blur and noise.

    What is learned is not what denoises best, but the φ whose minimisers come nearest to the
    truth (a bilevel problem: Kunisch and Pock, SIAM J. Imaging Sci. 6, 2013). f stays the gradient
    of a convex function throughout. The network is told `ratio` times the noise, within its levels.
    The gradient is that of the last iterations alone, from where the first ones came to.

    Args:
        steps, rate: of training. ratio: see above. free, kept: iterations without and with a
            gradient. widths: of Gaussian blurs, pixels. noises: (least, most) level.
    """

    steps: int = 200
    rate: float = 5e-4
    ratio: float = 5.0
    free: int = 12
    kept: int = 4
    widths: tuple[float, float] = (0.5, 2.5)
    noises: tuple[float, float] = (0.008, 0.04)

    def __post_init__(self) -> None:
        for name in ("steps", "kept"):
            integer(getattr(self, name), name, 1)
        integer(self.free, "free", 0)
        for name in ("rate", "ratio"):
            number(getattr(self, name), name, least=1e-12)

    def draw(self, pool: Pool, count: int, rng: np.random.Generator) -> Blurred:
        """Squares of the pool, each with its own blur and noise."""
        import torch

        x = pool.drawn(rng, count).real.contiguous()
        widths = np.where(rng.random(count) < _PLAIN, 0.0, rng.uniform(*self.widths, count))
        low, high = map(math.log, self.noises)
        levels = np.exp(rng.uniform(low, high, count)).astype(np.float32)
        rows, columns = (np.fft.fftfreq(n) for n in x.shape[1:])
        square = rows[:, None] ** 2 + columns[: x.shape[2] // 2 + 1] ** 2
        h = np.exp(-2 * (math.pi * widths[:, None, None]) ** 2 * square).astype(np.float32)
        spectrum, noise = torch.from_numpy(h), torch.from_numpy(levels)
        n = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
        return Blurred(x, _filtered(spectrum, x) + noise[:, None, None] * n, spectrum, noise)

    def __call__(self, network: ConvexNetwork, batch: Blurred) -> Tensor:
        error = (self.restored(network, batch) - batch.x).square().mean((1, 2))
        return (error + 1e-6).log().mean()

    def restored(self, network: ConvexNetwork, batch: Blurred) -> Tensor:
        """z after all iterations; ADMM as `solvers.PlugAndPlayADMM`, at the native step."""
        import torch

        level = (self.ratio * batch.noise).clamp(*network.sigmas)
        rho, weight = level[:, None, None] ** -2, batch.noise[:, None, None] ** -2
        back = weight * _filtered(batch.h, batch.y)
        inverse = 1 / (weight * batch.h.square() + rho)

        def step(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            z = network((x - u)[:, None], level if network.told_sigma else None)[:, 0]
            x = _filtered(inverse, back + rho * (z + u))
            return z, x, u + z - x

        x, u = batch.y, torch.zeros_like(batch.y)
        z = x
        with torch.no_grad():
            for _ in range(self.free):
                z, x, u = step(x, u)
        for _ in range(self.kept):
            z, x, u = step(x, u)
        return z


def _filtered(h: Tensor, x: Tensor) -> Tensor:
    import torch

    return torch.fft.irfft2(h * torch.fft.rfft2(x), s=x.shape[-2:])
