"""Damages files and reads them, in a process that may die.

`fuzz_reader.py READER SCRATCH FIRST LAST FILE...`

READER is one of READERS. Of a pair of files (.cfl, .hdr) one is damaged, the other copied. Prints a
line `index outcome` for each case: ok, refused, or what went wrong. The limits of the promise hold:
2 GiB of address space, and SIGALRM kills after 10 s in one file.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sciml.io import (
    FileError,
    ImageFile,
    ImageFormat,
    KSpace,
    KSpaceFormat,
    MatrixFormat,
    SystemFile,
    read_image,
    read_kspace,
    read_system,
    read_vector,
)
from sciml.io.channels import PilotFile, read_pilots
from sciml.io.csi import CsiFile, read_csi

MEMORY = 2 << 30
SECONDS = 10
PAIRS = {".cfl": ".hdr", ".hdr": ".cfl"}
CHECKSUMS = {
    MatrixFormat.NPZ,
    MatrixFormat.MATRIX_MARKET_GZ,
    KSpaceFormat.NPZ,
    ImageFormat.NPZ,
    ImageFormat.PNG,
}


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flipped bits, overwritten words, cuts, holes and splices; never the same bytes."""
    while True:
        data = bytearray(content)
        at = int(rng.integers(len(data)))
        end = at + int(rng.integers(1, 64))
        match int(rng.integers(7)):
            case 0 | 1:
                for where in rng.integers(len(data), size=rng.integers(1, 9)):
                    data[where] ^= 1 << int(rng.integers(8))
            case 2:
                word = int(rng.choice([0, 1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 40]))
                at &= ~3
                data[at : at + 8] = word.to_bytes(8, "little")[: rng.choice([4, 8])]
            case 3:
                del data[at:]
            case 4:
                del data[at:end]
            case 5:
                data[at:at] = rng.bytes(end - at)
            case _:
                other = int(rng.integers(len(data)))
                data[at:end] = data[other : other + end - at]
        if data and data != content:
            return bytes(data)


def damage_member(content: bytes, rng: np.random.Generator) -> bytes:
    """A whole archive around a damaged array: its checksum fits, so only the readers can notice."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            member = old.read(name)
            new.writestr(name, damage(member, rng) if name == chosen else member)
    return out.getvalue()


def guarded(original: Any, path: Path) -> bool:
    """Whether a checksum covers what was read."""
    name = path.name
    return (
        getattr(original, "format", None) in CHECKSUMS
        or "compressed" in name
        or name.endswith(".nii.gz")
    )


def stored(system: SystemFile) -> np.ndarray:
    """The numbers without the zeros around them, of which a damaged shape may have billions."""
    matrix = system.matrix
    return matrix if isinstance(matrix, np.ndarray) else matrix.data


def same_system(one: SystemFile, other: SystemFile) -> bool:
    a, b = one.matrix, other.matrix
    if a.shape != b.shape or not np.array_equal(stored(one), stored(other)):
        return False
    return isinstance(a, np.ndarray) or np.array_equal(a.indices, b.indices)


def same_data(one: KSpace | ImageFile, other: KSpace | ImageFile) -> bool:
    return np.array_equal(one.data, other.data)


def same_pilots(one: PilotFile, other: PilotFile) -> bool:
    return np.array_equal(one.Y, other.Y) and np.array_equal(one.P, other.P)


def same_csi(one: CsiFile, other: CsiFile) -> bool:
    return np.array_equal(one.H, other.H)


class Reader(NamedTuple):
    """read: a file. numbers: of what it gives. same: whether two results are equal."""

    read: Callable[[Path], Any]
    numbers: Callable[[Any], np.ndarray]
    same: Callable[[Any, Any], bool] = same_data


READERS = {
    "system": Reader(read_system, stored, same_system),
    "vector": Reader(read_vector, lambda found: found.vector),
    "kspace": Reader(read_kspace, lambda found: found.data),
    "image": Reader(read_image, lambda found: found.data),
    "pilots": Reader(read_pilots, lambda found: found.Y, same_pilots),
    "csi": Reader(read_csi, lambda found: found.H, same_csi),
}


def attempt(path: Path, original: Any, reader: Reader) -> str:
    before = path.stat().st_mtime_ns
    try:
        found = reader.read(path)
        good = bool(np.isfinite(reader.numbers(found)).all())
        if original is not None and not reader.same(found, original):
            return "LIE: other numbers under a checksum"
        outcome = "ok" if good else "LIE: not a finite array"
    except FileError as error:
        outcome = "refused" if "\n" not in str(error) else "a message of several lines"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " ")
    return outcome if path.stat().st_mtime_ns == before else "the reader wrote to the file"


def main(name: str, scratch: Path, first: int, last: int, files: list[Path]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    reader = READERS[name]
    originals = [(path, path.read_bytes(), reader.read(path)) for path in files]
    for index in range(first, last):
        path, content, original = originals[index % len(originals)]
        rng = np.random.default_rng([18, index])
        inner = path.suffix == ".npz" and rng.random() < 0.5
        damaged = damage_member(content, rng) if inner else damage(content, rng)
        target = scratch / f"damaged{''.join(path.suffixes)}"
        target.write_bytes(damaged)
        if path.suffix in PAIRS:
            other = path.with_suffix(PAIRS[path.suffix])
            (scratch / f"damaged{other.suffix}").write_bytes(other.read_bytes())
        vector = name == "system" and rng.random() < 0.25
        signal.alarm(SECONDS)
        kept = original if guarded(original, path) and not inner and not vector else None
        outcome = attempt(target, kept, READERS["vector"] if vector else reader)
        signal.alarm(0)
        print(index, outcome, flush=True)


if __name__ == "__main__":
    reader, scratch, first, last, *paths = sys.argv[1:]
    main(reader, Path(scratch), int(first), int(last), [Path(path) for path in paths])
