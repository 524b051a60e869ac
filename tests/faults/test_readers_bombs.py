"""Files that ask for absurd memory or time: refused at once, within the caller's limits."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from sciml.io import FileError, Limits, read_system

ROOT = Path(__file__).resolve().parents[2]
BANNER = "%%MatrixMarket matrix coordinate real general\n"
Write = Callable[[Path], object]


def text(content: str) -> Write:
    return lambda path: path.write_text(content)


def bomb_hdf5(path: Path) -> None:
    """16 GiB behind two deflate filters."""
    chunk = zlib.compress(zlib.compress(bytes(64 << 20), 9), 9)
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 8 << 20))
        creation.set_deflate(9)
        creation.set_deflate(9)
        space = h5py.h5s.create_simple((256, 8 << 20))
        made = h5py.h5d.create(file.id, b"A", h5py.h5t.IEEE_F64LE, space, creation)
        for row in range(256):
            made.write_direct_chunk((row, 0), chunk)


def bomb_chunk(path: Path) -> None:
    """A chunk of 1 MiB that inflates to 300 MiB."""
    packer = zlib.compressobj(9)
    chunk = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    with h5py.File(path, "w") as file:
        made = file.create_dataset("A", (256, 512), "f8", chunks=(256, 512), compression="gzip")
        made.id.write_direct_chunk((0, 0), chunk)


def bomb_datasets(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(10_000):
            file[str(number)] = number


def bomb_zip(path: Path) -> None:
    """16 GiB in the directory, and a header that agrees."""
    head = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (46341, 46341)}".ljust(118)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A.npy", head + bytes(1 << 20))
        archive.infolist()[0].file_size = len(head) + 46341**2 * 8


def bomb_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")


def bomb_rows(path: Path) -> None:
    """One entry, and row pointers of 8 PiB."""
    np.savez(path, format=b"coo", shape=[1 << 50, 3], data=np.ones(1), row=[0], col=[0])


def bomb_npy(path: Path) -> None:
    with open(path, "wb") as handle:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
        np.lib.format.write_array_header_1_0(handle, header)


def bomb_heap(path: Path) -> None:
    """A text of variable length whose heap has an object of no size: libhdf5 never gets past it."""
    with h5py.File(path, "w") as file:
        made = file.create_group("A")
        made["data"], made["indices"], made["indptr"] = np.ones(2), [0, 1], [0, 1, 2]
        made.attrs["shape"], made.attrs["encoding-type"] = (2, 2), "csr_matrix"
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + 16
    content[start : start + 16] = bytes(16)
    path.write_bytes(content)


def bomb_mat(path: Path, declared: int = (1 << 32) - 8) -> None:
    """A compressed variable that declares 4 GiB, or less than there is."""
    order = int(np.sqrt(declared // 8))
    body = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, order, order)
    body += struct.pack("<HH4s", 1, 1, b"A") + struct.pack("<II", 9, order * order * 8)
    packer = zlib.compressobj(9)
    content = packer.compress(struct.pack("<II", 14, declared) + body)
    content += b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    lead = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(lead + struct.pack("<II", 15, len(content)) + content)


def bomb_gzip(content: str, line: str, count: int = 4 << 20) -> Write:
    def write(path: Path) -> None:
        with gzip.open(path, "wt", compresslevel=9) as handle:
            handle.write(content)
            for _ in range(64):
                handle.write(line * (count // 64))

    return write


BOMBS: dict[str, Write] = {
    "deflate.h5": bomb_hdf5,
    "chunk.h5": bomb_chunk,
    "datasets.h5": bomb_datasets,
    "heap.h5": bomb_heap,
    "zip.npz": bomb_zip,
    "members.npz": bomb_members,
    "header.npy": bomb_npy,
    "entries.mtx": text(BANNER + "1000000000 1000000000 1000000000000000\n1 1 1\n"),
    "rows.mtx": text(BANNER + "200000000 1 1\n1 1 1\n"),
    "array.mtx": text(BANNER.replace("coordinate", "array") + "100000000 100000000\n1\n"),
    "rows.npz": bomb_rows,
    "blank.mtx.gz": bomb_gzip(BANNER, "\n"),
    "comments.mtx.gz": bomb_gzip(BANNER + "1 1 1\n", "% no\n"),
    "padded.mtx.gz": bomb_gzip(BANNER + "9 9 5000000\n", "1 1 1".ljust(1023) + "\n", count=1 << 19),
    "line.mtx.gz": bomb_gzip(BANNER, "1"),
    "inflates.mat": bomb_mat,
    "lies.mat": lambda path: bomb_mat(path, 1 << 20),
}
MEASURE = """
import json, sys, time
import h5py, scipy.sparse
from sciml.io import FileError, read_system, read_vector
for path in sys.argv[1:]:
    start = time.perf_counter()
    outcome = "read"
    try:
        read_system(path)
    except FileError as error:
        outcome = str(error)
    seconds = time.perf_counter() - start
    # VmHWM is this program's own; getrusage's peak is inherited from the process that forked it
    status = open("/proc/self/status").read()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps([path.rpartition("/")[2], outcome, seconds, peak]))
"""


def test_bombs_are_refused_quickly_and_in_little_memory(tmp_path):
    for name, write in BOMBS.items():
        write(tmp_path / name)
    assert (tmp_path / "deflate.h5").stat().st_size < 134_000
    paths = [str(tmp_path / name) for name in BOMBS]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, *paths]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == list(BOMBS)
    for name, outcome, seconds, peak in told:
        print(f"{name}: {seconds:.3f} s, {peak >> 20} MiB")
        assert "expected" in outcome, f"{name}: {outcome}"
        assert seconds < 1, f"{name} took {seconds:.2f} s"
        assert peak < 512 << 20, f"{name} took {peak >> 20} MiB"


def test_limits_are_the_callers(tmp_path):
    np.savez(tmp_path / "a.npz", A=np.eye(100))
    assert read_system(tmp_path / "a.npz", limits=Limits(max_bytes=100_000)).key == "A"
    with pytest.raises(FileError, match=r"max_bytes"):
        read_system(tmp_path / "a.npz", limits=Limits(max_bytes=79_000))
    (tmp_path / "a.mtx").write_text(BANNER + "% a comment\n" * 1000 + "1 1 1\n1 1 5\n")
    assert read_system(tmp_path / "a.mtx").matrix[0, 0] == 5
    with pytest.raises(FileError, match="declared at the text"):
        read_system(tmp_path / "a.mtx", limits=Limits(max_bytes=10_000))
    np.savez(tmp_path / "b.npz", A=np.eye(3), b=np.ones(3))
    with pytest.raises(FileError, match=r"max_datasets"):
        read_system(tmp_path / "b.npz", limits=Limits(max_datasets=1))


def test_importing_the_readers_loads_no_format_library():
    code = (
        "import sys, sciml.io; print([m for m in ('h5py', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
