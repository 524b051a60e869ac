"""Operators made of two-point fluxes: y = −div(c grad x), c on the faces of a grid.

Face f of an axis lies between unknowns f − 1 and f; faces 0 and n are the boundary. Each axis has
its array of face coefficients, longer by one than the grid along that axis. From these alone follow
the apply in any array library, the diagonal, the matrix and the gradients.
"""

from __future__ import annotations

import enum
import math
import warnings
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._torch import plain
from ..arrays import (
    Array,
    astype,
    check_float,
    dtype_of,
    from_host,
    is_torch,
    namespace,
    no_grad,
    on_cpu,
    to_numpy,
)
from ..operator import Operator, Trait
from ..space import Space

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["FaceOperator", "Order", "along", "pad"]

# Entries from which the fused search direction pays.
_SEARCH_FROM = 1 << 15


class Order(enum.Enum):
    """How unknowns of a grid are numbered."""

    C = "C"  # the last axis runs fastest, as in ravel()
    FORTRAN = "F"  # the first axis runs fastest


class FaceOperator(Operator):
    """Base of the diffusion operators: `faces()` and the gradient of each face are theirs."""

    param_names: ClassVar[tuple[str, ...]] = ("k",)
    compiled: ClassVar[bool] = True
    k: Array
    spacing: tuple[float, ...]
    wraps: tuple[bool, ...]  # per axis: periodic
    pins: np.ndarray  # (*batch_shape): diagonal of solid cells, 0 where there are none
    _extremes: tuple[float, float]

    def __init__(
        self,
        k: Array,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        wraps: tuple[bool, ...],
        pins: np.ndarray,
    ) -> None:
        batch = tuple(k.shape[: k.ndim - len(shape)])
        super().__init__(Space(shape, dtype_of(k)), traits=(Trait.POSITIVE,), batch_shape=batch)
        self.k, self.spacing, self.wraps, self.pins = k, spacing, wraps, pins

    @property
    def extremes(self) -> tuple[float, float]:
        """(least, largest) k in the fluid, over the whole batch, as found when A was made."""
        return self._extremes

    # -- what each form defines ----------------------------------------------------------------

    @property
    @abstractmethod
    def singular(self) -> bool:
        """Whether constants are in the null space."""

    @abstractmethod
    def _coefficients(self, k: Array) -> tuple[Array, ...]:
        """`faces()` for the given k."""

    @abstractmethod
    def _face_gradient(self, products: tuple[Array, ...]) -> Array:
        """Σ_f products[f] dc_f/dk, where `products` has one array for each axis, as `faces()`."""

    @abstractmethod
    def _kernel(
        self,
        k: np.ndarray,
        x: np.ndarray,
        out: np.ndarray | None = None,
        against: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """A x by a compiled kernel, written to `out` if given; None if k is out of its range.

        With `against` b, of x's shape: ‖b − A x‖² per member instead, and nothing is written.
        """

    # -- what follows ----------------------------------------------------------------------------

    def faces(self) -> tuple[Array, ...]:
        """Coefficients of the fluxes, one array (*batch_shape, ..., n + 1, ...) for each axis.

        1/h² is in them. A boundary face is 0 for Neumann; for a periodic axis faces 0 and n are one
        and the same.
        """
        wide = np.promote_types(dtype_of(self.k), self.domain.dtype)
        k = astype(self.k, wide)
        return tuple(astype(c, self.domain.dtype) for c in self._coefficients(k))

    @cached_property
    def _pins_there(self) -> Array:
        """`pins` where k is, in its dtype, (members,)."""
        return from_host(self.pins.reshape(-1), self.k)

    def _with_arrays(self, change: Any) -> Operator:
        made = super()._with_arrays(change)
        vars(made).pop("_pins_there", None)
        return made

    @property
    def null_vector(self) -> Array | None:
        """1 in the fluid and 0 in solid cells, where A is singular; else None."""
        if not self.singular:
            return None
        xp = namespace(self.k)
        one = astype(xp.ones_like(self.k), self.domain.dtype)
        return xp.where(self.k == 0, xp.zeros_like(one), one)

    def consistent(self, b: Array, *, strict: bool = False) -> Array:
        """b without its part along the constants, where nothing holds u; else b itself.

        A x = b has a solution for singular A only if b has mean 0 over the fluid.

        Args:
            b: (*batch, *shape). strict: refuse instead of taking a part away.

        Raises:
            ValueError: strict, and more than rounding would be taken away.

        Warns:
            UserWarning: says what share of b was taken away.
        """
        self.domain.check(b, "b")
        constants = self.null_vector
        if constants is None:
            return b
        part, shares = self.domain.project(b, constants)
        share = float(np.max(shares, initial=0))
        if share <= 1e3 * float(np.finfo(self.domain.dtype).eps):
            return b
        told = (
            f"{share:.1e} of b lies along the constants, which A maps to 0: A x = b has no solution"
        )
        if strict:
            raise ValueError(f"expected b of mean 0 over the fluid, got one of which {told}")
        warnings.warn(f"{told}, and that part is taken away", stacklevel=2)
        return b - part

    def diagonal(self) -> Array:
        ndim = self.domain.ndim
        total = None
        for axis, c in enumerate(self.faces()):
            both = along(c, axis, ndim, None, -1) + along(c, axis, ndim, 1, None)
            total = both if total is None else total + both
        return total if not self.pins.any() else self._add_pins(total, None)

    def assemble(self, order: Order = Order.C) -> csr_array:
        """The matrix (size, size) in the domain's dtype, with sorted indices.

        Args:
            order: how unknowns are numbered.

        Raises:
            ValueError: k has a batch: assemble each member by itself.
        """
        if self.batch_shape:
            raise ValueError(
                f"expected k without batch to assemble one matrix, got {self.batch_shape}: "
                "build an operator of each member"
            )
        from scipy.sparse import coo_array

        shape, size, ndim = self.domain.shape, self.domain.size, self.domain.ndim
        index = np.int32 if (2 * ndim + 1) * size < 2**31 else np.int64
        number = np.arange(size, dtype=index).reshape(shape, order=Order(order).value)
        rows, columns = [number.ravel()], [number.ravel()]
        values = [to_numpy(self.diagonal()).ravel()]
        for axis, c in enumerate(map(to_numpy, self.faces())):
            pairs = [(along(number, axis, ndim, None, -1), along(number, axis, ndim, 1, None))]
            weights = [along(c, axis, ndim, 1, -1)]
            if self.wraps[axis]:
                pairs.append(
                    (along(number, axis, ndim, -1, None), along(number, axis, ndim, None, 1))
                )
                weights.append(along(c, axis, ndim, None, 1))
            for (a, b), weight in zip(pairs, weights, strict=True):
                open_ = weight != 0
                rows += [a[open_], b[open_]]
                columns += [b[open_], a[open_]]
                values += [-weight[open_]] * 2
        matrix = coo_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=(size, size),
        ).tocsr()
        matrix.sort_indices()
        return matrix

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        """{"k": gradient of Re<ybar, A(k) x>}, summed over the batch to k's shape."""
        ndim = self.domain.ndim
        xp = namespace(self.k, x, ybar)
        grad = self._face_gradient(
            tuple(self._differences(x, a) * self._differences(ybar, a) for a in range(ndim))
        )
        extra = grad.ndim - self.k.ndim
        if extra:
            grad = xp.sum(grad, axis=tuple(range(extra)))
        widened = tuple(i for i, n in enumerate(self.k.shape) if grad.shape[i] != n)
        if widened:
            grad = xp.sum(grad, axis=widened, keepdims=True)
        if self.pins.any():
            grad = xp.where(self.k == 0, xp.zeros_like(grad), grad)
        return {"k": astype(grad, dtype_of(self.k))}

    def _apply(self, x: Array) -> Array:
        views = _host_views(self.k, x)
        if views is None and (on := self._device(x)) is not None:
            device, form, x = on
            return form.product(device, self.k, x)
        y = None if views is None else self._kernel(*views)
        if y is None:
            return self._generic(x)
        if isinstance(x, np.ndarray):
            return y
        import torch

        return torch.from_numpy(y)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def search(self, z: Array, beta: Any, p: Array) -> tuple[Array, Array, Any] | None:
        if type(z) is not np.ndarray:
            if (on := self._device(z, p)) is None:
                return None
            device, form, z, p = on
            x, Ax, inner = form.search(device, self.k, z, beta.reshape(-1), p)
            return x, Ax, inner.reshape(beta.shape)
        one = type(self.k) is np.ndarray and type(z) is np.ndarray and not self.batch_shape
        if not one or z.shape != self.domain.shape or z.size < _SEARCH_FROM:
            return None
        return self._search(z, beta, p)

    def _search(
        self, z: np.ndarray, beta: Any, p: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.floating] | None:
        """`search` by a compiled kernel; None where there is none."""
        return None

    def squared_misfit(self, x: Array, b: Array) -> np.ndarray | None:
        if x.shape != b.shape or x.dtype != b.dtype:
            return None
        views = _host_views(self.k, x)
        if views is None and (on := self._device(x, b)) is not None:
            device, form, x, b = on
            found = to_numpy(form.misfit(device, self.k, x, b))
            return found.reshape(x.shape[: x.ndim - self.domain.ndim])
        against = None if views is None else _host_views(b, x)
        if views is None or against is None:
            return None
        return self._kernel(*views, against=against[0])

    def _device(self, *vectors: Array) -> Any:
        """(device, stencil, *vectors), contiguous, where kernels on a GPU serve; else None."""
        if type(vectors[0]) is np.ndarray:
            return None
        from ..kernels import cuda

        device = cuda.device_of(self.k, *vectors)
        if device is None or not cuda.stencil.serves(self.k, vectors[0], self.domain.ndim):
            return None
        form = self._on_device(vectors[0])
        return None if form is None else (device, form, *map(cuda.contiguous, vectors))

    def _on_device(self, like: Array) -> Any:
        """The stencil for kernels on a GPU, in the precision of `like`; None where k is out of
        their range."""
        return None

    def _generic(self, x: Array) -> Array:
        """A x by slices, in any array library; differentiable in torch."""
        ndim, total = self.domain.ndim, None
        for axis, c in enumerate(self.faces()):
            flux = c * self._differences(x, axis)
            out = along(flux, axis, ndim, None, -1) - along(flux, axis, ndim, 1, None)
            total = out if total is None else total + out
        return total if not self.pins.any() else self._add_pins(total, x)

    def _differences(self, x: Array, axis: int) -> Array:
        """x[f] − x[f − 1] on every face f of `axis`; beyond the boundary is 0, or what wraps."""
        ndim, xp = self.domain.ndim, namespace(x)
        if self.wraps[axis]:
            wide = [along(x, axis, ndim, -1, None), x, along(x, axis, ndim, None, 1)]
            padded = xp.concat(wide, axis=axis - ndim)
        else:
            padded = pad(xp, x, axis, ndim, 1, 1)
        return along(padded, axis, ndim, 1, None) - along(padded, axis, ndim, None, -1)

    def _add_pins(self, y: Array, x: Array | None) -> Array:
        """`y` with pin * x (x None: pin) in the solid cells, where k is 0."""
        xp = namespace(y)
        column = self.pins.reshape(*self.batch_shape, *(1,) * self.domain.ndim)
        pin = float(self.pins) if not self.batch_shape else from_host(column, y)
        held = pin * (xp.ones_like(y) if x is None else x)
        return y + xp.where(self.k == 0, held, xp.zeros_like(y))


