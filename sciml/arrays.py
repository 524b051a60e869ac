"""One code for NumPy, CuPy and PyTorch arrays.

The backend is read from the arrays at the door. NumPy is handled without any third module; other
libraries go through array-api-compat, loaded on first use. Nothing here copies between devices.

dtypes are spoken of as NumPy dtypes throughout the package (`numpy.dtype("complex64")`), whatever
library holds the array; `native_dtype` gives the library's own.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ._captures import refuse_copies
from ._library import library_of

__all__ = [
    "Array",
    "all_finite",
    "astype",
    "broadcast_batch",
    "check_same_place",
    "device_of",
    "dot",
    "doubled",
    "dtype_of",
    "host_view",
    "is_array",
    "is_torch",
    "like_host",
    "namespace",
    "native_dtype",
    "no_grad",
    "nonfinite_members",
    "pick",
    "ratio",
    "real_dtype",
    "safe_norm",
    "squares_kept",
    "sum_to",
    "to_numpy",
    "with_precision",
]

Array = Any  # an array of any supported library

_FLOATS = ("float32", "float64", "complex64", "complex128")
# OpenBLAS divides a dot product among threads from 10,000 entries on.
_PIECE = 8_192
_COMPLEX_OF = {"float32": "complex64", "float64": "complex128"}
_REAL_OF = {"complex64": "float32", "complex128": "float64"}


def is_array(x: object) -> bool:
    """Whether `x` is an array of a supported library (a list or a scalar is not)."""
    if isinstance(x, np.ndarray):  # a mask or a matrix's algebra would be lost on the way
        return not isinstance(x, np.ma.MaskedArray | np.matrix)
    if is_torch(x):
        return True
    if isinstance(x, np.generic) or not hasattr(x, "shape"):
        return False
    import array_api_compat as aac

    return aac.is_array_api_obj(x)


def is_torch(x: object) -> bool:
    """Whether `x` is a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(*arrays: Array) -> ModuleType:
    """The array-API namespace that all `arrays` share.

    Raises:
        TypeError: an argument is no array, or the arrays belong to different libraries.
    """
    first = arrays[0]
    if all(type(a) is np.ndarray for a in arrays):
        return np
    kinds = []
    for a in arrays:
        if isinstance(a, np.generic):
            kinds.append(np)
        elif is_array(a):
            kinds.append(_namespace_of(a))
        else:
            raise TypeError(
                f"expected an array (numpy, cupy or torch), got {type(a).__name__}: "
                "convert it, for example with numpy.asarray"
            )
    for a, xp in zip(arrays, kinds, strict=True):
        if xp is not kinds[0]:
            raise TypeError(
                f"expected arrays of one library, got {library_of(first)} and {library_of(a)}: "
                "convert one explicitly; nothing is copied between libraries behind your back"
            )
    return kinds[0]


@functools.cache
def _torch_namespace() -> ModuleType:
    from array_api_compat import torch

    return torch


def _namespace_of(x: Array) -> ModuleType:
    if isinstance(x, np.ndarray):
        return np
    if is_torch(x):
        return _torch_namespace()
    import array_api_compat as aac

    return aac.array_namespace(x)


def device_of(x: Array) -> Any:
    """The device that holds `x` ("cpu" for NumPy)."""
    if isinstance(x, np.ndarray | np.generic):
        return "cpu"
    import array_api_compat as aac

    return aac.device(x)


def check_same_place(a: Array, b: Array) -> None:
    """Both arrays are of one library and on one device.

    Raises:
        TypeError: they are not; the message names both.
    """
    namespace(a, b)
    if not isinstance(a, np.ndarray) and device_of(a) != device_of(b):
        raise TypeError(
            f"expected arrays on one device, got {device_of(a)} and {device_of(b)}: move one "
            "explicitly; nothing is copied between devices behind your back"
        )


def on_cpu(x: Array) -> bool:
    """Whether `x` lives in host memory."""
    if is_torch(x):
        return x.device.type == "cpu"
    return isinstance(x, np.ndarray) or "cpu" in str(device_of(x)).lower()


def dtype_of(x: Array) -> np.dtype:
    """The NumPy dtype of `x`, whatever its library."""
    if isinstance(x, np.ndarray | np.generic):
        return x.dtype
    return np.dtype(str(x.dtype).rsplit(".", 1)[-1])


