"""Images out of files and into them: NIfTI, PNG, JPEG, BART, NumPy, MATLAB, HDF5.

The same promises as for k-space: readers write nothing and cap what they are asked for, writers
leave the old file or the new one.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from ._atomic import atomic_file
from ._bart import read_cfl, write_cfl
from ._container import MatrixFormat, open_container, readable
from ._limits import Budget, FileError, Limits, regular_file
from ._nifti import is_nifti, read_nifti, write_nifti
from .kspace import bart_name, check_finite, choose_array

__all__ = ["ImageFile", "ImageFormat", "read_image", "write_image"]

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
NAMES = ("image", "img", "reconstruction", "reconstruction_rss", "reconstruction_esc")
# Bits of each pixel are spread over 0 to 1.
GREYS = {"1": 1, "L": 255, "I;16": 65535, "I": 65535}
WINDOW = 99.9


class ImageFormat(Enum):
    """What an image file is by its content; the value names it for a person."""

    NIFTI = "NIfTI-1"
    PNG = "PNG"
    JPEG = "JPEG"
    BART = "BART .cfl"
    NPY = "NumPy .npy"
    NPZ = "NumPy .npz"
    MAT5 = "MATLAB level 5 .mat"
    MAT73 = "MATLAB v7.3 .mat"
    HDF5 = "HDF5"


@dataclass(frozen=True, eq=False)
class ImageFile:
    """data: float32, float64, complex64 or complex128, (*shape) with the axes as stored.

    voxel: mm along the first axes, affine: (4, 4) to millimetres; None where the file has none.
    source: the file. name: of the array in it.
    """

    data: np.ndarray
    format: ImageFormat
    source: Path
    name: str | None = None
    voxel: tuple[float, ...] | None = None
    affine: np.ndarray | None = None


def read_image(
    path: str | os.PathLike[str], *, variable: str | None = None, limits: Limits | None = None
) -> ImageFile:
    """The image in a file of any `ImageFormat`, told by its content.

    variable: the array's name; without it `image` or a like name, else the only one of two or more
    axes. NIfTI keeps its axes i, j, k and is scaled; PNG and JPEG are (row, column) in 0 to 1,
    colours as their luma, not turned as EXIF may ask; BART's first axis is the last, those of
    length 1 are dropped; other integers become float32 or float64.

    A JPEG has no check sums: damage that leaves it whole is not noticed.

    Raises FileError (a ValueError) if the file is missing, damaged, past the limits or reaches
    outside itself, if the choice of array is not plain, for NaN and Inf.
    """
    # What is damaged may overflow on its way to the check of every number.
    with readable(path), np.errstate(all="ignore"):
        found = _read(path, variable, limits)
        if not found.data.size:
            raise FileError(path, f"expected an image, got an array of shape {found.data.shape}")
        check_finite(found.data, "the image", path)
    return found


def _read(path: str | os.PathLike[str], variable: str | None, limits: Limits | None) -> ImageFile:
    bart = bart_name(path)
    if bart is not None:
        values, where = read_cfl(bart, limits)
        return ImageFile(np.ascontiguousarray(np.squeeze(values)), ImageFormat.BART, where)
    where, size = regular_file(path)
    lead = _lead(where)
    if is_nifti(lead):
        volume = read_nifti(where, limits)
        return ImageFile(volume.data, ImageFormat.NIFTI, where, None, volume.voxel, volume.affine)
    for magic, kind in ((PNG_MAGIC, ImageFormat.PNG), (JPEG_MAGIC, ImageFormat.JPEG)):
        if lead.startswith(magic):
            budget = Budget(where, size, limits or Limits())
            return ImageFile(_read_picture(where, kind, budget), kind, where)
    with open_container(where, limits, ImageFormat) as (_, kind, catalog):
        if kind in (MatrixFormat.MATRIX_MARKET, MatrixFormat.MATRIX_MARKET_GZ):
            raise FileError(path, f"expected an image, got {kind.value}; name another file")
        item = choose_array(catalog, variable, NAMES)
        values = item.read()
        assert isinstance(values, np.ndarray)
        catalog.budget.take(values.size * 8 if values.dtype.kind in "biu" else 0, str(item))
        found = ImageFile(_floating(values), ImageFormat[kind.name], where, item.name)
    return _with_voxel(found, limits) if found.format is ImageFormat.HDF5 else found


def _with_voxel(image: ImageFile, limits: Limits | None) -> ImageFile:
    """With the voxel size that an HDF5 file has as an attribute of the image, if it has one."""
    from ._hdf5 import safe_open

    with safe_open(image.source, limits) as file:
        told = file.attribute(image.name or "/", "voxel")
    if not isinstance(told, np.ndarray) or told.shape not in ((1,), (2,), (3,)):
        return image
    return replace(image, voxel=tuple(map(float, told)))


def _lead(path: Path) -> bytes:
    """The first bytes, of a gzipped file those inside."""
    with open(path, "rb") as handle:
        lead = handle.read(1 << 12)
    if not lead.startswith(b"\x1f\x8b"):
        return lead
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(lead, 1 << 10)
    except zlib.error:
        return lead


def _floating(values: np.ndarray) -> np.ndarray:
    dtype = values.dtype.newbyteorder("=")
    if dtype in (np.float32, np.float64, np.complex64, np.complex128):
        return np.ascontiguousarray(values, dtype)
    small = (dtype.kind in "biu" and dtype.itemsize <= 2) or dtype == np.float16
    wanted = np.complex128 if dtype.kind == "c" else np.float32 if small else np.float64
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, wanted)


def _read_picture(path: Path, kind: ImageFormat, budget: Budget) -> np.ndarray:
    from PIL import Image

    if kind is ImageFormat.PNG:
        _check_chunks(path, budget)
    try:
        with Image.open(path, formats=(kind.name,)) as image:
            # What the header declares, before any pixel is looked at.
            budget.take(image.width * image.height * 16, "the pixels")
            image.load()
            grey = image if image.mode in GREYS else image.convert("L")
            values = np.asarray(grey, np.float32)
    except FileError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileError(
            path, f"expected fewer pixels, got more than are opened ({error}); make it smaller"
        ) from None
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, TypeError, struct.error,
            zlib.error) as error:  # fmt: skip
        reason = str(error)[:120] or type(error).__name__
        raise FileError(
            path, f"expected a whole {kind.value}, got an error ({reason}); get it again"
        ) from None
    return values / np.float32(GREYS[grey.mode])


def _check_chunks(path: Path, budget: Budget) -> None:
    """Every chunk of a PNG against its checksum; Pillow stops at the last pixel."""
    budget.take(budget.file_bytes, "the chunks")
    content = path.read_bytes()
    at, kind = len(PNG_MAGIC), b""
    while at + 12 <= len(content) and kind != b"IEND":
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 8 + length
        told = int.from_bytes(content[end : end + 4], "big")
        if end + 4 > len(content) or zlib.crc32(content[at + 4 : end]) != told:
            break
        at = end + 4
    if kind != b"IEND" or at != len(content):
        raise FileError(path, f"expected whole chunks, got damage at byte {at}; get it again")


def write_image(
    path: str | os.PathLike[str], image: np.ndarray, *, voxel: tuple[float, ...] | None = None
) -> None:
    """Write an image, atomically, in the format that the suffix of `path` names.

    path: .npy, .h5 (dataset `image`), .cfl (complex64), .nii, .nii.gz or .png. image: float or
    complex, (*shape), finite. voxel: mm along its first axes, up to three, for .nii and .h5.
    All but .png are read back bit for bit (.cfl: of float32 with a zero imaginary part). A .png is
    the magnitude as 8 bits of grey, white at the 99.9th percentile; of an image with more than two
    axes it shows the middle of each leading one.

    Raises TypeError for no array, ValueError for NaN, Inf or sizes that are none, FileError for a
    suffix or an array that cannot be written; all before `path` is touched.
    """
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "fc":
        got = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"expected an image as a float or complex array, got {got}")
    if not image.size or not np.isfinite(image).all():
        what = "NaN or Inf" if image.size else f"shape {image.shape}"
        raise ValueError(f"expected a finite image with pixels, got {what}")
    if voxel is not None and not (
        1 <= len(voxel) <= 3 and all(np.isfinite(v) and v > 0 for v in voxel)
    ):
        raise ValueError(f"expected voxel as 1 to 3 lengths > 0 in mm, got {voxel}")
    name = Path(path).name.lower()
    for suffix, write in WRITERS.items():
        if name.endswith(suffix):
            write(path, image, voxel)
            return
    raise FileError(path, f"expected a name that ends in {', '.join(WRITERS)}, got {name!r}")


Write = Callable[[str | os.PathLike[str], np.ndarray, tuple[float, ...] | None], None]


def _write_npy(path: str | os.PathLike[str], image: np.ndarray, voxel: object) -> None:
    with atomic_file(path) as handle:
        np.lib.format.write_array(handle, image, allow_pickle=False)


def _write_bart(path: str | os.PathLike[str], image: np.ndarray, voxel: object) -> None:
    write_cfl(path, image)


def _write_hdf5(
    path: str | os.PathLike[str], image: np.ndarray, voxel: tuple[float, ...] | None
) -> None:
    from ._hdf5_write import atomic_hdf5

    with atomic_hdf5(path) as file:
        stored = file.create_dataset("image", data=image)
        if voxel is not None:
            stored.attrs["voxel"] = np.array(voxel, float)


def _write_png(path: str | os.PathLike[str], image: np.ndarray, voxel: object) -> None:
    from PIL import Image

    if image.ndim < 2:
        raise FileError(path, f"expected two axes for a picture, got shape {image.shape}")
    with atomic_file(path) as handle:
        Image.fromarray(picture(image)).save(handle, "PNG")


def picture(image: np.ndarray) -> np.ndarray:
    """uint8, (row, column): the magnitude, black at 0 and white at the 99.9th percentile."""
    flat = np.abs(image[tuple(n // 2 for n in image.shape[:-2])]).astype(np.float64)
    white = float(np.percentile(flat, WINDOW)) or float(flat.max()) or 1.0
    return np.rint(np.clip(flat / white, 0, 1) * 255).astype(np.uint8)


WRITERS: dict[str, Write] = {
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    ".npy": _write_npy,
    ".cfl": _write_bart,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".png": _write_png,
}
