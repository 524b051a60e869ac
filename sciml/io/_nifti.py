"""NIfTI-1 in one file, plain or gzipped: volumes with their place in space.

Cox et al., "A (sort of) new image data format standard: NIfTI-1", NeuroImage 22 (2004); the byte
offsets are those of its nifti1.h.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from ._atomic import atomic_file
from ._limits import Budget, FileError, Limits, regular_file

HEADER = 348
# The header and the flag of extensions after it.
LEAD = 352
MAX_EXTENSION = 1 << 24
BLOCK = 1 << 22
MAGIC = b"n+1\0"
DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    32: "c8",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    1792: "c16",
}
CODES = {"f4": 16, "c8": 32, "f8": 64, "c16": 1792}
# Millimetres, and seconds for a fourth axis.
UNITS = 2 | 8
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 1e-3}
ALIGNED = 2


@dataclass(frozen=True, eq=False)
class Volume:
    """data: as stored, (i, j, k, ...), float or complex, scaled. voxel: mm along i, j, k.

    affine: (4, 4), from (i, j, k, 1) to millimetres.
    """

    data: np.ndarray
    voxel: tuple[float, ...]
    affine: np.ndarray


def is_nifti(lead: bytes) -> bool:
    return len(lead) >= LEAD and lead[344:348] == MAGIC


def read_nifti(path: Path, limits: Limits | None = None) -> Volume:
    """The volume in a .nii or .nii.gz.

    Integers become float32 where it holds them all, else float64; a scale is applied in float64.
    Raises FileError for NIfTI-2, pairs of files, colours, damage, and sizes past the limits.
    """
    where, size = regular_file(path)
    budget = Budget(where, size, limits or Limits())
    with open(where, "rb") as handle, _unzipped(handle, where) as stream:
        lead = bytes(_exactly(stream, LEAD, where))
        order = "<" if struct.unpack_from("<i", lead)[0] == HEADER else ">"
        if struct.unpack_from(order + "i", lead)[0] != HEADER or not is_nifti(lead):
            raise FileError(
                path, f"expected NIfTI-1 in one file, got {lead[344:348]!r}; convert it"
            )
        shape, dtype = _declared(lead, order, where)
        offset = struct.unpack_from(order + "f", lead, 108)[0]
        if not LEAD <= offset <= LEAD + MAX_EXTENSION or offset != int(offset):
            raise FileError(path, f"expected data from byte {LEAD} on, got {offset}; get it again")
        _exactly(stream, int(offset) - LEAD, where)
        nbytes = prod(shape) * dtype.itemsize
        # Twice, for the cast.
        budget.take(nbytes + prod(shape) * _wanted(dtype, lead, order).itemsize, "the volume")
        raw = _exactly(stream, nbytes, where)
        if stream.read(1):
            raise FileError(path, f"expected {nbytes} bytes of data, got more; get it again")
    stored = np.frombuffer(raw, dtype).reshape(shape, order="F")
    affine = _affine(lead, order, where)
    voxel = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0)[: len(shape)])
    return Volume(_scaled(stored, lead, order), voxel, affine)


@contextlib.contextmanager
def _unzipped(handle: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    zipped = handle.read(2) == b"\x1f\x8b"
    handle.seek(0)
    if not zipped:
        yield handle
        return
    try:
        with gzip.GzipFile(fileobj=handle) as stream:
            yield stream  # pyright: ignore[reportReturnType]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(
            path, f"expected a whole gzip file, got an error ({error}); get it again"
        ) from None


def _exactly(stream: IO[bytes], count: int, path: Path) -> bytearray:
    out = bytearray()
    while len(out) < count:
        block = stream.read(min(BLOCK, count - len(out)))
        if not block:
            raise FileError(path, f"expected {count} bytes, got {len(out)}; get it again")
        out += block
    return out


def _declared(lead: bytes, order: str, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    ndim, *lengths = struct.unpack_from(order + "8h", lead, 40)
    code, bits = struct.unpack_from(order + "2h", lead, 70)
    if not 1 <= ndim <= 7 or min(lengths[:ndim]) < 1:
        raise FileError(
            path, f"expected 1 to 7 axes, got {ndim} of lengths {lengths}; get it again"
        )
    if code not in DTYPES or np.dtype(DTYPES[code]).itemsize * 8 != bits:
        raise FileError(
            path, f"expected real or complex numbers, got NIfTI's type {code} of {bits} bits"
        )
    return tuple(lengths[:ndim]), np.dtype(order + DTYPES[code])


def _scale(lead: bytes, order: str) -> tuple[float, float]:
    slope, intercept = struct.unpack_from(order + "2f", lead, 112)
    # A slope of 0 (or none) means that the numbers are what they are.
    return (slope, intercept) if np.isfinite([slope, intercept]).all() and slope else (1.0, 0.0)


def _wanted(dtype: np.dtype, lead: bytes, order: str) -> np.dtype:
    if dtype.kind in "fc":
        return dtype.newbyteorder("=")
    exact = dtype.itemsize <= 2 and _scale(lead, order) == (1.0, 0.0)
    return np.dtype(np.float32 if exact else np.float64)


def _scaled(stored: np.ndarray, lead: bytes, order: str) -> np.ndarray:
    wanted = _wanted(stored.dtype, lead, order)
    slope, intercept = _scale(lead, order)
    if (slope, intercept) == (1.0, 0.0):
        return np.ascontiguousarray(stored, wanted)
    wide = np.complex128 if wanted.kind == "c" else np.float64
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(stored.astype(wide) * slope + intercept, wanted)


def _affine(lead: bytes, order: str, path: Path) -> np.ndarray:
    """The standard's methods 3 (rows), 2 (a quaternion) and 1 (the voxel size), in this order."""
    pixdim = np.array(struct.unpack_from(order + "8f", lead, 76), float)
    qform, sform = struct.unpack_from(order + "2h", lead, 252)
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.reshape(struct.unpack_from(order + "12f", lead, 280), (3, 4))
    elif qform > 0:
        b, c, d, x, y, z = struct.unpack_from(order + "6f", lead, 256)
        affine[:3, :3] = _rotation(b, c, d) * _lengths(pixdim, handed=True)
        affine[:3, 3] = x, y, z
    else:
        affine[:3, :3] = np.diag(_lengths(pixdim, handed=False))
    affine[:3] *= MILLIMETRES.get(lead[123] & 7, 1.0)
    if not np.isfinite(affine).all():
        raise FileError(path, "expected a finite affine, got NaN or Inf; mend the header")
    return affine


