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
COIL = 3
MAX_HEADER = 1 << 16


def pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The .cfl and the .hdr that a name with either suffix means."""
    where = Path(path)
    return where.with_suffix(".cfl"), where.with_suffix(".hdr")


def read_cfl(path: str | os.PathLike[str], limits: Limits | None = None) -> tuple[np.ndarray, Path]:
    """The array, complex64 with sixteen axes of which BART's first is the last, and where it lies.

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
    lengths = shape + (1,) * (DIMS - len(shape))
    return values.astype(np.complex64, copy=False).reshape(lengths[::-1]), where


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
    """K-space of a .cfl: (*batch, coil, kz, ky, kx) without axes of length 1, coils excepted.

    Raises FileError as `read_cfl`, and for axes that k-space does not have (maps, coefficients).
    """
    values, where = read_cfl(path, limits)
    lengths = values.shape[::-1]
    foreign = [place for place, length in enumerate(lengths) if length > 1 and place not in AXES]
    if foreign:
        raise FileError(
            where,
            f"expected the axes of k-space, got {lengths[foreign[0]]} along BART's axis "
            f"{foreign[0]}; choose one with bart slice",
        )
    kept = [place for place, length in enumerate(lengths) if length > 1 or place == COIL][::-1]
    if kept[-1] == COIL:
        kept.append(0)
    # BART's places, descending, are this package's order: the lowest varies fastest, and all that
    # are no frequency lie outside of the coils. No sample moves.
    data = values.reshape([lengths[place] for place in kept])
    return KSpace(data, tuple(AXES[place] for place in kept), KSpaceFormat.BART, where)


def write_bart(path: str | os.PathLike[str], kspace: KSpace) -> None:
    """K-space as a .cfl and .hdr; axes of no known direction count as kx, ky, kz from the last on.

    Raises FileError for complex128, which the format does not have, and for non-Cartesian data.
    """
    if not kspace.cartesian:
        raise FileError(path, "expected Cartesian k-space for .cfl, got readouts; write .h5")
    last = len(kspace.axes) - 1
    places = [last - i if axis is Axis.K else PLACES[axis] for i, axis in enumerate(kspace.axes)]
    if len(set(places)) < len(places):
        names = ", ".join(axis.value for axis in kspace.axes)
        raise FileError(path, f"expected each axis once for .cfl, got {names}; write .h5")
    dims = [1] * DIMS
    for place, length in zip(places, kspace.data.shape, strict=True):
        dims[place] = length
    descending = kspace.data.transpose(np.argsort(places)[::-1])
    write_cfl(path, descending.reshape(dims[::-1]))


def write_cfl(path: str | os.PathLike[str], values: np.ndarray) -> None:
    """An array as a .cfl and .hdr, its last axis as BART's first; both are whole before either
    takes its place.

    Raises FileError for what complex64 does not hold, and for more than sixteen axes.
    """
    if values.dtype not in (np.complex64, np.float32):
        raise FileError(
            path, f"expected complex64 for .cfl, got {values.dtype}; cast it, or write .h5"
        )
    if not values.size or values.ndim > DIMS:
        raise FileError(path, f"expected 1 to {DIMS} axes for .cfl, got shape {values.shape}")
    dims = values.shape[::-1] + (1,) * (DIMS - values.ndim)
    data_path, header_path = pair(path)
    with atomic_path(header_path) as header, atomic_path(data_path) as data:
        header.write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n", "ascii")
        with open(data, "xb") as handle:
            handle.write(np.ascontiguousarray(values, "<c8").data)
