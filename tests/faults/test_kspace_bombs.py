"""Files of k-space and images that ask for absurd memory or time: refused at once."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from sciml.io import write_image as write
from tests.faults.test_kspace_readers import ENTITIES, Write, bart, xml
from tests.numerics._kspace_files import acquisition, header, mrd, write_mrd

ROOT = Path(__file__).resolve().parents[2]


def declared_hdf5(path: Path) -> None:
    """16 GiB of chunks that were never written."""
    with h5py.File(path, "w") as file:
        shape = (16, 16, 2896, 2896)
        file.create_dataset("kspace", shape, np.complex64, chunks=(1, 1, 181, 181))


def deflated_hdf5(path: Path) -> None:
    """A chunk of 512 KiB that inflates to 300 MiB."""
    packer = zlib.compressobj(9)
    chunk = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "kspace", (1, 1, 256, 256), np.complex64, chunks=(1, 1, 256, 256), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0, 0, 0), chunk)


def declared_mrd(path: Path) -> None:
    """A grid of 64 GiB for one line."""
    write_mrd(path, header(8192, 65536), [acquisition(np.ones((16, 64)))])


def endless_heap(path: Path) -> None:
    """Samples in a heap whose object has no size: libhdf5 never gets past such a one."""
    mrd(path, np.ones((2, 4, 4), np.complex64))
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL")
    while at >= 0:
        content[at + 16 : at + 32] = bytes(16)
        at = content.find(b"GCOL", at + 1)
    path.write_bytes(content)


def declared_nifti(path: Path) -> None:
    """16 GiB in the header of a small gzip file."""
    write(path, np.ones((4, 4), np.float32))
    head = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<4h", head, 40, 3, 2048, 2048, 1024)
    path.write_bytes(gzip.compress(bytes(head)))


def inflating_nifti(path: Path) -> None:
    """256 MiB after the header, which declares 64 bytes."""
    write(path.with_suffix(""), np.ones((4, 4), np.float32))
    with gzip.open(path, "wb", 1) as handle:
        handle.write(path.with_suffix("").read_bytes())
        for _ in range(64):
            handle.write(bytes(1 << 22))


def declared_png(path: Path) -> None:
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c))
            for k, c in chunks
        )
    )


def declared_jpeg(path: Path) -> None:
    Image.new("L", (16, 16)).save(path)
    content = path.read_bytes()
    at = content.index(b"\xff\xc0") + 5  # of the frame's header: rows and columns
    path.write_bytes(content[:at] + struct.pack(">HH", 30_000, 30_000) + content[at + 4 :])


BOMBS: dict[str, Write] = {
    "declared.h5": declared_hdf5,
    "deflated.h5": deflated_hdf5,
    "grid.h5": declared_mrd,
    "heap.h5": endless_heap,
    "entities.h5": xml("<ismrmrdHeader", ENTITIES + "<a"),
    "declared.nii.gz": declared_nifti,
    "inflating.nii.gz": inflating_nifti,
    "declared.png": declared_png,
    "declared.jpg": declared_jpeg,
    "declared.cfl": bart("# Dimensions\n65536 32768\n"),
}
MEASURE = """
import json, sys, time
import h5py, PIL.Image
from sciml.io import FileError, read_image, read_kspace
for path in sys.argv[1:]:
    start = time.perf_counter()
    outcome = "read"
    try:
        (read_image if path.endswith(("gz", "png", "jpg")) else read_kspace)(path)
    except FileError as error:
        outcome = str(error)
    seconds = time.perf_counter() - start
    # VmHWM is this program's own; getrusage's peak is inherited from the process that forked it
    status = open("/proc/self/status").read()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps([path.rpartition("/")[2], outcome, seconds, peak]))
"""


def test_bombs_are_refused_quickly_and_in_little_memory(tmp_path):
    for name, make in BOMBS.items():
        make(tmp_path / name)
    paths = [str(tmp_path / name) for name in BOMBS]
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, *paths]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == list(BOMBS)
    for name, outcome, seconds, peak in told:
        print(f"{name}: {seconds:.3f} s, {peak >> 20} MiB, {outcome}")
        assert "expected" in outcome, f"{name}: {outcome}"
        assert seconds < 1, f"{name} took {seconds:.2f} s"
        assert peak < 512 << 20, f"{name} took {peak >> 20} MiB"
