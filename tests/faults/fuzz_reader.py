"""Damages files and reads them, in a process that may die.

`fuzz_reader.py SCRATCH FIRST LAST FILE...`

Prints a line `index outcome` for each case: ok, refused, or what went wrong. The limits of the
promise hold: 2 GiB of address space, and SIGALRM kills after 10 s in one file.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np

from sciml.io import FileError, MatrixFormat, SystemFile, read_system, read_vector

MEMORY = 2 << 30
SECONDS = 10


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


def guarded(original: SystemFile, path: Path) -> bool:
    """Whether a checksum covers what was read."""
    compressed = original.format is MatrixFormat.MAT5 and "compressed" in path.name
    return compressed or original.format in (MatrixFormat.NPZ, MatrixFormat.MATRIX_MARKET_GZ)


def stored(system: SystemFile) -> np.ndarray:
    """The numbers without the zeros around them, of which a damaged shape may have billions."""
    matrix = system.matrix
    return matrix if isinstance(matrix, np.ndarray) else matrix.data


def same(one: SystemFile, other: SystemFile) -> bool:
    a, b = one.matrix, other.matrix
    if a.shape != b.shape or not np.array_equal(stored(one), stored(other)):
        return False
    return isinstance(a, np.ndarray) or np.array_equal(a.indices, b.indices)


def attempt(path: Path, original: SystemFile | None, vector: bool) -> str:
    before = path.stat().st_mtime_ns
    try:
        if vector:
            values = read_vector(path).vector
            good = values.ndim == 1 and bool(np.isfinite(values).all())
        else:
            system = read_system(path)
            good = bool(np.isfinite(stored(system)).all())
            if original is not None and not same(system, original):
                return "LIE: other numbers under a checksum"
        outcome = "ok" if good else "LIE: not a finite array"
    except FileError as error:
        outcome = "refused" if "\n" not in str(error) else "a message of several lines"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " ")
    return outcome if path.stat().st_mtime_ns == before else "the reader wrote to the file"


def main(scratch: Path, first: int, last: int, files: list[Path]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    originals = [(path, path.read_bytes(), read_system(path)) for path in files]
    for index in range(first, last):
        path, content, system = originals[index % len(originals)]
        rng = np.random.default_rng([18, index])
        inner = system.format is MatrixFormat.NPZ and rng.random() < 0.5
        damaged = damage_member(content, rng) if inner else damage(content, rng)
        target = scratch / f"damaged{path.suffix}"
        target.write_bytes(damaged)
        signal.alarm(SECONDS)
        kept = system if guarded(system, path) and not inner else None
        outcome = attempt(target, kept, vector=rng.random() < 0.25)
        signal.alarm(0)
        print(index, outcome, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [Path(a) for a in sys.argv[4:]])