def native_dtype(xp: ModuleType, dtype: np.dtype) -> Any:
    """The library's own object for `dtype`."""
    return getattr(xp, np.dtype(dtype).name)


def real_dtype(dtype: Any) -> np.dtype:
    """float32 for float32/complex64, float64 for float64/complex128."""
    name = np.dtype(dtype).name
    return np.dtype(_REAL_OF.get(name, name))


def with_precision(dtype: Any, precision: Any) -> np.dtype:
    """`dtype` in the precision of `precision`: complex64 with float64 gives complex128."""
    real = real_dtype(precision).name
    return np.dtype(_COMPLEX_OF[real] if np.dtype(dtype).kind == "c" else real)


def doubled(x: Array) -> Array:
    """x in double precision, real or complex as it is."""
    return astype(x, with_precision(dtype_of(x), np.float64))


def check_float(dtype: Any, name: str) -> np.dtype:
    """`dtype` if sciml computes in it.

    Raises:
        TypeError: it is not one of float32, float64, complex64, complex128.
    """
    try:
        found = np.dtype(dtype).name
    except TypeError:  # no dtype at all
        found = repr(dtype)
    if found not in _FLOATS:
        raise TypeError(
            f"expected {name} of dtype {', '.join(_FLOATS)}, got {found}: "
            "convert it, for example with .astype('float64')"
        )
    return np.dtype(found)


def astype(x: Array, dtype: Any) -> Array:
    """`x` in the given NumPy dtype, without a copy where it has it already."""
    if isinstance(x, np.ndarray | np.generic):
        return x.astype(dtype, copy=False)
    if dtype_of(x) == np.dtype(dtype):
        return x
    xp = namespace(x)
    return xp.astype(x, native_dtype(xp, np.dtype(dtype)))


def to_numpy(x: Array) -> np.ndarray:
    """A NumPy copy or view of a (small) array: one host synchronisation on a GPU."""
    if isinstance(x, np.ndarray | np.generic | float | int):
        return np.asarray(x)
    if is_torch(x):
        return x.detach().cpu().resolve_conj().resolve_neg().numpy()
    if hasattr(x, "get"):
        return x.get()
    return np.from_dlpack(x)


def host_view(x: Array) -> np.ndarray | None:
    """A NumPy view of `x` where it lies in host memory and no autograd watches it, else None."""
    if isinstance(x, np.ndarray):
        return x
    if is_torch(x) and x.device.type == "cpu" and not x.requires_grad:
        return x.resolve_conj().resolve_neg().numpy()
    return None


def like_host(y: np.ndarray, like: Array) -> Array:
    """`y` in `like`'s library, sharing memory: the way back from `host_view`."""
    return y if isinstance(like, np.ndarray) else sys.modules["torch"].from_numpy(y)


def no_grad(x: Array) -> contextlib.AbstractContextManager[Any]:
    """torch.no_grad() when `x` is a torch tensor, else nothing."""
    return sys.modules["torch"].no_grad() if is_torch(x) else contextlib.nullcontext()


