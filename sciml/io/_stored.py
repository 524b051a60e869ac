"""What a file stores, before anything of it is believed, and the checks on the way to a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ._limits import Budget, FileError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MAX_AXIS = 1 << 53


@dataclass(frozen=True)
class Coordinates:
    """Entries in any order: rows, cols, values: (nnz,)."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]


@dataclass(frozen=True)
class Compressed:
    """Rows (or columns, with `by_rows` false) one after the other, unchecked.

    indptr: (lines + 1,). indices, values: (nnz or more,); what lies past indptr[-1] is unused.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]
    by_rows: bool = True


Stored = Coordinates | Compressed | np.ndarray


@dataclass(frozen=True)
class Item:
    """A numeric array or sparse matrix as declared; `read` brings it. name: None if unnamed.

    complex: whether its numbers are declared complex; told of dense arrays only.
    """

    name: str | None
    shape: tuple[int, ...]
    sparse: bool
    read: Callable[[], Stored]
    complex: bool = False

    def __str__(self) -> str:
        name = "(unnamed)" if self.name is None else self.name
        return f"{name} {'×'.join(map(str, self.shape)) or 'scalar'}"


def _exactly(name: str) -> str:
    return name


@dataclass(frozen=True)
class Catalog:
    """What an open file holds. items: what can be read. others: names of what cannot.

    canonical: turns the name that a caller gives into the one that an item has.
    """

    budget: Budget
    items: tuple[Item, ...]
    others: tuple[str, ...] = ()
    canonical: Callable[[str], str] = _exactly

    def find(self, name: str) -> Item | None:
        wanted = self.canonical(name)
        return next((item for item in self.items if item.name == wanted), None)


def to_matrix(
    stored: Stored, name: str | None, budget: Budget
) -> tuple[csr_array | np.ndarray, list[str]]:
    """A canonical CSR array or a dense one, `(rows, cols)`, and what was done to it.

    Raises FileError for another number of axes, an empty one, indices out of range, NaN or Inf.
    """
    what = name or "the matrix"
    shape = stored.shape
    if len(shape) != 2:
        raise FileError(
            budget.path, f"expected a matrix in {what}, got {_axes(shape)}; name a 2-D array"
        )
    if not prod(shape):
        raise FileError(
            budget.path, f"expected at least one row and column in {what}, got {_axes(shape)}"
        )
    if max(shape) > MAX_AXIS:
        raise FileError(budget.path, f"expected fewer than 2^53 rows in {what}, got {_axes(shape)}")
    if isinstance(stored, np.ndarray):
        dense, notes = _real_or_complex(stored, what, budget)
        _check_finite(dense, what, budget)
        return dense, notes
    if isinstance(stored, Coordinates):
        _check_coordinates(stored, what, budget)
        length = len(stored.values)
    else:
        length = _check_compressed(stored, what, budget)
    values, notes = _real_or_complex(stored.values[:length], what, budget)
    matrix = _assemble(stored, values, what, budget)
    summed = length - matrix.nnz
    if summed:
        notes.append(f"{what}: {summed} duplicate entries were summed")
    _check_finite_sparse(matrix, what, budget)
    return matrix, notes


def to_vector(stored: Stored, name: str | None, budget: Budget) -> tuple[np.ndarray, list[str]]:
    """A dense vector `(n,)`: of a matrix its one row, or its first column; and what was done."""
    what = name or "the vector"
    notes: list[str] = []
    if isinstance(stored, np.ndarray):
        values, notes = _real_or_complex(stored, what, budget)
    else:
        budget.take(prod(stored.shape) * stored.values.dtype.itemsize, what)
        matrix, notes = to_matrix(stored, what, budget)
        values = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    if values.ndim not in (1, 2) or not values.size:
        raise FileError(
            budget.path,
            f"expected a vector in {what}, got {_axes(values.shape)}; name a 1-D array",
        )
    if values.ndim == 2:
        if values.shape[0] > 1 and values.shape[1] > 1:
            notes.append(f"{what}: the first of its {values.shape[1]} columns is taken")
        values = values[0] if values.shape[0] == 1 else values[:, 0]
    bad = ~np.isfinite(values)
    if bad.any():
        at = int(bad.argmax())
        raise FileError(
            budget.path,
            f"expected finite numbers in {what}, got {values[at]} at entry {at}, counted from 0; "
            "mend the file",
        )
    return np.ascontiguousarray(values), notes


def _real_or_complex(values: np.ndarray, what: str, budget: Budget) -> tuple[np.ndarray, list[str]]:
    """float32, float64, complex64 or complex128 in native order, and a note of any cast."""
    dtype = values.dtype.newbyteorder("=")
    if dtype in (np.float32, np.float64, np.complex64, np.complex128):
        return values.astype(dtype, copy=False), []
    wanted = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    budget.take(values.size * wanted.itemsize, what)
    # A long double past float64's range becomes Inf here and is refused as such.
    with np.errstate(over="ignore"):
        cast = values.astype(wanted)
    note = f"{what}: cast from {dtype} to {wanted}"
    if dtype.kind in "iu" and values.size and (cast.max() > MAX_AXIS or cast.min() < -MAX_AXIS):
        note += ", with integers past 2^53 rounded"
    return cast, [note]


def _check_coordinates(stored: Coordinates, what: str, budget: Budget) -> None:
    rows, cols, values = stored.rows, stored.cols, stored.values
    if not (rows.ndim == cols.ndim == values.ndim == 1 and len(rows) == len(cols) == len(values)):
        got = f"{_axes(rows.shape)}, {_axes(cols.shape)} and {_axes(values.shape)}"
        raise FileError(
            budget.path, f"expected as many rows, columns and values in {what}, got {got}"
        )
    for axis, index in enumerate((rows, cols)):
        _check_range(index, stored.shape[axis], f"{('row', 'column')[axis]} of {what}", budget)


def _check_compressed(stored: Compressed, what: str, budget: Budget) -> int:
    """The number of entries in use, once every index was seen to be inside."""
    indptr, indices, values = stored.indptr, stored.indices, stored.values
    lines, width = stored.shape if stored.by_rows else stored.shape[::-1]
    if not indptr.ndim == indices.ndim == values.ndim == 1 or len(indptr) != lines + 1:
        raise FileError(
            budget.path,
            f"expected {lines + 1} pointers and flat indices and values in {what}, got "
            f"{_axes(indptr.shape)}, {_axes(indices.shape)} and {_axes(values.shape)}",
        )
    length = check_pointers(indptr, min(len(indices), len(values)), what, budget)
    _check_range(indices[:length], width, f"index of {what}", budget)
    return length


def check_pointers(indptr: np.ndarray, available: int, what: str, budget: Budget) -> int:
    """indptr[-1], of pointers that start at 0, never fall and stay inside `available`."""
    if indptr.dtype.kind not in "iu":
        raise FileError(budget.path, f"expected integer pointers in {what}, got {indptr.dtype}")
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise FileError(
            budget.path,
            f"expected pointers in {what} that start at 0 and never fall, got others; "
            "the file is damaged, get it again",
        )
    if indptr[-1] > available:
        raise FileError(
            budget.path,
            f"expected {indptr[-1]} entries in {what} as its pointers say, got {available}; "
            "the file is cut off, get it again",
        )
    return int(indptr[-1])


def _check_range(index: np.ndarray, size: int, what: str, budget: Budget) -> None:
    if index.dtype.kind not in "iu":
        raise FileError(budget.path, f"expected an integer {what}, got {index.dtype}")
    if len(index) and (index.min() < 0 or index.max() >= size):
        outside = index.min() if index.min() < 0 else index.max()
        raise FileError(
            budget.path,
            f"expected every {what} in 0 to {size - 1}, got {outside}; the file is damaged",
        )


def _assemble(
    stored: Coordinates | Compressed, values: np.ndarray, what: str, budget: Budget
) -> csr_array:
    from scipy.sparse import coo_array, csc_array, csr_array

    # The input's indices and the output's, beside the row pointers of both.
    budget.take(len(values) * (16 + values.dtype.itemsize) + 16 * (stored.shape[0] + 1), what)
    if isinstance(stored, Coordinates):
        matrix = coo_array((values, (stored.rows, stored.cols)), shape=stored.shape).tocsr()
    else:
        made = csr_array if stored.by_rows else csc_array
        parts = (values, stored.indices[: len(values)], stored.indptr)
        matrix = made(parts, shape=stored.shape, copy=True).tocsr()
    matrix.sum_duplicates()
    return matrix


def _check_finite(dense: np.ndarray, what: str, budget: Budget) -> None:
    bad = ~np.isfinite(dense)
    if bad.any():
        row, col = divmod(int(bad.argmax()), dense.shape[1])
        raise _nonfinite(row, col, dense[row, col], what, budget)


def _check_finite_sparse(matrix: csr_array, what: str, budget: Budget) -> None:
    bad = ~np.isfinite(matrix.data)
    if bad.any():
        at = int(bad.argmax())
        row = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
        raise _nonfinite(row, int(matrix.indices[at]), matrix.data[at], what, budget)


def _nonfinite(row: int, col: int, value: np.generic, what: str, budget: Budget) -> FileError:
    return FileError(
        budget.path,
        f"expected finite numbers in {what}, got {value} at (row, col) = ({row}, {col}), counted "
        "from 0; mend the file",
    )


def _axes(shape: tuple[int, ...]) -> str:
    return f"shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
