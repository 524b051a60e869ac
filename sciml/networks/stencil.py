"""What a network is told of a diffusion operator: its faces, as torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d, max_pool2d, max_pool3d, pad

__all__ = ["Stencil"]

_MEAN = {2: avg_pool2d, 3: avg_pool3d}
_MOST = {2: max_pool2d, 3: max_pool3d}


@dataclass(frozen=True, eq=False)
class Stencil:
    """y = −div(c grad x) + (extra + mass)·x on the fluid cells of a box; differentiable.

    Attributes:
        faces: for each axis (batch, 1, ..., n + 1, ...), c/h² on the faces between two cells; 0 on
            the two outermost.
        extra: (batch, 1, *shape), what a Dirichlet side adds to the diagonal.
        fluid: (batch, 1, *shape), 1 in cells that take part and 0 elsewhere.
        mass: (batch, 1, *shape), what multiplies x itself; 0 in cells that take no part.
        rings: for each axis None, or, where it is periodic, (batch, 1, ..., 1, ...): c/h² on the
            face between its last cell and its first.
        ends: cells along each axis, without those that `padded` added.
    """

    faces: tuple[Tensor, ...]
    extra: Tensor
    fluid: Tensor
    mass: Tensor
    rings: tuple[Tensor | None, ...]
    ends: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.faces)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.extra.shape[2:])

    @property
    def held(self) -> Tensor:
        """(batch,) booleans: whether a side or a mass holds x, so that A x = 0 for no constant."""
        return (self.extra + self.mass).flatten(1).sum(1) > 0

    @classmethod
    def build(
        cls,
        faces: tuple[Tensor, ...],
        fluid: Tensor | None = None,
        mass: Tensor | None = None,
        wraps: tuple[bool, ...] | None = None,
    ) -> Stencil:
        """From coefficients on all faces, the outermost included: a side's go to `extra`.

        Each member is divided by the mean of its diagonal, so A and s·A give the same stencil.

        Args:
            faces: see above. fluid, mass: what broadcasts to (batch, 1, *shape); all, and none.
            wraps: which axes are periodic; none. Their two outermost faces are one and the same.
        """
        ndim, inner, rings = len(faces), [], []
        extra = torch.zeros_like(_cut(faces[0], 0, None, -1))
        for axis, c in enumerate(faces):
            n = c.shape[2 + axis] - 1
            low, high = _cut(c, axis, None, 1), _cut(c, axis, -1, None)
            edge, ring = torch.zeros_like(low), wraps is not None and wraps[axis]
            inner.append(torch.cat([edge, _cut(c, axis, 1, -1), edge], 2 + axis))
            rings.append(low if ring and n > 1 else None)
            for end, at in () if ring else ((low, 0), (high, n - 1)):
                extra = extra + pad(end, _widths(ndim, axis, at, n - 1 - at))
        one = torch.ones_like(extra)
        part = one if fluid is None else fluid.expand_as(extra) * one
        held = 0 * extra if mass is None else mass.expand_as(extra) * part
        made = cls(tuple(inner), extra, part, held, tuple(rings), tuple(extra.shape[2:]))
        unit = made.diagonal().sum(dim=tuple(range(1, extra.ndim)), keepdim=True)
        count = made.fluid.sum(dim=tuple(range(1, extra.ndim)), keepdim=True)
        unit = (unit / count).clamp_min(torch.finfo(unit.dtype).tiny)
        return replace(made._each(lambda t: t / unit), fluid=part)

    @classmethod
    def stack(cls, parts: Sequence[Stencil]) -> Stencil:
        """Stencils of one shape and one set of rings as one batch."""
        first = parts[0]

        def joined(tensors: list[Tensor | None]) -> Tensor | None:
            found = [t for t in tensors if t is not None]
            return torch.cat(found) if found else None

        return replace(
            first,
            faces=tuple(torch.cat([p.faces[a] for p in parts]) for a in range(first.ndim)),
            **{n: torch.cat([getattr(p, n) for p in parts]) for n in ("extra", "fluid", "mass")},
            rings=tuple(joined([p.rings[a] for p in parts]) for a in range(first.ndim)),
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Stencil:
        """With every tensor changed."""
        rings = tuple(None if ring is None else change(ring) for ring in self.rings)
        faces = tuple(map(change, self.faces))
        rest = (change(self.extra), change(self.fluid), change(self.mass))
        return Stencil(faces, *rest, rings, self.ends)

    def to(self, dtype: torch.dtype) -> Stencil:
        """The same in another precision."""
        return self._each(lambda t: t.to(dtype))

    def on(self, device: torch.device) -> Stencil:
        """The same on another device."""
        return self._each(lambda t: t.to(device))

    def _sides(self, axis: int) -> tuple[Tensor, Tensor]:
        """Each cell's coefficients below and above along an axis, (batch, 1, *shape)."""
        c, ring = self.faces[axis], self.rings[axis]
        below, above = _cut(c, axis, None, -1), _cut(c, axis, 1, None)
        if ring is None:
            return below, above
        return below + self._placed(ring, axis, 0), above + self._placed(ring, axis, -1)

    def _placed(self, ends: Tensor, axis: int, at: int) -> Tensor:
        """What belongs to the first (0) or last (−1) cells along an axis, and 0 in the others."""
        at %= self.ends[axis]
        return pad(ends, _widths(self.ndim, axis, at, self.shape[axis] - 1 - at))

    def diagonal(self) -> Tensor:
        """(batch, 1, *shape)."""
        total = self.extra + self.mass
        for axis in range(self.ndim):
            below, above = self._sides(axis)
            total = total + below + above
        return total

    def __call__(self, x: Tensor) -> Tensor:
        """A x for x (batch, 1, *shape)."""
        total = (self.extra + self.mass) * x
        for axis, (c, ring, n) in enumerate(zip(self.faces, self.rings, self.ends, strict=True)):
            wide = pad(x, _widths(self.ndim, axis, 1, 1))
            flux = c * (_cut(wide, axis, 1, None) - _cut(wide, axis, None, -1))
            total = total + _cut(flux, axis, None, -1) - _cut(flux, axis, 1, None)
            if ring is not None:
                seam = ring * (_cut(x, axis, 0, 1) - _cut(x, axis, n - 1, n))
                total = total + self._placed(seam, axis, 0) - self._placed(seam, axis, -1)
        return total

    def features(self) -> Tensor:
        """(batch, 2 ndim + 2, *shape): what holds a cell, and each face, as shares of the diagonal,
        and fluid."""
        diagonal = self.diagonal()
        over = torch.where(diagonal > 0, 1 / diagonal.clamp_min(1e-30), 0)
        shares = [(self.extra + self.mass) * over]
        for axis in range(self.ndim):
            shares += [c * over for c in self._sides(axis)]
        return torch.cat([*shares, self.fluid], 1)

    def padded(self, multiple: int) -> Stencil:
        """With cells that take no part after the last ones, to a multiple along each axis."""
        more = [-n % multiple for n in self.shape]
        if not any(more):
            return self
        widths = [w for m in reversed(more) for w in (0, m)]
        rings = []
        for axis, ring in enumerate(self.rings):
            across = list(widths)
            across[2 * (self.ndim - 1 - axis) + 1] = 0
            rings.append(None if ring is None else pad(ring, across))
        wide = replace(self, rings=(None,) * self.ndim)._each(lambda t: pad(t, widths))
        return replace(wide, rings=tuple(rings))

    def coarsen(self) -> Stencil:
        """Of twice the spacing; the shape must be even.

        Discretised anew from the faces that coarse cells share: the mean over those faces, over 4.
        What holds a cell to the boundary becomes half its mean over the children, likewise; a mass
        is the mean over the children, so that ⟨1, A 1⟩ stays what it was.
        """
        ndim, faces, rings = self.ndim, [], []
        ends = tuple((n + 1) // 2 for n in self.ends)
        for axis, (c, ring) in enumerate(zip(self.faces, self.rings, strict=True)):
            every = c[(slice(None), slice(None), *(_every(a == axis) for a in range(ndim)))]
            width = [1 if a == axis else 2 for a in range(ndim)]
            faces.append(_MEAN[ndim](every, width, width) / 4)
            if ring is None or ends[axis] == 1:  # a cell has no face with itself
                rings.append(None)
            else:
                rings.append(_MEAN[ndim](ring, width, width) / 4)
        extra, mass = _MEAN[ndim](self.extra, 2, 2) / 2, _MEAN[ndim](self.mass, 2, 2)
        fluid = _MOST[ndim](self.fluid, 2, 2)
        return Stencil(tuple(faces), extra, fluid, mass, tuple(rings), ends)


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
