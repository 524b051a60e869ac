"""Layers of denoising networks: convolutions that know the noise level."""

from __future__ import annotations

import itertools
import math
from enum import Enum
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, silu

__all__ = ["EMBEDDED", "LightCNN", "NoiseLevel", "Padding", "Perceptron", "UNetBody"]

Layer = TypeVar("Layer", bound=nn.Module)

_WAVES = (0.25, 0.5, 1.0, 2.0)
EMBEDDED = 32


class Padding(Enum):
    """What lies beyond the edges: nothing, or the other side."""

    ZEROS = "constant"
    CIRCULAR = "circular"


class NoiseLevel(nn.Module):
    """c_noise (batch,) -> (batch, 32): waves of it, mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Linear(1 + 2 * len(_WAVES), EMBEDDED), nn.SiLU())

    def forward(self, level: Tensor) -> Tensor:
        waves = 2 * math.pi * level[:, None] * level.new_tensor(_WAVES)
        return self.mix(torch.cat([level[:, None], waves.cos(), waves.sin()], 1))


class _Conv(nn.Conv2d):
    """A convolution of 3 × 3 that keeps the size."""

    def __init__(self, before: int, after: int, padding: Padding) -> None:
        super().__init__(before, after, 3, padding=0 if padding is Padding.CIRCULAR else 1)
        self.around = padding

    def forward(self, input: Tensor) -> Tensor:
        if self.around is Padding.CIRCULAR:
            input = pad(input, (1, 1, 1, 1), mode="circular")
        return super().forward(input)


class _Modulated(nn.Module):
    """silu(scale · x + shift), of which each channel's scale and shift follow the noise level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by_level = nn.Linear(EMBEDDED, 2 * width)
        nn.init.zeros_(self.by_level.bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        known = self.by_level(level)
        scale, shift = known.reshape(*known.shape, *(1,) * (x.ndim - 2)).chunk(2, 1)
        return silu(x * (1 + scale) + shift)


class _Block(nn.Module):
    """x + conv(modulated(conv(modulated(x))))."""

    def __init__(self, width: int, padding: Padding) -> None:
        super().__init__()
        self.first, self.second = (_Conv(width, width, padding) for _ in range(2))
        self.before, self.between = _Modulated(width), _Modulated(width)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return x + self.second(self.between(self.first(self.before(x, level)), level))


def _quiet(layer: Layer) -> Layer:
    """A layer that gives 0 before training."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class LightCNN(nn.Module):
    """Convolutions at one resolution: x ← x + conv(modulated(x)), `layers` times.

    Of the size of Fesl et al. (IEEE Wireless Commun. Lett. 13, 2024), with skips.
    """

    def __init__(self, inputs: int, width: int, layers: int, padding: Padding) -> None:
        super().__init__()
        self.level = NoiseLevel()
        self.lift = _Conv(inputs, width, padding)
        self.convs = nn.ModuleList(_Conv(width, width, padding) for _ in range(layers))
        self.modulated = nn.ModuleList(_Modulated(width) for _ in range(layers + 1))
        self.drop = _quiet(_Conv(width, 2, padding))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(batch, inputs, rows, columns) and c_noise (batch,) -> (batch, 2, rows, columns)."""
        known, x = self.level(level), self.lift(x)
        for conv, modulated in zip(self.convs, self.modulated, strict=False):
            x = x + conv(modulated(x, known))
        return self.drop(self.modulated[-1](x, known))


class Perceptron(nn.Module):
    """Dense layers on all entries together: x ← x + dense(modulated(x)), `layers` times."""

    def __init__(self, size: int, width: int, layers: int) -> None:
        super().__init__()
        self.level = NoiseLevel()
        self.lift = nn.Linear(size, width)
        self.dense = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.modulated = nn.ModuleList(_Modulated(width) for _ in range(layers + 1))
        self.drop = _quiet(nn.Linear(width, size))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(batch, size) and c_noise (batch,) -> (batch, size)."""
        known, x = self.level(level), self.lift(x)
        for dense, modulated in zip(self.dense, self.modulated, strict=False):
            x = x + dense(modulated(x, known))
        return self.drop(self.modulated[-1](x, known))


class UNetBody(nn.Module):
    """After Ronneberger, Fischer and Brox, U-Net (MICCAI 2015, arXiv 1505.04597).

    One residual block a level on the way down and one on the way up; skips are added. Twice the
    channels on coarser levels. Sizes that 2^(levels − 1) does not divide are padded, and cut.
    """

    def __init__(self, inputs: int, width: int, levels: int, padding: Padding) -> None:
        super().__init__()
        widths = [width] + [2 * width] * (levels - 1)
        pairs = list(itertools.pairwise(widths))
        self.around = padding
        self.level = NoiseLevel()
        self.lift = _Conv(inputs, width, padding)
        self.before = nn.ModuleList(_Block(w, padding) for w in widths)
        self.after = nn.ModuleList(_Block(w, padding) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.last = _Modulated(width)
        self.drop = _quiet(_Conv(width, 2, padding))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(batch, inputs, rows, columns) and c_noise (batch,) -> (batch, 2, rows, columns)."""
        rows, columns = x.shape[2:]
        whole = 2 ** len(self.down)
        x = _widened(x, -rows % whole, -columns % whole, self.around)
        known, x, skips = self.level(level), self.lift(x), []
        for block, down in zip(self.before, self.down, strict=False):
            x = block(x, known)
            skips.append(x)
            x = down(avg_pool2d(x, 2))
        x = self.before[-1](x, known)
        for block, up in zip(reversed(self.after), reversed(self.up), strict=True):
            x = block(skips.pop() + interpolate(up(x), scale_factor=2), known)
        return self.drop(self.last(x, known))[..., :rows, :columns]


def _widened(x: Tensor, rows: int, columns: int, padding: Padding) -> Tensor:
    """x with `rows` and `columns` more; a ring goes on with what is there, as often as needed."""
    if padding is Padding.ZEROS:
        return pad(x, (0, columns, 0, rows))
    for axis, more in ((2, rows), (3, columns)):
        n = x.shape[axis]
        x = x.index_select(axis, torch.arange(n + more, device=x.device) % n)
    return x
