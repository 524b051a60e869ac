"""Where vectors live: a shape and a dtype, without batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import is_integer, told
from .arrays import (
    Array,
    astype,
    broadcast_batch,
    check_float,
    dot,
    dtype_of,
    is_array,
    is_torch,
    namespace,
    native_dtype,
    on_cpu,
    real_dtype,
    safe_norm,
    with_precision,
)

__all__ = ["Space"]


@dataclass(frozen=True)
class Space:
    """Arrays of one shape and dtype. Elements are `(*batch, *shape)`: batch axes come first.

    Args:
        shape: lengths of the axes, all >= 1 (an int means one axis).
        dtype: float32, float64, complex64 or complex128, as a NumPy dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype = np.dtype(np.float64)

    def __post_init__(self) -> None:
        given: Any = self.shape
        shape = tuple(given) if isinstance(given, tuple | list) else (given,)
        if not shape or any(not is_integer(n) or n < 1 for n in shape):
            raise ValueError(f"expected a shape of axes of length >= 1, got {told(given)}")
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "dtype", check_float(self.dtype, "a space"))

    @property
    def size(self) -> int:
        """Number of entries of one element."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of axes, without batch."""
        return len(self.shape)

    @property
    def is_complex(self) -> bool:
        """Whether the entries are complex."""
        return self.dtype.kind == "c"

    @property
    def real_dtype(self) -> np.dtype:
        """float32 or float64."""
        return real_dtype(self.dtype)

    def to(self, precision: Any) -> Space:
        """This space in the precision of `precision` (float32 or float64)."""
        return Space(self.shape, with_precision(self.dtype, precision))

    def check(self, x: Array, name: str) -> tuple[int, ...]:
        """The batch shape of `x`.

        Raises:
            TypeError: `x` is no array, or of another dtype.
            ValueError: its trailing axes are not this space's shape.
        """
        if not is_array(x):
            raise TypeError(
                f"expected {name} as an array (numpy, cupy or torch), got {type(x).__name__}: "
                "convert it, for example with numpy.asarray"
            )
        split = x.ndim - self.ndim
        if split < 0 or tuple(x.shape[split:]) != self.shape:
            raise ValueError(
                f"expected {name} of shape (*batch, {', '.join(map(str, self.shape))}), "
                f"got {tuple(x.shape)}"
            )
        if dtype_of(x) != self.dtype and dtype_of(x).kind not in "fc":
            raise TypeError(
                f"expected {name} of dtype {self.dtype}, got {dtype_of(x)}: "
                f"cast it, for example with .astype({self.dtype.name!r})"
            )
        if dtype_of(x) != self.dtype:
            raise TypeError(
                f"expected {name} of dtype {self.dtype}, got {dtype_of(x)}: "
                f"cast it, or the operator with A.to(dtype={dtype_of(x).name!r})"
            )
        return tuple(x.shape[:split])

    def inner(self, x: Array, y: Array) -> Array:
        """<x, y> = sum conj(x) y, per member.

        Returns a scalar of the array library without batch, else an array (*batch, 1, ..., 1) that
        broadcasts against the elements.
        """
        if x.ndim == self.ndim and type(x) is np.ndarray and type(y) is np.ndarray:
            return dot(x.reshape(-1), y.reshape(-1))
        xp = namespace(x, y)
        batch = x.shape[: x.ndim - self.ndim]
        flat = (*batch, self.size)
        if not on_cpu(x) and (total := self._inner_on_device(x, y)) is not None:
            return xp.reshape(total, (*batch, *(1,) * self.ndim))
        if is_torch(x):
            total = _torch_inner(x.reshape(flat), y.reshape(flat))
        else:
            total = dot(xp.reshape(x, flat), xp.reshape(y, flat))
        return xp.reshape(total, (*batch, *(1,) * self.ndim)) if batch else total

    def _inner_on_device(self, x: Array, y: Array) -> Array | None:
        """`inner` of every member by a kernel on a GPU, (members,); None where none serves."""
        if x.shape != y.shape or not math.prod(x.shape):
            return None
        from .kernels import cuda

        device, members = cuda.device_of(x, y), math.prod(x.shape) // self.size
        if device is None or members > cuda.stencil.MOST_MEMBERS or dtype_of(x) != dtype_of(y):
            return None
        rows = (cuda.contiguous(a).reshape(members, self.size) for a in (x, y))
        return cuda.vectors.inner(device, *rows)

    def inner_real(self, x: Array, y: Array) -> Array:
        """Re <x, y>, per member, in the real dtype."""
        value = self.inner(x, y)
        if not self.is_complex:
            return value
        return value.real if isinstance(value, np.generic) else namespace(value).real(value)

    def norm(self, x: Array) -> Array:
        """||x||_2 per member, in the working precision, shaped as `inner`."""
        square = self.inner_real(x, x)
        return np.sqrt(square) if isinstance(square, np.generic) else namespace(square).sqrt(square)

    def project(self, b: Array, e: Array) -> tuple[Array, np.ndarray]:
        """(the part of b along e, its share of ||b|| per member: host float64).

        Args:
            b, e: (*batch, *shape) each, of batches that broadcast.
        """
        xp, shape = namespace(b, e), broadcast_batch(b.shape, e.shape)
        b, e = xp.broadcast_to(b, shape), xp.broadcast_to(e, shape)
        part = self.inner(e, b) / self.inner(e, e) * e
        size, share = safe_norm(b, self.ndim), safe_norm(part, self.ndim)
        return part, share / np.where(size > 0, size, 1.0)

    def zeros(self, like: Array, batch: tuple[int, ...] = ()) -> Array:
        """Zeros of shape (*batch, *shape) in `like`'s library and on its device."""
        xp = namespace(like)
        place = {} if xp is np else {"device": like.device}
        return xp.zeros((*batch, *self.shape), dtype=native_dtype(xp, self.dtype), **place)

    def random(self, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> np.ndarray:
        """Standard normal NumPy entries (complex: E|x|^2 = 1), drawn from `rng`."""
        shape = (*batch, *self.shape)
        x = rng.standard_normal(shape)
        if self.is_complex:
            x = (x + 1j * rng.standard_normal(shape)) / math.sqrt(2)
        return astype(np.asarray(x), self.dtype)


def _torch_inner(x: Array, y: Array) -> Array:
    """The array-API vecdot of torch is a batch of 1 x n by n x 1 products, slow on the CPU."""
    import torch

    return torch.vdot(x, y) if x.ndim == 1 else torch.linalg.vecdot(x, y)
