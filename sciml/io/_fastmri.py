"""fastMRI's HDF5 layout: a dataset `kspace` of (slice, coil, ky, kx), and a mask beside it.

Zbontar et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", arXiv:1811.08839.
What the layout lacks, it gets: an attribute `axes` (names, as text), `voxel` (mm) and `readout`,
datasets `noise`, `calibration` and `trajectory`.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from .._checks import Argument
from ._coil_axis import Arrangement, arrange, check_coil_axis
from ._hdf5 import SafeFile, read_dataset
from ._hdf5_write import atomic_hdf5
from ._kspace import Axis, KSpace, KSpaceFormat
from ._limits import FileError

NAME = "/kspace"
# Datasets that only fastMRI's files have beside k-space.
MARKS = ("/ismrmrd_header", "/reconstruction_rss", "/reconstruction_esc")
SLICES = (Axis.SLICE, Axis.COIL, Axis.KY, Axis.KX)
EXTRAS = ("noise", "calibration", "trajectory")


def is_fastmri(file: SafeFile) -> bool:
    """Whether the file has a complex dataset `kspace` that names its axes or is fastMRI's."""
    entry = file.datasets.get(NAME)
    if entry is None or entry.dtype is None or entry.shape is None:
        return False
    if entry.dtype.kind != "c" and entry.dtype.names is None:
        return False
    return len(entry.shape) == 4 or _marked(file) or file.attribute(NAME, "axes") is not None


def read_fastmri(file: SafeFile, coil_axis: int | None) -> KSpace:
    """K-space with the axes that the file names, or those of fastMRI.

    Raises FileError where the mask beside it has no sample and k-space has one.
    """
    values = read_dataset(file, NAME)
    notes: list[str] = []
    arrangement = _arrangement(file, values, coil_axis, notes)
    data = arrangement.apply(values)
    check_coil_axis(data, arrangement.axes.index(Axis.COIL), file.path)
    extras = {name: read_dataset(file, f"/{name}") for name in EXTRAS if _has(file, name)}
    voxel, length = file.attribute(NAME, "voxel"), file.attribute(NAME, "readout")
    whole = isinstance(length, np.ndarray) and length.size == 1 and length.dtype.kind in "iu"
    readout = int(length.item()) if isinstance(length, np.ndarray) and whole else None
    kspace = KSpace(
        data,
        arrangement.axes,
        KSpaceFormat.FASTMRI,
        file.path,
        "kspace",
        arrangement.order,
        voxel=tuple(map(float, voxel)) if isinstance(voxel, np.ndarray) and voxel.ndim else None,
        readout=readout,
        notes=tuple(notes),
    )
    kspace = replace(kspace, **extras)
    if _has(file, "mask"):
        _check_mask(file, kspace)
    return kspace


def _arrangement(
    file: SafeFile, values: np.ndarray, coil_axis: int | None, notes: list[str]
) -> Arrangement:
    told = file.attribute(NAME, "axes")
    if isinstance(told, str):
        axes = _axes(file, told, values)
        arrangement = Arrangement(tuple(range(values.ndim)), axes)
        coil = axes.index(Axis.COIL)
        if coil_axis is not None and coil_axis % values.ndim != coil:
            raise FileError(
                file.path,
                "expected ",
                Argument("coil_axis"),
                f" {coil} as the file names it, got {coil_axis}",
            )
        return arrangement
    if coil_axis is None and values.ndim == 3 and _marked(file):
        return Arrangement((0, -1, 1, 2), SLICES)
    if values.ndim == 4 and coil_axis in (None, 1, -3):
        if not _marked(file):
            notes.append("the axes are taken as fastMRI's: slice, coil, ky, kx")
        return Arrangement((0, 1, 2, 3), SLICES)
    return arrange(values, coil_axis, file.path)


def _axes(file: SafeFile, told: str, values: np.ndarray) -> tuple[Axis, ...]:
    names = {axis.value: axis for axis in Axis}
    words = told.split()
    axes = tuple(names[word] for word in words if word in names)
    if len(axes) != len(words) or len(axes) != values.ndim or axes.count(Axis.COIL) != 1:
        raise FileError(
            file.path, f"expected {values.ndim} names of axes, one of them coil, got {told[:60]!r}"
        )
    return axes


def _check_mask(file: SafeFile, kspace: KSpace) -> None:
    mask = read_dataset(file, "/mask")
    shape = kspace.shape
    fits = mask.ndim <= len(shape) and all(
        m in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1], strict=False)
    )
    if not fits or not ((mask == 0) | (mask == 1)).all():
        raise FileError(
            file.path,
            f"expected a mask of 0 and 1 that broadcasts against k-space {shape}, got "
            f"{mask.shape}; rewrite or remove it",
        )
    if not mask.any():
        raise FileError(file.path, "expected a mask with samples, got an empty one; mend the file")
    outside = kspace.mask & (mask == 0)
    if outside.any():
        raise FileError(
            file.path,
            f"expected zeros where the mask has none, got {outside.sum()} samples outside of it; "
            "mend the mask or remove it",
        )


def write_fastmri(path: str | os.PathLike[str], kspace: KSpace) -> None:
    """K-space as dataset `kspace`, with the names of its axes: fastMRI's where they are its axes.

    A mask is written where undersampling varies along the last axis alone, as fastMRI's does.
    """
    data, axes = kspace.data, kspace.axes
    extras = {name: value for name in EXTRAS if (value := getattr(kspace, name)) is not None}
    with atomic_hdf5(path) as file:
        stored = file.create_dataset("kspace", data=data)
        stored.attrs["axes"] = np.bytes_(" ".join(axis.value for axis in axes))
        if kspace.voxel is not None:
            stored.attrs["voxel"] = np.array(kspace.voxel)
        if kspace.readout is not None:
            stored.attrs["readout"] = kspace.readout
        for name, value in extras.items():
            file[name] = value
        mask = kspace.mask
        lines = mask.reshape(-1, mask.shape[-1])
        if kspace.cartesian and lines.any() and (lines == lines[0]).all() and not lines.all():
            file["mask"] = lines[0]


def _marked(file: SafeFile) -> bool:
    return any(name in file.datasets for name in MARKS)


def _has(file: SafeFile, name: str) -> bool:
    return f"/{name}" in file.datasets
