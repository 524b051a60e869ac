"""Which axis of a bare array counts the coils.

Coils are sampled together: where one has a zero for a sample that was not measured, all have. An
axis along which the zeros differ is not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._checks import Argument
from ._kspace import Axis
from ._limits import FileError

# No scanner has more receivers.
MOST_COILS = 128
# The next longer axis is at least this much longer, or the choice is the user's.
APART = 1.5
# Share of positions at which zeros may differ among coils: exact zeros also occur by chance.
CHANCE = 0.01
# Share of coils that may be zero throughout.
UNPLUGGED = 0.25
_NO_KSPACE = "; check that the array is k-space"


@dataclass(frozen=True)
class Arrangement:
    """order: axes of the stored array as (*batch, coil, *shape), -1 for a coil axis to insert."""

    order: tuple[int, ...]
    axes: tuple[Axis, ...]

    def apply(self, values: np.ndarray) -> np.ndarray:
        kept = [axis for axis in self.order if axis >= 0]
        moved = values.transpose(kept)
        if -1 in self.order:
            moved = np.expand_dims(moved, self.order.index(-1))
        return np.ascontiguousarray(moved)


def arrange(values: np.ndarray, coil_axis: int | None, path: Path) -> Arrangement:
    """How to bring a stored array to (*batch, coil, *shape).

    Two axes are one coil's. Of more, the coil axis is `coil_axis`, or the shortest if that is much
    shorter than the next. Axes on the other side of it than most are batch axes.
    Raises FileError where the coil axis cannot be told, or is seen to be another.
    """
    ndim, shape = values.ndim, values.shape
    if coil_axis is not None and not -ndim <= coil_axis < ndim:
        raise FileError(
            path,
            "expected ",
            Argument("coil_axis"),
            f" in -{ndim} to {ndim - 1}, got {coil_axis}",
        )
    if ndim < 2:
        raise FileError(path, f"expected k-space of 2 or more axes, got shape {shape}")
    if coil_axis is None and ndim == 2:
        return Arrangement((-1, 0, 1), (Axis.COIL, Axis.K, Axis.K))
    coil = _guess(shape, path) if coil_axis is None else coil_axis % ndim
    check_coil_axis(values, coil, path)
    before, after = tuple(range(coil)), tuple(range(coil + 1, ndim))
    if ndim <= 3:
        batch, space = (), before + after
    elif len(before) > len(after):
        batch, space = after, before
    else:
        batch, space = before, after
    if len(space) > 3:
        raise FileError(
            path,
            f"expected at most 3 axes of k-space, got {len(space)} beside coil axis {coil} of "
            f"{shape}; put slices and repetitions on the other side of the coil axis",
        )
    axes = (Axis.BATCH,) * len(batch) + (Axis.COIL,) + (Axis.K,) * len(space)
    return Arrangement((*batch, coil, *space), axes)


def check_coil_axis(values: np.ndarray, coil: int, path: Path) -> None:
    """Raises FileError, with the axis that fits, if zeros differ along `coil`."""
    zero = values == 0
    if not zero.any() or _shared(zero, coil):
        return
    fitting = [a for a in range(values.ndim) if values.shape[a] > 1 and _shared(zero, a)]
    fitting.sort(key=lambda a: values.shape[a])
    names = " or ".join(map(str, fitting))
    advice = ("; pass ", Argument("coil_axis", names)) if fitting else (_NO_KSPACE,)
    raise FileError(
        path,
        f"expected coils that are zero at the same samples, got zeros that differ along axis "
        f"{coil} of {values.shape}",
        *advice,
    )


def _guess(shape: tuple[int, ...], path: Path) -> int:
    by_length = sorted((n, axis) for axis, n in enumerate(shape) if n > 1)
    singles = [axis for axis, n in enumerate(shape) if n == 1]
    if singles and len(by_length) <= 2:
        return singles[0]
    (short, axis), (next_, other) = by_length[:2]
    if short > MOST_COILS or short * APART > next_:
        raise FileError(
            path,
            f"expected one axis of {shape} that is much shorter than the others for the coils, got "
            f"{short} and {next_} at axes {axis} and {other}; pass ",
            Argument("coil_axis", str(axis)),
            " or another",
        )
    if len(by_length) > 3 and next_ <= MOST_COILS and next_ * APART <= by_length[2][0]:
        raise FileError(
            path,
            f"expected one short axis of {shape} for the coils, got two, axes {axis} and {other}: "
            "slices and coils? pass ",
            Argument("coil_axis", str(other)),
            " or another",
        )
    return axis


def _shared(zero: np.ndarray, axis: int) -> bool:
    lines = np.moveaxis(zero, axis, 0).reshape(zero.shape[axis], -1)
    # A coil that is unplugged is zero throughout, and tells nothing. Many are lines left out.
    dead = lines.all(axis=1)
    if dead.mean() <= UNPLUGGED:
        lines = lines[~dead]
    return float((lines.any(axis=0) & ~lines.all(axis=0)).mean()) <= CHANCE
