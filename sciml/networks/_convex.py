"""Layers of input-convex networks, each with the adjoints of its maps."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate, linear

__all__ = ["ConvexConv", "ConvexLayer", "ConvexLinear", "Gains"]


_SPREAD = 4.0


class Gains(NamedTuple):
    """What the noise level makes of a layer: a shift of b, and positive factors, all per member.

    None: b as it is, and factors 1.
    """

    shift: Tensor | None = None
    S: Tensor | None = None
    W: Tensor | None = None
    c: Tensor | None = None


class ConvexLayer(nn.Module):
    """a = gain_W W h + gain_S S x + b + shift, and the adjoints in x and h.

    Args:
        below: width of h; 0 without. width: of a. known: numbers that tell the noise level; 0 for
            one level. outer: the mean of c at first; None without c.

    Attributes:
        S, b: of either sign. W, c: never negative once projected; None where there are none.
    """

    axes = 0  # of a, behind its width
    W: nn.Parameter | None
    c: nn.Parameter | None
    S: nn.Parameter

    def __init__(self, below: int, width: int, known: int, outer: float | None) -> None:
        super().__init__()
        self.below = below
        self.b = nn.Parameter(torch.empty(width).uniform_(-0.5, 0.5))
        self.c = None if outer is None else nn.Parameter(2 * outer * torch.rand(width))
        self.by_level = nn.Linear(known, 4 * width) if known else None
        if self.by_level is not None:
            nn.init.zeros_(self.by_level.weight)
            nn.init.zeros_(self.by_level.bias)

    def gains(self, known: Tensor | None) -> Gains:
        if self.by_level is None or known is None:
            return Gains()
        shift, *logs = self._column(self.by_level(known)).chunk(4, 1)
        return Gains(shift, *(g.exp() for g in logs))

    def from_input(self, x: Tensor, gain: Gains) -> Tensor:
        """gain_S S x + b + shift."""
        a = _times(self._S(x), gain.S) + self._column(self.b[None])
        return a if gain.shift is None else a + gain.shift

    def to_input(self, delta: Tensor, gain: Gains) -> Tensor:
        return self._S_adjoint(_times(delta, gain.S))

    def from_below(self, h: Tensor, gain: Gains) -> Tensor:
        return _times(self._W(h), gain.W)

    def to_below(self, delta: Tensor, gain: Gains) -> Tensor:
        return self._W_adjoint(_times(delta, gain.W))

    def outer(self, gain: Gains) -> Tensor | None:
        """c, to broadcast against a."""
        return None if self.c is None else _times(self._column(self.c[None]), gain.c)

    def _column(self, p: Tensor) -> Tensor:
        return p[(..., *(None,) * self.axes)]

    @property
    def _known_W(self) -> Tensor:
        assert self.W is not None
        return self.W

    def _S(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _S_adjoint(self, delta: Tensor) -> Tensor:
        raise NotImplementedError

    def _W(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    def _W_adjoint(self, delta: Tensor) -> Tensor:
        raise NotImplementedError


class ConvexLinear(ConvexLayer):
    """S and W are matrices."""

    def __init__(self, size: int, below: int, width: int, known: int, outer: float | None) -> None:
        super().__init__(below, width, known, outer)
        self.S = nn.Parameter(_signed(width, size, fan_in=size))
        self.W = nn.Parameter(_positive(width, below, fan_in=below)) if below else None
        with torch.no_grad():  # s bends at x that are spread over some 4 standard deviations
            bends = torch.empty(width, size).uniform_(-_SPREAD, _SPREAD)
            self.b.copy_(-(self.S * bends).sum(1))

    def _S(self, x: Tensor) -> Tensor:
        return linear(x, self.S)

    def _S_adjoint(self, delta: Tensor) -> Tensor:
        return delta @ self.S

    def _W(self, h: Tensor) -> Tensor:
        return linear(h, self._known_W)

    def _W_adjoint(self, delta: Tensor) -> Tensor:
        return delta @ self._known_W


class ConvexConv(ConvexLayer):
    """S and W are convolutions; S sees x averaged over squares of `coarse` pixels a side.

    Args:
        channels: of x. kernel: 3 keeps the size, padded with zeros; another one sees what is whole
            in it. stride: of W; `coarse` counts it already.
    """

    axes = 2

    def __init__(
        self,
        channels: int,
        below: int,
        width: int,
        known: int,
        outer: float | None,
        *,
        kernel: int | None = None,
        stride: int = 1,
        coarse: int = 1,
    ) -> None:
        super().__init__(below, width, known, outer)
        side, self.padding = (3, 1) if kernel is None else (kernel, 0)
        self.stride, self.coarse = stride, coarse
        square = side * side
        self.S = nn.Parameter(_signed(width, channels, side, side, fan_in=channels * square))
        self.W = (
            nn.Parameter(_positive(width, below, side, side, fan_in=below * square))
            if below
            else None
        )

    def _S(self, x: Tensor) -> Tensor:
        if self.coarse > 1:
            x = avg_pool2d(x, self.coarse)
        return conv2d(x, self.S, padding=self.padding)

    def _S_adjoint(self, delta: Tensor) -> Tensor:
        coarse = conv_transpose2d(delta, self.S, padding=self.padding)
        if self.coarse == 1:
            return coarse
        return interpolate(coarse, scale_factor=self.coarse) / self.coarse**2

    def _W(self, h: Tensor) -> Tensor:
        return conv2d(h, self._known_W, stride=self.stride, padding=self.padding)

    def _W_adjoint(self, delta: Tensor) -> Tensor:
        # sizes are multiples of the stride, which leaves stride − 1 pixels to add
        return conv_transpose2d(
            delta, self._known_W, stride=self.stride, padding=self.padding,
            output_padding=self.stride - 1,
        )  # fmt: skip


def _times(x: Tensor, gain: Tensor | None) -> Tensor:
    return x if gain is None else gain * x


def _signed(*shape: int, fan_in: int) -> Tensor:
    return torch.randn(shape) / math.sqrt(fan_in)


def _positive(*shape: int, fan_in: int) -> Tensor:
    """The mean of what it is applied to, roughly."""
    return torch.rand(shape) * (2 / fan_in)