def _lengths(pixdim: np.ndarray, *, handed: bool) -> np.ndarray:
    lengths = np.where(pixdim[1:4] > 0, pixdim[1:4], 1.0)
    if handed and pixdim[0] < 0:
        lengths[2] = -lengths[2]
    return lengths


def _rotation(b: float, c: float, d: float) -> np.ndarray:
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )


def write_nifti(
    path: str | os.PathLike[str], image: np.ndarray, voxel: tuple[float, ...] | None
) -> None:
    """An image of 1 to 7 axes, taken as i, j, k, ...; gzipped where the name ends in .gz.

    voxel: mm along the first axes, 1 if None; the affine is diagonal, its origin the middle voxel.
    Equal images give equal bytes. Raises FileError for other dtypes, or axes past 32767.
    """
    code = CODES.get(image.dtype.str[1:])
    if code is None:
        raise FileError(path, f"expected float or complex numbers, got {image.dtype}; cast it")
    if not 1 <= image.ndim <= 7 or not 1 <= min(image.shape) <= max(image.shape) < 1 << 15:
        raise FileError(path, f"expected 1 to 7 axes of 1 to 32767, got shape {image.shape}")
    sizes = [1.0] * 7
    sizes[:3] = [*(voxel or ()), 1.0, 1.0, 1.0][:3]
    header = bytearray(LEAD)
    struct.pack_into("<i", header, 0, HEADER)
    dims = image.shape + (1,) * (7 - image.ndim)
    struct.pack_into("<8h", header, 40, image.ndim, *dims)
    struct.pack_into("<2h", header, 70, code, image.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1.0, *sizes)
    struct.pack_into("<3f", header, 108, LEAD, 1.0, 0.0)
    header[123] = UNITS
    struct.pack_into("<2h", header, 252, 0, ALIGNED)
    for row in range(3):
        place = [0.0] * 4
        place[row], place[3] = sizes[row], -sizes[row] * (dims[row] // 2)
        struct.pack_into("<4f", header, 280 + 16 * row, *place)
    header[344:348] = MAGIC
    little = image.astype(image.dtype.newbyteorder("<"), copy=False)
    with atomic_file(path) as handle, _zipped(handle, path) as stream:
        stream.write(bytes(header))
        for plane in little.T.reshape(-1, *little.T.shape[1:] or (1,)):
            stream.write(np.ascontiguousarray(plane).tobytes())


@contextlib.contextmanager
def _zipped(handle: IO[bytes], path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    if not os.fspath(path).endswith(".gz"):
        yield handle
        return
    with gzip.GzipFile("", "wb", 6, handle, mtime=0) as stream:
        yield stream  # pyright: ignore[reportReturnType]
