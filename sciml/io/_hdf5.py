"""HDF5 files opened so that they cannot reach outside themselves or ask for absurd memory.

`safe_open` surveys every link and every dataset's storage before anything is read: external links,
external storage and virtual datasets name other files (and a missing one reads as silent zeros),
hard links can make cycles. A path is resolved here, component by component, over links that were
looked at; libhdf5 never follows one by itself.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import EllipsisType

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5t, h5z  # pyright: ignore[reportAttributeAccessIssue]

from .._checks import Argument
from ._limits import Budget, FileError, Limits, regular_file

MAX_DEPTH = 64
MAX_HOPS = 32
# Deflate cannot expand by more than this, so smaller chunks need no look inside.
MAX_DEFLATE = 1032
PLAIN_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_LZF}

ATTRIBUTE_CLASSES = {h5t.STRING, h5t.INTEGER, h5t.FLOAT, h5t.ENUM}

Index = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]


@dataclass(frozen=True)
class Entry:
    """A dataset as declared: absolute path, shape (None for a null dataspace), dtype or None."""

    name: str
    shape: tuple[int, ...] | None
    dtype: np.dtype | None


class SafeFile:
    """A surveyed HDF5 file, open for reading. Made by `safe_open`.

    path: the file. datasets: every dataset by its absolute path. groups: every group's path.
    """

    def __init__(self, path: Path, handle: h5py.File, budget: Budget) -> None:
        self.path = path
        self.budget = budget
        self.datasets: dict[str, Entry] = {}
        self.groups: list[str] = []
        self._handle = handle
        self._hard: dict[str, str] = {}
        self._soft: dict[str, str] = {}
        self._first_name: dict[tuple[int, int], str] = {}
        self._objects = 0
        self._survey(handle.id, "/", ())
        for link, target in self._soft.items():
            self._check_soft(link, target)

    def resolve(self, name: str) -> str:
        """The absolute path of the group or dataset that `name` leads to; KeyError if none."""
        at, hops = "/", 0
        parts = _parts(name)[::-1]
        while parts:
            child = _join(at, parts.pop())
            if child in self._soft:
                hops += 1
                if hops > MAX_HOPS:
                    raise KeyError(name)
                target = self._soft[child]
                at = "/" if target.startswith("/") else at
                parts += _parts(target)[::-1]
            elif child in self._hard:
                at = self._hard[child]
            else:
                raise KeyError(name)
        return at

    def attribute(self, name: str, key: str) -> str | np.ndarray | None:
        """A short attribute (text, or up to 64 numbers) of a group or dataset; None otherwise.

        Text of variable length is None too: it lies in a heap where one damaged size sends libhdf5
        into an endless loop, and one damaged type crashes it. `has_variable_text` tells of it.
        """
        with _translated(self.path, f"attribute {key} of {name}"):
            attributes = self._handle[self.resolve(name)].attrs
            if key not in attributes:
                return None
            declared = attributes.get_id(key)
            kind = declared.get_type()
            if kind.get_class() not in ATTRIBUTE_CLASSES or _is_variable_text(kind):
                return None
            if prod(declared.shape or (0,)) > 64 or declared.dtype.itemsize > 4096:
                return None
            value = attributes[key]
        if isinstance(value, bytes | str):
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None

    def has_variable_text(self, name: str, key: str) -> bool:
        """Whether the attribute is there and is a text of variable length, which stays unread."""
        with _translated(self.path, f"attribute {key} of {name}"):
            attributes = self._handle[self.resolve(name)].attrs
            return key in attributes and _is_variable_text(attributes.get_id(key).get_type())

    def _survey(self, group: h5g.GroupID, name: str, above: tuple[tuple[int, int], ...]) -> None:
        identity = _identity(group)
        if identity in above:
            raise self._refusal(f"the group {name} contains itself")
        if len(above) > MAX_DEPTH:
            raise self._refusal(f"groups are nested more than {MAX_DEPTH} deep at {name}")
        self._first_name[identity] = name
        self.groups.append(name)
        self._count(1)
        # The declared number of links costs nothing to read: refuse before walking them.
        self._count(group.get_num_objs(), spend=False)
        links: list[bytes] = []
        group.links.iterate(links.append)
        for link in links:
            self._survey_link(group, name, link, (*above, identity))

    def _survey_link(
        self, group: h5g.GroupID, parent: str, link: bytes, above: tuple[tuple[int, int], ...]
    ) -> None:
        name = _join(parent, link.decode("utf-8", "surrogateescape"))
        if link in (b"", b".") or b"/" in link:
            raise self._refusal(f"{parent} holds a link with the forbidden name {link!r}")
        kind = group.links.get_info(link).type
        if kind == h5l.TYPE_SOFT:
            self._count(1)
            self._soft[name] = group.links.get_val(link).decode("utf-8", "surrogateescape")
            return
        if kind != h5l.TYPE_HARD:
            raise self._refusal(f"{name} is an external link")
        child = h5o.open(group, link)
        identity = _identity(child)
        if identity in above:
            raise self._refusal(f"the group {name} contains itself")
        known = self._first_name.get(identity)
        self._hard[name] = known or name
        if known is not None:
            self._count(1)
        elif isinstance(child, h5g.GroupID):
            self._survey(child, name, above)
        elif isinstance(child, h5d.DatasetID):
            self._count(1)
            self._first_name[identity] = name
            self.datasets[name] = self._entry(child, name)

    def _entry(self, dataset: h5d.DatasetID, name: str) -> Entry:
        creation = dataset.get_create_plist()
        # Before the shape: asking a virtual dataset for its shape opens its sources.
        if creation.get_layout() == h5d.VIRTUAL:
            raise self._refusal(f"{name} is a virtual dataset, stored in other files")
        if creation.get_external_count():
            raise self._refusal(f"{name} has external storage, its bytes lie in other files")
        try:
            dtype = dataset.dtype
        except (TypeError, ValueError):
            dtype = None
        return Entry(name, dataset.shape, dtype)

    def _check_soft(self, link: str, target: str) -> None:
        try:
            at = self.resolve(link)
        except KeyError:
            raise self._refusal(f"the soft link {link} leads nowhere ({target!r})") from None
        if at in self.groups and (link == at or link.startswith(at.rstrip("/") + "/")):
            raise self._refusal(f"the soft link {link} leads to a group that holds it")

    def _count(self, links: int, *, spend: bool = True) -> None:
        most = self.budget.limits.max_datasets
        if self._objects + links > most:
            raise FileError(
                self.path,
                f"expected at most {most} groups and datasets, got at least "
                f"{self._objects + links}; set ",
                Argument("Limits.max_datasets"),
                " if the file is trusted",
            )
        self._objects += links if spend else 0

    def _refusal(self, reason: str) -> FileError:
        return FileError(
            self.path,
            f"expected an HDF5 file that holds its own data, got one where {reason}; "
            "copy what you need into a plain file",
        )


@contextlib.contextmanager
def safe_open(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[SafeFile]:
    """Open an HDF5 file for reading, surveyed; closed when the block ends.

    Raises FileError if the file is missing, is no HDF5 file, is damaged, has more objects than
    `limits.max_datasets`, or holds an external link, a soft link that leads nowhere or upwards, a
    cycle, external storage or a virtual dataset anywhere, read or not.
    """
    where, size = regular_file(path)
    with contextlib.ExitStack() as stack:
        with _translated(where, "the file's structure"):
            # Named, so that no environment variable picks a driver that spans several files.
            handle = h5py.File(where, "r", driver="sec2", locking="best-effort")
            stack.callback(_close, handle)
            file = SafeFile(where, handle, Budget(where, size, limits or Limits()))
        yield file


def read_dataset(
    file: SafeFile,
    name: str,
    *,
    shape: tuple[int | None, ...] | None = None,
    dtype: np.dtype | type | None = None,
    slice: Index | None = None,
) -> np.ndarray:
    """Read a numeric dataset, or a part of it, as a native array of its own.

    name: its path. shape: what the whole dataset must have, None for a free axis.
    dtype: what to cast to, same-kind casts only; None keeps the stored one. Compounds (r, i) and
    (real, imag) are complex. slice: integers, slices and an ellipsis, as in NumPy; None is all.

    Raises FileError if the name is unknown, the shape or dtype differs, the dataset is not numeric,
    its size passes the file's budget, a filter is unknown, or stored chunks are missing.
    """
    try:
        entry = file.datasets[file.resolve(name)]
    except KeyError:
        known = ", ".join(list(file.datasets)[:8]) or "none"
        raise FileError(
            file.path, f"expected a dataset {name}, got none of that name; it has {known}"
        ) from None
    if entry.dtype is None or entry.shape is None or not _numeric(entry.dtype):
        got = "no data" if entry.shape is None else f"dtype {entry.dtype}"
        raise FileError(file.path, f"expected numbers in {name}, got {got}; name another dataset")
    if shape is not None and not _fits(entry.shape, shape):
        raise FileError(
            file.path, f"expected shape {shape} for {name}, got {entry.shape}; check the file"
        )
    native = _native(entry.dtype)
    wanted = native if dtype is None else np.dtype(dtype)
    if not np.can_cast(native, wanted, "same_kind"):
        raise FileError(file.path, f"expected {name} as {wanted}, got {native}; name another dtype")
    index = _index(file, entry, slice)
    count = prod(_indexed_shape(file, entry, index))
    file.budget.take(count * max(entry.dtype.itemsize, wanted.itemsize), name)
    with _translated(file.path, f"the dataset {name}"):
        dataset = h5py.Dataset(
            h5o.open(file._handle.id, entry.name.encode("utf-8", "surrogateescape"))
        )
        _check_storage(file, entry, dataset.id)
        values = np.asarray(dataset[index])
    return np.ascontiguousarray(_plain(values), dtype=wanted).reshape(values.shape)


def _check_storage(file: SafeFile, entry: Entry, dataset: h5d.DatasetID) -> None:
    """Refuse what would read as silent zeros or inflate past its declared size."""
    creation = dataset.get_create_plist()
    size = prod(entry.shape or ())
    if not size:
        return
    itemsize = dataset.get_type().get_size()
    if creation.get_layout() != h5d.CHUNKED:
        if dataset.get_storage_size() < size * itemsize:
            raise _not_written(file, entry, "none of its bytes")
        return
    chunk = creation.get_chunk()
    chunk_bytes = prod(chunk) * itemsize
    Budget(file.path, file.budget.file_bytes, file.budget.limits).take(
        chunk_bytes, f"a chunk of {entry.name}"
    )
    expected = prod(-(-n // c) for n, c in zip(entry.shape or (), chunk, strict=True))
    stored = dataset.get_num_chunks()
    if stored < expected:
        raise _not_written(file, entry, f"{stored} of {expected} chunks")
    filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
    if not set(filters) <= PLAIN_FILTERS or len(set(filters)) < len(filters):
        raise FileError(
            file.path,
            f"expected deflate, shuffle, fletcher32 or lzf once each in {entry.name}, got filters "
            f"{filters}; rewrite it with h5repack -f GZIP=6",
        )
    if h5z.FILTER_DEFLATE in filters:
        _check_deflate(file, entry, dataset, filters, chunk_bytes)


def _check_deflate(
    file: SafeFile, entry: Entry, dataset: h5d.DatasetID, filters: list[int], chunk_bytes: int
) -> None:
    """libhdf5 inflates a chunk to its end, however far past the declared size: look first."""
    if filters[filters.index(h5z.FILTER_DEFLATE) + 1 :] not in ([], [h5z.FILTER_FLETCHER32]):
        raise FileError(
            file.path,
            f"expected deflate to be the last compression of {entry.name}, got filters {filters}; "
            "rewrite it with h5repack -f GZIP=6",
        )
    suspects: list[tuple[int, ...]] = []
    worst = max(chunk_bytes, file.budget.limits.free_bytes)
    if file.budget.file_bytes * MAX_DEFLATE <= worst:
        return

    def look(info: h5d.StoreInfo) -> None:
        if info.size * MAX_DEFLATE > worst and not info.filter_mask:
            suspects.append(info.chunk_offset)

    dataset.chunk_iter(look)
    for offset in suspects:
        _, packed = dataset.read_direct_chunk(offset)
        unpacked = 0
        stream = zlib.decompressobj()
        rest = bytes(packed)
        while rest and unpacked <= chunk_bytes:
            unpacked += len(stream.decompress(rest, 1 << 20))
            rest = stream.unconsumed_tail
        if unpacked > chunk_bytes:
            raise FileError(
                file.path,
                f"expected chunks of {chunk_bytes} bytes in {entry.name}, got one that inflates "
                "further; the file is damaged or hostile, get it again",
            )


def _not_written(file: SafeFile, entry: Entry, got: str) -> FileError:
    return FileError(
        file.path,
        f"expected all of {entry.name} to be stored, got {got} (the rest would read as silent "
        "zeros); write the file again",
    )


def _numeric(dtype: np.dtype) -> bool:
    if dtype.names is not None:
        parts = [dtype[name] for name in dtype.names]
        return dtype.names == ("real", "imag") and parts[0] == parts[1] and parts[0].kind == "f"
    return dtype.kind in "biufc"


def _native(dtype: np.dtype) -> np.dtype:
    if dtype.names is not None:
        return np.result_type(dtype[0].newbyteorder("="), np.complex64)
    return np.dtype(dtype.newbyteorder("=").str)


def _plain(values: np.ndarray) -> np.ndarray:
    if values.dtype.names is not None:
        # An empty imaginary part is kept as +0: real + 1j*imag would turn inf into nan.
        out = np.empty(values.shape, _native(values.dtype))
        out.real, out.imag = values["real"], values["imag"]
        return out
    if values.dtype.kind == "b":
        # HDF5 stores booleans as a one-byte enumeration, of which a damaged file breaks the range.
        return values.view(np.uint8) != 0
    return values


def _index(file: SafeFile, entry: Entry, index: Index | None) -> Index:
    chosen = ... if index is None else index
    for part in chosen if isinstance(chosen, tuple) else (chosen,):
        if not isinstance(part, int | slice | EllipsisType):
            raise TypeError(f"expected integers and slices for {entry.name}, got {part!r}")
        if isinstance(part, slice) and part.step is not None and part.step < 1:
            raise ValueError(f"expected a slice with step >= 1 for {entry.name}, got {part!r}")
    return chosen


def _indexed_shape(file: SafeFile, entry: Entry, index: Index) -> tuple[int, ...]:
    try:
        return np.broadcast_to(np.empty((), bool), entry.shape or ())[index].shape
    except (IndexError, ValueError):
        raise FileError(
            file.path, f"expected an index inside {entry.name} of {entry.shape}, got {index}"
        ) from None


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        w is None or w == n for n, w in zip(shape, wanted, strict=True)
    )


def _is_variable_text(kind: h5t.TypeID) -> bool:
    return isinstance(kind, h5t.TypeStringID) and kind.is_variable_str()


def _identity(thing: h5o.ObjectID) -> tuple[int, int]:
    info = h5o.get_info(thing)
    return info.fileno, info.addr


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _join(parent: str, child: str) -> str:
    return f"{parent.rstrip('/')}/{child}"


def _close(handle: h5py.File) -> None:
    # A damaged file may fail to close; nothing was to be written, so nothing is lost.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        handle.close()


@contextlib.contextmanager
def _translated(path: Path, what: str) -> Iterator[None]:
    """What libhdf5 and h5py raise on a damaged file, as a FileError."""
    try:
        yield
    except FileError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        zlib.error,
    ) as error:
        reason = str(error).strip("'\"")[:160] or type(error).__name__
        raise FileError(
            path, f"expected a whole HDF5 file, got an error in {what} ({reason}); get it again"
        ) from None
