"""A U-shaped direction network with as many levels as the grid has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate, pad

from .directions import DirectionNetwork
from .stencil import Stencil

__all__ = ["Multilevel"]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_MEAN = {2: avg_pool2d, 3: avg_pool3d}
_STAGES = 3  # on each level: before going down, on coming up, after it
_COARSEST = 4  # filter steps on the coarsest level


class _Filters(nn.Module):
    """x -> Σ_c w_c * (g_c · (v_c * x)): a bank of linear filters weighted from place to place.

    The first filter starts as `first` times the identity, the others as small noise.
    """

    def __init__(self, ndim: int, width: int, first: float) -> None:
        super().__init__()
        self.analysis = _CONV[ndim](1, width, 3, padding=1, bias=False)
        self.synthesis = _CONV[ndim](width, 1, 3, padding=1, bias=False)
        centre = (1,) * ndim
        with torch.no_grad():
            self.synthesis.weight.mul_(0.1)
            for weight, value in ((self.analysis.weight, 1.0), (self.synthesis.weight, first)):
                weight[(0, 0)] = 0
                weight[(0, 0, *centre)] = value

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        return self.synthesis(gates * self.analysis(x))


class _Block(nn.Module):
    """What a level owns: a network of its stencil that gives the gates, and three filter banks."""

    def __init__(self, ndim: int, width: int, hidden: int) -> None:
        super().__init__()
        conv = _CONV[ndim]
        self.look = conv(2 * ndim + 2, hidden, 3, padding=1)
        self.think = conv(hidden, hidden, 3, padding=1)
        self.gates = conv(hidden, _STAGES * width, 1)
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)  # type: ignore[arg-type]
        firsts = (0.8, 0.5, 0.8)  # damped Jacobi, linear interpolation, damped Jacobi
        self.filters = nn.ModuleList(_Filters(ndim, width, f) for f in firsts)

    def prepare(self, features: Tensor) -> tuple[Tensor, ...]:
        seen = torch.relu(self.look(features))
        seen = torch.relu(self.think(seen))
        return torch.chunk(1 + self.gates(seen), _STAGES, dim=1)


@dataclass(frozen=True, eq=False)
class _Level:
    stencil: Stencil
    scale: Tensor  # 1 / diagonal in the fluid, 0 elsewhere
    gates: tuple[Tensor, ...]


class Multilevel(DirectionNetwork):
    """A V-shaped network on the residual, with gates that a second network reads off the stencil.

    On each level it filters the residual, passes what A leaves of it to the next coarser one, and
    filters again on the way up, each filter 3 cells a side there and back. The gates see each
    cell's shares of the diagonal, so conductivity, sides and solid cells come in through them, and
    they are computed once for a system. Its direction is linear in r and the same for s·A.
    Untrained it is a plain multigrid cycle; levels from the second on share their weights, so one
    network serves every size.

    Args:
        ndim: 2 or 3.
        width: filters of a bank. hidden: channels of the network that sets the gates.
    """

    conditioned = True

    def __init__(self, ndim: int, width: int = 8, hidden: int = 16) -> None:
        super().__init__()
        if ndim not in _CONV or min(width, hidden) < 1:
            raise ValueError(
                f"expected ndim 2 or 3 and counts >= 1, got {ndim}, width {width}, hidden {hidden}"
            )
        self.ndim = ndim
        self.arguments = {"ndim": ndim, "width": width, "hidden": hidden}
        self.blocks = nn.ModuleList(_Block(ndim, width, hidden) for _ in range(2))

    def _block(self, level: int) -> _Block:
        return cast(_Block, self.blocks[min(level, 1)])

    def features(self, stencil: Stencil, level: int) -> Tensor:
        """What the gates of a level see, (batch, 2 ndim + 2, *shape)."""
        return stencil.features()

    def prepare(self, stencil: Stencil | None) -> list[_Level]:
        if stencil is None:
            raise ValueError("expected a stencil for a conditioned network, got None")
        depth = max(1, min(stencil.shape).bit_length() - 1)
        stencil, levels = stencil.padded(1 << (depth - 1)), []
        for i in range(depth):
            diagonal = stencil.diagonal() + (1 - stencil.fluid)
            scale = stencil.fluid / diagonal.clamp_min(1e-30)
            # a cell with no open face has a residual of 0 in every solvable system
            scale = torch.where(diagonal > 0, scale, 0)
            gates = self._block(i).prepare(self.features(stencil, i))
            levels.append(_Level(stencil, scale, gates))
            if i < depth - 1:
                stencil = stencil.coarsen()
        return levels

    def forward(self, r: Tensor, system: list[_Level] | None = None) -> Tensor:
        if system is None:
            raise ValueError("expected what prepare(stencil) gave, got None")
        shape, wide = r.shape[2:], system[0].stencil.shape
        more = [w for n, m in zip(reversed(shape), reversed(wide), strict=True) for w in (0, m - n)]
        q = self._cycle(pad(r, more) if any(more) else r, system, 0)
        return q[(..., *(slice(n) for n in shape))]

    def _cycle(self, r: Tensor, levels: list[_Level], i: int) -> Tensor:
        level, filters = levels[i], self._block(i).filters
        A, scale, gates = level.stencil, level.scale, level.gates
        fluid = scale.sign()
        u = fluid * filters[0](scale * r, gates[0])
        if i == len(levels) - 1:
            for _ in range(_COARSEST):
                u = u + fluid * filters[2](scale * (r - A(u)), gates[2])
            return u
        low = self._cycle(_MEAN[self.ndim](r - A(u), 2), levels, i + 1)
        e = fluid * interpolate(low, scale_factor=2)
        u = u + e - fluid * filters[1](scale * A(e), gates[1])
        return u + fluid * filters[2](scale * (r - A(u)), gates[2])