def broadcast_batch(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The batch shape to which all `shapes` broadcast.

    Raises:
        ValueError: they do not.
    """
    try:
        return np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        listed = ", ".join(str(tuple(s)) for s in shapes)
        raise ValueError(f"expected batch shapes that broadcast, got {listed}") from None


def pick(mask: np.ndarray, yes: Array, no: Array) -> Array:
    """Per member of the batch: `yes` where `mask` (host, batch-shaped), `no` elsewhere."""
    if mask.all():
        return yes
    if not mask.any():
        return no
    xp = namespace(yes, no)
    shape = mask.shape + (1,) * (yes.ndim - mask.ndim)
    where = xp.asarray(mask.reshape(shape), **_placement(yes))
    return xp.where(where, yes, no)


def from_host(values: Any, like: Array, dtype: Any = None) -> Array:
    """A host value or NumPy array as an array of `like`'s library, device and (real) dtype."""
    dtype = real_dtype(dtype_of(like)) if dtype is None else np.dtype(dtype)
    host = np.asarray(values, dtype=dtype)
    if isinstance(like, np.ndarray):
        return host
    refuse_copies(like)
    xp = namespace(like)
    return xp.asarray(host, dtype=native_dtype(xp, dtype), **_placement(like))


def _placement(like: Array) -> dict[str, Any]:
    return {} if isinstance(like, np.ndarray) else {"device": device_of(like)}


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0: a finished member of a batch must not spread NaN."""
    if isinstance(b, np.generic | float):
        return a / b if b != 0 else a * 0
    xp = namespace(b)
    zero = b == 0
    return xp.where(zero, xp.zeros_like(a * b), a / xp.where(zero, xp.ones_like(b), b))


def dot(x: Array, y: Array) -> Array:
    """sum conj(x) y over the last axis, for two arrays of one shape (or shapes that broadcast).

    In NumPy the bits do not depend on how many threads its BLAS has: long vectors go in pieces
    that BLAS does not divide further.
    """
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)):
        return namespace(x, y).vecdot(x, y)
    n = x.shape[-1]
    if n <= _PIECE:
        return np.vdot(x, y) if x.ndim == y.ndim == 1 else np.vecdot(x, y)
    whole = n - n % _PIECE
    pieces = [v[..., :whole].reshape(*v.shape[:-1], -1, _PIECE) for v in (x, y)]
    total = np.vecdot(*pieces).sum(axis=-1)
    return total + np.vecdot(x[..., whole:], y[..., whole:]) if whole < n else total


def sum_to(grad: Array, shape: Sequence[int]) -> Array:
    """`grad` summed over the axes along which an array of `shape` was broadcast."""
    xp = namespace(grad)
    extra = grad.ndim - len(shape)
    if extra:
        grad = xp.sum(grad, axis=tuple(range(extra)))
    stretched = tuple(i for i, (n, m) in enumerate(zip(grad.shape, shape, strict=True)) if n != m)
    return xp.sum(grad, axis=stretched, keepdims=True) if stretched else grad


def all_finite(x: Array) -> bool:
    """Whether no entry is NaN or Inf."""
    if isinstance(x, np.ndarray):
        return bool(np.isfinite(x).all())
    xp = namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def nonfinite_members(x: Array, batch: tuple[int, ...]) -> np.ndarray:
    """Host booleans of shape `batch`: members of `x` (*batch, ...) holding NaN or Inf."""
    square = _square_on_host(x, x.ndim - len(batch))
    if square is not None and np.isfinite(square).all():  # one pass, and nothing is written
        return np.zeros(batch, bool)
    xp = namespace(x)
    axes = tuple(range(len(batch), x.ndim))
    return ~to_numpy(xp.all(xp.isfinite(x), axis=axes) if axes else xp.isfinite(x))


def safe_norm(x: Array, ndim: int) -> np.ndarray:
    """2-norms over the last `ndim` axes, in float64 on the host; no overflow or underflow.

    An entry of 1e200 does not overflow when squared, nor does one of 1e-200 vanish: entries are
    scaled by the largest first, where squares show that they need it. NaN and Inf stay visible as
    NaN or Inf.
    """
    square = _square_on_host(x, ndim)
    if square is not None and squares_kept(square):
        return np.sqrt(square)
    xp = namespace(x)
    axes = tuple(range(x.ndim - ndim, x.ndim))
    size = abs(x)
    if math.prod(x.shape) == 0:
        return np.zeros(x.shape[: x.ndim - ndim])
    largest = xp.max(size, axis=axes, keepdims=True)
    unit = xp.where((largest > 0) & xp.isfinite(largest), largest, xp.ones_like(largest))
    total = xp.sum((size / unit) ** 2, axis=axes)
    return to_numpy(xp.sqrt(total)) * to_numpy(unit).reshape(total.shape).astype(np.float64)


def squares_kept(square: np.ndarray) -> bool:
    """Whether sums of squares in float64 are so far from its ends that they lost nothing there."""
    return square.dtype == np.float64 and bool(((square > 1e-250) & (square < 1e300)).all())


def _square_on_host(x: Array, ndim: int) -> np.ndarray | None:
    """The sum of squares over the last `ndim` axes, in one pass; None where `dot` cannot tell."""
    view = host_view(x)
    if view is None or view.dtype.kind not in "fc" or not (ndim and view.size):
        return None
    flat = view.reshape(*view.shape[: view.ndim - ndim], -1)
    with np.errstate(all="ignore"):
        return np.asarray(np.real(dot(flat, flat)))
