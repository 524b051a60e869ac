"""Diffusion with a variable coefficient, −∇·(k∇u): cell-centred and nodal.

On the CPU, NumPy arrays and torch tensors go through compiled kernels that read k and x once and
write y once; everything else goes through slices of the arrays' own library.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import (
    Array,
    astype,
    device_of,
    dtype_of,
    from_host,
    is_array,
    namespace,
    no_grad,
    to_numpy,
)
from ..operator import Operator
from ._faces import FaceOperator, Order, along, check_k, check_spacing, extremes, pad

__all__ = ["Diffusion", "NodalDiffusion", "Order", "Side"]


class Side(enum.Enum):
    """What holds at one side of the domain; the data are homogeneous."""

    DIRICHLET = "dirichlet"  # u = 0 on the boundary face, half a cell from the first unknown
    NEUMANN = "neumann"  # no flux
    PERIODIC = "periodic"  # the axis is a ring


class Diffusion(FaceOperator):
    """−∇·(k∇u) on cells: finite volumes, two-point fluxes, harmonic means of k on the faces.

    The flux between neighbours a and b is 2 k_a k_b / (k_a + k_b) (u_a − u_b) / h; at a Dirichlet
    side it is 2 k_a u_a / h (Patankar, Numerical heat transfer and fluid flow, 1980, section 4.2).
    Second order for smooth k.

    Solid cells take part in no flux. Their rows are d·u with d = Σ 2/h² · mean fluid k, so that
    the matrix stays symmetric and is not singular there: set right-hand sides to 0 in them. k is 0
    there in `self.k`, and the gradient with respect to k is 0 (d counts as a constant).

    Args:
        k: (*batch, *shape) float32 or float64, > 0 in the fluid.
        ndim: how many of the last axes are space, 2 or 3; needed unless k has two axes.
        spacing: h, one for all axes or one each; 1/n by default, a unit box.
        boundary: one Side, or for each axis a Side or a (low, high) pair.
        solid: (*shape) booleans, a NumPy array or one of k's library.

    Raises:
        TypeError: k or solid of a wrong type.
        ValueError: k not positive and finite in the fluid, shapes or sides that do not fit.
    """

    def __init__(
        self,
        k: Array,
        *,
        ndim: int | None = None,
        spacing: float | Sequence[float] | None = None,
        boundary: Side | Sequence[Side | tuple[Side, Side]] = Side.DIRICHLET,
        solid: Array | None = None,
    ) -> None:
        k, ndim = check_k(k, ndim)
        shape = tuple(k.shape[k.ndim - ndim :])
        steps = check_spacing(spacing, tuple(1 / n for n in shape))
        self.boundary = _sides(boundary, ndim)
        wraps = tuple(low is Side.PERIODIC for low, _ in self.boundary)
        mask = _mask(solid, k, shape)
        self._extremes = extremes(k, ndim, mask)
        pins = np.zeros(k.shape[: k.ndim - ndim])
        if mask is not None:
            k = namespace(k).where(mask, namespace(k).zeros_like(k), k)
            pins = _pins(k, mask, sum(2 / h**2 for h in steps), ndim)
        self._grounded = _touches_dirichlet(self.boundary, mask)
        super().__init__(k, shape, steps, wraps, pins)
        self._scaled = self._scaled_weights()

    @property
    def singular(self) -> bool:
        """Whether no Dirichlet side touches the fluid: then A c = 0 for c constant in the fluid."""
        return not self._grounded

    def _coefficients(self, k: Array) -> tuple[Array, ...]:
        xp, ndim, found = namespace(k), self.domain.ndim, []
        for axis, h in enumerate(self.spacing):
            a, b = along(k, axis, ndim, None, -1), along(k, axis, ndim, 1, None)
            inner = 2 / h**2 * (a * (b / _nonzero(a + b)))
            (low, _), (high, _) = self._end(k, axis, 0), self._end(k, axis, 1)
            found.append(xp.concat([low, inner, high], axis=axis - ndim))
        return tuple(found)

    def _face_gradient(self, products: tuple[Array, ...]) -> Array:
        k, ndim, total = self.k, self.domain.ndim, None
        xp = namespace(k)
        for axis, (h, product) in enumerate(zip(self.spacing, products, strict=True)):
            a, b = along(k, axis, ndim, None, -1), along(k, axis, ndim, 1, None)
            s, weight = _nonzero(a + b), 2 / h**2
            (_, low), (_, high) = self._end(k, axis, 0), self._end(k, axis, 1)
            before = xp.concat([low, weight * (a / s) ** 2], axis=axis - ndim)
            after = xp.concat([weight * (b / s) ** 2, high], axis=axis - ndim)
            term = before * along(product, axis, ndim, None, -1)
            term = term + after * along(product, axis, ndim, 1, None)
            total = term if total is None else total + term
        return total

    def _end(self, k: Array, axis: int, side: int) -> tuple[Array, Array]:
        """Coefficient of the boundary face at side 0 (low) or 1 (high), and its slope in k."""
        ndim, weight = self.domain.ndim, 2 / self.spacing[axis] ** 2
        first, last = along(k, axis, ndim, None, 1), along(k, axis, ndim, -1, None)
        cell, other = (last, first) if side else (first, last)
        kind, xp = self.boundary[axis][side], namespace(k)
        if kind is Side.DIRICHLET:
            return weight * cell, weight * xp.ones_like(cell)
        if kind is Side.NEUMANN or self.domain.shape[axis] == 1:
            return xp.zeros_like(cell), xp.zeros_like(cell)
        s = _nonzero(first + last)
        return weight * (last * (first / s)), weight * (other / s) ** 2

    def _with_arrays(self, change: Callable[[Array], Array]) -> Operator:
        """With k replaced: what was solid stays solid."""
        made = super()._with_arrays(change)
        if self.pins.any():
            old, new = self.k, made.params["k"]
            mask = old == 0
            if type(old) is not type(new) or device_of(old) != device_of(new):
                mask = from_host(to_numpy(mask), new, bool)
            new = namespace(new).where(mask, namespace(new).zeros_like(new), new)
            object.__setattr__(made, "k", new)
        return made

    def _kernel(
        self,
        k: np.ndarray,
        x: np.ndarray,
        out: np.ndarray | None = None,
        against: np.ndarray | None = None,
    ) -> np.ndarray | None:
        from ..kernels import stencil

        exponent, weights = self._scaled
        if not stencil.in_range(x.dtype, exponent, *self._extremes):
            return None
        unit = 2.0**exponent
        return stencil.cells(
            k, x, weights, unit=unit, pins=self.pins, wraps=self.wraps, out=out, against=against
        )

    def _search(
        self, z: np.ndarray, beta: Any, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.floating] | None:
        from ..kernels import stencil
        from ..kernels.search import CELLS, search

        exponent, weights = self._scaled
        if not stencil.in_range(z.dtype, exponent, *self._extremes):
            return None
        constants = np.array([1, 0, 2.0**exponent], z.dtype)
        rest = (constants, weights.astype(z.dtype), self.pins.reshape(-1).astype(z.dtype))
        return search(CELLS[self.domain.ndim], self.k, z, beta, p, (*rest, self.wraps))

    def _on_device(self, like: Array) -> Any:
        from ..kernels import cuda, stencil

        exponent, weights = self._scaled
        if not stencil.in_range(dtype_of(like), exponent, *self._extremes):
            return None
        pins = astype(self._pins_there, dtype_of(like)) if self.pins.any() else None
        rows = tuple(map(tuple, weights.tolist()))
        return cuda.stencil.Cells(self.domain.shape, rows, self.wraps, 2.0**exponent, pins)

    def _scaled_weights(self) -> tuple[int, np.ndarray]:
        """(exponent of the power of two that brings k near 1, weights for `stencil.cells`)."""
        exponent = -round(sum(map(math.log2, self._extremes)) / 2)
        exponent = max(-1000, min(1000, exponent))  # a normal number, for subnormal k too
        rows = []
        for h, (low, high) in zip(self.spacing, self.boundary, strict=True):
            w = 2 / h**2
            inner = w * 2.0**-exponent
            ends = {Side.DIRICHLET: 2 * inner, Side.NEUMANN: 0.0, Side.PERIODIC: inner}
            rows.append((inner, w if low is Side.DIRICHLET else 0.0, ends[high]))
        return exponent, np.array(rows)


class NodalDiffusion(FaceOperator):
    """−∇·(k∇u) on the nodes of a grid, k on the cells around them, u = 0 on the boundary.

    There are n interior nodes and n + 1 cells along an axis. The coefficient of an edge is the
    arithmetic mean of the 2 (in 3-D: 4) cells that touch it, divided by h²: bilinear elements with
    the trapezoidal rule, and the matrices of ConDiff (Trifonov et al., arXiv 2406.04709). ConDiff's
    files number node (i, j) as i + n j: `assemble(Order.FORTRAN)`, and
    `x.reshape(n, n, order="F")` is what this operator takes.

    Args:
        k: (*batch, *shape + 1) float32 or float64, > 0.
        ndim: how many of the last axes are space, 2 or 3; needed unless k has two axes.
        spacing: h, one for all axes or one each; 1/(n + 1) by default, a unit box.

    Raises:
        TypeError: k of a wrong type.
        ValueError: k not positive and finite, or of fewer than two cells along an axis.
    """

    def __init__(
        self,
        k: Array,
        *,
        ndim: int | None = None,
        spacing: float | Sequence[float] | None = None,
    ) -> None:
        k, ndim = check_k(k, ndim)
        cells = tuple(k.shape[k.ndim - ndim :])
        if min(cells) < 2:
            raise ValueError(f"expected k with two or more cells along each axis, got {cells}")
        shape = tuple(n - 1 for n in cells)
        self._extremes = extremes(k, ndim, None)
        steps = check_spacing(spacing, tuple(1 / n for n in cells))
        pins = np.zeros(k.shape[: k.ndim - ndim])
        super().__init__(k, shape, steps, (False,) * ndim, pins)

    @property
    def singular(self) -> bool:
        """False: u is held on the whole boundary."""
        return False

    @property
    def _weights(self) -> tuple[float, ...]:
        return tuple(2.0 ** (1 - self.domain.ndim) / h**2 for h in self.spacing)

    def _coefficients(self, k: Array) -> tuple[Array, ...]:
        ndim, found = self.domain.ndim, []
        for axis, weight in enumerate(self._weights):
            c = k
            for other in set(range(ndim)) - {axis}:
                c = along(c, other, ndim, None, -1) + along(c, other, ndim, 1, None)
            found.append(weight * c)
        return tuple(found)

    def _search(
        self, z: np.ndarray, beta: Any, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.floating] | None:
        from ..kernels.search import NODES, search

        if self.domain.ndim not in NODES:
            return None
        weights = np.array(self._weights, z.dtype)
        return search(NODES[self.domain.ndim], self.k, z, beta, p, (weights,))

    def _face_gradient(self, products: tuple[Array, ...]) -> Array:
        ndim, xp, total = self.domain.ndim, namespace(self.k), None
        for axis, (weight, product) in enumerate(zip(self._weights, products, strict=True)):
            g = weight * product
            for other in set(range(ndim)) - {axis}:
                g = pad(xp, g, other, ndim, 0, 1) + pad(xp, g, other, ndim, 1, 0)
            total = g if total is None else total + g
        return total

    def _on_device(self, like: Array) -> Any:
        from ..kernels import cuda

        return cuda.stencil.Nodes(self.domain.shape, self._weights)

    def _kernel(
        self,
        k: np.ndarray,
        x: np.ndarray,
        out: np.ndarray | None = None,
        against: np.ndarray | None = None,
    ) -> np.ndarray | None:
        from ..kernels import stencil

        return stencil.nodes(k, x, self._weights, out, against)


def _sides(
    boundary: Side | Sequence[Side | tuple[Side, Side]], ndim: int
) -> tuple[tuple[Side, Side], ...]:
    """(low, high) for each axis."""
    axes: Sequence[Any] = [boundary] * ndim if isinstance(boundary, Side) else list(boundary)
    pairs = [(side, side) if isinstance(side, Side) else tuple(side) for side in axes]
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(side, Side) for side in pair):
            raise TypeError(f"expected a Side or a pair of them for each axis, got {pair}")
        if (pair[0] is Side.PERIODIC) != (pair[1] is Side.PERIODIC):
            raise ValueError("expected PERIODIC at both sides of an axis, got it at one")
    if len(pairs) != ndim:
        raise ValueError(f"expected sides for {ndim} axes, got {len(pairs)}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _mask(solid: Array | None, k: Array, shape: tuple[int, ...]) -> Array | None:
    """`solid` in k's library and on its device; None if no cell is solid."""
    if solid is None:
        return None
    if not is_array(solid) or dtype_of(solid) != np.dtype(bool):
        raise TypeError("expected solid as an array of booleans: pass, for example, field == 0")
    if tuple(solid.shape) != shape:
        raise ValueError(f"expected solid of shape {shape}, got {tuple(solid.shape)}")
    host = to_numpy(solid)
    if host.all():
        raise ValueError("expected at least one fluid cell, got only solid ones")
    if not host.any():
        return None
    if isinstance(solid, np.ndarray):
        return from_host(solid, k, bool)
    namespace(k, solid)
    return solid


def _pins(k: Array, solid: Array, weight: float, ndim: int) -> np.ndarray:
    """weight · mean of k over the fluid, (*batch) on the host; k is 0 in solid cells."""
    xp, axes = namespace(k), tuple(range(k.ndim - ndim, k.ndim))
    fluid = math.prod(solid.shape) - int(to_numpy(solid).sum())
    with no_grad(k):
        total = xp.sum(astype(k, np.float64), axis=axes)
    return weight * to_numpy(total) / fluid


def _touches_dirichlet(sides: tuple[tuple[Side, Side], ...], solid: Array | None) -> bool:
    """Whether some fluid cell has a Dirichlet face."""
    for axis, pair in enumerate(sides):
        for side, end in zip(pair, (0, -1), strict=True):
            if side is Side.DIRICHLET and (
                solid is None or not np.take(to_numpy(solid), end, axis=axis).all()
            ):
                return True
    return False


def _nonzero(s: Array) -> Array:
    """`s` with 1 for 0: the mean of two solid cells is 0, not 0/0."""
    xp = namespace(s)
    return xp.where(s == 0, xp.ones_like(s), s)
