"""Writers leave the old file or the new one, whole: under SIGKILL, a full disk, and exceptions."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sciml.io import Axis, FileError, KSpace, atomic_file, write_json, write_npz
from sciml.io._fastmri import write_fastmri
from sciml.io._nifti import write_nifti

ROOT = Path(__file__).resolve().parents[2]


def _binary(path: Path, mark: int, size: int) -> None:
    with atomic_file(path) as handle:
        for _ in range(4):
            handle.write(bytes([mark]) * (size // 4))


def _text(path: Path, mark: int, size: int) -> None:
    with atomic_file(path, text=True) as handle:
        handle.write(str(mark) * size)


def _npz(path: Path, mark: int, size: int) -> None:
    write_npz(path, {"A": np.full(size // 8, float(mark)), "b": np.arange(3)})


def _json(path: Path, mark: int, size: int) -> None:
    write_json(path, [mark] * (size // 5))


def _hdf5(path: Path, mark: int, size: int) -> None:
    data = np.full((2, 4, -(-size // 64)), mark, np.complex64)
    write_fastmri(path, KSpace(data, (Axis.COIL, Axis.KY, Axis.KX)))


def _nifti(path: Path, mark: int, size: int) -> None:
    write_nifti(path, np.full((64, -(-size // 256)), mark, np.float32), None)


WRITERS: dict[str, Callable[[Path, int, int], None]] = {
    "atomic_file": _binary,
    "atomic_file text": _text,
    "write_npz": _npz,
    "write_json": _json,
    "write_kspace": _hdf5,
    "write_image": _nifti,
}
every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)

# One process that forks: each fork rewrites the file in a loop until it is killed.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("writers", sys.argv[1])
writers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writers)
folder, kills, size = Path(sys.argv[2]), int(sys.argv[3]), 1 << 19
chance = random.Random(23)
torn = left = 0
seen = set()
for kill in range(kills):
    write = list(writers.WRITERS.values())[kill % len(writers.WRITERS)]
    path = folder / f"file{kill % len(writers.WRITERS)}"
    whole = []
    for mark in (1, 2):
        write(path, mark, size)
        whole.append(path.read_bytes())
    pid = os.fork()
    if not pid:
        while True:
            for mark in (1, 2):
                write(path, mark, size)
    time.sleep(0.002 + 0.02 * chance.random())
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    content = path.read_bytes()
    torn += content not in whole
    seen.add(whole.index(content) if content in whole else None)
    for name in os.listdir(folder):
        if name.endswith(".tmp"):
            left += 1
            os.unlink(folder / name)
print(torn, left, len(seen))
"""


def check_kills(folder: Path, kills: int) -> None:
    command = [sys.executable, "-c", KILLS, __file__, str(folder), str(kills)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    torn, left, seen = map(int, done.stdout.split())
    assert torn == 0
    # Kills that never hit a writer at work would prove nothing.
    assert left > kills // 5
    assert seen == 2


def test_a_kill_leaves_the_old_file_or_the_new(tmp_path):
    check_kills(tmp_path, 50)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_leaves_the_old_file_or_the_new_long(tmp_path):
    check_kills(tmp_path, 1000)


FULL = """
import resource, signal, sys
import importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("writers", sys.argv[1])
writers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writers)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for name, write in writers.WRITERS.items():
    try:
        write(Path(sys.argv[2]) / name, 2, 1 << 20)
    except OSError as error:
        print(error.errno)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    before = {}
    for name, write in WRITERS.items():
        write(tmp_path / name, 1, 1 << 16)
        before[name] = (tmp_path / name).read_bytes()
    command = [sys.executable, "-c", FULL, __file__, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(errno.EFBIG)] * len(WRITERS), done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
@every_writer
def test_a_failing_call_leaves_the_old_file(write, call, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, 1, 1000)
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(type(error)):
            write(path, 2, 1000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]
    write(path, 2, 1000)
    assert path.read_bytes() != before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_block_leaves_no_trace(error, tmp_path):
    with pytest.raises(error), atomic_file(tmp_path / "new") as handle:
        handle.write(b"half")
        raise error
    assert os.listdir(tmp_path) == []


@every_writer
def test_modes_and_links_are_kept(write, tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch(mode=0o640)
    path.chmod(0o640)
    link.symlink_to(path)
    write(link, 1, 100)
    assert link.is_symlink() and path.stat().st_size > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@every_writer
def test_what_cannot_be_replaced_is_refused(write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none" / "file", tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(FileError):
            write(path, 1, 100)
    assert os.listdir(tmp_path) == ["pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_equal_arrays_give_equal_bytes_and_numpy_reads_them(tmp_path, rng):
    arrays = {
        "A": rng.standard_normal((3, 4)),
        "n": np.array(7),
        "z": np.array([1 + 2j], np.complex64),
    }
    for name in ("one", "two"):
        write_npz(tmp_path / name, arrays)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with np.load(tmp_path / "one", allow_pickle=False) as loaded:
        assert set(loaded) == set(arrays)
        for name, array in arrays.items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)
    write_json(tmp_path / "j", {"µ": [1.5, None, "x"]})
    assert json.loads((tmp_path / "j").read_text("utf-8")) == {"µ": [1.5, None, "x"]}


def test_bad_content_is_refused_before_the_file_is_touched(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for arrays, error in (
        ({}, ValueError),
        ({"A": np.array([None])}, ValueError),
        ({"": np.ones(1)}, ValueError),
        ({"../A": np.ones(1)}, ValueError),
        ({"/A": np.ones(1)}, ValueError),
        ({3: np.ones(1)}, TypeError),
    ):
        with pytest.raises(error):
            write_npz(path, arrays)
    for content, error in ((float("nan"), ValueError), ({"x": object()}, TypeError)):
        with pytest.raises(error):
            write_json(path, content)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
