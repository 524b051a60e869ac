"""NumPy's `.npy` and `.npz`, and SciPy's sparse matrices in the latter, without pickles."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from .._checks import Argument
from ._limits import Budget, FileError, Limits
from ._stored import Catalog, Compressed, Coordinates, Item, Stored, check_pointers

MAGIC = b"\x93NUMPY"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
MAX_HEADER = 10_000
# A central directory names each member in 46 bytes and a name; longer ones are not NumPy's.
MAX_MEMBER_RECORD = 512
# The end record with the longest comment, and the record for large files before it.
TAIL = (1 << 16) + 22 + 76
BLOCK = 1 << 24
PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "dia": ("data", "offsets"),
    "coo": ("data", "row", "col"),
}


class _Header:
    """The shape, order and dtype that a `.npy` stream declares. offset: where its data starts."""

    def __init__(self, stream: IO[bytes], path: Path, what: str) -> None:
        lead = stream.read(8)
        version = tuple(lead[6:8])
        width = 2 if version == (1, 0) else 4
        if lead[:6] != MAGIC or version not in ((1, 0), (2, 0)):
            raise FileError(path, f"expected a .npy of version 1 or 2 in {what}, got {lead!r}")
        length = int.from_bytes(stream.read(width), "little")
        if length > MAX_HEADER:
            raise FileError(path, f"expected a header of at most {MAX_HEADER} bytes in {what}")
        text = stream.read(length)
        self.offset = 8 + width + length
        try:
            self.shape, self.fortran, self.dtype = np.lib.format.read_array_header_1_0(
                io.BytesIO(struct.pack("<H", length) + text)
            )
        except (
            ValueError,
            TypeError,
            SyntaxError,
            KeyError,
            OverflowError,
            MemoryError,
            RecursionError,
            tokenize.TokenError,
        ) as error:
            reason = str(error)[:120] or type(error).__name__
            raise FileError(
                path, f"expected a .npy header in {what}, got an error ({reason}); get it again"
            ) from None
        if min(self.shape, default=0) < 0:
            raise FileError(path, f"expected a shape in {what}, got {self.shape}; get it again")
        if self.dtype.hasobject:
            raise FileError(
                path, f"expected numbers in {what}, got pickled objects; save it as numbers"
            )

    @property
    def numeric(self) -> bool:
        return self.dtype.kind in "biufc" and self.dtype.subdtype is None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def read(self, stream: IO[bytes], budget: Budget, what: str) -> np.ndarray:
        """The array, block by block; the stream stands at its first byte and must end with it."""
        budget.take(self.nbytes, what)
        out = np.empty(prod(self.shape), self.dtype)
        if self.nbytes:
            view = out.view(np.uint8).data
            done = 0
            while done < self.nbytes:
                block = stream.read(min(BLOCK, self.nbytes - done))
                if not block:
                    raise FileError(
                        budget.path,
                        f"expected {self.nbytes} bytes in {what}, got {done}; get it again",
                    )
                view[done : done + len(block)] = block
                done += len(block)
        # Reading past the end makes zipfile compare the checksum.
        if stream.read(1):
            raise FileError(budget.path, f"expected {self.nbytes} bytes in {what}, got more")
        if self.dtype.kind == "b":
            out = out.view(np.uint8) != 0
        return out.reshape(self.shape, order="F" if self.fortran else "C")


@contextlib.contextmanager
def open_npy(path: Path, size: int, limits: Limits) -> Iterator[Catalog]:
    """The one array of a `.npy` file."""
    budget = Budget(path, size, limits)
    with open(path, "rb") as handle:
        header = _Header(handle, path, "the file")
        _check_numeric(header, path)
        if header.offset + header.nbytes != size:
            raise FileError(
                path,
                f"expected {header.offset + header.nbytes} bytes as the header says, got {size}; "
                "get it again",
            )
        item = Item(
            None,
            header.shape,
            False,
            lambda: header.read(handle, budget, "the array"),
            header.dtype.kind == "c",
        )
        yield Catalog(budget, (item,))


def _check_numeric(header: _Header, path: Path) -> None:
    if not header.numeric:
        raise FileError(path, f"expected numbers, got dtype {header.dtype}; save it as numbers")


class _Archive:
    """The members of an `.npz`, each with the header that it declares."""

    def __init__(self, archive: zipfile.ZipFile, budget: Budget) -> None:
        self._archive = archive
        self.budget = budget
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self.headers: dict[str, _Header] = {}
        for info in archive.infolist():
            name = self._name(info)
            self._infos[name] = info
            with archive.open(info) as stream:
                header = _Header(stream, budget.path, name)
            if header.offset + header.nbytes != info.file_size:
                raise FileError(
                    budget.path,
                    f"expected {header.offset + header.nbytes} bytes in {name} as its header says, "
                    f"got {info.file_size}; get it again",
                )
            self.headers[name] = header

    def read(self, name: str) -> np.ndarray:
        with self._archive.open(self._infos[name]) as stream:
            header = _Header(stream, self.budget.path, name)
            return header.read(stream, self.budget, name)

    def _name(self, info: zipfile.ZipInfo) -> str:
        path, name = self.budget.path, info.filename
        if info.flag_bits & 1:
            raise FileError(path, f"expected plain members, got {name!r} encrypted; decrypt it")
        if not name.endswith(".npy") or "/" in name or "\\" in name or "\0" in info.orig_filename:
            raise FileError(
                path, f"expected members NAME.npy in no folder, got {name!r}; save it with np.savez"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileError(
                path, f"expected {name} stored or deflated, got method {info.compress_type}"
            )
        if name[:-4] in self._infos:
            raise FileError(path, f"expected each name once, got {name!r} twice; save it again")
        return name[:-4]


@contextlib.contextmanager
def open_npz(path: Path, size: int, limits: Limits) -> Iterator[Catalog]:
    """The arrays of an `.npz`; a sparse matrix of SciPy's `save_npz` among them is unnamed."""
    budget = Budget(path, size, limits)
    with open(path, "rb") as handle:
        _check_directory(handle, size, limits, path)
        try:
            with zipfile.ZipFile(handle) as archive:
                yield _catalog(_Archive(archive, budget))
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            EOFError,
            zlib.error,
            struct.error,
            UnicodeDecodeError,
        ) as error:
            reason = str(error)[:120] or type(error).__name__
            raise FileError(
                path, f"expected a whole .npz archive, got an error ({reason}); get it again"
            ) from None


