"""Parallel-beam tomography: projections of an image, and filtered back-projection."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import integer, is_integer, need, number, told
from .._fft import filtered
from ..arrays import (
    Array,
    astype,
    dtype_of,
    from_host,
    host_view,
    like_host,
    namespace,
    with_precision,
)
from ..operator import Operator
from ..space import Space
from .nufft import watched

__all__ = ["Filter", "Radon", "filtered_back_projection"]

# Power iterations for the bound of the norm, which then is some 1 % too large at most.
_ITERATIONS = 4


@dataclass(frozen=True)
class _Sweep:
    """The angles whose rays cross the image's lines (rows, or columns) steeply.

    Edge k of the detectors crosses line i at the place first + i shift + k step along it, counted
    in pixels: `geometry` has (first, shift, step) of each angle.
    """

    which: np.ndarray
    columns: bool
    geometry: np.ndarray

    def inverse(self) -> np.ndarray:
        """The same for the place of pixel edge j on the detectors, counted in detectors."""
        first, shift, step = self.geometry.T
        return np.stack([-first / step, -shift / step, 1 / step], axis=-1)

    def lines(self, x: Array) -> Array:
        """The image with its lines along the last axis, and back."""
        return namespace(x).matrix_transpose(x) if self.columns else x


class Radon(Operator):
    """x -> its integrals over strips: parallel-beam computed tomography.

    Pixels are squares with x to the right and y up, around the image's middle. At the angle θ
    detector k collects the rays with x cos θ + y sin θ from (k − K/2) d to (k + 1 − K/2) d, and y
    is the mean of their line integrals, in units of x times length.

    The distance-driven scheme (De Man and Basu, Phys. Med. Biol. 49, 2004): each row of pixels
    (each column, where rays are nearer to the x-axis) is taken to lie on its middle line, which the
    edges of detectors cut into pieces. What is between two edges is a difference of the row's
    prefix sums. The adjoint is exact, by the prefix sums of detectors between edges of pixels: the
    same overlaps. All weights are >= 0, and detectors that cover the image collect each pixel's
    mass exactly: Σ_k y_k d = h² Σ x at every angle. Nothing is stored but the geometry: the matrix
    for 512 x 512 pixels, 200 angles and 400 detectors would have 1e8 entries, over 1 GB with its
    transpose.

    Compiled for NumPy and torch on the CPU, in double precision inside; array operations an angle
    at a time elsewhere.

    Args:
        space: of real images (rows, columns).
        angles: radians, (A,); or their number, evenly from 0 to π, π left out.
        detectors: K; as many as cover the image's diagonal if not given.
        spacing: d, the detectors' width; such that they cover the diagonal if not given, h where
            neither is.
        pixel: h, the pixels' width.

    The range is (angles, detectors), in the dtype of `space`.

    Raises:
        TypeError: a complex space. ValueError: images have other than two axes, angles are none or
            not finite, or spacing and pixel not positive.
    """

    compiled = True

    def __init__(
        self,
        space: Space,
        angles: Any,
        *,
        detectors: int | None = None,
        spacing: float | None = None,
        pixel: float = 1.0,
    ) -> None:
        need(space, Space, "a Space of images")
        if space.is_complex:
            raise TypeError(f"expected a space of real images for a Radon, got {space.dtype}")
        if space.ndim != 2:
            raise ValueError(f"expected images (rows, columns) for a Radon, got {space.shape}")
        self.angles = _checked_angles(angles)
        self.pixel = _positive(pixel, "pixel")
        across = self.pixel * math.hypot(*space.shape)
        if detectors is None:
            width = self.pixel if spacing is None else _positive(spacing, "spacing")
            self.detectors = math.ceil(across / width)
        else:
            self.detectors = integer(detectors, "detectors", 1)
            width = across / self.detectors if spacing is None else _positive(spacing, "spacing")
        self.spacing = width
        self._sweeps = _sweeps(self.angles, space.shape, self.detectors, width / self.pixel)
        super().__init__(space, Space((len(self.angles), self.detectors), space.dtype))

    @property
    def _weight(self) -> float:
        """What a pixel that lies within one detector adds to it."""
        return self.pixel**2 / self.spacing

    @property
    def work(self) -> int:
        return len(self.angles) * self.domain.size

    def _apply(self, x: Array) -> Array:
        if watched(x):  # A and A^H are each other's gradients: nothing else need be kept
            return self.as_torch()(x)
        view = host_view(x)
        if view is not None:
            return like_host(self._project(view), x)
        xp, lead, parts = namespace(x), tuple(x.shape[:-2]), {}
        for sweep in self._sweeps:
            sums = _prefix_sums(sweep.lines(x))
            for a, geometry in zip(sweep.which, sweep.geometry, strict=True):
                at = _places(geometry, sums.shape[-2], self.detectors + 1, x)
                edges = xp.sum(_interpolated(sums, at), axis=-2)
                sign = math.copysign(self._weight, geometry[2])
                parts[int(a)] = sign * (edges[..., 1:] - edges[..., :-1])
        y = xp.stack([parts[a] for a in range(len(self.angles))], axis=-2)
        return xp.reshape(astype(y, dtype_of(x)), (*lead, *self.range.shape))

    def _adjoint(self, y: Array) -> Array:
        if watched(y):
            return self.H.as_torch()(y)
        view = host_view(y)
        if view is not None:
            return like_host(self._backproject(view), y)
        total: Any = None
        for sweep in self._sweeps:
            lines, n = self.domain.shape[::-1] if sweep.columns else self.domain.shape
            part: Any = None
            for a, inverse in zip(sweep.which, sweep.inverse(), strict=True):
                sums = _prefix_sums(y[..., int(a), :][..., None, :])
                found = _interpolated(sums, _places(inverse, lines, n + 1, y))
                found = (self._weight / inverse[2]) * (found[..., 1:] - found[..., :-1])
                part = found if part is None else part + found
            total = sweep.lines(part) if total is None else total + sweep.lines(part)
        return astype(total, dtype_of(y))

    # -- in host memory ------------------------------------------------------------------------

    def _project(self, x: np.ndarray) -> np.ndarray:
        from ..kernels.radon import project

        flat = x.reshape(-1, *self.domain.shape)
        y = np.empty((len(flat), *self.range.shape), self.range.dtype)
        for sweep in self._sweeps:
            edges = np.zeros((len(flat), len(sweep.which), self.detectors + 1))
            project(_host_sums(sweep.lines(flat)), sweep.geometry, edges)
            scales = np.copysign(self._weight, sweep.geometry[:, 2, None])
            y[:, sweep.which] = scales * np.diff(edges)
        return y.reshape(*x.shape[:-2], *self.range.shape)

    def _backproject(self, y: np.ndarray) -> np.ndarray:
        from ..kernels.radon import backproject

        flat, total = y.reshape(-1, *self.range.shape), None
        for sweep in self._sweeps:
            part = np.zeros((len(flat), *sweep.lines(np.empty(self.domain.shape)).shape))
            scales = self._weight * sweep.geometry[:, 2]
            backproject(_host_sums(flat[:, sweep.which]), sweep.inverse(), scales, part)
            total = sweep.lines(part) if total is None else total + sweep.lines(part)
        x = np.ascontiguousarray(total, self.domain.dtype)
        return x.reshape(*y.shape[:-2], *self.domain.shape)

    # -- norm ----------------------------------------------------------------------------------

    @property
    def norm_bound(self) -> float:
        """A proven bound of ||A||, by the first call's four products with A^H A.

        A has no negative entry, so that ||A||² <= max_i (A^H A v)_i / v_i for every v > 0 (Collatz
        and Wielandt); v comes from power iterations, which bring the bound near the norm.
        """
        return self._bound

    @cached_property
    def _bound(self) -> float:
        wide = self.to(dtype=np.float64)
        v, least = np.ones(self.domain.shape), np.inf
        for _ in range(_ITERATIONS):
            seen = wide.adjoint(wide(v))
            on = v > 0  # pixels that no detector sees have empty columns, and drop out
            least = min(least, float(np.max(seen[on] / v[on], initial=0.0)))
            v = seen / max(float(seen.max()), np.finfo(float).tiny)
        return math.sqrt(least) * (1 + 1e-12)  # what the products were rounded by


class Filter(enum.Enum):
    """The window on the ramp of `filtered_back_projection`: less noise, less sharpness."""

    RAM_LAK = "ram-lak"  # none
    SHEPP_LOGAN = "shepp-logan"  # sinc(f / 2)
    COSINE = "cosine"  # cos(π f / 2)
    HANN = "hann"  # (1 + cos π f) / 2

    def window(self, f: np.ndarray) -> np.ndarray:
        """The weights at frequencies f, 1 the highest one that detectors resolve."""
        if self is Filter.RAM_LAK:
            return np.ones_like(f)
        if self is Filter.SHEPP_LOGAN:
            return np.sinc(f / 2)
        return np.cos(np.pi * f / 2) ** (1 if self is Filter.COSINE else 2)


def filtered_back_projection(y: Array, radon: Radon, *, filter: Filter = Filter.RAM_LAK) -> Array:
    """The image whose projections are y, (*batch, rows, columns): the classical inverse.

    Each projection is convolved with the ramp filter (Kak and Slaney, Principles of Computerized
    Tomographic Imaging, 1988, section 3.3: sampled in space, which keeps the mean right) and
    smeared back by the adjoint. Angles are weighted by half of the gaps to their neighbours, on a
    circle of a half-turn: they may be uneven, but should leave no large gap.

    Args:
        y: (*batch, angles, detectors), in the dtype of `radon`.
        filter: the window on the ramp.

    Raises:
        TypeError, ValueError: y does not fit `radon`.
    """
    need(radon, Radon, "a Radon", "Radon(space, angles)")
    need(filter, Filter, "a filter as a Filter member", "Filter.HANN, for example")
    radon.range.check(y, "y")
    K, d = radon.detectors, radon.spacing
    # 1. the ramp in space, equation 61: no filter of a period wraps around onto the detectors
    length = 2 ** math.ceil(math.log2(max(2, 2 * K)))
    n = np.fft.fftfreq(length, 1 / length)
    h = np.where(n % 2 == 1, -1 / (np.pi * np.where(n == 0, 1, n) * d) ** 2, 0.0)
    h[0] = 1 / (4 * d**2)
    ramp = d * np.fft.rfft(h) * filter.window(np.linspace(0, 1, length // 2 + 1))
    # 2. q = ramp * y along the detectors, weighted by angle
    complex_of = with_precision(np.complex64, dtype_of(y))
    q = filtered(y, from_host(ramp, y, complex_of), (length,))[..., :K]
    q = q * from_host(_angle_weights(radon.angles)[:, None], y, dtype_of(y))
    # 3. x = Σ_θ q_θ(x cos θ + y sin θ) Δθ; the adjoint's weights of an angle sum to h² / d
    return radon.adjoint(q) * (d / radon.pixel**2)


def _angle_weights(angles: np.ndarray) -> np.ndarray:
    """Half of the gaps to both neighbours modulo π, which sum to π."""
    turned = angles % np.pi
    order = np.argsort(turned, kind="stable")
    gaps = np.diff(turned[order], append=turned[order[0]] + np.pi)
    weights = np.empty_like(gaps)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights


def _sweeps(
    angles: np.ndarray, shape: tuple[int, ...], detectors: int, spacing: float
) -> tuple[_Sweep, ...]:
    """The angles by rows and by columns, in pixels. See `_Sweep` for what is computed."""
    rows, columns = shape
    c, s = np.cos(angles), np.sin(angles)
    low = -detectors / 2 * spacing  # the first edge, x c + y s
    found = []
    for by_columns in (False, True):
        which = np.flatnonzero((abs(s) > abs(c)) == by_columns)
        if not which.size:
            continue
        u, v = c[which], s[which]
        if by_columns:  # at x = j − (columns − 1) / 2 the edge e is at y = (e − x c) / s, rows down
            first = rows / 2 - (low + (columns - 1) / 2 * u) / v
            shift, step = u / v, -spacing / v
        else:  # at y = (rows − 1) / 2 − i the edge e is at x = (e − y s) / c
            first = columns / 2 + (low - (rows - 1) / 2 * v) / u
            shift, step = v / u, spacing / u
        found.append(_Sweep(which, by_columns, np.stack([first, shift, step], axis=-1)))
    return tuple(found)


def _host_sums(x: np.ndarray) -> np.ndarray:
    """Prefix sums along the last axis, from 0, in double precision."""
    sums = np.zeros((*x.shape[:-1], x.shape[-1] + 1))
    np.cumsum(x, axis=-1, dtype=np.float64, out=sums[..., 1:])
    return sums


def _prefix_sums(x: Array) -> Array:
    """The same in any library."""
    return namespace(x).cumulative_sum(astype(x, np.float64), axis=-1, include_initial=True)


def _places(geometry: np.ndarray, lines: int, count: int, like: Array) -> Array:
    """first + i shift + k step, float64 (lines, count)."""
    first, shift, step = (float(g) for g in geometry)
    i, k = (from_host(np.arange(m), like, np.float64) for m in (lines, count))
    return (first + shift * i)[:, None] + (step * k)[None, :]


def _interpolated(sums: Array, places: Array) -> Array:
    """sums (*batch, lines or 1, n + 1) at places (lines, count) along each line, linearly."""
    xp = namespace(sums)
    lines, n = sums.shape[-2], sums.shape[-1] - 1
    places = xp.clip(places, 0.0, float(n))
    left = xp.clip(xp.floor(places), 0.0, float(n - 1))
    index = astype(left, np.int64)
    if lines > 1:
        index = index + (n + 1) * from_host(np.arange(lines), sums, np.int64)[:, None]
    flat = xp.reshape(sums, (*sums.shape[:-2], lines * (n + 1)))
    index = xp.reshape(index, (-1,))
    lower, upper = (xp.take(flat, at, axis=-1) for at in (index, index + 1))
    lower, upper = (xp.reshape(v, (*sums.shape[:-2], *places.shape)) for v in (lower, upper))
    return lower + (places - left) * (upper - lower)


def _checked_angles(angles: Any) -> np.ndarray:
    """Radians, float64 on the host."""
    if is_integer(angles):
        return np.arange(integer(angles, "angles", 1)) * np.pi / int(angles)
    try:
        found = np.asarray(angles)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected angles in radians, got {told(angles)}") from error
    if found.dtype.kind not in "fiu" or found.ndim != 1 or not found.size:
        raise ValueError(
            f"expected angles in radians (A,) or their number, got {found.dtype} {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ValueError("expected finite angles, got NaN or Inf among them")
    return found.astype(np.float64)


def _positive(value: Any, name: str) -> float:
    if (found := number(value, name)) == 0:
        raise ValueError(f"expected {name} > 0, got {told(value)}")
    return found
