"""ConDiff files that are damaged, hostile or misnamed, and runs that are stopped half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from sciml.datasets import (
    ConDiffConfig,
    Covariance,
    draw_condiff,
    generate_condiff,
    generate_condiff_file,
    read_condiff,
)
from sciml.io import FileError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ConDiffConfig(Covariance.CUBIC, 0.1, 12)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    data = draw_condiff(SMALL, 6, seed=1)
    return {"k": data.k, "rhs": data.flat_rhs, "x": data.flat_x}


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def spoiled(arrays: dict[str, np.ndarray], name: str, index: tuple, value: float) -> dict:
    copy = {key: array.copy() for key, array in arrays.items()}
    copy[name][index] = value
    return copy


# What the file holds


@pytest.mark.parametrize(
    ("rename", "told"),
    [
        ({"k": "K"}, "got K, rhs, x"),
        ({"x": "u"}, "got k, rhs, u"),
        ({"rhs": "more/rhs"}, "got k, more/rhs, x"),
        ({"k": None, "rhs": None}, "got x"),
        ({"k": None, "rhs": None, "x": None}, "got no datasets"),
    ],
)
def test_other_datasets_are_listed(rename, told, arrays, tmp_path):
    named = {rename.get(name, name): array for name, array in arrays.items()}
    named.pop(None, None)
    with pytest.raises(FileError, match=f"expected datasets k, rhs, x .*{told}"):
        read_condiff(write(tmp_path / "a.h5", named))


def test_a_dataset_too_many_is_refused(arrays, tmp_path):
    with pytest.raises(FileError, match="got k, more, rhs, x"):
        read_condiff(write(tmp_path / "a.h5", arrays | {"more": arrays["x"]}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("k", lambda a: a[:, :-1, :-1]),
        ("k", lambda a: a[:, :, :-1]),
        ("k", lambda a: a[:5]),
        ("x", lambda a: a[:5]),
        ("x", lambda a: a[:, :-1]),
        ("x", lambda a: a.reshape(6, 12, 12)),
        ("rhs", lambda a: a[0]),
        ("rhs", lambda a: a[:, :143]),
        ("rhs", lambda a: np.float64(1)),
    ],
)
def test_shapes_that_do_not_go_together_are_told(name, change, arrays, tmp_path):
    with pytest.raises(FileError, match=r"expected shapes k \(S, n\+1, n\+1\), .* got k \("):
        read_condiff(write(tmp_path / "a.h5", arrays | {name: change(arrays[name])}))


@pytest.mark.parametrize("name", ["k", "rhs", "x"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("check", [True, False])
def test_nan_and_infinity_are_refused_and_located(name, value, check, arrays, tmp_path):
    index = (4, 3, 2) if name == "k" else (4, 17)
    path = write(tmp_path / "a.h5", spoiled(arrays, name, index, value))
    with pytest.raises(FileError, match=f"expected {name} to be finite.* in sample 4;"):
        read_condiff(path, check=check)
    with pytest.raises(FileError, match="in sample 4;"):
        read_condiff(path, check=check, samples=slice(2, None, 2))
    assert len(read_condiff(path, samples=slice(4))) == 4


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_coefficient_that_is_not_positive_is_refused(value, arrays, tmp_path):
    path = write(tmp_path / "a.h5", spoiled(arrays, "k", (1, 0, 0), value))
    with pytest.raises(FileError, match="expected k to be finite and positive"):
        read_condiff(path, check=False)


@pytest.mark.parametrize("name", ["k", "rhs", "x"])
def test_numbers_that_do_not_solve_the_system_are_refused(name, arrays, tmp_path):
    index = (3, 5, 5) if name == "k" else (3, 70)
    changed = spoiled(arrays, name, index, arrays[name][index] * 1.001)
    path = write(tmp_path / "a.h5", changed)
    with pytest.raises(FileError, match=r"expected x to solve its system .* in sample 3"):
        read_condiff(path)
    assert len(read_condiff(path, check=False)) == 6


def test_a_file_in_c_order_is_refused(arrays, tmp_path):
    turned = {n: a.reshape(6, 12, 12).swapaxes(1, 2).reshape(6, 144) for n, a in arrays.items()
              if n != "k"}  # fmt: skip
    with pytest.raises(FileError, match="expected x to solve its system"):
        read_condiff(write(tmp_path / "a.h5", arrays | turned))


def test_a_diffusion_file_that_lost_its_k_is_not_read_as_poisson(arrays, tmp_path):
    del (without := dict(arrays))["k"]
    with pytest.raises(FileError, match=r"expected the arrays of cubic0\.1_grid12"):
        read_condiff(write(tmp_path / "cubic0.1_grid12_test.h5", without))
    with pytest.raises(FileError, match="expected x to solve its system"):
        read_condiff(write(tmp_path / "a.h5", without))


@pytest.mark.parametrize("name", ["cubic0.1_grid64", "poisson_grid12", "gaussian2.0_grid13"])
def test_a_name_that_the_arrays_contradict_is_refused(name, arrays, tmp_path):
    with pytest.raises(FileError, match=f"expected the arrays of {name}, got grid 12"):
        read_condiff(write(tmp_path / f"{name}_train.h5", arrays))


@pytest.mark.parametrize("dtype", ["complex128", "S8", "float32"])
def test_other_dtypes_are_refused_or_widened(dtype, arrays, tmp_path):
    path = write(tmp_path / "a.h5", arrays | {"rhs": arrays["rhs"].astype(dtype)})
    if dtype == "float32":
        assert read_condiff(path, check=False).rhs.dtype == np.float64
    else:
        with pytest.raises(FileError):
            read_condiff(path, check=False)


def test_a_dataset_in_another_file_is_refused(arrays, tmp_path):
    write(tmp_path / "other.h5", arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in arrays:
            file[name] = h5py.ExternalLink("other.h5", f"/{name}")
    with pytest.raises(FileError, match="external link"):
        read_condiff(tmp_path / "a.h5")


def test_a_bomb_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in {"k": (2**20, 65, 65), "rhs": (2**20, 4096), "x": (2**20, 4096)}.items():
            chunks = (64, *shape[1:])
            file.create_dataset(name, shape, "f8", chunks=chunks, compression="gzip")
    with pytest.raises(FileError):
        read_condiff(tmp_path / "a.h5")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no such thing" * 100])
def test_what_is_no_hdf5_file_is_refused(content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(FileError):
        read_condiff(tmp_path / "a.h5")


DAMAGE = """
import pathlib, resource, sys
import numpy as np
from sciml.datasets import read_condiff
from sciml.io import FileError
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
path, exact, count = pathlib.Path(sys.argv[1]), sys.argv[2] == "exact", int(sys.argv[3])
whole, good = path.read_bytes(), read_condiff(path)
rng, refused = np.random.default_rng(7), 0
for trial in range(count):
    spoilt = bytearray(whole)
    if trial % 4:
        at = int(rng.integers(len(whole)))
        spoilt[at] ^= 1 << int(rng.integers(8))
    else:
        del spoilt[int(rng.integers(len(whole))):]
    path.write_bytes(spoilt)
    try:
        got = read_condiff(path)
    except FileError:
        refused += 1
        continue
    for name in ("k", "rhs", "x"):
        a, b = getattr(got, name), getattr(good, name)
        error = 0.0 if np.array_equal(a, b) else np.abs(a - b).max() / np.abs(b).max()
        assert error <= (0.0 if exact else 1e-6), (trial, name, error)
