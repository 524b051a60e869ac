"""MIMO channels and their pilots out of files and into them: NumPy, MATLAB, HDF5.

The same promises as for k-space: readers write nothing and cap what they are asked for, writers
leave the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._atomic import write_npz
from ._container import MatrixFormat, open_container, readable
from ._limits import FileError, Limits
from ._stored import Catalog
from .kspace import check_finite, complex_array

__all__ = ["PilotFile", "read_channels", "read_pilots", "write_arrays"]


@dataclass(frozen=True, eq=False)
class PilotFile:
    """What was received of which pilots: Y = H P + N.

    Y: complex, (*batch, Nr, Np). P: complex, (Nt, Np). H: the truth (*batch, Nr, Nt) where the file
    has it, else None. format: of the file, source.
    """

    Y: np.ndarray
    P: np.ndarray
    H: np.ndarray | None
    format: MatrixFormat
    source: Path


def read_pilots(path: str | os.PathLike[str], *, limits: Limits | None = None) -> PilotFile:
    """Arrays Y and P, and H if it is there, of an .npz, .mat or HDF5 file, told by its content.

    MATLAB's arrays keep the order of axes that MATLAB shows.

    Raises FileError (a ValueError) if the file is missing, damaged, past the limits or reaches
    outside itself, lacks Y or P, for NaN and Inf, or for shapes that do not go together.
    """
    with _opened(path, limits) as (where, kind, catalog):
        Y, P = _array(catalog, "Y"), _array(catalog, "P")
        H = None if catalog.find("H") is None else _array(catalog, "H")
    if P.ndim != 2 or Y.ndim < 2 or Y.shape[-1] != P.shape[1]:
        raise FileError(
            path, f"expected Y (*batch, Nr, Np) and P (Nt, Np), got {Y.shape} and {P.shape}"
        )
    if 0 in Y.shape or 0 in P.shape:
        raise FileError(path, f"expected entries in Y and P, got {Y.shape} and {P.shape}")
    if H is not None and H.shape != (*Y.shape[:-1], len(P)):
        raise FileError(path, f"expected H {(*Y.shape[:-1], len(P))} beside Y and P, got {H.shape}")
    return PilotFile(Y, P, H, kind, where)


def read_channels(path: str | os.PathLike[str], *, limits: Limits | None = None) -> np.ndarray:
    """The array H of such a file: complex, (n, Nr, Nt).

    Raises FileError as `read_pilots`.
    """
    with _opened(path, limits) as (_, _, catalog):
        H = _array(catalog, "H")
    if H.ndim != 3 or not H.size:
        raise FileError(path, f"expected H (n, Nr, Nt), got {H.shape}")
    return H


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Named arrays as .npz or .h5, by the suffix of `path`, atomically.

    Raises FileError for another suffix, before `path` is touched.
    """
    match Path(path).suffix.lower():
        case ".npz":
            write_npz(path, arrays)
        case ".h5" | ".hdf5":
            from ._hdf5_write import atomic_hdf5

            with atomic_hdf5(path) as file:
                for name, values in arrays.items():
                    file.create_dataset(name, data=values)
        case suffix:
            raise FileError(path, f"expected a name that ends in .npz or .h5, got {suffix!r}")


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike[str], limits: Limits | None
) -> Iterator[tuple[Path, MatrixFormat, Catalog]]:
    """As `open_container`; what is damaged may overflow on its way to the check of every number."""
    with readable(path), np.errstate(all="ignore"), open_container(path, limits) as opened:
        yield opened


def _array(catalog: Catalog, name: str) -> np.ndarray:
    item, path = catalog.find(name), catalog.budget.path
    if item is None or item.sparse:
        listed = ", ".join(map(str, catalog.items[:8])) or "nothing"
        raise FileError(path, f"expected a complex array {name}, got {listed}")
    if not item.complex:
        raise FileError(path, f"expected complex numbers in {name}, got real ones; save them so")
    values, _ = complex_array(item, catalog)
    check_finite(values, name, path)
    return np.ascontiguousarray(values)
