"""Matrices in HDF5: datasets, sparse groups as anndata, 10x and MATLAB v7.3 lay them out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ._hdf5 import Entry, SafeFile, read_dataset, safe_open
from ._limits import FileError, Limits
from ._stored import Catalog, Compressed, Item, Stored

HEAP_TEXT = re.compile(rb"(?P<size>.\0{7})(?P<text>cs[rc](?:_matrix|_array)?)", re.DOTALL)
SCAN_BLOCK, SCAN_OVERLAP = 1 << 20, 32
LAYOUT_ATTRIBUTES = ("encoding-type", "h5sparse_format", "format")
SHAPE_ATTRIBUTES = ("shape", "h5sparse_shape")
MATLAB_NUMBERS = {
    "double",
    "single",
    "logical",
    *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)),
}


@contextlib.contextmanager
def open_hdf5(path: Path, limits: Limits, *, matlab: bool) -> Iterator[Catalog]:
    """Every numeric dataset and sparse group of a surveyed HDF5 file, named by its path.

    matlab: the file is MATLAB's v7.3, which stores arrays with their axes reversed.
    """
    with safe_open(path, limits) as file:
        items: list[Item] = []
        inside: set[str] = set()
        for group in file.groups:
            found = _matlab_sparse(file, group) or _sparse(file, group)
            if found is not None:
                item, parts = found
                items.append(item)
                inside.update(parts)
        others: list[str] = []
        for name, entry in file.datasets.items():
            if name in inside or (matlab and name.startswith("/#")):
                continue
            if _readable(file, entry, matlab):
                shape = entry.shape or ()
                read = partial(_dense, file, name, matlab)
                shown = shape[::-1] if matlab else shape
                items.append(Item(_shown(name), shown, False, read, _complex(entry)))
            else:
                others.append(_shown(name))
        yield Catalog(file.budget, tuple(items), tuple(others), partial(_canonical, file))


def _shown(name: str) -> str:
    return name.strip("/") or "/"


def _canonical(file: SafeFile, name: str) -> str:
    try:
        return _shown(file.resolve(name))
    except KeyError:
        return name


def _readable(file: SafeFile, entry: Entry, matlab: bool) -> bool:
    dtype = entry.dtype
    if dtype is None or entry.shape is None:
        return False
    if dtype.names is None and dtype.kind not in "biufc":
        return False
    if dtype.names not in (None, ("real", "imag")):
        return False
    if not matlab:
        return True
    # Text and cells are integers and references by their dtype alone; an empty array holds its
    # dimensions in place of data.
    kind = file.attribute(entry.name, "MATLAB_class")
    return kind in MATLAB_NUMBERS and file.attribute(entry.name, "MATLAB_empty") is None


def _complex(entry: Entry) -> bool:
    return entry.dtype is not None and (entry.dtype.kind == "c" or entry.dtype.names is not None)


def _dense(file: SafeFile, name: str, matlab: bool) -> np.ndarray:
    values = read_dataset(file, name)
    if matlab and file.attribute(name, "MATLAB_class") == "logical":
        values = values != 0
    return values.T if matlab else values


def _child(file: SafeFile, group: str, name: str) -> Entry | None:
    try:
        return file.datasets.get(file.resolve(f"{group}/{name}"))
    except KeyError:
        return None


def _matlab_sparse(file: SafeFile, group: str) -> tuple[Item, list[str]] | None:
    """MATLAB's sparse group: row numbers `ir`, column pointers `jc`, values `data` if any."""
    jc = _child(file, group, "jc")
    if jc is None:
        return None
    rows = _integers(file.attribute(group, "MATLAB_sparse"), 1)
    if rows is None:
        return None
    if jc.shape is None or len(jc.shape) != 1 or not jc.shape[0]:
        raise FileError(
            file.path, f"expected column pointers in {jc.name}, got shape {jc.shape}; get it again"
        )
    shape = (rows[0], jc.shape[0] - 1)
    ir, data = _child(file, group, "ir"), _child(file, group, "data")

    def read() -> Stored:
        pointers = read_dataset(file, jc.name)
        if ir is None or data is None:
            # MATLAB leaves both out where the matrix is all zeros.
            empty = np.empty(0)
            return Compressed(pointers, empty.astype(np.int64), empty, shape, by_rows=False)
        indices, values = read_dataset(file, ir.name), read_dataset(file, data.name)
        return Compressed(pointers, indices, values, shape, by_rows=False)

    parts = [entry.name for entry in (jc, ir, data) if entry is not None]
    return Item(_shown(group), shape, True, read), parts


def _sparse(file: SafeFile, group: str) -> tuple[Item, list[str]] | None:
    """SciPy's three arrays under their own names, with the shape beside them or in an attribute."""
    entries = [_child(file, group, name) for name in ("data", "indices", "indptr")]
    if any(entry is None for entry in entries):
        return None
    data, indices, indptr = (entry.name for entry in entries if entry is not None)
    beside = _child(file, group, "shape")
    declared = next(
        (
            found
            for key in SHAPE_ATTRIBUTES
            if (found := _integers(file.attribute(group, key), 2)) is not None
        ),
        None,
    )
    parts = [data, indices, indptr]
    if declared is None and beside is not None:
        declared = _integers(read_dataset(file, beside.name, shape=(2,)), 2)
        parts.append(beside.name)
    if declared is None:
        return None
    shape = (declared[0], declared[1])

    def read() -> Stored:
        by_rows = _by_rows(file, group, shape, file.datasets[indptr])
        pointers, columns = read_dataset(file, indptr), read_dataset(file, indices)
        return Compressed(pointers, columns, read_dataset(file, data), shape, by_rows)

    return Item(_shown(group), shape, True, read), parts


def _by_rows(file: SafeFile, group: str, shape: tuple[int, int], indptr: Entry) -> bool:
    for key in LAYOUT_ATTRIBUTES:
        layout = file.attribute(group, key)
        if isinstance(layout, str) and layout[:3] in ("csr", "csc"):
            return layout[:3] == "csr"
    if shape[0] != shape[1]:
        return indptr.shape == (shape[0] + 1,)
    layouts: set[str] = set()
    if any(file.has_variable_text(group, key) for key in LAYOUT_ATTRIBUTES):
        layouts = _layouts_in_heaps(file.path)
    if len(layouts) == 1:
        return layouts == {"csr"}
    raise FileError(
        file.path,
        f"expected an attribute `format` of csr or csc at the square sparse group {group}, got "
        f"{' and '.join(sorted(layouts)) or 'none'}; add it as text of fixed length (np.bytes_)",
    )


def _layouts_in_heaps(path: Path) -> set[str]:
    """Which layouts are named by the file's texts of variable length, found without libhdf5.

    Each is an object of a global heap: two 16-bit numbers, 4 reserved bytes, its size in 64 bits,
    its content (HDF5 File Format Specification 3.0, III.E).
    """
    found: set[str] = set()
    with open(path, "rb") as handle:
        tail = b""
        while block := handle.read(SCAN_BLOCK):
            window = tail + block
            for match in HEAP_TEXT.finditer(window):
                if int.from_bytes(match["size"], "little") == len(match["text"]):
                    found.add(match["text"][:3].decode())
            tail = window[-SCAN_OVERLAP:]
    return found


def _integers(value: str | np.ndarray | None, count: int) -> tuple[int, ...] | None:
    """`value` as that many integers >= 0, or None."""
    if not isinstance(value, np.ndarray) or value.size != count or value.dtype.kind not in "iu":
        return None
    numbers = tuple(int(number) for number in value.ravel())
    return numbers if min(numbers) >= 0 else None
