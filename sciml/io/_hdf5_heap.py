"""Records with members of variable length, read without libhdf5's conversion of them.

Such members lie in global heaps, where one damaged size sends libhdf5 into an endless loop and one
damaged type crashes it. Here the records are read as stored, and the heaps are walked with every
size looked at ("HDF5 File Format Specification", version 3.0, III.E).
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from math import prod

import numpy as np
from h5py import h5d, h5o, h5t  # pyright: ignore[reportAttributeAccessIssue]

from ._hdf5 import SafeFile, _translated
from ._limits import FileError

# How a member of variable length is stored: elements, address of the heap, object in it.
REFERENCE = np.dtype([("count", "<u4"), ("address", "<u8"), ("index", "<u4")])
FIXED = {h5t.INTEGER, h5t.FLOAT, h5t.COMPOUND, h5t.ARRAY, h5t.ENUM}
HEAP_HEAD, OBJECT_HEAD = struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
MAX_OBJECTS = 1 << 16


class Heaps:
    """The global heaps of a surveyed file, and its raw records. Made by `open_heaps`."""

    def __init__(self, file: SafeFile, descriptor: int) -> None:
        self.file = file
        self._descriptor = descriptor
        self._size = file.budget.file_bytes
        self._objects: dict[int, dict[int, tuple[int, int]]] = {}
        self._walked = 0

    def records(self, name: str) -> np.ndarray:
        """A dataset as stored, flat; members (or elements) of variable length as `REFERENCE`.

        Raises FileError for filters, for records that are not all stored, for a compact layout.
        """
        path, entry = self.file.path, self.file.datasets[self.file.resolve(name)]
        count = prod(entry.shape or (0,))
        with _translated(path, f"the dataset {name}"):
            dataset = h5o.open(self.file._handle.id, entry.name.encode("utf-8", "surrogateescape"))
            creation = dataset.get_create_plist()
            dtype = _stored_dtype(dataset.get_type(), path, name)
            nbytes = count * dtype.itemsize
            self.file.budget.take(nbytes, name)
            if creation.get_nfilters():
                raise self._refused(f"{name} is compressed; rewrite it with h5repack -f NONE")
            layout = creation.get_layout()
            if layout == h5d.CONTIGUOUS and dataset.get_offset() is not None:
                pieces = [(0, dataset.get_offset(), nbytes)]
            elif layout == h5d.CHUNKED and len(entry.shape or ()) == 1:
                pieces = self._chunks(dataset, creation.get_chunk()[0], dtype.itemsize, count)
            else:
                raise self._refused(f"{name} is stored in another layout than rows; rewrite it")
        out = bytearray(nbytes)
        done = 0
        for start, at, length in sorted(pieces):
            if start != done:
                raise self._refused(f"records of {name} are missing; get the file again")
            done += min(length, nbytes - start)
            out[start:done] = self._bytes(at, done - start)
        if done != nbytes:
            raise self._refused(f"records of {name} are missing; get the file again")
        return np.frombuffer(out, dtype)

    def _chunks(
        self, dataset: h5d.DatasetID, rows: int, itemsize: int, count: int
    ) -> list[tuple[int, int, int]]:
        found: list[tuple[int, int, int]] = []
        if dataset.get_num_chunks() > count:
            raise self._refused("a dataset has more pieces than records; get the file again")

        def note(info: h5d.StoreInfo) -> None:
            if info.size == rows * itemsize and info.chunk_offset[0] < count:
                found.append((info.chunk_offset[0] * itemsize, info.byte_offset, info.size))

        dataset.chunk_iter(note)
        return found

    def content(self, reference: np.void | np.ndarray, itemsize: int, what: str) -> bytes:
        """The bytes of one member of variable length, whose elements have `itemsize` bytes."""
        count, address, index = (int(reference[part]) for part in ("count", "address", "index"))
        nbytes = count * itemsize
        self.file.budget.take(nbytes, what)
        if not nbytes:
            return b""
        if address not in self._objects:
            self._objects[address] = self._walk(address)
        at, size = self._objects[address].get(index, (0, -1))
        if size < nbytes:
            raise self._refused(f"{what} points to a heap that does not hold it; get it again")
        return self._bytes(at, nbytes)

    def _walk(self, address: int) -> dict[int, tuple[int, int]]:
        """Where each object of a heap lies, and its size."""
        magic, version, size = HEAP_HEAD.unpack(self._bytes(address, HEAP_HEAD.size))
        if magic != b"GCOL" or version != 1 or address + size > self._size:
            raise self._refused("a heap is damaged; get the file again")
        objects: dict[int, tuple[int, int]] = {}
        at, end = address + HEAP_HEAD.size, address + size
        while at + OBJECT_HEAD.size <= end:
            index, _, length = OBJECT_HEAD.unpack(self._bytes(at, OBJECT_HEAD.size))
            if index == 0:
                break
            at += OBJECT_HEAD.size
            if at + length > end or index in objects:
                raise self._refused("a heap is damaged; get the file again")
            objects[index] = (at, length)
            at += -(-length // 8) * 8
            self._walked += 1
            # Heaps do not overlap, so that a file has no more objects than it has room for.
            if self._walked * OBJECT_HEAD.size > self._size:
                raise self._refused("heaps lie on top of each other; get the file again")
        return objects

    def _bytes(self, at: int, count: int) -> bytes:
        if at < 0 or at + count > self._size:
            raise self._refused("an address lies past its end; get the file again")
        content = os.pread(self._descriptor, count, at)
        while len(content) < count:
            more = os.pread(self._descriptor, count - len(content), at + len(content))
            if not more:
                raise self._refused("an address lies past its end; get the file again")
            content += more
        return content

    def _refused(self, reason: str) -> FileError:
        return FileError(self.file.path, f"expected whole records, got a file where {reason}")


@contextlib.contextmanager
def open_heaps(file: SafeFile) -> Iterator[Heaps]:
    """The heaps of a file; closed when the block ends."""
    with _translated(file.path, "the superblock"):
        sizes = file._handle.id.get_create_plist().get_sizes()
        block = file._handle.userblock_size
    if tuple(sizes) != (8, 8) or block:
        raise FileError(
            file.path,
            f"expected addresses of 8 bytes from the file's start, got {sizes} after {block} bytes;"
            " rewrite it with h5repack",
        )
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Heaps(file, descriptor)
    finally:
        os.close(descriptor)


def _stored_dtype(kind: h5t.TypeID, path: os.PathLike[str], name: str) -> np.dtype:
    if kind.get_class() == h5t.VLEN or (kind.get_class() == h5t.STRING and kind.is_variable_str()):
        return REFERENCE
    if kind.get_class() != h5t.COMPOUND:
        raise FileError(path, f"expected records in {name}, got type {kind.dtype}")
    names, formats, offsets = [], [], []
    for number in range(kind.get_nmembers()):
        member = kind.get_member_type(number)
        variable = member.get_class() == h5t.VLEN
        if not variable and member.get_class() not in FIXED:
            continue
        names.append(kind.get_member_name(number).decode("utf-8", "replace"))
        formats.append(REFERENCE if variable else member.dtype)
        offsets.append(kind.get_member_offset(number))
    size = kind.get_size()
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}  # pyright: ignore[reportCallIssue, reportArgumentType]
    )


def element_type(file: SafeFile, name: str, member: str) -> np.dtype | None:
    """What the elements of a member of variable length are; None if it is no such member."""
    with _translated(file.path, f"the dataset {name}"):
        kind = h5o.open(file._handle.id, file.resolve(name).encode()).get_type()
        for number in range(kind.get_nmembers() if kind.get_class() == h5t.COMPOUND else 0):
            if kind.get_member_name(number) == member.encode():
                inner = kind.get_member_type(number)
                return inner.get_super().dtype if inner.get_class() == h5t.VLEN else None
    return None