print(refused)
"""


@pytest.mark.parametrize("kind", ["exact", "close"])
@pytest.mark.parametrize("count", [200, pytest.param(4000, marks=pytest.mark.slow)])
def test_damage_is_refused_or_harmless(kind, count, arrays, tmp_path):
    """Our files carry checksums; in a published one the systems themselves are the checksum."""
    path = tmp_path / "a.h5"
    if kind == "exact":
        generate_condiff_file(SMALL, path, 6, seed=1)
    else:
        write(path, arrays)
    command = [sys.executable, "-c", DAMAGE, path, kind, str(count)]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > count / 4


# Runs that stop half-way

RUN = """
import sys
from sciml.datasets import *
if __name__ == "__main__":
    config = ConDiffConfig(Covariance.CUBIC, 0.1, 24)
    report = lambda done, total: print(done, flush=True)
    generate_condiff(config, sys.argv[1], train=150, test=30, workers=int(sys.argv[2]),
                     progress=report)
"""
CONFIG = ConDiffConfig(Covariance.CUBIC, 0.1, 24)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[bytes]:
    paths = generate_condiff(CONFIG, tmp_path_factory.mktemp("whole"), train=150, test=30)
    return [path.read_bytes() for path in paths]


def start(out: Path, workers: int, script: Path) -> subprocess.Popen:
    script.write_text(RUN, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, script, out, str(workers)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group_is_gone(group: int, seconds: float) -> bool:
    """Whether no process of the group is left, apart from dead ones that nobody has reaped."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alive = False
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            alive = alive or (int(fields[2]) == group and fields[0] != "Z")
        if not alive:
            return True
        time.sleep(0.05)
    return False


