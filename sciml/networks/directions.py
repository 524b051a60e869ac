"""Networks that map a residual to a search direction, as published with DCDM."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    interpolate,
    pad,
    relu,
)

from .stencil import Stencil

__all__ = ["DirectionNetwork", "SingleLevel"]

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOL = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


class DirectionNetwork(nn.Module):
    """Base of the networks that `solvers.NeuralDirections` takes.

    Attributes:
        ndim: axes of the grid it works on.
        conditioned: whether `prepare` needs a Stencil.
        arguments: what the constructor was called with, for the card of its weights.
    """

    ndim: int
    conditioned: ClassVar[bool] = False
    arguments: dict[str, int]

    def prepare(self, stencil: Stencil | None) -> Any:
        """What `forward` needs of the system, computed once for it."""
        return None

    def forward(self, r: Tensor, system: Any = None) -> Tensor:
        """The direction for residuals r, both (batch, 1, *shape)."""
        raise NotImplementedError


class _Residual(nn.Module):
    """x + relu(conv(relu(conv(x))))."""

    def __init__(self, ndim: int, width: int) -> None:
        super().__init__()
        self.first = _CONV[ndim](width, width, 3, padding=1)
        self.second = _CONV[ndim](width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.second(relu(self.first(x)))) + x


class SingleLevel(DirectionNetwork):
    """The network of Kaneda et al., A Deep Conjugate Direction Method (arXiv 2205.10763).

    Convolutions of 3 cells a side at full resolution and one coarser level. With ndim=3, width=16:
    `SingleLevel(3)` is theirs for 64³ (97,457 parameters), `SingleLevel(3, 2, 5, 3)` the one for
    128³ (152,881). It knows nothing of the matrix, and works on any grid. Ours starts near q = r,
    theirs from random weights, which end a fifth slower after a minute of training.

    Args:
        ndim: 1, 2 or 3.
        before, coarse, after: residual units at full resolution before pooling, at half
            resolution, and at full resolution after it.
        width: filters.
        near_identity: start near q = r. False starts as theirs does, from the weights of Glorot
            and Bengio (2010), uniform, and no bias. Trained weights do not tell: no card has it.
    """

    def __init__(
        self,
        ndim: int,
        before: int = 1,
        coarse: int = 3,
        after: int = 2,
        width: int = 16,
        *,
        near_identity: bool = True,
    ) -> None:
        super().__init__()
        if ndim not in _CONV or min(before, coarse, after, width) < 1:
            raise ValueError(
                f"expected ndim 1, 2 or 3 and counts >= 1, got {(ndim, before, coarse, after)} "
                f"and width {width}"
            )
        self.ndim = ndim
        self.arguments = {
            "ndim": ndim, "before": before, "coarse": coarse, "after": after, "width": width
        }  # fmt: skip
        conv = _CONV[ndim]
        self.lift = conv(1, width, 3, padding=1)
        self.first = conv(width, width, 3, padding=1)
        self.before = nn.Sequential(*(_Residual(ndim, width) for _ in range(before)))
        self.down = conv(width, width, 3, padding=1)
        self.coarse = nn.Sequential(*(_Residual(ndim, width) for _ in range(coarse)))
        self.after = nn.Sequential(*(_Residual(ndim, width) for _ in range(after)))
        self.drop = conv(width, 1, 1)  # Dense(1)
        if near_identity:
            self._start_near_identity()
        else:
            self._start_at_random()

    def _start_at_random(self) -> None:
        for p in self.parameters():
            if p.ndim == 1:
                nn.init.zeros_(p)
            else:
                nn.init.xavier_uniform_(p)

    def _start_near_identity(self) -> None:
        """Filters pass r and −r through the ReLUs, residual units are small."""
        signs = torch.where(torch.arange(self.lift.out_channels) % 2 == 0, 1.0, -1.0)
        centre = (1,) * self.ndim
        with torch.no_grad():
            for p in self.parameters():
                if p.ndim == 1:
                    p.zero_()
            self.lift.weight[(slice(None), 0, *centre)] += signs
            for weight in (self.first.weight, self.down.weight):
                weight.mul_(0.3)
                for i in range(len(signs)):
                    weight[(i, i, *centre)] += 1
            for unit in self.modules():
                if isinstance(unit, _Residual):
                    unit.second.weight.mul_(0.3)
            self.drop.weight.mul_(0.1)
            self.drop.weight[(0, slice(None), *(0,) * self.ndim)] += signs / len(signs)

    def forward(self, r: Tensor, system: Any = None) -> Tensor:
        shape = r.shape[2:]
        odd = [w for n in reversed(shape) for w in (0, n % 2)]
        x = relu(self.first(self.lift(pad(r, odd) if any(odd) else r)))
        x = relu(self.down(self.before(x)))
        low = self.coarse(_POOL[self.ndim](x, 2))
        x = self.after(interpolate(low, scale_factor=2) + x)
        with torch.autocast(x.device.type, enabled=False):  # the rounding of bfloat16 averages out
            q = self.drop(x.float())
        return q[(..., *(slice(n) for n in shape))]