def along(a: Array, axis: int, ndim: int, start: int | None, stop: int | None) -> Array:
    """a[start:stop] along `axis` of the last `ndim` axes."""
    return a[(..., *(slice(start, stop) if i == axis else slice(None) for i in range(ndim)))]


def pad(xp: Any, a: Array, axis: int, ndim: int, low: int, high: int) -> Array:
    """`a` with zeros before and after along `axis` of the last `ndim` axes."""
    edge = xp.zeros_like(along(a, axis, ndim, None, 1))
    return xp.concat([*[edge] * low, a, *[edge] * high], axis=axis - ndim)


def _host_views(k: Any, x: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """NumPy views of both, or None where only the arrays' own library will do."""
    if type(k) is np.ndarray and type(x) is np.ndarray:
        return k, x
    if not (is_torch(k) and is_torch(x) and on_cpu(k) and on_cpu(x)):
        return None
    tensors: Any = k, x
    if not all(map(plain, tensors)):
        return None
    return tensors[0].detach().numpy(), tensors[1].detach().numpy()


# -- reading arguments ----------------------------------------------------------------------------


def check_k(k: Array, ndim: int | None) -> tuple[Array, int]:
    """(k in native byte order, number of space axes).

    Raises:
        TypeError: k is no real floating array.
        ValueError: fewer axes than needed, or `ndim` is needed and not given.
    """
    namespace(k)
    dtype = check_float(dtype_of(k), "k")
    if dtype.kind == "c":
        raise TypeError(f"expected a real k, got {dtype}: pass its real part")
    if ndim is None and k.ndim != 2:
        raise ValueError(
            f"expected ndim=2 or ndim=3 for k of shape {tuple(k.shape)}, got None: "
            "say how many of its last axes are space"
        )
    ndim = 2 if ndim is None else ndim
    if ndim not in (2, 3) or k.ndim < ndim:
        raise ValueError(f"expected ndim 2 or 3 and k (*batch, *shape), got {ndim}, {k.shape}")
    return astype(k, np.dtype(dtype.name)), ndim


def check_spacing(spacing: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """One spacing for each axis.

    Raises:
        ValueError: it is not positive and finite, or not one for each axis.
    """
    if spacing is None:
        return default
    given = (spacing,) * len(default) if np.ndim(spacing) == 0 else tuple(spacing)
    found = tuple(float(h) for h in given)
    if len(found) != len(default) or not all(0 < h < math.inf for h in found):
        raise ValueError(
            f"expected a spacing > 0, or one for each of {len(default)} axes, got {spacing}"
        )
    return found


def extremes(k: Array, ndim: int, solid: Array | None) -> tuple[float, float]:
    """(min, max) of k over the fluid.

    Raises:
        ValueError: k is not positive and finite there.
    """
    xp = namespace(k)
    if 0 in k.shape:
        return 1.0, 1.0
    with no_grad(k):
        low = k if solid is None else xp.where(solid, xp.full_like(k, math.inf), k)
        high = k if solid is None else xp.where(solid, xp.zeros_like(k), k)
        least, most = float(xp.min(low)), float(xp.max(high))
    if not (least > 0 and most < math.inf):
        raise ValueError(
            f"expected k > 0 and finite{'' if solid is None else ' outside solid'}, "
            f"got values from {least:g} to {most:g}: mark impermeable cells with solid="
        )
    return least, most