def finish(out: Path, uninterrupted: list[bytes]) -> int:
    """Go on where the run stopped; the number of samples that were there already."""
    seen = []
    paths = generate_condiff(
        CONFIG, out, train=150, test=30, progress=lambda done, total: seen.append(done)
    )
    assert [path.read_bytes() for path in paths] == uninterrupted
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    return seen[0]


def test_two_processes_make_the_same_bytes_as_one(uninterrupted, tmp_path):
    process = start(tmp_path, 2, tmp_path / "run.py")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    done = [int(line) for line in out.split()]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 180)
    paths = [tmp_path / CONFIG.name / f"{CONFIG.name}_{s}.h5" for s in ("train", "test")]
    assert [path.read_bytes() for path in paths] == uninterrupted


@pytest.mark.parametrize("after", [0, 1, 10, 17])
def test_an_exception_keeps_the_parts_that_are_done(after, uninterrupted, tmp_path):
    calls = iter(range(after + 1))

    def interrupt(done: int, total: int) -> None:
        if next(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_condiff(CONFIG, tmp_path, train=150, test=30, progress=interrupt)
    assert finish(tmp_path, uninterrupted) == 10 * after


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_all_processes_and_keeps_what_is_done(workers, uninterrupted, tmp_path):
    process = start(tmp_path, workers, tmp_path / "run.py")
    assert process.stdout is not None
    for _ in range(4):
        last = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    # One traceback, ours; none of a worker.
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert group_is_gone(process.pid, 10)
    assert finish(tmp_path, uninterrupted) >= last


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "kills", [4, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_killed_run_goes_on_to_the_same_bytes(workers, kills, uninterrupted, tmp_path, rng):
    for trial in range(kills):
        process = start(tmp_path, workers, tmp_path / "run.py")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.3)))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert group_is_gone(process.pid, 20), trial
        for path in tmp_path.rglob("*.h5"):
            read_condiff(path)
    finish(tmp_path, uninterrupted)


def test_a_worker_that_dies_is_told_and_the_run_can_go_on(uninterrupted, tmp_path):
    process = start(tmp_path, 2, tmp_path / "run.py")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "RuntimeError: expected a worker to finish, got exit code -9" in err
    assert finish(tmp_path, uninterrupted) > 0


def stopped_run(out: Path, seed: int) -> Path:
    """The folder of parts of a run of 30 samples that was stopped after two parts."""

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_condiff_file(SMALL, out / "a.h5", 30, seed=seed, progress=stop)
    return out / "a.parts"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_part_is_made_again(damage, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = generate_condiff_file(SMALL, tmp_path / "whole" / "a.h5", 30, seed=1).read_bytes()
    part = stopped_run(tmp_path, seed=1) / "part-000010-10.h5"
    content = bytearray(part.read_bytes())
    if damage == "flip":
        with h5py.File(part) as file:
            content[file["x"].id.get_chunk_info(4).byte_offset + 100] ^= 16
    part.write_bytes(
        {"cut": content[:-100], "empty": b"", "other": b"x" * 900}.get(damage, content)
    )
    seen = []
    path = generate_condiff_file(
        SMALL, tmp_path / "a.h5", 30, seed=1, progress=lambda done, total: seen.append(done)
    )
    assert seen == [10, 20, 30]
    assert path.read_bytes() == whole


def test_parts_of_another_run_are_kept_and_told(tmp_path):
    folder = stopped_run(tmp_path, seed=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileError, match="expected seed 2 or no file, got 1; move it away"):
        generate_condiff_file(SMALL, tmp_path / "a.h5", 30, seed=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_files_in_the_folder_of_parts_are_left_alone(tmp_path):
    folder = stopped_run(tmp_path, seed=1)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / ".part-000020-10.h5.0123456789abcdef.tmp").write_bytes(b"left by a killed process")
    generate_condiff_file(SMALL, tmp_path / "a.h5", 30, seed=1)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_full_disk_leaves_no_half_file(tmp_path):
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from sciml.datasets import *
config = ConDiffConfig(Covariance.CUBIC, 0.1, 12)
generate_condiff_file(config, {str(tmp_path / "a.h5")!r}, 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    generate_condiff_file(config, {str(tmp_path / "b.h5")!r}, 10)
except OSError as error:
    print("refused", type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("refused"), done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.h5", "b.parts"]
