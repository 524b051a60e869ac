"""Networks that predict the solution of a diffusion problem from its coefficient and load."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, relu

__all__ = ["FNO", "Predictor", "UNet"]

_SEEN = 6  # log k in the four cells around a node, the first guess, its defect
_START = 0.1  # size of a correction beside the first guess


class Predictor(nn.Module):
    """x = y + ‖y‖ f(log k, y / ‖y‖, e / ‖y‖): a correction to a guess y that ignores where k is.

    With m the geometric mean of k and P the solution operator for k = 1: y = P b / m is the guess
    and e = P (b − A y) / m its defect, what one step of Richardson's iteration would add. Scaling
    k or b scales the prediction as it scales the solution. Untrained, it predicts y.

    Node (i, j) sees all four cells around it, k[i:i+2, j:j+2]: nothing is cut off, and axis 0 of k
    is axis 0 of x.

    Attributes:
        ndim: 2.
        arguments: what the constructor was called with, for the card of its weights.
    """

    ndim = 2
    arguments: dict[str, int]

    def forward(self, log_k: Tensor, y: Tensor, e: Tensor) -> Tensor:
        """The prediction, (batch, 1, n, n).

        Args:
            log_k: (batch, 1, n + 1, n + 1), in the cells. y, e: (batch, 1, n, n), at the nodes.
        """
        g = log_k - log_k.mean((2, 3), keepdim=True)
        size = y.square().mean((2, 3), keepdim=True).sqrt()
        unit = torch.where(size > 0, size, 1)
        cells = [g[..., :-1, :-1], g[..., :-1, 1:], g[..., 1:, :-1], g[..., 1:, 1:]]
        correction = self.correction(torch.cat([*cells, y / unit, e / unit], 1))
        return y + _START * size * correction.to(y.dtype)

    def correction(self, seen: Tensor) -> Tensor:
        """f: (batch, 6, n, n) to (batch, 1, n, n)."""
        raise NotImplementedError


def _conv(before: int, after: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, padding=side // 2)


def _last(width: int) -> nn.Conv2d:
    """A layer that gives 0 before training."""
    layer = _conv(width, 1, 1)
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class _Block(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(relu(self.first(relu(x))))


class UNet(Predictor):
    """After Ronneberger, Fischer and Brox, U-Net (MICCAI 2015, arXiv 1505.04597).

    Each level has one residual unit on the way down and one on the way up; skips are added.

    Args:
        width: channels at full resolution; twice as many on coarser levels. levels: >= 1.
    """

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        if min(width, levels) < 1:
            raise ValueError(f"expected width and levels >= 1, got {width} and {levels}")
        self.arguments = {"width": width, "levels": levels}
        widths = [width] + [2 * width] * (levels - 1)
        self.lift = _conv(_SEEN, width)
        self.before = nn.ModuleList(_Block(w) for w in widths)
        self.after = nn.ModuleList(_Block(w) for w in widths[:-1])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_conv(a, b, 1) for a, b in pairs)
        self.up = nn.ModuleList(_conv(b, a, 1) for a, b in pairs)
        self.drop = _last(width)

    def correction(self, seen: Tensor) -> Tensor:
        rows, columns = seen.shape[2:]
        whole = 2 ** len(self.down)
        x = self.lift(pad(seen, (0, -columns % whole, 0, -rows % whole)))
        skips = []
        for block, down in zip(self.before, self.down, strict=False):
            x = block(x)
            skips.append(x)
            x = down(avg_pool2d(x, 2))
        x = self.before[-1](x)
        for block, up in zip(reversed(self.after), reversed(self.up), strict=True):
            x = block(skips.pop() + interpolate(up(x), scale_factor=2))
        return self.drop(relu(x))[..., :rows, :columns]


class _Spectral(nn.Module):
    """Multiplication of the lowest Fourier modes by a matrix each (Li et al., equation 4)."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes, self.width = modes, width
        # a complex matrix for each of the modes −m..m−1 of the first axis and 0..m−1 of the second
        self.weight = nn.Parameter(torch.randn(2 * modes, modes, 2 * width**2) / width)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            n, m = x.shape[2:]
            rows, columns = min(self.modes, n // 2), min(self.modes, m // 2 + 1)
            kept = torch.cat([torch.arange(n - rows, n), torch.arange(rows)]).to(x.device)
            low = torch.fft.rfft2(x.float())[:, :, kept, :columns].permute(2, 3, 0, 1)
            own = self.weight[self.modes - rows : self.modes + rows, :columns]
            own = torch.view_as_complex(own.unflatten(2, (self.width, self.width, 2)))
            mixed = torch.matmul(low, own)
            made = mixed.new_zeros((*x.shape[:2], n, m // 2 + 1))
            made[:, :, kept, :columns] = mixed.permute(2, 3, 0, 1)
            return torch.fft.irfft2(made, s=(n, m))


class FNO(Predictor):
    """After Li et al., Fourier Neural Operator for Parametric PDEs (ICLR 2021, arXiv 2010.08895).

    v ← v + relu(W v + K v) (their equation 2, with a skip), K in the lowest modes of a box that is
    an eighth wider and filled with zeros. W is a 3 × 3 convolution in place of their pointwise
    matrix: the solution has detail as fine as the cells of k, far above the modes of K.

    Args:
        width: channels. modes: kept along each axis. layers: >= 1.
    """

    def __init__(self, width: int = 20, modes: int = 12, layers: int = 4) -> None:
        super().__init__()
        if min(width, modes, layers) < 1:
            raise ValueError(f"expected counts >= 1, got {(width, modes, layers)}")
        self.arguments = {"width": width, "modes": modes, "layers": layers}
        self.lift = _conv(_SEEN, width)
        self.spectral = nn.ModuleList(_Spectral(width, modes) for _ in range(layers))
        self.local = nn.ModuleList(_conv(width, width) for _ in range(layers))
        self.mix = _conv(width, 4 * width, 1)
        self.drop = _last(4 * width)

    def correction(self, seen: Tensor) -> Tensor:
        rows, columns = seen.shape[2:]
        v = pad(self.lift(seen), (0, -(-columns // 8), 0, -(-rows // 8)))
        for spectral, local in zip(self.spectral, self.local, strict=True):
            v = v + relu(cast(Tensor, local(v)) + spectral(v))
        return self.drop(relu(self.mix(v[..., :rows, :columns])))
