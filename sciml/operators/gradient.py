"""Finite differences."""

from __future__ import annotations

from .._checks import integer, need
from ..arrays import Array, namespace
from ..operator import Operator
from ..space import Space

__all__ = ["Gradient"]


class Gradient(Operator):
    """x -> forward differences along each axis, (*batch, axes, *shape); 0 past the last entry.

    Args:
        space: of images, real or complex. axes: how many trailing axes; all if not given.
    """

    def __init__(self, space: Space, *, axes: int | None = None) -> None:
        need(space, Space, "a Space for a Gradient")
        count = space.ndim if axes is None else integer(axes, "axes", 1)
        if count > space.ndim:
            raise ValueError(f"expected axes from 1 to {space.ndim}, got {axes}")
        self.axes = tuple(range(-count, 0))
        super().__init__(space, Space((count, *space.shape), space.dtype))

    @property
    def norm_bound(self) -> float:
        """A bound of ||A||: 2 for each axis, root-sum-of-squares."""
        return 2 * len(self.axes) ** 0.5

    def _apply(self, x: Array) -> Array:
        xp = namespace(x)
        parts = [xp.concat([_diff(x, a), 0 * _ends(x, a)[1]], axis=a) for a in self.axes]
        return xp.stack(parts, axis=-1 - self.domain.ndim)

    def _adjoint(self, y: Array) -> Array:
        xp, total = namespace(y), None
        for i, a in enumerate(self.axes):
            part = y[(..., i, *(slice(None),) * self.domain.ndim)]
            n = part.shape[a]
            body = part[_along(a, slice(0, n - 1))]
            zero = 0 * _ends(part, a)[0]
            back = xp.concat([zero, body], axis=a) - xp.concat([body, zero], axis=a)
            total = back if total is None else total + back
        return total


def _along(axis: int, what: slice) -> tuple:
    return (..., what, *(slice(None),) * (-1 - axis))


def _diff(x: Array, axis: int) -> Array:
    n = x.shape[axis]
    return x[_along(axis, slice(1, n))] - x[_along(axis, slice(0, n - 1))]


def _ends(x: Array, axis: int) -> tuple[Array, Array]:
    n = x.shape[axis]
    return x[_along(axis, slice(0, 1))], x[_along(axis, slice(n - 1, n))]
