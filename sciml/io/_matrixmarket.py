"""MatrixMarket text files, plain or gzipped.

Boisvert, Pozo, Remington, "The Matrix Market Exchange Formats: Initial Design", NISTIR 5935, 1996.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from ._limits import Budget, FileError, Limits
from ._stored import MAX_AXIS, Catalog, Coordinates, Item, Stored

# The format's own bound on a line.
MAX_LINE = 1024
MAX_IDLE_LINES = 10_000
# The shortest entry is "1 1\n" or "0\n"; gzip cannot pack tighter than deflate does.
SHORTEST = {"coordinate": 4, "array": 2}
MAX_DEFLATE = 1032
COLUMNS = {"real": 1, "double": 1, "integer": 1, "unsigned-integer": 1, "complex": 2, "pattern": 0}
SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")


@dataclass(frozen=True)
class Header:
    """The banner and the size line. entries: how many lines follow."""

    layout: str
    field: str
    symmetry: str
    shape: tuple[int, int]
    entries: int

    @property
    def columns(self) -> int:
        return COLUMNS[self.field] + (2 if self.layout == "coordinate" else 0)


@contextlib.contextmanager
def open_matrixmarket(path: Path, size: int, limits: Limits, *, gzipped: bool) -> Iterator[Catalog]:
    """The one matrix of a MatrixMarket file. Raises FileError for a damaged or hostile one."""
    budget = Budget(path, size, limits)
    with open(path, "rb") as raw, contextlib.ExitStack() as stack:
        handle: IO[bytes] = raw
        if gzipped:
            packed = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb"))
            handle = stack.enter_context(io.BufferedReader(packed, 1 << 16))
        lines = _lines(handle, Budget(path, size, _text_limits(limits)))
        try:
            header = _header(lines, path)
            text = size * (MAX_DEFLATE if gzipped else 1)
            if header.entries * SHORTEST[header.layout] > text + 1:
                raise FileError(
                    path,
                    f"expected {header.entries} entries as the size line says, got a file that "
                    f"cannot hold them in its {size} bytes; get it again",
                )
            item = Item(
                None,
                header.shape,
                header.layout == "coordinate",
                lambda: _body(lines, header, budget),
            )
            yield Catalog(budget, (item,))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(
                path, f"expected a whole gzip file, got {error}; get it again"
            ) from None


def _text_limits(limits: Limits) -> Limits:
    """Tighter ones for unpacked text, which costs more time a byte and packs less than arrays."""
    return replace(
        limits,
        max_ratio=max(1, limits.max_ratio // 10),
        free_bytes=max(1, limits.free_bytes // 4),
    )


def _lines(handle: IO[bytes], text: Budget) -> Iterator[str]:
    """Lines of a bounded length, of a text that is bounded as a whole."""
    while line := handle.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise FileError(
                text.path, f"expected lines of at most {MAX_LINE} bytes, got a longer one"
            )
        text.take(len(line), "the text")
        yield line.decode("latin-1")


def _header(lines: Iterator[str], path: Path) -> Header:
    banner = next(lines, "").lower().split()
    layout, field, symmetry = banner[2:] if len(banner) == 5 else ("", "", "")
    if (
        banner[:2] != ["%%matrixmarket", "matrix"]
        or layout not in SHORTEST
        or field not in COLUMNS
        or symmetry not in SYMMETRIES
        or (field == "pattern" and (layout == "array" or symmetry[:2] in ("sk", "he")))
    ):
        raise FileError(
            path,
            "expected a first line such as %%MatrixMarket matrix coordinate real general, got "
            f"{' '.join(banner)[:80]!r}; write it with scipy.io.mmwrite",
        )
    line = next(_with_numbers(lines, path), None)
    if line is None:
        raise FileError(path, "expected a size line after the comments, got the end")
    sizes = line.split()
    wanted = 3 if layout == "coordinate" else 2
    if len(sizes) != wanted or not all(re.fullmatch("[0-9]{1,20}", word) for word in sizes):
        raise FileError(
            path, f"expected a size line of {wanted} integers, got {line[:80].strip()!r}"
        )
    rows, cols, *rest = map(int, sizes)
    if symmetry != "general" and rows != cols:
        raise FileError(path, f"expected a square {symmetry} matrix, got {rows} by {cols}")
    if max(rows, cols) > MAX_AXIS:
        raise FileError(path, f"expected fewer than 2^53 rows, got {rows} by {cols}")
    return Header(
        layout, field, symmetry, (rows, cols), rest[0] if rest else _packed(rows, cols, symmetry)
    )


def _packed(rows: int, cols: int, symmetry: str) -> int:
    """How many values the array layout stores: of a symmetric matrix the lower triangle."""
    if symmetry == "general":
        return rows * cols
    return rows * (rows - 1) // 2 if symmetry == "skew-symmetric" else rows * (rows + 1) // 2


def _body(lines: Iterator[str], header: Header, budget: Budget) -> Stored:
    mirrored = 1 if header.symmetry == "general" else 2
    # The table of floats, then rows, columns and values, mirrored where that is needed.
    budget.take(header.entries * (8 * header.columns + 32 * mirrored), "the entries")
    table = _table(lines, header, budget)
    values = _values(table, header, budget.path)
    if header.layout == "array":
        return _unpack(values, header, budget)
    index = table[:, :2]
    if len(index) and not (index >= 1).all() & (index <= header.shape).all():
        at = int((~((index >= 1) & (index <= header.shape)).all(1)).argmax())
        raise FileError(
            budget.path,
            f"expected indices from 1 to {header.shape}, got {index[at].tolist()} in entry "
            f"{at + 1}; the file is damaged",
        )
    rows, cols = (index.T - 1).astype(np.int64)
    if (rows + 1 != index[:, 0]).any() or (cols + 1 != index[:, 1]).any():
        raise FileError(budget.path, "expected whole numbers as indices, got fractions")
    return _mirror(rows, cols, values, header, budget)


def _table(lines: Iterator[str], header: Header, budget: Budget) -> np.ndarray:
    """The lines of numbers: (entries, columns) float64."""
    rest = _with_numbers(lines, budget.path)
    first = next(rest, None)
    if first is None or not header.entries:
        table = np.empty((0, header.columns))
        found = 0 if first is None else 1
    else:
        # One more than declared, so that too many are noticed. With gzip this also reads to the
        # end, where the checksum is. NumPy warns of an empty input, hence the line in hand.
        try:
            table = np.loadtxt(
                chain([first], rest), comments=None, ndmin=2, max_rows=header.entries + 1
            )
        except FileError:
            raise
        except ValueError as error:
            raise FileError(
                budget.path, f"expected lines of {header.columns} numbers, got an error: {error}"
            ) from None
        found = len(table)
    if found != header.entries:
        got = "more" if found > header.entries else f"{found}; the file is cut off, get it again"
        raise FileError(budget.path, f"expected {header.entries} entries, got {got}")
    if table.shape[1] != header.columns:
        raise FileError(
            budget.path, f"expected lines of {header.columns} numbers, got {table.shape[1]}"
        )
    return table


def _with_numbers(lines: Iterator[str], path: Path) -> Iterator[str]:
    """The lines that are neither blank nor a comment; of those a packed file may hold billions."""
    idle = 0
    for line in lines:
        if not line.isspace() and not line.lstrip().startswith("%"):
            yield line
            continue
        idle += 1
        if idle > MAX_IDLE_LINES:
            raise FileError(
                path, f"expected at most {MAX_IDLE_LINES} blank lines and comments, got more"
            )


def _values(table: np.ndarray, header: Header, path: Path) -> np.ndarray:
    if header.field == "pattern":
        return np.ones(len(table), bool)
    if header.field.endswith("integer"):
        whole = table[:, -1]
        if not ((np.abs(whole) < 2.0**63) & (whole == np.floor(whole))).all():
            raise FileError(
                path, "expected whole numbers below 2^63, got others; declare them real"
            )
        return whole.astype(np.int64)
    if header.field == "complex":
        # A view of the pair keeps the signs of zeros, which re + 1j*im would lose.
        return np.ascontiguousarray(table[:, -2:]).view(np.complex128)[:, 0]
    return table[:, -1].copy()


def _mirror(
    rows: np.ndarray, cols: np.ndarray, values: np.ndarray, header: Header, budget: Budget
) -> Coordinates:
    if header.symmetry == "general":
        return Coordinates(rows, cols, values, header.shape)
    diagonal = rows == cols
    wrong = {
        "symmetric": np.zeros(0),
        "skew-symmetric": values[diagonal],
        "hermitian": np.imag(values[diagonal]),
    }[header.symmetry]
    if wrong.any():
        raise FileError(
            budget.path,
            f"expected a diagonal that fits a {header.symmetry} matrix, got {wrong[wrong != 0][0]} "
            "on it; the file contradicts itself",
        )
    other = _reflected(values[~diagonal], header.symmetry)
    return Coordinates(
        np.concatenate([rows, cols[~diagonal]]),
        np.concatenate([cols, rows[~diagonal]]),
        np.concatenate([values, other]),
        header.shape,
    )


def _unpack(values: np.ndarray, header: Header, budget: Budget) -> np.ndarray:
    """Column by column; of a symmetric matrix only what lies on and below the diagonal."""
    rows, cols = header.shape
    budget.take(rows * cols * values.dtype.itemsize, "the matrix")
    if header.symmetry == "general":
        return np.ascontiguousarray(values.reshape((cols, rows)).T)
    out = np.zeros(header.shape, values.dtype)
    # The lower triangle by columns is the upper one of the transpose by rows.
    j, i = np.triu_indices(rows, 1 if header.symmetry == "skew-symmetric" else 0)
    out[j, i] = _reflected(values, header.symmetry)
    out[i, j] = values
    if header.symmetry == "hermitian" and np.imag(out.diagonal()).any():
        raise FileError(budget.path, "expected a real diagonal in a hermitian matrix, got another")
    return out


def _reflected(values: np.ndarray, symmetry: str) -> np.ndarray:
    if symmetry == "skew-symmetric":
        return -values
    return values.conj() if symmetry == "hermitian" else values
