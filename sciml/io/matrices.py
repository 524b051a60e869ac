"""Matrices and right-hand sides out of files in the field's common formats.

The format is told by the content. Every size is looked at before memory is asked for, every index
before it is used; nothing is unpickled, nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._checks import Argument
from ._container import SUFFIXES, MatrixFormat, open_container
from ._limits import FileError, Limits
from ._stored import Catalog, Item, to_matrix, to_vector

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RHS_NAMES = ("b", "B", "rhs")


@dataclass(frozen=True)
class SystemFile:
    """A linear system as a file holds it.

    path: the file. format: what it is. key: the matrix's name in it, None where it has none.
    matrix: (rows, cols), float32, float64, complex64 or complex128; a csr_array with sorted
    columns and no duplicates, or an ndarray where it is stored dense.
    rhs: (rows,) or None. rhs_name: its name. notes: what was cast, summed, taken or left, a
    sentence each.
    """

    path: Path
    format: MatrixFormat
    key: str | None
    matrix: csr_array | np.ndarray
    rhs: np.ndarray | None
    rhs_name: str | None
    notes: tuple[str, ...]


class VectorFile(NamedTuple):
    """vector: (n,), float32, float64, complex64 or complex128. name: in the file, or None."""

    vector: np.ndarray
    name: str | None
    notes: tuple[str, ...]


def read_system(
    path: str | os.PathLike[str], *, key: str | None = None, limits: Limits | None = None
) -> SystemFile:
    """The matrix in a file, and the right-hand side beside it.

    path: MatrixMarket (.mtx, .mtx.gz), .npy, .npz (arrays, or SciPy's `save_npz`), .mat (level 5
    and v7.3), HDF5. key: the matrix's name, a path in HDF5, `struct.field` in .mat. Without it:
    `A`, else the only square matrix, else the only matrix. limits: caps on memory.
    The right-hand side is `b`, `B` or `rhs` beside the matrix, of matching length.

    Raises FileError if the file is missing, damaged, past the limits, of an unknown format, has no
    or several matrices to choose from, or holds NaN, Inf or indices out of range.
    """
    with open_container(path, limits) as (where, kind, catalog):
        notes = _suffix_note(where, kind)
        item = _choose_matrix(catalog, key)
        matrix, told = to_matrix(item.read(), item.name, catalog.budget)
        rhs, rhs_name, left = _beside(catalog, item, item.shape[0])
        return SystemFile(where, kind, item.name, matrix, rhs, rhs_name, (*notes, *told, *left))


def read_vector(
    path: str | os.PathLike[str], *, key: str | None = None, limits: Limits | None = None
) -> VectorFile:
    """A vector out of a file of any format that `read_system` takes.

    key: its name. Without it: `b`, `B` or `rhs`, else the only array with one row or column, else
    the only array. Of several columns the first is taken, with a note.
    Raises FileError as `read_system` does.
    """
    with open_container(path, limits) as (where, kind, catalog):
        item = _choose_vector(catalog, key)
        vector, notes = to_vector(item.read(), item.name, catalog.budget)
        return VectorFile(vector, item.name, (*_suffix_note(where, kind), *notes))


def _suffix_note(path: Path, kind: MatrixFormat) -> list[str]:
    usual = SUFFIXES.get(path.suffix.lower())
    if usual is None or kind in usual:
        return []
    return [f"the name ends in {path.suffix}, the content is {kind.value} and is read as such"]


def _choose_matrix(catalog: Catalog, key: str | None) -> Item:
    if key is not None:
        return _named(catalog, key)
    found = catalog.find("A")
    if found is not None and len(found.shape) == 2:
        return found
    flat = [item for item in catalog.items if len(item.shape) == 2]
    square = [item for item in flat if item.shape[0] == item.shape[1]]
    tiers = (
        [item for item in flat if _last(item) == "A"],
        [item for item in square if item.shape[0] > 1],
        [item for item in flat if min(item.shape) > 1],
        flat,
        list(catalog.items),
    )
    return _only(catalog, next(filter(None, tiers), []), "a matrix")


def _choose_vector(catalog: Catalog, key: str | None) -> Item:
    if key is not None:
        return _named(catalog, key)
    for name in RHS_NAMES:
        found = catalog.find(name)
        if found is not None:
            return found
    thin = [item for item in catalog.items if _is_vector(item)]
    tiers = (
        [item for item in thin if _last(item) in RHS_NAMES],
        [item for item in thin if max(item.shape) > 1],
        thin,
        list(catalog.items),
    )
    return _only(catalog, next(filter(None, tiers), []), "a vector")


def _is_vector(item: Item) -> bool:
    return len(item.shape) == 1 or (len(item.shape) == 2 and min(item.shape) == 1)


def _named(catalog: Catalog, key: str) -> Item:
    found = catalog.find(key)
    if found is None:
        got = "one that holds no numbers" if key in catalog.others else "none of that name"
        raise FileError(
            catalog.budget.path, f"expected an array {key}, got {got}; it has {_listed(catalog)}"
        )
    return found


def _only(catalog: Catalog, found: list[Item], what: str) -> Item:
    if len(found) == 1:
        return found[0]
    if not found:
        raise FileError(
            catalog.budget.path, f"expected {what}, got none; the file has {_listed(catalog)}"
        )
    names = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
    raise FileError(
        catalog.budget.path,
        f"expected one array that can be {what}, got {len(found)}: {names}; choose with ",
        Argument("key", "NAME"),
    )


def _listed(catalog: Catalog) -> str:
    names = [str(item) for item in catalog.items] + list(catalog.others)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def _parent(name: str) -> str:
    """What stands before the last component: `group/` of `group/A`, `struct.` of `struct.A`."""
    return name[: len(name) - len(_tail(name))]


def _tail(name: str) -> str:
    return name.replace(".", "/").rpartition("/")[2]


def _last(item: Item) -> str | None:
    return None if item.name is None else _tail(item.name)


def _beside(
    catalog: Catalog, matrix: Item, rows: int
) -> tuple[np.ndarray | None, str | None, list[str]]:
    """The right-hand side next to the chosen matrix, its name, and notes."""
    parent = _parent(matrix.name or "")
    notes: list[str] = []
    for name in RHS_NAMES:
        item = catalog.find(parent + name)
        if item is None or item is matrix:
            continue
        if item.shape == (rows,) or item.shape == (1, rows) or _columns(item, rows):
            if name == "B" and catalog.find(parent + "vertices") is not None:
                notes.append(
                    f"{item.name} is not taken as right-hand side: beside `vertices` it is the "
                    "near null space, as in PyAMG's examples"
                )
                continue
            vector, told = to_vector(item.read(), item.name, catalog.budget)
            return vector, item.name, notes + told
        notes.append(f"{item} is not taken as right-hand side of {rows} rows")
    return None, None, notes


def _columns(item: Item, rows: int) -> bool:
    """As many rows, and fewer columns than rows: as many would be a second matrix."""
    return len(item.shape) == 2 and item.shape[0] == rows and item.shape[1] < max(2, rows)
