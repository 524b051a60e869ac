"""Second differences on a box, solved through their eigenvectors.

Along an axis of n unknowns the difference has eigenvectors trig(π (j + a) (k + b) / N), trig the
sine or the cosine, with eigenvalues 4 sin²(π (k + b) / 2N): the discrete sine and cosine transforms
of types I, II and IV (Strang, SIAM Review 41 (1999) 135, table 1); on a ring they are Fourier's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, from_host, namespace

__all__ = ["Axis", "HostInverse", "invert"]


@dataclass(frozen=True)
class Axis:
    """The second difference D along one axis: 2 on the diagonal, −1 beside it, but for the ends.

    Args:
        n: unknowns.
        ends: for the low and the high end what the diagonal has there, less 1: 0 without flux, 1
            where a node beyond is held, 2 where a face on it is held. None: the axis is a ring.
    """

    n: int
    ends: tuple[int, int] | None

    @property
    def nodal(self) -> bool:
        """Whether nodes are held, one step beyond the grid."""
        return self.ends == (1, 1)

    @property
    def shift(self) -> float:
        """b: 0 without flux at both ends, 1/2 at one of them, 1 at none."""
        assert self.ends is not None
        return sum(end > 0 for end in self.ends) / 2

    @property
    def sine(self) -> bool:
        """Whether the eigenvectors are sines: the low end is held."""
        return self.ends is not None and self.ends[0] > 0

    @property
    def period(self) -> int:
        """N."""
        return self.n + self.nodal

    @property
    def eigenvalues(self) -> np.ndarray:
        """(n,) float64."""
        k = np.arange(self.n)
        if self.ends is None:
            return 4 * np.sin(np.pi * k / self.n) ** 2
        return 4 * np.sin(np.pi * (k + self.shift) / (2 * self.period)) ** 2

    @property
    def weights(self) -> np.ndarray:
        """(n,) float64: 1 / ‖eigenvector‖²."""
        found = np.full(self.n, 2 / self.period)
        if self.shift == 0:
            found[0] = 1 / self.period  # the constant
        elif self.shift == 1 and not self.nodal:
            found[-1] = 1 / self.period  # the sign that alternates
        return found


def invert(x: Array, axes: Sequence[Axis], factors: Sequence[float]) -> Array:
    """The pseudo-inverse of Σ factors[i] D_i on the last axes of x, in any array library."""
    xp, ndim = namespace(x), len(axes)
    shape = tuple(x.shape[x.ndim - ndim :])
    places = range(-ndim, 0)
    rings = [i for i, axis in zip(places, axes, strict=True) if axis.ends is None]
    real = [(i, axis) for i, axis in zip(places, axes, strict=True) if axis.ends is not None]
    for i, axis in real:
        x = _transform(x, i, axis.period, (0.5 + axis.nodal / 2, axis.shift), axis.sine)
    total, weight = 0.0, 1.0
    for i, axis, factor in zip(places, axes, factors, strict=True):
        values = factor * axis.eigenvalues
        if rings and i == rings[-1]:
            values = values[: axis.n // 2 + 1]
        column = (-1,) + (1,) * (-1 - i)
        total = total + from_host(values.reshape(column), x)
        if axis.ends is not None:
            weight = weight * from_host(axis.weights.reshape(column), x)
    zero = total == 0
    inverse = weight / xp.where(zero, xp.ones_like(total), total)
    inverse = xp.where(zero, xp.zeros_like(total), inverse)
    if rings:
        lengths = [shape[i] for i in rings]
        x = inverse * xp.fft.rfftn(x, axes=tuple(rings))
        x = xp.fft.irfftn(x, s=lengths, axes=tuple(rings))
    else:
        x = inverse * x
    for i, axis in real:
        x = _transform(x, i, axis.period, (axis.shift, 0.5 + axis.nodal / 2), axis.sine)
    return x


def _transform(x: Array, axis: int, N: int, shifts: tuple[float, float], sine: bool) -> Array:
    """Σ_j x_j trig(π (j + a) (k + b) / N) for k = 0 ... n − 1, (a, b) = shifts, by one real FFT.

    x is padded with zeros to a length of which the wanted frequencies are whole bins.
    """
    xp, (a, b) = namespace(x), shifts
    n, half = x.shape[axis], b == 0.5
    first, step = (1, 2) if half else (int(b), 1)
    bins = xp.fft.rfft(x, n=2 * N * step, axis=axis)
    bins = bins[(..., slice(first, first + step * n, step), *(slice(None),) * (-1 - axis))]
    phase = (np.pi * a / N * (np.arange(n) + b)).reshape((-1,) + (1,) * (-1 - axis))
    cos, sin = from_host(np.cos(phase), x), from_host(np.sin(phase), x)
    if sine:
        return sin * xp.real(bins) - cos * xp.imag(bins)
    return cos * xp.real(bins) + sin * xp.imag(bins)


class HostInverse:
    """`invert(x, axes, factors)` in host memory: fast, and prepared once.

    Transforms along all axes but the first, and elimination along that (Buzbee, Golub and Nielson,
    SIAM J. Numer. Anal. 7 (1970) 627, section 2). It is one pass over memory, where a transform
    along the first axis strides and costs more than all the others.
    """

    def __init__(self, axes: Sequence[Axis], factors: Sequence[float]) -> None:
        self.head, self.factor = axes[0], factors[0]
        places = range(1 - len(axes), 0)
        self.rings = tuple(i for i, axis in zip(places, axes[1:], strict=True) if axis.ends is None)
        self.lengths = [axes[i].n for i in self.rings]
        kinds: dict[tuple[bool, int], list[int]] = {}
        mu = np.zeros(1)
        for i, axis, factor in zip(places, axes[1:], factors[1:], strict=True):
            values = factor / factors[0] * axis.eigenvalues
            if axis.ends is not None:
                kinds.setdefault((axis.sine, _type(axis)), []).append(i)
            elif i == self.rings[-1]:
                values = values[: axis.n // 2 + 1]
            mu = np.add.outer(mu, values)
        self.kinds = [(*kind, tuple(found)) for kind, found in kinds.items()]
        # a complex coefficient is solved for as two real ones
        self.mu = np.repeat(mu.reshape(-1), 2 if self.rings else 1)
        self.singular = self.mu[0] == 0 and self.head.ends in (None, (0, 0))

    def __call__(self, x: np.ndarray, scale: np.ndarray, *, own: bool = False) -> np.ndarray:
        """scale times the pseudo-inverse of x, in an array of its own.

        Args:
            x: (*batch, *shape) float32 or float64, not empty; it may be overwritten if `own`.
            scale: (*batch) float64.
        """
        from scipy import fft as scipy_fft

        from ..kernels._threads import threads

        fft: Any = scipy_fft
        how: Any = {"workers": threads(x.size), "norm": "ortho"}
        dtype, shape = x.dtype, x.shape
        for sine, kind, axes in self.kinds:
            transform = fft.dstn if sine else fft.dctn
            x = transform(x, kind, axes=axes, overwrite_x=own, **how)
            own = True
        y = fft.rfftn(x, axes=self.rings, **how) if self.rings else x
        y = np.ascontiguousarray(y)
        self._eliminate(y.view(dtype).reshape(-1, self.head.n, self.mu.size), scale.reshape(-1))
        if self.rings:
            y = fft.irfftn(y, s=self.lengths, axes=self.rings, overwrite_x=True, **how)
        for sine, kind, axes in self.kinds:
            transform = fft.idstn if sine else fft.idctn
            y = transform(y, kind, axes=axes, overwrite_x=True, **how)
        return y.reshape(shape)

    def _eliminate(self, columns: np.ndarray, scale: np.ndarray) -> None:
        from ..kernels.tridiagonal import solve_columns

        scale = scale / self.factor
        lowest = invert(columns[..., 0], (self.head,), (1.0,)) if self.singular else None
        solve_columns(columns, self.mu, self.head.ends, scale)
        if lowest is not None:  # the elimination divided by 0 there
            columns[..., : 2 if self.rings else 1] = 0
            columns[..., 0] = scale[:, None] * lowest


def _type(axis: Axis) -> int:
    """The number that scipy.fft knows the transform by."""
    return 1 if axis.nodal else 4 if axis.shift == 0.5 else 2
