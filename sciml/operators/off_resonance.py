"""Imaging in an inhomogeneous field, by time segmentation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._checks import integer, need, number
from ..algebra import _Composite
from ..arrays import (
    Array,
    astype,
    broadcast_batch,
    check_same_place,
    dtype_of,
    from_host,
    namespace,
    to_numpy,
)
from ..operator import Operator
from .nufft import watched

__all__ = ["OffResonance"]

# Frequencies that stand for the field's range, per cycle that its ends drift apart. An error, as a
# function of frequency, is band-limited: one a cycle would tell all, and 16 hardly miss its peaks.
_PER_CYCLE = 16
_FEWEST = 64
# Segments beyond one a cycle; what they do not reach is out of reach of double precision.
_MOST_EXTRA = 48
# Sample times that interpolators are computed for at once, to bound memory.
_AT_ONCE = 4096


class OffResonance(_Composite):
    """x -> y(t) with the spins of pixel n turning at field_n: A in an inhomogeneous field.

    y_j = Σ_n A_jn exp(-2πi field_n t_j) x_n ≈ Σ_l b_l(t_j) (A (c_l x))_j, with
    c_l = exp(-2πi field τ_l) at the times τ_l of L segments (Noll et al., IEEE Trans. Med. Imaging
    10, 1991; Man, Pauly and Macovski, Magn. Reson. Med. 37, 1997). The interpolators b_l(t) are
    those of least squares over the range of the field (Sutton, Noll and Fessler, IEEE Trans. Med.
    Imaging 22, 2003). The τ_l are Chebyshev points: evenly spaced ones make b_l grow, and rounding
    with them.

    Every exponential is wrong by at most `bound`, so that |y_j| is by at most
    bound Σ_n |A_jn x_n|. As few segments are taken as keep it below `error`.

    Args:
        A: any operator from images to samples: `FFT`, `NUFFT`, `SENSE`, `NonCartesianSENSE`.
        field: off-resonance in Hz, real, of A's images' shape.
        times: when each sample was taken, in s, real, broadcasts against A's range: (samples,) or
            (lines, samples) serve all coils.
        error: largest error of an exponential, of which 1 is the size.
        segments: L, in place of what `error` asks for.

    Raises:
        TypeError, ValueError: field or times do not fit, or are not finite; no number of segments
            reaches `error`.
    """

    def __init__(
        self,
        A: Operator,
        field: Array,
        times: Array,
        *,
        error: float = 1e-4,
        segments: int | None = None,
    ) -> None:
        need(A, Operator, "an operator from images to samples")
        if not A.domain.is_complex:
            raise TypeError(f"expected an operator on complex images, got {A!r}")
        f, t = _checked(A, field, times)
        moments, which = np.unique(t, return_inverse=True)
        error = number(error, "error")
        count = None if segments is None else integer(segments, "segments", 1)
        centres, b, self.bound = _interpolators(f, moments, error, count)
        self.parts = (A,)
        self.segments = len(centres)
        split = (-1, *(1,) * f.ndim)
        turns = np.exp(-2j * np.pi * f * centres.reshape(split))
        dtype = A.domain.dtype
        self.turns = from_host(turns.astype(dtype), field, dtype)
        b = b[:, which.reshape(-1)].reshape(self.segments, *t.shape)
        self.interpolators = from_host(b.astype(dtype), field, dtype)
        super().__init__(A.domain, A.range, batch_shape=A.batch_shape)

    def _apply(self, x: Array) -> Array:
        seen = self.parts[0](_beside(self.turns, x) * x)
        return namespace(x).sum(_beside(self.interpolators, seen[0, ...]) * seen, axis=0)

    def _adjoint(self, y: Array) -> Array:
        xp = namespace(y)
        seen = self.parts[0].adjoint(xp.conj(_beside(self.interpolators, y)) * y)
        return xp.sum(xp.conj(_beside(self.turns, seen[0, ...])) * seen, axis=0)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # a segment is one more axis of the batch, to the left of any that x or ybar has
        xp, A = namespace(x), self.parts[0]
        batch = broadcast_batch(
            x.shape[: x.ndim - A.domain.ndim], ybar.shape[: ybar.ndim - A.range.ndim]
        )
        x = xp.broadcast_to(x, (*batch, *A.domain.shape))
        ybar = xp.broadcast_to(ybar, (*batch, *A.range.shape))
        back = xp.conj(_beside(self.interpolators, ybar)) * ybar
        return self._gather([A.vjp_params(_beside(self.turns, x) * x, back)])

    @property
    def work(self) -> int:
        return self.segments * self.parts[0].work

    @property
    def nbytes(self) -> int:
        return super().nbytes + sum(
            int(np.prod(a.shape)) * dtype_of(a).itemsize for a in (self.turns, self.interpolators)
        )

    def _moved(self, move: Callable[[Array], Array]) -> Operator:
        made = super()._moved(move)
        object.__setattr__(made, "turns", move(self.turns))
        object.__setattr__(made, "interpolators", move(self.interpolators))
        return made


def _beside(factors: Array, x: Array) -> Array:
    """(L, *shape) as (L, 1, ..., 1, *shape), which broadcasts against x, in its dtype."""
    missing = x.ndim - factors.ndim + 1
    shape = (factors.shape[0], *(1,) * missing, *factors.shape[1:])
    return namespace(x).reshape(astype(factors, dtype_of(x)), shape)


def _checked(A: Operator, field: Array, times: Array) -> tuple[np.ndarray, np.ndarray]:
    """Field and times as float64 on the host."""
    check_same_place(field, times)
    if A.home is not None:
        check_same_place(A.home, field)
    if watched(field, times):
        raise TypeError(
            "expected a field and times without gradients, got some that require them: detach them"
        )
    f, t = to_numpy(field), to_numpy(times)
    for name, given in (("a field", f), ("times", t)):
        if given.dtype.kind != "f":
            raise TypeError(f"expected {name} as real floats, got {given.dtype}")
        if not np.isfinite(given).all():
            raise ValueError(f"expected {name} of finite numbers, got NaN or Inf among them")
    if f.shape != A.domain.shape:
        raise ValueError(f"expected a field of the image's shape {A.domain.shape}, got {f.shape}")
    try:
        fits = np.broadcast_shapes(t.shape, A.range.shape) == A.range.shape
    except ValueError:
        fits = False
    if not fits or t.ndim == 0:
        raise ValueError(
            f"expected times that broadcast against samples {A.range.shape}, got {t.shape}"
        )
    return f.astype(np.float64), t.astype(np.float64)


def _interpolators(
    field: np.ndarray, moments: np.ndarray, error: float, segments: int | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """(τ (L,), b (L, moments), largest error of an exponential) with as few segments as will do."""
    low, high = float(field.min()), float(field.max())
    first, last = float(moments.min()), float(moments.max())
    cycles = (high - low) * (last - first)
    # 1. frequencies that stand for all between the lowest and the highest
    frequencies = np.linspace(low, high, max(_FEWEST, math.ceil(_PER_CYCLE * cycles)))
    # 2. the number is found on times as dense as that; the interpolators are then computed once
    dense = np.linspace(first, last, len(frequencies))
    least = max(1, math.floor(cycles))
    counts = range(least, least + _MOST_EXTRA) if segments is None else (segments,)
    for count in counts:
        centres = first + (last - first) * _chebyshev(count)
        _, bound = _fit(frequencies, centres, dense)
        if bound <= error or segments is not None:
            b, at_moments = _fit(frequencies, centres, moments)
            return centres, b, max(bound, at_moments)
    raise ValueError(
        f"expected an error that {counts[-1]} segments reach, got {error:g}: ask for more, or give "
        "the number of segments"
    )


def _chebyshev(count: int) -> np.ndarray:
    """Chebyshev points of the interval from 0 to 1."""
    return (1 - np.cos(np.pi * (np.arange(count) + 0.5) / count)) / 2


def _fit(
    frequencies: np.ndarray, centres: np.ndarray, moments: np.ndarray
) -> tuple[np.ndarray, float]:
    """(b, largest error): Σ_l b_l(t) exp(-2πi f τ_l) nearest to exp(-2πi f t) over all f."""
    basis = np.exp(-2j * np.pi * np.outer(frequencies, centres))
    b, worst = np.empty((len(centres), len(moments)), np.complex128), 0.0
    for start in range(0, len(moments), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        wanted = np.exp(-2j * np.pi * np.outer(frequencies, moments[some]))
        b[:, some] = np.linalg.lstsq(basis, wanted, rcond=1e-13)[0]
        worst = max(worst, float(abs(basis @ b[:, some] - wanted).max()))
    return b, worst
