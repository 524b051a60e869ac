"""Features as torch modules: of linear models, and before a network. Importing this loads torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sciml._checks import integer, need, number

__all__ = ["FourierEmbedding", "FourierFeatures", "PeriodicEmbedding"]


class FourierFeatures(nn.Module):
    """u(x) = sum_i theta_i scale_i cos(waves_i x) or sin(waves_i x): linear in its parameters.

    Args:
        waves: (n, d). sines: bool (n,), which are sines. scale: (n,).
    """

    waves: Tensor
    sines: Tensor
    scale: Tensor

    def __init__(self, waves: Tensor, sines: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros_like(scale))
        self.register_buffer("waves", waves)
        self.register_buffer("sines", sines)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """x (points, d) -> u (points, 1)."""
        phase = x @ self.waves.T
        features = torch.where(self.sines, torch.sin(phase), torch.cos(phase))
        return (features @ (self.scale * self.theta))[:, None]


class PeriodicEmbedding(nn.Module):
    """x -> cos and sin of 2 pi k x_i / period_i, k = 1 .. harmonics, for periodic axes; x_i else.

    What follows is periodic with all its derivatives, for any weights (Dong and Ni, A method for
    representing periodic functions and enforcing exactly periodic boundary conditions with deep
    neural networks, J. Computational Physics 435, 2021). For DeepXDE
    `net.apply_feature_transform(embedding)`; the network's first layer takes `size` inputs.

    Args:
        periods: (d,), None for an axis that is not periodic.
        harmonics: per periodic axis.
    """

    def __init__(self, periods: Sequence[float | None], harmonics: int = 1) -> None:
        super().__init__()
        self.periods = tuple(None if p is None else number(p, "a period") for p in periods)
        self.harmonics = integer(harmonics, "harmonics", 1)
        if 0 in self.periods or not any(self.periods):
            raise ValueError(
                f"expected a period > 0 or None for each axis, not all None, got {periods}"
            )

    @property
    def size(self) -> int:
        """Features."""
        return sum(2 * self.harmonics if p else 1 for p in self.periods)

    def forward(self, x: Tensor) -> Tensor:
        """x (points, d) -> (points, size)."""
        _fits(x, len(self.periods))
        k = torch.arange(1, self.harmonics + 1, dtype=x.dtype, device=x.device)
        found = []
        for axis, period in enumerate(self.periods):
            column = x[:, axis : axis + 1]
            if period:
                phase = column * (2 * math.pi / period * k)
                found += [torch.cos(phase), torch.sin(phase)]
            else:
                found.append(column)
        return torch.cat(found, dim=1)


class FourierEmbedding(nn.Module):
    """x -> cos(2 pi B x), sin(2 pi B x), with the entries of B (count, d) from N(0, scale²).

    Tancik et al., Fourier features let networks learn high frequency functions in low dimensional
    domains, NeurIPS 2020. A network behind it learns frequencies about `scale` first. For DeepXDE
    `net.apply_feature_transform(embedding)`.

    Args:
        dim: d. count: of waves. scale: their frequencies', one for all axes or (d,).
    """

    waves: Tensor

    def __init__(
        self, dim: int, count: int, scale: float | Sequence[float], *, rng: np.random.Generator
    ) -> None:
        super().__init__()
        need(rng, np.random.Generator, "rng as a numpy.random.Generator")
        spread = np.broadcast_to(np.asarray(scale, np.float64), (integer(dim, "dim", 1),))
        if not (np.isfinite(spread) & (spread >= 0)).all():
            raise ValueError(f"expected a scale >= 0, got {scale}")
        waves = spread * rng.standard_normal((integer(count, "count", 1), dim))
        self.register_buffer("waves", torch.from_numpy(waves))

    @property
    def size(self) -> int:
        """Features."""
        return 2 * len(self.waves)

    def forward(self, x: Tensor) -> Tensor:
        """x (points, d) -> (points, size)."""
        _fits(x, self.waves.shape[1])
        phase = 2 * math.pi * x @ self.waves.to(x).T
        return torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)


def _fits(x: Tensor, dim: int) -> None:
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"expected points (n, {dim}), got {tuple(x.shape)}")
