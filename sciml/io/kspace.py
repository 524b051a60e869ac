"""K-space out of the field's files and into them.

The format is told by the content. Nothing is unpickled, no file is opened for writing while it is
read, every size is looked at before memory is asked for; writers leave the old file or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .._checks import Argument
from ._atomic import atomic_file
from ._bart import pair, read_bart, write_bart
from ._coil_axis import arrange
from ._container import MatrixFormat, open_container, readable, told_format
from ._kspace import Axis, KSpace, KSpaceFormat
from ._limits import FileError, Limits, regular_file
from ._stored import Catalog, Item

__all__ = ["Axis", "KSpace", "KSpaceFormat", "choose_array", "read_kspace", "write_kspace"]

FORMATS = {
    MatrixFormat.NPY: KSpaceFormat.NPY,
    MatrixFormat.NPZ: KSpaceFormat.NPZ,
    MatrixFormat.MAT5: KSpaceFormat.MAT5,
    MatrixFormat.MAT73: KSpaceFormat.MAT73,
    MatrixFormat.HDF5: KSpaceFormat.HDF5,
}
NAMES = ("kspace", "ksp", "kdata", "kspacedata", "k")


def read_kspace(
    path: str | os.PathLike[str],
    *,
    variable: str | None = None,
    coil_axis: int | None = None,
    limits: Limits | None = None,
) -> KSpace:
    """K-space as (*batch, coil, *shape), and what the file tells about it.

    path: ISMRMRD (.h5, .mrd), fastMRI's and other HDF5, BART (.cfl, .hdr or their common name),
    .npy, .npz, .mat (level 5 and v7.3). variable: the array's name, a path in HDF5, for ISMRMRD the
    group; without it `kspace` or a like name, else the only complex array. coil_axis: of the array
    as stored, for formats that do not name their axes. Without it two axes are one coil's, and of
    more the shortest is the coils', if it is much shorter than the next. limits: caps on memory.

    Raises FileError (a ValueError) if the file is missing, damaged, past the limits or reaches
    outside itself, if the choice of array or of coil axis is not plain, if zeros differ among the
    coils, for real numbers, NaN or Inf, and where nothing was measured.
    """
    if coil_axis is not None and (isinstance(coil_axis, bool) or not isinstance(coil_axis, int)):
        raise TypeError(f"expected coil_axis as an integer or None, got {coil_axis!r}")
    # What is damaged may overflow on its way to the check of every number.
    with readable(path), np.errstate(all="ignore"):
        found = _read(path, variable, coil_axis, limits)
        _check_samples(found)
    return found


def _read(
    path: str | os.PathLike[str],
    variable: str | None,
    coil_axis: int | None,
    limits: Limits | None,
) -> KSpace:
    bart = bart_name(path)
    if bart is not None:
        _no_choice(path, coil_axis, variable, "BART's files")
        return read_bart(bart, limits)
    where, size = regular_file(path)
    if told_format(where, size, KSpaceFormat) is MatrixFormat.HDF5:
        found = _read_named(where, variable, coil_axis, limits)
        if found is not None:
            return found
    with open_container(where, limits, KSpaceFormat) as (_, kind, catalog):
        if kind not in FORMATS:
            raise FileError(path, f"expected k-space, got {kind.value}; name another file")
        item = choose_array(catalog, variable, NAMES)
        values, notes = complex_array(item, catalog)
        how = arrange(values, coil_axis, where)
        data = how.apply(values)
        return KSpace(data, how.axes, FORMATS[kind], where, item.name, how.order, notes=notes)


def _read_named(
    path: Path, variable: str | None, coil_axis: int | None, limits: Limits | None
) -> KSpace | None:
    """From an HDF5 file whose layout names its axes; None if it is of no such layout."""
    from ._fastmri import NAME, is_fastmri, read_fastmri
    from ._hdf5 import safe_open
    from ._mrd import find_mrd, read_mrd

    with safe_open(path, limits) as file:
        groups = find_mrd(file)
        chosen = [g for g in groups if variable is None or g.strip("/") == variable.strip("/")]
        if len(chosen) > 1:
            names = ", ".join(chosen[:8])
            raise FileError(
                path, f"expected one scan, got {names}; choose with ", Argument("variable", "NAME")
            )
        if chosen:
            _no_choice(path, coil_axis, None, "ISMRMRD files")
            return read_mrd(file, chosen[0])
        if variable in (None, "kspace", NAME) and is_fastmri(file):
            return read_fastmri(file, coil_axis)
    return None


def bart_name(path: str | os.PathLike[str]) -> Path | None:
    """The .cfl that a path means, if it means one: by its suffix, or as BART writes names."""
    where = Path(path)
    if where.suffix in (".cfl", ".hdr"):
        return pair(where)[0]
    beside = Path(f"{where}.cfl")
    return beside if not where.exists() and beside.is_file() else None


def choose_array(catalog: Catalog, variable: str | None, names: tuple[str, ...]) -> Item:
    """The array called `variable`, else the one of a usual name, else the only one that can be it.

    Raises FileError where there is none or a choice.
    """
    path = catalog.budget.path
    listed = ", ".join(map(str, catalog.items[:8])) or "nothing"
    if variable is not None:
        found = catalog.find(variable)
        if found is None or found.sparse:
            raise FileError(path, f"expected an array {variable}, got none; it has {listed}")
        return found
    large = [item for item in catalog.items if not item.sparse and _axes(item) > 1]
    usual = [item for item in large if _last(item.name) in names]
    tiers = (
        [item for item in usual if item.complex],
        [item for item in large if item.complex],
        usual,
        large,
    )
    best = next(filter(None, tiers), [])
    if len(best) != 1:
        got = f"{len(best)}: {', '.join(map(str, best[:8]))}" if best else f"none among {listed}"
        raise FileError(
            path,
            f"expected one array of 2 or more axes, got {got}; choose with ",
            Argument("variable", "NAME"),
        )
    return best[0]


def complex_array(item: Item, catalog: Catalog) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array as complex64 or complex128, and a note of a cast; FileError for real numbers."""
    values = item.read()
    path = catalog.budget.path
    if not isinstance(values, np.ndarray) or values.dtype.kind != "c":
        pairs = isinstance(values, np.ndarray) and values.ndim > 2 and values.shape[-1] == 2
        advice = "; save real + 1j * imag" if pairs else "; an image is no k-space"
        got = getattr(values, "dtype", "a sparse matrix")
        raise FileError(path, f"expected complex numbers in {item}, got {got}{advice}")
    dtype = values.dtype.newbyteorder("=")
    if dtype in (np.complex64, np.complex128):
        return values.astype(dtype, copy=False), ()
    catalog.budget.take(values.size * 16, str(item))
    with np.errstate(over="ignore"):
        return values.astype(np.complex128), (f"{item}: cast from {dtype} to complex128",)