def _check_directory(handle: IO[bytes], size: int, limits: Limits, path: Path) -> None:
    """Refuse many members before the standard library makes an object of each."""
    handle.seek(max(0, size - TAIL))
    tail = handle.read()
    for record in re.finditer(rb"PK\x05\x06|PK\x06\x06", tail):
        large, at = record[0] == b"PK\x06\x06", record.start()
        layout, start = ("<QQ", at + 32) if large else ("<HI", at + 10)
        if len(tail) < start + struct.calcsize(layout):
            continue
        members, length = struct.unpack_from(layout, tail, start)
        if length == 0xFFFFFFFF and not large:
            continue
        if members > limits.max_datasets or length > limits.max_datasets * MAX_MEMBER_RECORD:
            raise FileError(
                path,
                f"expected at most {limits.max_datasets} members, got {members} in a directory of "
                f"{length} bytes; set ",
                Argument("Limits.max_datasets"),
                " if the file is trusted",
            )
    handle.seek(0)


def _catalog(archive: _Archive) -> Catalog:
    headers = archive.headers
    items = [
        Item(
            name,
            header.shape,
            False,
            lambda name=name: archive.read(name),
            header.dtype.kind == "c",
        )
        for name, header in headers.items()
        if header.numeric
    ]
    others = [name for name, header in headers.items() if not header.numeric]
    if {"format", "shape", "data"} <= headers.keys() and headers["format"].dtype.kind in "SU":
        layout, shape = _layout(archive), _shape(archive)
        parts = PARTS[layout]
        missing = [name for name in parts if name not in headers]
        if missing:
            raise FileError(
                archive.budget.path,
                f"expected {', '.join(parts)} in a {layout} matrix, got no {', '.join(missing)}",
            )
        used = {"format", "shape", "_is_array", *parts}
        items = [item for item in items if item.name not in used]
        others = [name for name in others if name not in used]
        items.insert(0, Item(None, shape, True, lambda: _sparse(archive, layout, shape)))
    return Catalog(archive.budget, tuple(items), tuple(others))


