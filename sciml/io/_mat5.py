"""MATLAB's level 5 MAT-files: numeric arrays, sparse matrices, and these in a struct of one.

"MAT-File Format", The MathWorks, R2019b, chapter 1. Characters, cells, objects and functions are
never decoded. Sizes are looked at before memory is asked for, compressed elements inflate to their
declared size and no further, and their checksum is compared.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from .._checks import Argument
from ._limits import Budget, FileError, Limits
from ._stored import Catalog, Compressed, Item, Stored

LEAD = 128
MATRIX, COMPRESSED = 14, 15
INT8, INT32, UINT32, UTF8 = 1, 5, 6, 16
NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
STRUCT, SPARSE = 2, 5
CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
COMPLEX, LOGICAL = 0x08, 0x02
# What is inflated of each variable to learn its class, shape and name.
HEAD = 1 << 12
MAX_DIMS = 32


def is_mat5(lead: bytes) -> bool:
    """Whether the first 128 bytes are those of a level 5 MAT-file, of either byte order."""
    return lead[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


@dataclass(frozen=True)
class _Header:
    """The class, flags, dimensions and name that every array begins with."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str


class _Elements:
    """Walks the tagged elements in `data`, none of which may reach past its end."""

    def __init__(self, data: memoryview, order: str, path: Path, what: str) -> None:
        self.data, self.order, self.path, self.what = data, order, path, what
        self.at = 0

    def next(self, allowed: set[int] | None = None) -> tuple[int, memoryview]:
        """Type and content of the next element; of a type in `allowed`, where that is given."""
        kind, size = struct.unpack_from(self.order + "II", self._peek(8))
        if kind >> 16:
            # The small format: both numbers in one word, up to four bytes of content after it.
            kind, size = kind & 0xFFFF, kind >> 16
            content, step = self.data[self.at + 4 : self.at + 4 + size], 8
            broken = size > 4
        else:
            content = self.data[self.at + 8 : self.at + 8 + size]
            step = 8 + -(-size // 8) * 8
            broken = len(content) < size
        if broken or (allowed is not None and kind not in allowed):
            raise self.damaged(f"an element of type {kind} and {size} bytes")
        self.at += step
        return kind, content

    def numbers(self) -> np.ndarray:
        """The next element as a flat array in the type it is stored in; a view."""
        kind, content = self.next(set(NUMBERS))
        dtype = np.dtype(self.order + NUMBERS[kind])
        if len(content) % dtype.itemsize:
            raise self.damaged(f"{len(content)} bytes of {dtype}")
        return np.frombuffer(content, dtype)

    def header(self) -> _Header:
        _, flags = self.next({UINT32})
        _, dims = self.next({INT32})
        _, name = self.next({INT8, UTF8})
        if len(flags) != 8 or len(dims) % 4 or not 2 <= len(dims) // 4 <= MAX_DIMS:
            raise self.damaged(f"{len(flags)} bytes of flags and {len(dims)} of dimensions")
        word, _ = struct.unpack(self.order + "II", flags)
        shape = struct.unpack(f"{self.order}{len(dims) // 4}i", dims)
        if min(shape) < 0:
            raise self.damaged(f"the dimensions {shape}")
        return _Header(word & 0xFF, word >> 8 & 0xFF, shape, bytes(name).decode("latin-1"))

    def _peek(self, count: int) -> memoryview:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise self.damaged("its end")
        return piece

    def damaged(self, got: str) -> FileError:
        return FileError(
            self.path, f"expected a whole MAT-file, got {got} in {self.what}; get it again"
        )


@dataclass(frozen=True)
class _Variable:
    """Where a top-level element lies in the file, and how."""

    start: int
    size: int
    packed: bool


@contextlib.contextmanager
def open_mat5(path: Path, size: int, limits: Limits) -> Iterator[Catalog]:
    """The numeric and sparse variables of a level 5 MAT-file; a struct's fields as `struct.field`.

    Raises FileError for tags that reach past the end, for a compressed variable that is not what
    it declares, and for more variables than `limits.max_datasets`.
    """
    with open(path, "rb") as handle:
        file = _File(handle, Budget(path, size, limits))
        try:
            items: list[Item] = []
            others: list[str] = []
            for variable in file.variables():
                _describe(file, variable, items, others)
            names = {item.name for item in items}
            if len(names) < len(items):
                raise FileError(path, "expected each variable once, got a name twice; save again")
            yield Catalog(file.budget, tuple(items), tuple(others))
        except zlib.error as error:
            raise FileError(
                path, f"expected whole compressed variables, got {error}; get the file again"
            ) from None


class _File:
    """An open MAT-file: its byte order and its top-level elements."""

    def __init__(self, handle: IO[bytes], budget: Budget) -> None:
        self.handle, self.budget = handle, budget
        lead = handle.read(LEAD)
        self.order = "<" if lead[126:128] == b"IM" else ">"

    def variables(self) -> Iterator[_Variable]:
        budget = self.budget
        at, count = LEAD, 0
        while at < budget.file_bytes:
            self.handle.seek(at)
            tag = self.handle.read(8)
            kind, size = struct.unpack(self.order + "II", tag) if len(tag) == 8 else (0, 0)
            if kind not in (MATRIX, COMPRESSED) or at + 8 + size > budget.file_bytes:
                raise FileError(
                    budget.path,
                    f"expected a variable at byte {at}, got type {kind} of {size} bytes; the file "
                    "is damaged or cut off, get it again",
                )
            count += 1
            if count > budget.limits.max_datasets:
                raise FileError(
                    budget.path,
                    f"expected at most {budget.limits.max_datasets} variables, got more; set ",
                    Argument("Limits.max_datasets"),
                    " if the file is trusted",
                )
            yield _Variable(at + 8, size, kind == COMPRESSED)
            at += 8 + size

    def head(self, variable: _Variable) -> memoryview:
        """The first bytes of the array inside, enough for its header."""
        self.handle.seek(variable.start)
        raw = self.handle.read(min(variable.size, HEAD))
        if not variable.packed:
            return memoryview(raw)
        unpacked = zlib.decompressobj().decompress(raw, HEAD)
        self._declared(unpacked)
        return memoryview(unpacked)[8:]

    def content(self, variable: _Variable, what: str) -> memoryview:
        """All bytes of the array inside."""
        self.handle.seek(variable.start)
        self.budget.take(variable.size, what)
        raw = self.handle.read(variable.size)
        if not variable.packed:
            return memoryview(raw)
        stream = zlib.decompressobj()
        start = stream.decompress(raw, 8)
        size = self._declared(start)
        self.budget.take(size, what)
        content = stream.decompress(stream.unconsumed_tail, size) if size else b""
        # One byte more than declared: there is none, and the checksum has been compared.
        rest = stream.decompress(stream.unconsumed_tail, 1)
        if len(content) != size or rest or not stream.eof:
            raise FileError(
                self.budget.path,
                f"expected {size} bytes in {what} once inflated, got "
                f"{'more' if rest else 'fewer'}; the file is damaged or hostile, get it again",
            )
        return memoryview(content)

    def _declared(self, start: bytes) -> int:
        kind, size = struct.unpack(self.order + "II", start[:8]) if len(start) >= 8 else (0, 0)
        if kind != MATRIX:
            raise FileError(
                self.budget.path,
                f"expected an array in a compressed variable, got type {kind}; get the file again",
            )
        return size

    def elements(self, data: memoryview, what: str) -> _Elements:
        return _Elements(data, self.order, self.budget.path, what)


def _describe(file: _File, variable: _Variable, items: list[Item], others: list[str]) -> None:
    """Append what the variable holds to `items`, or its name to `others`."""
    if not variable.packed and not variable.size:
        return
    header = file.elements(file.head(variable), "a variable").header()
    if header.kind in CLASSES or header.kind == SPARSE:

        def read() -> Stored:
            return _array(file, file.elements(file.content(variable, header.name), header.name))

        items.append(_item(header.name, header, read))
    elif header.kind == STRUCT and prod(header.shape) == 1:
        inside = file.elements(file.content(variable, header.name), header.name)
        _describe_fields(file, inside, items, others)
    else:
        others.append(header.name)


def _describe_fields(file: _File, inside: _Elements, items: list[Item], others: list[str]) -> None:
    parent = inside.header().name
    _, width = inside.next({INT32})
    _, text = inside.next({INT8})
    length = struct.unpack(file.order + "i", width)[0] if len(width) == 4 else 0
    if length < 1 or len(text) % length:
        raise inside.damaged(f"field names of length {length}")
    for start in range(0, len(text), length):
        field = bytes(text[start : start + length]).split(b"\0")[0].decode("latin-1")
        name = f"{parent}.{field}"
        _, content = inside.next({MATRIX})
        if not len(content):
            others.append(name)
            continue
        header = file.elements(content, name).header()
        if header.kind in CLASSES or header.kind == SPARSE:

            def read(content: memoryview = content, name: str = name) -> Stored:
                return _array(file, file.elements(content, name))

            items.append(_item(name, header, read))
        else:
            others.append(name)


def _item(name: str, header: _Header, read: Callable[[], Stored]) -> Item:
    sparse = header.kind == SPARSE
    return Item(name, header.shape, sparse, read, not sparse and bool(header.flags & COMPLEX))


def _array(file: _File, elements: _Elements) -> Stored:
    header = elements.header()
    if header.kind == SPARSE:
        return _sparse(file, elements, header)
    dtype = np.dtype(bool if header.flags & LOGICAL else CLASSES[header.kind])
    values = _parts(file, elements, header, dtype)
    if len(values) != prod(header.shape):
        raise elements.damaged(f"{len(values)} numbers for the dimensions {header.shape}")
    return values.reshape(header.shape, order="F")


def _sparse(file: _File, elements: _Elements, header: _Header) -> Compressed:
    if len(header.shape) != 2:
        raise elements.damaged(f"a sparse array with the dimensions {header.shape}")
    rows, columns = elements.numbers(), elements.numbers()
    values = _parts(
        file, elements, header, np.dtype(bool if header.flags & LOGICAL else np.float64)
    )
    shape = (header.shape[0], header.shape[1])
    return Compressed(columns, rows, values, shape, by_rows=False)


def _parts(file: _File, elements: _Elements, header: _Header, dtype: np.dtype) -> np.ndarray:
    """The real and the imaginary part as one flat array; small integers may stand for doubles."""
    real = elements.numbers()
    imag = elements.numbers() if header.flags & COMPLEX else None
    wanted = dtype if imag is None else np.result_type(dtype, np.complex64)
    file.budget.take(len(real) * wanted.itemsize, elements.what)
    if imag is None:
        return (real != 0) if dtype.kind == "b" else real.astype(wanted)
    if len(real) != len(imag):
        raise elements.damaged(f"{len(real)} real and {len(imag)} imaginary parts")
    # Not real + 1j*imag, which loses the signs of zeros.
    out = np.empty(len(real), wanted)
    out.real, out.imag = real, imag
    return out
