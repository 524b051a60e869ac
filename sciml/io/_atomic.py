"""Writers that leave the old file or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, overload

import numpy as np

from ._limits import FileError


@overload
def atomic_file(
    path: str | os.PathLike[str], *, text: Literal[False] = False
) -> contextlib.AbstractContextManager[IO[bytes]]: ...
@overload
def atomic_file(
    path: str | os.PathLike[str], *, text: Literal[True]
) -> contextlib.AbstractContextManager[IO[str]]: ...
def atomic_file(
    path: str | os.PathLike[str], *, text: bool = False
) -> contextlib.AbstractContextManager[IO[Any]]:
    """A handle whose content takes the place of `path` when the block ends without an exception.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and are renamed
    over `path`; the folder is flushed too. On any exception, KeyboardInterrupt included, the
    temporary file is removed and the old file is untouched. A symbolic link is followed: the file
    it names is replaced. The mode of an existing file is kept. With `text` the handle takes str
    and writes UTF-8.

    Raises FileError where the folder is missing or `path` is a folder or a device, OSError for a
    full disk.
    """
    return _atomic_file(path, text=text)


@contextlib.contextmanager
def _atomic_file(path: str | os.PathLike[str], *, text: bool) -> Iterator[IO[Any]]:
    with atomic_path(path) as scratch:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        encoding = "utf-8" if text else None
        with open(descriptor, "w" if text else "wb", encoding=encoding) as handle:
            yield handle


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike[str], *, scratch: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """As `atomic_file`, for a library that opens its files itself: yields the path to write to.

    scratch: the folder of the temporary file, on the same file system; that of `path` if not given.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise FileError(path, "expected a file to write, got a folder; name a file inside it")
    if target.exists() and not target.is_file():
        # A rename would put a file in the place of /dev/null.
        raise FileError(path, "expected a file to write, got a device, pipe or socket; name a file")
    if not target.parent.is_dir():
        raise FileError(path, "expected an existing folder to write into, got none; create it")
    # The name is shortened so that a long one does not pass the file system's limit of 255 bytes.
    folder = target.parent if scratch is None else Path(scratch)
    temporary = folder / f".{target.name[:40]}.{secrets.token_hex(8)}.tmp"
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    try:
        yield temporary
        if mode is not None:
            os.chmod(temporary, mode)
        _flush(temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(target.parent)  # the rename itself


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed `.npz`, atomically; equal arrays give equal bytes.

    arrays: name to array, of any shape and any dtype but object (nothing is pickled).
    Raises ValueError for an empty mapping or an object dtype, TypeError for a name that is no str.
    """
    if not arrays:
        raise ValueError("expected at least one array to write, got none; pass {name: array}")
    checked: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        if not isinstance(name, str):
            raise TypeError(f"expected array names to be str, got {name!r}; rename it")
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise ValueError(f"expected a plain array name, got {name!r}; rename it")
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise ValueError(f"expected numbers for {name!r}, got dtype object; convert it first")
        checked[name] = array
    with (
        atomic_file(path) as handle,
        zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, array in checked.items():
            # The fixed date of ZipInfo: the same arrays always make the same file.
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write `obj` as indented UTF-8 JSON with a final newline, atomically.

    Raises ValueError for NaN or infinity (JSON has neither) and TypeError for what JSON cannot
    hold, both before the file is touched.
    """
    content = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(path, text=True) as handle:
        handle.write(content)
