"""Sampling masks of Cartesian k-space.

Every mask has exactly `round(n / acceleration)` samples (Python's `round`), the calibration region
counted: n is the number of lines for masks of lines, of points of the grid for the others. The
calibration region lies around the origin, indices n // 2 - c // 2 to n // 2 - c // 2 + c - 1 of an
axis, and is sampled in full. A partial Fourier mask leaves the lines of lowest index empty and has
as many samples elsewhere. Masks are bool arrays of NumPy with the origin at index n // 2.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np

from .._checks import Argument, ArgumentError, integer, need, number, told

__all__ = [
    "calibration_block",
    "equispaced",
    "golden_offset",
    "partial_lines",
    "poisson_disc",
    "random_2d",
    "random_lines",
]

_GOLDEN = (math.sqrt(5) - 1) / 2
# Halvings of the radius of a Poisson disc mask: the scale is then known to about 1e-3.
_HALVINGS = 12


def calibration_block(
    shape: tuple[int, ...], calibration: int | tuple[int, ...], *, axis: int | None = None
) -> np.ndarray:
    """The calibration region alone.

    `equispaced(shape, 2) | calibration_block(shape, 24, axis=0)` is the mask of a GRAPPA scan: a
    regular lattice with the calibration lines on top (and so more samples than shape / 2).

    Args:
        shape: of the image, (ky, kx) say.
        calibration: length of the region, or one length for each axis.
        axis: for lines: the axis that is undersampled; the result has length 1 along the others.

    Returns:
        bool, `shape`, or (1, ..., n, ..., 1) with an axis.

    Raises:
        ValueError: a length below 0 or above that of its axis.
    """
    shape = _shape(shape)
    if axis is not None:
        axis = _axis(shape, axis)
        line = _block((shape[axis],), (integer(calibration, "calibration", 0),))
        return _along(line, shape, axis)
    return _block(shape, _lengths(calibration, len(shape)))


def partial_lines(shape: tuple[int, ...], fraction: float, *, axis: int = 0) -> np.ndarray:
    """Partial Fourier: the `round(fraction n)` lines of highest index, (1, ..., n, ..., 1) bool.

    Raises:
        ValueError: the fraction is not above 1/2 and at most 1, so that the origin is lost.
    """
    shape = _shape(shape)
    axis = _axis(shape, axis)
    return _along(_kept(shape[axis], fraction), shape, axis)


def equispaced(
    shape: tuple[int, ...],
    acceleration: float,
    *,
    axis: int = 0,
    calibration: int = 0,
    partial_fourier: float = 1.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Lines at equal distances, the calibration lines among them.

    The lines outside the calibration region are spread evenly over what is left, as in fastMRI's
    masks (Zbontar et al., arXiv 1811.08839): an integer acceleration without calibration gives
    every such line, other numbers gaps that differ by one. With `rng` the first line is random.

    Args:
        shape: of the image. acceleration: >= 1. axis: that is undersampled.
        calibration: number of fully sampled lines in the middle.
        partial_fourier: share of the lines that may be sampled, those of highest index.

    Returns:
        bool, (1, ..., n, ..., 1), which broadcasts against k-space.

    Raises:
        ValueError: the acceleration leaves fewer lines than the calibration region has, or more
            than partial Fourier allows.
    """
    return _lattice(
        shape, acceleration, axis, calibration, partial_fourier, _rng(rng).random() if rng else 0.0
    )


