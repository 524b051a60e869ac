"""Fourier features as a torch module. Importing this loads torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FourierFeatures"]


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
