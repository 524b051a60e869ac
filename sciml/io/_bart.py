"""BART's .cfl and .hdr: complex64, column-major, sixteen axes of fixed meaning.

Uecker et al., "Berkeley Advanced Reconstruction Toolbox", Proc. ISMRM 23, 2486 (2015); the axes are
those of its `DIMS` enumeration.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np

from ._atomic import atomic_path
from ._kspace import Axis, KSpace, KSpaceFormat
from ._limits import Budget, FileError, Limits, regular_file

DIMS = 16
AXES = {
    0: Axis.KX,
    1: Axis.KY,
    2: Axis.KZ,
    3: Axis.COIL,
    5: Axis.CONTRAST,
    10: Axis.REPETITION,
    11: Axis.PHASE,
    12: Axis.SET,
    13: Axis.SLICE,
    14: Axis.AVERAGE,
    15: Axis.BATCH,
}
PLACES = {axis: place for place, axis in AXES.items()}
# Outermost first: the axes of (*batch, coil, kx, ky, kz).
LAYOUT = (15, 14, 13, 12, 11, 10, 5, 3, 0, 1, 2)
MAX_HEADER = 1 << 16


def pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The .cfl and the .hdr that a name with either suffix means."""
    where = Path(path)
    return where.with_suffix(".cfl"), where.with_suffix(".hdr")


def read_cfl(path: str | os.PathLike[str], limits: Limits | None = None) -> tuple[np.ndarray, Path]:
    """The array with all its axes, complex64 and Fortran-ordered, and where it lies.

    Raises FileError where one of the two files is missing or they contradict each other.
    """
    data_path, header_path = pair(path)
    where, size = regular_file(data_path)
    shape = _dimensions(header_path)
    nbytes = prod(shape) * 8
    Budget(where, size, limits or Limits()).take(nbytes, "the array")
    if nbytes != size:
        raise FileError(
            where,
            f"expected {nbytes} bytes for the dimensions {shape} of {header_path.name}, got "
            f"{size}; the file is cut off or belongs to another header, get both again",
        )
    values = np.fromfile(where, "<c8")
    if values.nbytes != size:
        raise FileError(where, f"expected {size} bytes, got {values.nbytes}; get the file again")
    return values.astype(np.complex64, copy=False).reshape(shape, order="F"), where


def _dimensions(path: Path) -> tuple[int, ...]:
    where, _ = regular_file(path)
    with open(where, "rb") as handle:
        text = handle.read(MAX_HEADER).decode("ascii", "replace")
    lines = [line.strip() for line in text.splitlines()]
    after = lines.index("# Dimensions") + 1 if "# Dimensions" in lines else len(lines)
    words = lines[after].split() if after < len(lines) else []
    whole = all(word.isascii() and word.isdecimal() and len(word) < 19 for word in words)
    if not words or len(words) > DIMS or not whole or min(map(int, words)) < 1:
        got = " ".join(words)[:40] or "none"
        raise FileError(
            path, f"expected a line of 1 to {DIMS} dimensions after '# Dimensions', got {got!r}"
        )
    return tuple(map(int, words))


def read_bart(path: str | os.PathLike[str], limits: Limits | None = None) -> KSpace:
    """K-space of a .cfl: (*batch, coil, kx, ky, kz) without the axes of length 1, coils excepted.

    Raises FileError as `read_cfl`, and for axes that k-space does not have (maps, coefficients).
    """
    values, where = read_cfl(path, limits)
    values = values.reshape(values.shape + (1,) * (DIMS - values.ndim), order="F")
    foreign = [place for place in range(DIMS) if values.shape[place] > 1 and place not in AXES]
    if foreign:
        raise FileError(
            where,
            f"expected the axes of k-space, got {values.shape[foreign[0]]} along BART's axis "
            f"{foreign[0]}; choose one with bart slice",
        )
    kept = [place for place in LAYOUT if values.shape[place] > 1 or place == 3]
    if kept[-1] == 3:
        kept.append(0)
    rest = tuple(place for place in range(DIMS) if place not in kept)
    squeezed = np.squeeze(values, axis=rest)
    stays = sorted(kept)
    data = np.ascontiguousarray(squeezed.transpose([stays.index(place) for place in kept]))
    axes = tuple(AXES[place] for place in kept)
    return KSpace(data, axes, KSpaceFormat.BART, where)


def write_bart(path: str | os.PathLike[str], kspace: KSpace) -> None:
    """K-space as a .cfl and .hdr; axes of no known direction take the first places.

    Raises FileError for complex128, which the format does not have, and for non-Cartesian data.
    """
    if not kspace.cartesian:
        raise FileError(path, "expected Cartesian k-space for .cfl, got readouts; write .h5")
    axes = kspace.axes
    free = iter((0, 1, 2))
    places = [next(free) if axis is Axis.K else PLACES[axis] for axis in axes]
    if len(set(places)) < len(places):
        names = ", ".join(axis.value for axis in axes)
        raise FileError(path, f"expected each axis once for .cfl, got {names}; write .h5")
    dims = [1] * DIMS
    for place, length in zip(places, kspace.data.shape, strict=True):
        dims[place] = length
    ascending = kspace.data.transpose(np.argsort(places))
    write_cfl(path, ascending.reshape(dims))


def write_cfl(path: str | os.PathLike[str], values: np.ndarray) -> None:
    """An array as a .cfl and .hdr; both stand aside, whole, before either takes its place.

    Raises FileError for what complex64 does not hold, and for more than sixteen axes.
    """
    if values.dtype not in (np.complex64, np.float32):
        raise FileError(
            path, f"expected complex64 for .cfl, got {values.dtype}; cast it, or write .h5"
        )
    if not values.size or values.ndim > DIMS:
        raise FileError(path, f"expected 1 to {DIMS} axes for .cfl, got shape {values.shape}")
    dims = values.shape + (1,) * (DIMS - values.ndim)
    data_path, header_path = pair(path)
    with atomic_path(header_path) as header, atomic_path(data_path) as data:
        header.write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n", "ascii")
        with open(data, "xb") as handle:
            for plane in values.T.reshape(-1, *values.T.shape[1:] or (1,)):
                handle.write(np.ascontiguousarray(plane, "<c8").data)
