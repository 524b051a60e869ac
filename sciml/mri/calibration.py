"""The calibration region: the fully sampled box around the centre of k-space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._checks import Argument, ArgumentError, integer, is_integer, told
from ..arrays import Array, check_float, dtype_of, namespace, to_numpy

__all__ = ["calibration_data", "calibration_region", "check_kspace", "sizes_of"]


def calibration_region(
    kspace_or_mask: Array, ndim: int, *, least: int | Sequence[int] = 1, width: int | None = None
) -> tuple[slice, ...]:
    """The largest fully sampled box around the centre n // 2 of k-space, as slices.

    Args:
        kspace_or_mask: k-space (*batch, coil, *shape), or a mask (*shape). A sample is measured
            where any coil of any member of the batch is not zero.
        ndim: axes of space, the last ones.
        least: smallest side of use, per axis or for all.
        width: largest side of use; None: any.

    Raises:
        ValueError: there is no such box with sides of at least `least`; or ndim is no integer
            from 1 to the number of axes.
    """
    ndim = integer(ndim, "ndim", 1)
    xp = namespace(kspace_or_mask)
    if kspace_or_mask.ndim < ndim:
        raise ValueError(
            f"expected k-space or a mask with {ndim} axes of space, got "
            f"{tuple(kspace_or_mask.shape)}"
        )
    measured = kspace_or_mask != 0
    if measured.ndim > ndim:
        measured = xp.any(measured, axis=tuple(range(measured.ndim - ndim)))
    measured = to_numpy(measured)
    shape = measured.shape
    smallest = sizes_of(least, ndim, "least")
    # A box of side s around the centre holds the offsets 0, -1, 1, -2, 2 ... in this order: the
    # first s of them. So the box of sides (s, t) is full where the running "and" over the mask in
    # that order is true at (s - 1, t - 1).
    for axis, n in enumerate(shape):
        order = n // 2 + np.array([(s // 2) * (-1) ** (s + 1) for s in range(1, n + 1)], int)
        measured = measured.take(order[:width], axis)
        measured = np.logical_and.accumulate(measured, axis)
    volume = measured.astype(np.int64)
    for axis, (n, m) in enumerate(zip(measured.shape, smallest, strict=True)):
        side = np.arange(1, n + 1)
        volume *= (side * (side >= m)).reshape(-1, *(1,) * (ndim - axis - 1))
    if not volume.any():
        raise ArgumentError(
            f"no calibration region: expected a fully sampled box of at least {smallest} samples "
            f"around the centre {tuple(n // 2 for n in shape)}, got {_told_box(measured)}: give ",
            Argument("maps"),
            " or a reference scan, ",
            Argument("calibration"),
        )
    box = np.unravel_index(int(volume.argmax()), volume.shape)
    sides = [int(s) + 1 for s in box]
    starts = [n // 2 - s // 2 for n, s in zip(shape, sides, strict=True)]
    return tuple(slice(a, a + s) for a, s in zip(starts, sides, strict=True))


def calibration_data(
    kspace: Array, calibration: Array | None, *, least: Sequence[int], width: int | None = None
) -> np.ndarray:
    """The samples to calibrate from, complex128, (coil, *box), in host memory.

    Args:
        kspace: complex, (coil, *shape).
        calibration: a reference scan, complex, (coil, *any); None: the region in k-space itself.
        least, width: as for `calibration_region`.

    Raises:
        TypeError: k-space or the reference scan is not complex.
        ValueError: the axes or coils do not fit, there is no calibration region, or it holds
            values that are not finite or nothing but zeros.
    """
    check_kspace(kspace, "k-space")
    source = kspace
    if calibration is not None:
        check_kspace(calibration, "a reference scan")
        if calibration.ndim != kspace.ndim or calibration.shape[0] != kspace.shape[0]:
            raise ValueError(
                f"expected a reference scan of {kspace.shape[0]} coils and {kspace.ndim - 1} axes "
                f"of space, got {tuple(calibration.shape)}: bring it to (coil, *shape)"
            )
        source = calibration
    region = calibration_region(source, source.ndim - 1, least=least, width=width)
    data = to_numpy(source[(slice(None), *region)]).astype(np.complex128)
    if not np.isfinite(data).all():
        raise ValueError("expected finite samples in the calibration region, got NaN or infinity")
    return data


def check_kspace(kspace: Array, name: str) -> None:
    """k-space of one image: complex, (coil, *shape).

    Raises:
        TypeError, ValueError: it is not.
    """
    namespace(kspace)
    dtype = check_float(dtype_of(kspace), name)
    if dtype.kind != "c":
        raise TypeError(f"expected {name} as complex samples, got {dtype}")
    if not 2 <= kspace.ndim <= 4 or 0 in kspace.shape:
        raise ValueError(
            f"expected {name} as (coil, *shape) with 1 to 3 axes of space, got "
            f"{tuple(kspace.shape)}: take the members of a batch one by one"
        )


def sizes_of(value: int | Sequence[int], ndim: int, name: str) -> tuple[int, ...]:
    """`value` for each axis.

    Raises:
        ValueError: not one positive integer, nor one for each axis.
    """
    each = (value,) * ndim if is_integer(value) else value
    if not isinstance(each, Sequence) or len(each) != ndim:
        raise ValueError(
            f"expected {name} as a positive integer or {ndim} of them, got {told(value)}"
        )
    return tuple(integer(v, name, 1) for v in each)


def _told_box(full: np.ndarray) -> str:
    """The sides of the largest full box of any kind, for a message."""
    if not full.any():
        return "none (the centre itself was not measured)"
    sides = np.indices(full.shape) + 1
    best = int((sides.prod(0, dtype=np.int64) * full).argmax())
    return str(tuple(int(i) + 1 for i in np.unravel_index(best, full.shape)))
