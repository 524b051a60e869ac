"""What a file is by its content, and the arrays in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from ._limits import FileError, Limits, regular_file
from ._mat5 import is_mat5, open_mat5
from ._matrixmarket import open_matrixmarket
from ._npz import MAGIC, ZIP_MAGIC, open_npy, open_npz
from ._stored import Catalog

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class MatrixFormat(Enum):
    """What a file is by its content; the value names it for a person."""

    MATRIX_MARKET = "MatrixMarket"
    MATRIX_MARKET_GZ = "gzipped MatrixMarket"
    NPY = "NumPy .npy"
    NPZ = "NumPy .npz"
    MAT5 = "MATLAB level 5 .mat"
    MAT73 = "MATLAB v7.3 .mat"
    HDF5 = "HDF5"


SUFFIXES = {
    ".mtx": {MatrixFormat.MATRIX_MARKET, MatrixFormat.MATRIX_MARKET_GZ},
    ".gz": {MatrixFormat.MATRIX_MARKET_GZ},
    ".npy": {MatrixFormat.NPY},
    ".npz": {MatrixFormat.NPZ},
    ".mat": {MatrixFormat.MAT5, MatrixFormat.MAT73},
    ".h5": {MatrixFormat.HDF5, MatrixFormat.MAT73},
    ".hdf5": {MatrixFormat.HDF5, MatrixFormat.MAT73},
    ".h5ad": {MatrixFormat.HDF5},
}


@contextlib.contextmanager
def open_container(
    path: str | os.PathLike[str], limits: Limits | None, known: type[Enum] = MatrixFormat
) -> Iterator[tuple[Path, MatrixFormat, Catalog]]:
    """The path, the format and the arrays of a file of any `MatrixFormat`; FileError otherwise.

    known: the formats that the caller reads, for the error's text.
    """
    with readable(path):
        where, size = regular_file(path)
        kind = told_format(where, size, known)
        with _reader(where, size, kind, limits or Limits()) as catalog:
            yield where, kind, catalog


@contextlib.contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system raises while a file is read, as a FileError."""
    try:
        yield
    except (MemoryError, RecursionError) as error:
        reason = "more memory than there is" if isinstance(error, MemoryError) else "deep nesting"
        raise FileError(
            path, f"expected a file that fits into memory, got {reason}; use a smaller one"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(path, f"expected a readable file, got {reason}; check the disk") from None


def told_format(path: Path, size: int, known: type[Enum] = MatrixFormat) -> MatrixFormat:
    """The format by the first bytes; FileError where they are of none."""
    with open(path, "rb") as handle:
        lead = handle.read(128)
        if lead.startswith(MAGIC):
            return MatrixFormat.NPY
        if lead.startswith(ZIP_MAGIC):
            return MatrixFormat.NPZ
        if lead.startswith(b"\x1f\x8b"):
            return MatrixFormat.MATRIX_MARKET_GZ
        if lead[:14].lower() == b"%%matrixmarket":
            return MatrixFormat.MATRIX_MARKET
        if is_mat5(lead):
            return MatrixFormat.MAT5
        # The superblock is at 0 or at a power of two from 512 on, after the user's block.
        start = 0
        while start < size:
            handle.seek(start)
            if handle.read(8) == HDF5_MAGIC:
                matlab = lead.startswith(b"MATLAB 7.3")
                return MatrixFormat.MAT73 if matlab else MatrixFormat.HDF5
            start = 2 * start or 512
    formats = ", ".join(kind.value for kind in known)
    named = f", although its name ends in {path.suffix}" if path.suffix in SUFFIXES else ""
    raise FileError(
        path, f"expected one of {formats} by its content, got {lead[:12]!r}{named}; convert it"
    )


def _reader(
    path: Path, size: int, kind: MatrixFormat, limits: Limits
) -> contextlib.AbstractContextManager[Catalog]:
    match kind:
        case MatrixFormat.MATRIX_MARKET | MatrixFormat.MATRIX_MARKET_GZ:
            gzipped = kind is MatrixFormat.MATRIX_MARKET_GZ
            return open_matrixmarket(path, size, limits, gzipped=gzipped)
        case MatrixFormat.NPY:
            return open_npy(path, size, limits)
        case MatrixFormat.NPZ:
            return open_npz(path, size, limits)
        case MatrixFormat.MAT5:
            return open_mat5(path, size, limits)
        case _:
            # Loads h5py, which no other format needs.
            from ._hdf5_matrices import open_hdf5

            return open_hdf5(path, limits, matlab=kind is MatrixFormat.MAT73)