def check_finite(values: np.ndarray, what: str, path: str | os.PathLike[str]) -> None:
    """Raises FileError, with the place of the first, where a number is NaN or Inf."""
    bad = ~np.isfinite(values)
    if bad.any():
        at = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), values.shape))
        raise FileError(
            path,
            f"expected finite numbers in {what}, got {values[at]} at {at}, counted from 0, the "
            f"first of {bad.sum()}; mend the file",
        )


def _check_samples(kspace: KSpace) -> None:
    path = kspace.source or ""
    if not kspace.data.size:
        raise FileError(path, f"expected samples, got an array of shape {kspace.data.shape}")
    for name in ("data", "noise", "trajectory", "calibration"):
        values = getattr(kspace, name)
        if values is not None:
            check_finite(values, "k-space" if name == "data" else name, path)
    if not kspace.data.any():
        raise FileError(path, "expected measured samples, got zeros only; name another array")


def _no_choice(
    path: str | os.PathLike[str], coil_axis: int | None, variable: str | None, what: str
) -> None:
    if coil_axis is not None or variable is not None:
        name = "variable" if coil_axis is None else "coil_axis"
        raise FileError(
            path, "expected no ", Argument(name), f", got one: {what} name their own; leave it out"
        )


def _axes(item: Item) -> int:
    return sum(n > 1 for n in item.shape)


def _last(name: str | None) -> str:
    return (name or "").replace(".", "/").rpartition("/")[2].lower()


def _write_npy(path: str | os.PathLike[str], kspace: KSpace) -> None:
    with atomic_file(path) as handle:
        np.lib.format.write_array(handle, kspace.stored(), allow_pickle=False)


def _write_hdf5(path: str | os.PathLike[str], kspace: KSpace) -> None:
    from ._fastmri import write_fastmri

    write_fastmri(path, kspace)


WRITERS: dict[str, Callable[[str | os.PathLike[str], KSpace], None]] = {
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".cfl": write_bart,
    ".hdr": write_bart,
    ".npy": _write_npy,
}


def write_kspace(path: str | os.PathLike[str], kspace: KSpace) -> None:
    """Write k-space, atomically, in the format that the suffix of `path` names.

    .h5: fastMRI's layout, with the names of the axes, noise, calibration and trajectory. .cfl:
    BART's pair of files, complex64, the samples alone. .npy: the samples alone, with their axes as
    they were stored in the file that `kspace` was read from. The samples are read back bit for bit.

    Raises TypeError for anything but a KSpace, FileError for a suffix or data that cannot be
    written, before `path` is touched.
    """
    if not isinstance(kspace, KSpace):
        raise TypeError(f"expected a KSpace, got {type(kspace).__name__}: KSpace(data, axes)")
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise FileError(
            path, f"expected a name that ends in {', '.join(WRITERS)}, got {Path(path).name!r}"
        )
    writer(path, kspace)