def golden_offset(
    shape: tuple[int, ...],
    acceleration: float,
    *,
    frame: int = 0,
    axis: int = 0,
    calibration: int = 0,
    partial_fourier: float = 1.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """`equispaced` with the offset of the lattice at frame · 0.618..., modulo its spacing.

    Steps by the golden ratio spread the offsets of any number of successive frames (slices,
    repetitions) as evenly as can be (Winkelmann et al., IEEE Trans. Med. Imaging 26 (2007) 68).
    With `rng` the first offset is random. Arguments and errors are those of `equispaced`.
    """
    first = _rng(rng).random() if rng else 0.0
    offset = (first + integer(frame, "frame", 0) * _GOLDEN) % 1.0
    return _lattice(shape, acceleration, axis, calibration, partial_fourier, offset)


def random_lines(
    shape: tuple[int, ...],
    acceleration: float,
    *,
    rng: np.random.Generator,
    axis: int = 0,
    calibration: int = 0,
    decay: float = 0.0,
    partial_fourier: float = 1.0,
) -> np.ndarray:
    """Lines drawn at random outside the calibration region, with weights (1 - |k|)^decay.

    k runs from 0 at the origin to 1 past the edge; decay 0 draws uniformly, as in fastMRI's random
    masks. Other arguments, result and errors are those of `equispaced`.
    """
    shape = _shape(shape)
    axis = _axis(shape, axis)
    centre = _block((shape[axis],), (integer(calibration, "calibration", 0),))
    free = _kept(shape[axis], partial_fourier) & ~centre
    return _along(_drawn(centre, free, acceleration, decay, _rng(rng)), shape, axis)


def random_2d(
    shape: tuple[int, int],
    acceleration: float,
    *,
    rng: np.random.Generator,
    calibration: int | tuple[int, int] = 0,
    decay: float = 3.0,
    corners: bool = True,
    partial_fourier: float = 1.0,
) -> np.ndarray:
    """Points drawn at random outside the calibration region, with weights (1 - |k|)^decay.

    |k| runs from 0 at the origin to 1 past the corners (Lustig et al., Magn. Reson. Med. 58 (2007)
    1182). Arguments, result and errors are those of `poisson_disc`.
    """
    shape, centre, free = _plane(shape, calibration, corners, partial_fourier)
    return _drawn(centre, free, acceleration, decay, _rng(rng))


def poisson_disc(
    shape: tuple[int, int],
    acceleration: float,
    *,
    rng: np.random.Generator,
    calibration: int | tuple[int, int] = 0,
    slope: float = 3.0,
    corners: bool = True,
    partial_fourier: float = 1.0,
) -> np.ndarray:
    """Random points that keep a distance, which grows with the distance from the origin.

    Dart throwing (Cook, ACM Trans. Graph. 5 (1986) 51): the grid's points are visited in random
    order, those whose disc holds no other point first, and each that lies in no sampled point's
    disc is sampled. The radius of a disc is s (1 + slope |k|) pixels, |k| from 0 at the origin to 1
    past the corners, rounded at random to one of the two nearest distances the grid has, so that
    the density falls smoothly. s is found by bisection as the largest that leaves enough points;
    the last ones too many are not visited.
    A disc reaches neither out of nor into the calibration region.

    Args:
        shape: (ky, kz). acceleration: >= 1. slope: >= 0; 0 is a uniform density.
        calibration: length of the fully sampled rectangle, or one for each axis.
        corners: whether points outside the ellipse that touches the edges may be sampled.
        partial_fourier: share of the lines along axis 0 that may be sampled, of highest index.

    Returns:
        bool, `shape`.

    Raises:
        ValueError: the acceleration leaves fewer points than the calibration region has, or more
            than partial Fourier and the ellipse allow.
    """
    shape, centre, free = _plane(shape, calibration, corners, partial_fourier)
    wanted = _count(centre, free, acceleration)
    growth = 1 + number(slope, "slope") * _distance(shape)
    rng = _rng(rng)
    order = rng.permutation(np.flatnonzero(free))
    dither = rng.random(order.size)

    low, high = 0.0, min(free.sum() / max(wanted, 1) + 1, math.hypot(*shape))
    best = order[:wanted]  # every point fits where the discs are empty
    for _ in range(_HALVINGS if wanted else 0):
        scale = (low + high) / 2
        radius = np.minimum(scale * growth.ravel()[order], math.hypot(*shape))
        found = _throw_darts(shape, order, radius, dither, wanted)
        if found.size == wanted:
            low, best = scale, found
        else:
            high = scale
    mask = centre.copy()
    mask.ravel()[best] = True
    return mask


def _throw_darts(
    shape: tuple[int, int], order: np.ndarray, radius: np.ndarray, dither: np.ndarray, wanted: int
) -> np.ndarray:
    """The first `wanted` points of `order` that lie in no earlier one's disc, as flat indices."""
    reach = math.floor(radius.max(initial=0.0)) + 2
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    squares = (dy * dy + dx * dx).ravel()
    grid = np.unique(squares)
    distances = np.sqrt(grid)
    # A disc takes what is nearer than a distance of the grid: r or the next one, by the dither.
    lower = np.maximum(np.searchsorted(distances, radius, side="right") - 1, 1)
    share = (radius - distances[lower]) / (distances[lower + 1] - distances[lower])
    size = lower + (dither < share)
    # Points that take nothing but themselves come first: the middle is then sampled without holes.
    visits = np.argsort(size > 1, kind="stable")
    order, size = order[visits], size[visits].tolist()

    width = shape[1] + 2 * reach
    steps = (dy * width + dx).ravel()[np.argsort(squares, kind="stable")].tolist()
    nearer = np.sort(squares).tolist()
    discs: dict[int, list[int]] = {}
    y, x = np.divmod(order, shape[1])
    places = ((y + reach) * width + x + reach).tolist()
    taken = bytearray(width * (shape[0] + 2 * reach))
    found = []
    for i, place in enumerate(places):
        if not taken[place]:
            found.append(i)
            if len(found) == wanted:
                break
            if size[i] not in discs:  # everything of a lower square, but the point itself
                discs[size[i]] = steps[1 : bisect_left(nearer, grid[size[i]])]
            for step in discs[size[i]]:
                taken[place + step] = 1
    return order[found]


def _lattice(
    shape: tuple[int, ...],
    acceleration: float,
    axis: int,
    calibration: int,
    partial_fourier: float,
    offset: float,
) -> np.ndarray:
    shape = _shape(shape)
    axis = _axis(shape, axis)
    line = _block((shape[axis],), (integer(calibration, "calibration", 0),))
    free = _kept(shape[axis], partial_fourier) & ~line
    count = _count(line, free, acceleration)
    if count:
        left = np.flatnonzero(free)
        # the spacing is at least 1, so that no line is taken twice
        line[left[np.floor((np.arange(count) + offset) * (left.size / count)).astype(int)]] = True
    return _along(line, shape, axis)


def _drawn(
    centre: np.ndarray,
    free: np.ndarray,
    acceleration: float,
    decay: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """`centre` and as many of the points `free` as are wanted, by weight, without replacement."""
    count = _count(centre, free, acceleration)
    weight = (1 - _distance(centre.shape)[free]) ** number(decay, "decay")
    # The largest of log w + Gumbel noise are such a draw (Efraimidis and Spirakis 2006).
    key = np.log(weight) + rng.gumbel(size=weight.size)
    mask = centre.copy()
    mask.ravel()[np.flatnonzero(free)[np.argsort(-key, kind="stable")[:count]]] = True
    return mask


def _count(centre: np.ndarray, free: np.ndarray, acceleration: float) -> int:
    """How many of the points `free` are wanted beside `centre`."""
    wanted = round(centre.size / number(acceleration, "acceleration", least=1.0))
    fixed, most = int(centre.sum()), int(centre.sum() + free.sum())
    if wanted < max(fixed, 1):
        raise ArgumentError(
            "expected an ",
            Argument("acceleration"),
            f" that leaves at least {max(fixed, 1)} samples, got {acceleration:g}, which "
            f"leaves {wanted} of {centre.size}: lower it, or the calibration region of {fixed}",
        )
    if wanted > most:
        raise ArgumentError(
            "expected an ",
            Argument("acceleration"),
            f" that leaves at most {most} samples, got {acceleration:g}, which leaves "
            f"{wanted} of {centre.size}: raise it, or the share of partial Fourier, or allow the "
            "corners",
        )
    return wanted - fixed


def _plane(
    shape: tuple[int, int], calibration: int | tuple[int, int], corners: bool, partial: float
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """(shape, calibration region, points that may be sampled beside it)."""
    whole = _shape(shape)
    if len(whole) != 2:
        raise ValueError(f"expected a shape of two axes, got {shape}: mask the others as lines")
    centre = _block(whole, _lengths(calibration, 2))
    free = _kept(whole[0], partial)[:, None] & ~centre
    if not corners:
        free &= math.sqrt(2) * _distance(whole, margin=0.0) <= 1
    return (whole[0], whole[1]), centre, free


def _distance(shape: tuple[int, ...], margin: float = 1.0) -> np.ndarray:
    """Distance from the origin, 0 there and 1 in corners `margin` past the grid's; `shape`."""
    square = np.zeros((1,) * len(shape))
    for axis, n in enumerate(shape):
        k = (np.arange(n) - n // 2) / (n / 2 + margin)
        square = square + _along(k * k, shape, axis)
    return np.sqrt(square / len(shape))


def _block(shape: tuple[int, ...], lengths: tuple[int, ...]) -> np.ndarray:
    region = np.zeros(shape, bool)
    if any(c > n for c, n in zip(lengths, shape, strict=True)):
        raise ValueError(f"expected a calibration region within {shape}, got {lengths}")
    region[
        tuple(
            slice(n // 2 - c // 2, n // 2 - c // 2 + c) for n, c in zip(shape, lengths, strict=True)
        )
    ] = True
    return region


def _lengths(calibration: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    given = calibration if isinstance(calibration, tuple | list) else (calibration,) * ndim
    if len(given) != ndim:
        raise ValueError(f"expected {ndim} lengths of the calibration region, got {calibration}")
    return tuple(integer(c, "calibration", 0) for c in given)


def _kept(n: int, fraction: float) -> np.ndarray:
    if not 0.5 < number(fraction, "partial_fourier") <= 1:
        raise ValueError(f"expected partial_fourier above 1/2 and at most 1, got {fraction:g}")
    return np.arange(n) >= n - max(round(fraction * n), n - n // 2)


def _along(line: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    return line.reshape([-1 if a == axis else 1 for a in range(len(shape))])


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    need(shape, (tuple, list), "a shape as a tuple of lengths")
    if not shape:
        raise ValueError("expected a shape of at least one axis, got an empty one")
    return tuple(integer(n, "a length of the shape", 1) for n in shape)


def _axis(shape: tuple[int, ...], axis: int) -> int:
    ndim = len(shape)
    if axis not in range(-ndim, ndim):
        raise ValueError(f"expected an axis of {shape}, got {told(axis)}")
    return int(axis) % ndim


def _rng(rng: np.random.Generator) -> np.random.Generator:
    need(rng, np.random.Generator, "rng as a Generator", "np.random.default_rng(seed)")
    return rng
