"""What a network is told of a diffusion operator: its faces, as torch tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d, pad

__all__ = ["Stencil"]

_MEAN = {2: avg_pool2d, 3: avg_pool3d}
_MOST = {2: max_pool2d, 3: max_pool3d}


@dataclass(frozen=True, eq=False)
class Stencil:
    """y = −div(c grad x) + extra·x on the fluid cells of a box; differentiable.

    Attributes:
        faces: for each axis (batch, 1, ..., n + 1, ...), c/h² on the faces between two cells; 0 on
            the two outermost.
        extra: (batch, 1, *shape), what a Dirichlet side adds to the diagonal.
        fluid: (batch, 1, *shape), 1 in cells that take part and 0 elsewhere.
    """

    faces: tuple[Tensor, ...]
    extra: Tensor
    fluid: Tensor

    @property
    def ndim(self) -> int:
        return len(self.faces)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.extra.shape[2:])

    @classmethod
    def build(cls, faces: tuple[Tensor, ...], fluid: Tensor | None = None) -> Stencil:
        """From coefficients on all faces, the outermost included: a side's go to `extra`.

        Each member is divided by the mean of its diagonal, so A and s·A give the same stencil.
        """
        inner, extra = [], torch.zeros_like(_cut(faces[0], 0, None, -1))
        for axis, c in enumerate(faces):
            n = c.shape[2 + axis] - 1
            edge = torch.zeros_like(_cut(c, axis, None, 1))
            inner.append(torch.cat([edge, _cut(c, axis, 1, -1), edge], 2 + axis))
            for end, at in ((_cut(c, axis, None, 1), 0), (_cut(c, axis, -1, None), n - 1)):
                extra = extra + pad(end, _widths(len(faces), axis, at, n - 1 - at))
        one = torch.ones_like(extra)
        made = cls(tuple(inner), extra, one if fluid is None else fluid.expand_as(extra) * one)
        unit = made.diagonal().sum(dim=tuple(range(1, extra.ndim)), keepdim=True)
        count = made.fluid.sum(dim=tuple(range(1, extra.ndim)), keepdim=True)
        unit = (unit / count).clamp_min(torch.finfo(unit.dtype).tiny)
        return cls(tuple(c / unit for c in made.faces), made.extra / unit, made.fluid)

    def to(self, dtype: torch.dtype) -> Stencil:
        """The same in another precision."""
        return Stencil(
            tuple(c.to(dtype) for c in self.faces), self.extra.to(dtype), self.fluid.to(dtype)
        )

    def on(self, device: torch.device) -> Stencil:
        """The same on another device."""
        faces = tuple(c.to(device) for c in self.faces)
        return Stencil(faces, self.extra.to(device), self.fluid.to(device))

    def diagonal(self) -> Tensor:
        """(batch, 1, *shape)."""
        total = self.extra
        for axis, c in enumerate(self.faces):
            total = total + _cut(c, axis, None, -1) + _cut(c, axis, 1, None)
        return total

    def __call__(self, x: Tensor) -> Tensor:
        """A x for x (batch, 1, *shape)."""
        total = self.extra * x
        for axis, c in enumerate(self.faces):
            wide = pad(x, _widths(self.ndim, axis, 1, 1))
            flux = c * (_cut(wide, axis, 1, None) - _cut(wide, axis, None, -1))
            total = total + _cut(flux, axis, None, -1) - _cut(flux, axis, 1, None)
        return total

    def features(self) -> Tensor:
        """(batch, 2 ndim + 2, *shape): each face's share of the diagonal, extra's, and fluid."""
        diagonal = self.diagonal()
        over = torch.where(diagonal > 0, 1 / diagonal.clamp_min(1e-30), 0)
        shares = [self.extra * over]
        for axis, c in enumerate(self.faces):
            shares += [_cut(c, axis, None, -1) * over, _cut(c, axis, 1, None) * over]
        return torch.cat([*shares, self.fluid], 1)

    def padded(self, multiple: int) -> Stencil:
        """With cells that take no part after the last ones, to a multiple along each axis."""
        more = [-n % multiple for n in self.shape]
        if not any(more):
            return self
        widths = [w for m in reversed(more) for w in (0, m)]
        return Stencil(
            tuple(pad(c, widths) for c in self.faces),
            pad(self.extra, widths),
            pad(self.fluid, widths),
        )

    def coarsen(self) -> Stencil:
        """Of twice the spacing; the shape must be even.

        Discretised anew from the faces that coarse cells share: the mean over those faces, over 4.
        What holds a cell to the boundary becomes half its mean over the children, likewise.
        """
        ndim, faces = self.ndim, []
        for axis, c in enumerate(self.faces):
            every = c[(slice(None), slice(None), *(_every(a == axis) for a in range(ndim)))]
            width = [1 if a == axis else 2 for a in range(ndim)]
            faces.append(_MEAN[ndim](every, width, width) / 4)
        extra = _MEAN[ndim](self.extra, 2, 2) / 2
        return Stencil(tuple(faces), extra, _MOST[ndim](self.fluid, 2, 2))


def _every(second: bool) -> slice:
    return slice(None, None, 2) if second else slice(None)


def _cut(c: Tensor, axis: int, start: int | None, stop: int | None) -> Tensor:
    """c[start:stop] along space axis `axis`."""
    return c[(slice(None),) * (2 + axis) + (slice(start, stop),)]


def _widths(ndim: int, axis: int, before: int, after: int) -> list[int]:
    """Arguments of `pad` for zeros before and after along space axis `axis`."""
    widths = [0, 0] * ndim
    widths[2 * (ndim - 1 - axis)] = before
    widths[2 * (ndim - 1 - axis) + 1] = after
    return widths
