"""The command as a process: exit codes, Ctrl-C, closed pipes, terminals, and what it loads."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parents[2]
SCIML = Path(sys.executable).parent / "sciml"


def laplacian(n: int) -> Any:
    one = sp.eye_array(n)
    return sp.csr_array(2 * one - sp.eye_array(n, k=1) - sp.eye_array(n, k=-1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scipy.io.mmwrite(tmp_path / "spd.mtx", laplacian(12), symmetry="symmetric")
    (tmp_path / "zero.mtx").write_text("%%MatrixMarket matrix coordinate real general\n0 0 0\n")
    return tmp_path


def command(*words: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCIML, *words], capture_output=True, text=True, timeout=120, check=False, **kwargs
    )


def test_the_process_exits_with_the_code(folder):
    assert command("solve", "spd.mtx", "--json", cwd=folder).returncode == 0
    limited = command("solve", "spd.mtx", "--method", "cg", "--max-iters", "1", cwd=folder)
    assert limited.returncode == 1 and "MAX_ITERS" in limited.stdout
    refused = command("solve", "zero.mtx", cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from solvers.cli import main; code = main(['--help']); "
        "print([m for m in ('torch', 'scipy', 'numba', 'h5py', 'matplotlib') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
        assert all(word in done.stdout for word in ("solve", "data", "bench", "info", "demo"))
    assert min(seconds) < 0.7, seconds


@pytest.mark.parametrize("words", ["solve spd.mtx", "--help", "bench condiff --list"])
def test_a_reader_that_leaves_early_is_no_error(words, folder):
    script = f"{SCIML} {words} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1") if words == "--help" else done.stdout.strip() == "0"


def test_a_full_standard_output_is_an_error(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SCIML, "solve", "spd.mtx"], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "sciml: error: No space left on device\n"


def test_ctrl_c_keeps_x_and_exits_with_130(folder):
    """Standard error is a terminal here, so the progress line tells when the solve has begun."""
    n = 100_000  # plain CG needs n steps
    sp.save_npz(folder / "long.npz", laplacian(n), compressed=False)
    ours, theirs = pty.openpty()
    words = ["solve", "long.npz", "--method", "cg", "--out", "x.npz", "--plot", "c.png"]
    process = subprocess.Popen(
        # a test run in the background ignores Ctrl-C, and its children would, too
        ["env", "--default-signal=INT", SCIML, *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        seen, deadline = b"", time.monotonic() + 60
        while b"iteration" not in seen and time.monotonic() < deadline:
            seen += os.read(ours, 4096)
        assert b"residual" in seen
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    os.close(ours)
    assert process.returncode == 130
    assert "INTERRUPTED" in out and "the best x, not converged, to x.npz" in out
    assert np.load(folder / "x.npz")["x"].shape == (n,)
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")


def test_json_shows_no_progress_even_on_a_terminal(folder):
    n = 100_000
    sp.save_npz(folder / "long.npz", laplacian(n), compressed=False)
    ours, theirs = pty.openpty()
    words = ["solve", "long.npz", "--method", "cg", "--json", "--max-seconds", "3"]
    done = subprocess.run([SCIML, *words], cwd=folder, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "MAX_SECONDS"
    assert drain(ours) == b""


def drain(terminal: int) -> bytes:
    """What was written to a terminal whose other end is closed by now."""
    os.set_blocking(terminal, False)
    found = b""
    try:
        while part := os.read(terminal, 4096):
            found += part
    except OSError:  # there is no more
        pass
    os.close(terminal)
    return found


def test_ctrl_c_keeps_the_data_that_is_done_and_a_second_run_ends_it(tmp_path):
    words = ["data", "condiff", "--poisson", "--grid", "24", "--samples", "600", "--out", "d"]
    process = subprocess.Popen(
        [SCIML, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (parts := list(tmp_path.glob("d/*/*.parts/part-*.h5"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in err and "Traceback" not in err
    assert parts[0].exists() and not list(tmp_path.glob("d/*/*_train.h5"))
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["d/poisson_grid24/poisson_grid24_train.h5"]
    assert (tmp_path / done.stdout.strip()).is_file()
