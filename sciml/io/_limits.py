"""What a reader may spend, and the one error it raises."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._checks import Argument, ArgumentError


class FileError(ArgumentError):
    """A file that cannot be read or written as asked.

    The message is one line: the path, what was expected, what was got, what to do.
    """

    def __init__(self, path: str | os.PathLike[str], *message: str | Argument) -> None:
        self.path = os.fspath(path)
        self._message = message
        super().__init__(" ".join(f"{self.path}:".split()), " ", *map(_on_one_line, message))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, *self._message)


def _on_one_line(part: str | Argument) -> str | Argument:
    return re.sub(r"\s+", " ", part) if isinstance(part, str) else part


@dataclass(frozen=True)
class Limits:
    """Caps that hold before memory is allocated.

    max_bytes: bytes of all arrays decoded from one file, together.
    max_datasets: groups and datasets of an HDF5 file (the root included), or members of an archive.
    max_ratio: decoded bytes per byte of file; looked at past `free_bytes` only.
    free_bytes: decoded bytes that need no plausibility check.

    A few kilobytes may declare terabytes, in every format with compression or with a header.
    Raise `max_bytes` for large files and `max_ratio` for very compressible ones, if you trust them.
    """

    max_bytes: int = 8 << 30
    max_datasets: int = 10_000
    max_ratio: int = 1000
    free_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_datasets", "max_ratio", "free_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"expected Limits.{name} to be an int >= 1, got {value!r}")


@dataclass
class Budget:
    """Bytes promised so far while one file is read. `take` comes before every allocation."""

    path: Path
    file_bytes: int
    limits: Limits
    taken: int = field(default=0)

    def take(self, nbytes: int, what: str) -> None:
        """Count `nbytes` for the array called `what`.

        Raises FileError where the total passes the cap or is implausible for the file's size.
        """
        total = self.taken + nbytes
        if total > self.limits.max_bytes:
            raise FileError(
                self.path,
                f"expected at most {_size(self.limits.max_bytes)} once decoded, got {_size(total)} "
                f"declared at {what}; set ",
                Argument("Limits.max_bytes"),
                " if the file is trusted",
            )
        ratio = self.limits.max_ratio
        if total > self.limits.free_bytes and total > ratio * self.file_bytes:
            raise FileError(
                self.path,
                f"expected at most {ratio} decoded bytes per byte of file, got {_size(total)} "
                f"declared at {what} in a file of {_size(self.file_bytes)}; set ",
                Argument("Limits.max_ratio"),
                " if the file is trusted",
            )
        self.taken = total


def regular_file(path: str | os.PathLike[str]) -> tuple[Path, int]:
    """The path and size in bytes of an ordinary, non-empty file; FileError for anything else."""
    where = Path(path)
    try:
        info = where.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(path, f"expected a readable file, got {reason}; check the path") from None
    if stat.S_ISDIR(info.st_mode):
        raise FileError(path, "expected a file, got a folder; name a file inside it")
    if not stat.S_ISREG(info.st_mode):
        raise FileError(path, "expected an ordinary file, got a device, pipe or socket; copy it")
    if info.st_size == 0:
        raise FileError(path, "expected data, got an empty file; write or download it again")
    if not os.access(where, os.R_OK):
        raise FileError(path, "expected a readable file, got no permission; change its mode")
    return where, info.st_size


def _size(nbytes: int) -> str:
    value = float(nbytes)
    for unit in ("B", "kiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} PiB"