def _layout(archive: _Archive) -> str:
    header = archive.headers["format"]
    layout = ""
    if header.shape == () and header.dtype.itemsize <= 64:
        text = archive.read("format")[()]
        layout = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    if layout not in PARTS:
        raise FileError(
            archive.budget.path,
            f"expected a sparse format of {', '.join(PARTS)}, got {layout[:20]!r}; convert it",
        )
    return layout


def _shape(archive: _Archive) -> tuple[int, int]:
    header = archive.headers["shape"]
    if header.shape != (2,) or header.dtype.kind not in "iu":
        raise FileError(
            archive.budget.path,
            f"expected a shape of two integers, got {header.dtype} of shape {header.shape}",
        )
    rows, cols = map(int, archive.read("shape"))
    if min(rows, cols) < 0:
        raise FileError(archive.budget.path, f"expected a shape, got ({rows}, {cols})")
    return rows, cols


def _sparse(archive: _Archive, layout: str, shape: tuple[int, int]) -> Stored:
    parts = {name: archive.read(name) for name in PARTS[layout]}
    data = parts["data"]
    if layout == "coo":
        return Coordinates(parts["row"], parts["col"], data, shape)
    if layout == "dia":
        return _from_diagonals(data, parts["offsets"], shape, archive.budget)
    if layout == "bsr":
        return _from_blocks(data, parts["indices"], parts["indptr"], shape, archive.budget)
    return Compressed(parts["indptr"], parts["indices"], data, shape, layout == "csr")


def _from_diagonals(
    data: np.ndarray, offsets: np.ndarray, shape: tuple[int, int], budget: Budget
) -> Coordinates:
    """SciPy's rule: data[d, j] is the entry at (j - offsets[d], j)."""
    rows, cols = shape
    if data.ndim != 2 or offsets.shape != data.shape[:1] or offsets.dtype.kind not in "iu":
        raise FileError(
            budget.path,
            f"expected one offset per diagonal, got {offsets.shape} {offsets.dtype} for data of "
            f"shape {data.shape}",
        )
    if len(np.unique(offsets)) < len(offsets):
        raise FileError(budget.path, "expected each diagonal once, got an offset twice")
    if len(offsets) and (offsets.min() <= -rows or offsets.max() >= cols):
        raise FileError(
            budget.path,
            f"expected offsets inside a matrix of {shape}, got {offsets.min()} to {offsets.max()}",
        )
    budget.take(data.size * 25, "the diagonals' indices")
    width = min(data.shape[1], cols)
    col = np.broadcast_to(np.arange(width), (len(offsets), width))
    row = col - offsets.astype(np.int64)[:, None]
    # Zeros inside a band are padding as often as not: SciPy drops them in a conversion too.
    inside = (row >= 0) & (row < rows) & (data[:, :width] != 0)
    return Coordinates(row[inside], col[inside], data[:, :width][inside], shape)


def _from_blocks(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    shape: tuple[int, int],
    budget: Budget,
) -> Coordinates:
    """data[k] is the dense block at block column indices[k]; indptr counts block rows."""
    if data.ndim != 3 or 0 in data.shape[1:] or indices.ndim != 1 or indptr.ndim != 1:
        raise FileError(budget.path, f"expected blocks (k, r, c), got data of shape {data.shape}")
    high, wide = data.shape[1:]
    if shape[0] % high or shape[1] % wide or len(indptr) != shape[0] // high + 1:
        raise FileError(
            budget.path,
            f"expected blocks that tile a matrix of {shape}, got {high} by {wide} in "
            f"{len(indptr) - 1} block rows",
        )
    used = check_pointers(indptr, min(len(indices), len(data)), "the blocks", budget)
    indices = indices[:used]
    if indices.dtype.kind not in "iu" or (
        used and (indices.min() < 0 or indices.max() >= shape[1] // wide)
    ):
        raise FileError(
            budget.path, f"expected block columns in 0 to {shape[1] // wide - 1}, got others"
        )
    budget.take(used * high * wide * 16, "the blocks' indices")
    block_row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr.astype(np.int64)))
    row = block_row[:, None, None] * high + np.arange(high)[:, None]
    col = indices.astype(np.int64)[:, None, None] * wide + np.arange(wide)
    full = (used, high, wide)
    return Coordinates(
        np.broadcast_to(row, full).ravel(),
        np.broadcast_to(col, full).ravel(),
        data[:used].ravel(),
        shape,
    )
