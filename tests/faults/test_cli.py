"""The command line under bad input and sabotage: the exit code is the truth.

0 converged, 1 any other status or a defect, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import solvers
from sciml import LinearSystem, SolveError, Status
from sciml.io import FileError
from sciml.problem import as_operator
from solvers.cli import main
from solvers.cli._errors import BadInput, Failure, exit_code
from solvers.cli._options import Method, Precond, build_solver, check_matrix, words
from solvers.cli._output import finite, one_line


def laplacian(n: int) -> Any:
    one = sp.eye_array(n)
    return sp.csr_array(2 * one - sp.eye_array(n, k=1) - sp.eye_array(n, k=-1))


def fill(folder: Path) -> None:
    """Files, good and bad, that the registry below names."""
    A = laplacian(12)
    scipy.io.mmwrite(folder / "spd.mtx", A, symmetry="symmetric")
    whole = (folder / "spd.mtx").read_bytes()
    (folder / "cut.mtx").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "empty.mtx").write_bytes(b"")
    (folder / "garbage.mtx").write_bytes(bytes(range(256)))
    (folder / "text.mat").write_text("hello\n")
    (folder / "zero.mtx").write_text("%%MatrixMarket matrix coordinate real general\n0 0 0\n")
    (folder / "nan.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 nan\n2 2 1.0\n"
    )
    (folder / "outside.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1.0\n3 2 1.0\n"
    )
    upwind = sp.csr_array(sp.tril(A))
    sp.save_npz(folder / "unsym.npz", upwind)
    np.save(folder / "tall.npy", np.arange(12.0).reshape(4, 3) + np.eye(4, 3))
    np.savez(folder / "two.npz", P=np.eye(3), Q=2 * np.eye(3))
    np.save(folder / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(folder / "b5.npy", np.ones(5))
    np.save(folder / "b12.npy", np.ones(12))
    np.save(folder / "b_nan.npy", np.full(12, np.nan))
    np.save(folder / "b_huge.npy", np.full(12, 1e300))
    sp.save_npz(folder / "single.npz", A.astype(np.float32))
    (folder / "plain").write_text("a file\n")
    (folder / "taken.npz").mkdir()
    os.mkfifo(folder / "pipe.npz")


@dataclass(frozen=True)
class Bad:
    """A call that must be refused with one line that contains `told`."""

    call: str
    told: str


BAD = [
    Bad("", "expected a command"),
    Bad("frob", "No such command 'frob'"),
    Bad("solve", "Missing argument"),
    Bad("solve spd.mtx extra", "extra"),
    Bad("solve spd.mtx --nope", "No such option"),
    Bad("solve spd.mtx --method simplex", "'simplex' is not one of 'auto'"),
    Bad("solve spd.mtx --precond magic", "'magic' is not one of 'none'"),
    Bad("solve spd.mtx --rtol much", "'--rtol'"),
    Bad("solve spd.mtx --rtol -1", "expected --rtol finite and >= 0, got -1"),
    Bad("solve spd.mtx --rtol nan", "expected --rtol finite"),
    Bad("solve spd.mtx --atol inf", "expected --atol finite"),
    Bad("solve spd.mtx --max-iters -1", "expected --max-iters"),
    Bad("solve spd.mtx --max-iters 1.5", "'--max-iters'"),
    Bad("solve spd.mtx --max-seconds -2", "expected --max-seconds"),
    Bad("solve spd.mtx --rhs random --seed -1", "'--seed'"),
    Bad("solve missing.mtx", "missing.mtx: expected a readable file"),
    Bad("solve .", "got a folder"),
    Bad("solve pipe.npz", "pipe"),
    Bad("solve empty.mtx", "empty"),
    Bad("solve cut.mtx", "cut.mtx"),
    Bad("solve garbage.mtx", "garbage.mtx"),
    Bad("solve text.mat", "text.mat"),
    Bad("solve zero.mtx", "at least one row and column"),
    Bad("solve nan.mtx", "nan at (row, col) = (0, 0)"),
    Bad("solve outside.mtx", "outside.mtx"),
    Bad("solve objects.npy", "objects.npy"),
    Bad("solve b12.npy", "b12.npy"),
    Bad("solve two.npz", "choose with --key NAME"),
    Bad("solve two.npz --key R", "expected an array R"),
    Bad("solve spd.mtx --rhs missing.npy", "missing.npy: expected a readable file"),
    Bad("solve spd.mtx --rhs b5.npy", "right-hand side of 12 entries"),
    Bad("solve spd.mtx --rhs b_nan.npy", "got nan"),
    Bad("solve spd.mtx --rhs b12.npy --rhs-key q", "expected an array q"),
    Bad("solve spd.mtx --rhs ones --rhs-key b", "expected --rhs FILE with --rhs-key"),
    Bad("solve spd.mtx --rhs two.npz", "choose with --rhs-key NAME"),
    Bad("solve single.npz --rhs b_huge.npy", "within the range of float32"),
    Bad("solve tall.npy --method cg", "use --method lsqr or lsmr"),
    Bad("solve tall.npy --method gmres", "use --method lsqr or lsmr"),
    Bad("solve tall.npy --method direct", "use --method lsqr or lsmr"),
    Bad("solve tall.npy --method lsqr --precond jacobi", "no --precond for least squares"),
    Bad("solve unsym.npz --method cg", "Hermitian matrix for --method cg"),
    Bad("solve unsym.npz --method fcg", "Hermitian matrix for --method fcg"),
    Bad("solve unsym.npz --method minres", "Hermitian matrix for --method minres"),
    Bad("solve unsym.npz --method chebyshev", "Hermitian matrix for --method chebyshev"),
    Bad("solve unsym.npz --method gmres --precond ic0", "Hermitian matrix for --precond ic0"),
    Bad("solve unsym.npz --method gmres --precond ssor", "Hermitian matrix for --precond ssor"),
    Bad("solve unsym.npz --method gmres --precond amg", "Hermitian matrix for --precond amg"),
    Bad("solve spd.mtx --method direct --precond jacobi", "takes none, got jacobi"),
    Bad("solve spd.mtx --precond ic0", "with --method auto"),
    Bad("solve spd.mtx --method cg --precond ilu0", "a Hermitian --precond for --method cg"),
    Bad("solve spd.mtx --method minres --precond ilut", "a Hermitian --precond"),
    Bad("solve spd.mtx --out nowhere/x.npz", "nowhere/x.npz: expected an existing folder"),
    Bad("solve spd.mtx --out plain/x.npz", "expected an existing folder"),
    Bad("solve spd.mtx --out taken.npz", "taken.npz: expected a file for --out, got a folder"),
    Bad("solve spd.mtx --out pipe.npz", "got a device or pipe"),
    Bad("solve spd.mtx --out x.txt", "ends in .npz"),
    Bad("solve unsym.npz --out unsym.npz", "got an input file"),
    Bad("solve spd.mtx --rhs two.npz --out ./two.npz", "got an input file"),
    Bad("solve spd.mtx --plot nowhere/c.png", "nowhere/c.png: expected an existing folder"),
    Bad("solve spd.mtx --plot c.gif", "ends in .png"),
    Bad("solve spd.mtx --json --out nowhere/x.npz", "expected an existing folder"),
    Bad("data", "Missing command"),
    Bad("data condiff --poisson", "Missing option '--out'"),
    Bad("data condiff --out d", "expected --covariance and --variance, or --poisson"),
    Bad("data condiff --poisson --covariance cubic --out d", "got both"),
    Bad("data condiff --covariance square --variance 1 --out d", "cubic, exponential, gaussian"),
    Bad("data condiff --covariance cubic --variance 3 --out d", "expected variance in"),
    Bad("data condiff --poisson --grid 1 --out d", "expected grid"),
    Bad("data condiff --poisson --samples 0 --out d", "got 0 of both"),
    Bad("data condiff --poisson --samples -1 --out d", "'--samples'"),
    Bad("data condiff --poisson --workers 0 --out d", "'--workers'"),
    Bad("data condiff --poisson --seed -1 --out d", "'--seed'"),
    Bad("data condiff --poisson --out plain", "got a file"),
    Bad("data condiff --poisson --out plain/d", "got a file"),
    Bad("bench", "Missing command"),
    Bad("bench condiff", "expected --out DIR"),
    Bad("bench condiff --out plain", "got a file"),
    Bad("bench condiff --out d --covariance cubic", "--covariance and --variance together"),
    Bad("bench condiff --out d --methods cg,nope", "got 'nope'"),
    Bad("bench condiff --out d --methods ,", "expected at least one method"),
    Bad("bench condiff --out d --methods cg,cg", "each method once"),
    Bad("bench condiff --out d --methods cg --rtol -1", "expected --rtol"),
    Bad("bench condiff --out d --methods cg --max-seconds nan", "expected --max-seconds"),
    Bad("bench condiff --out d --samples 0", "'--samples'"),
    Bad("bench condiff --out d --solver no_such_module:X", "no_such_module"),
    Bad("bench condiff --out d --solver solvers:NoSuch", "NoSuch"),
    Bad("bench condiff --out d --solver json:dumps", "json:dumps"),
    Bad("bench neural", "expected --out DIR"),
    Bad("bench neural --out plain", "got a file"),
    Bad("bench neural --out d --system sponge", "got sponge"),
    Bad("bench neural --out d --grid 12x", "expected a grid such as"),
    Bad("bench neural --out d --rhs rough", "got rough"),
    Bad("bench neural --out d --grid 8 --methods cg,nope", "got 'nope'"),
    Bad("bench neural --out d --grid 8 --methods cg --rtol -1", "expected --rtol"),
    Bad("bench neural --out d --samples 0", "'--samples'"),
    Bad("bench neural --out d --weights nothing.safetensors", "expected a file, got none"),
    Bad("bench poisson", "expected --out DIR"),
    Bad("bench poisson --out plain", "got a file"),
    Bad("bench poisson --out d --field sponge", "got sponge"),
    Bad("bench poisson --out d --grid 12x", "expected a grid such as"),
    Bad("bench poisson --out d --grid 8 --grid 8^2", "each grid once"),
    Bad("bench poisson --out d --rhs rough", "got rough"),
    Bad("bench poisson --out d --methods direct,nope", "got 'nope'"),
    Bad("bench poisson --out d --methods ,", "expected at least one method"),
    Bad("bench poisson --out d --methods direct --rtol -1", "expected --rtol"),
    Bad("bench poisson --out d --repeats 0", "'--repeats'"),
    Bad("bench poisson --out d --solver json:dumps", "json:dumps"),
    Bad("demo --out plain", "got a file"),
    Bad("info --nope", "No such option"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Every path below `folder`, with the digest of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "no file"
        for path in sorted(folder.rglob("*"))
    }


def helped(*command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options of a command."""
    main([*command, "--help"])
    return {"--help", *re.findall(r"--[a-z-]+", capsys.readouterr().out)}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.call or "nothing")
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(bad, folder, capsys):
    before = contents(folder)
    code = main(bad.call.split())
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("sciml: error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert bad.told in err
    named = set(re.findall(r"(?<!\S)--[a-z-]+", err))
    words = bad.call.split()
    known = helped(*words[: 2 if words[:1] in (["bench"], ["data"]) else 1], capsys=capsys)
    assert not named - known - {"--nope"}, "an option that the command does not have"
    assert not re.search(r"\b(key|variable|coil_axis|max_\w+|limits|Limits)\b ?[=.]", err)
    assert "Traceback" not in err
    assert contents(folder) == before


def test_a_missing_optional_package_is_told_with_its_remedy(folder, capsys, monkeypatch):
    for module in ("sksparse", "sksparse.cholmod", "pyamg"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["solve", "spd.mtx", "--method", "cg", "--precond", "cholesky"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "pip install 'sciml-solvers[" in err
    assert main(["solve", "spd.mtx", "--method", "cg", "--precond", "amg"]) == 0  # needs none


def test_debug_shows_the_traceback_and_changes_no_code(folder, capsys):
    assert main(["solve", "missing.mtx", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("sciml: error: missing.mtx")


@pytest.mark.parametrize("option", ["--out nowhere/x.npz", "--out taken.npz", "--plot no/c.png"])
def test_outputs_are_looked_at_before_anything_is_read(option, folder, monkeypatch):
    def read(*args, **kwargs):
        raise AssertionError("the matrix was read")

    monkeypatch.setattr("solvers.cli.solve.load_system", read)
    assert main(["solve", "spd.mtx", *option.split()]) == 2
    assert main(["solve", "spd.mtx", "--out", "x.npz"]) == 1  # so the trap works


def test_every_word_of_method_and_precond_stands_for_a_solver():
    for method in Method:
        assert words(build_solver(method, Precond.NONE))[0] == (
            "auto" if method is Method.AUTO else method.value
        )
        for precond in Precond:
            if precond is Precond.NONE:
                continue
            try:
                solver = build_solver(method, precond)
            except BadInput:
                continue
            assert words(solver) == (method.value, precond.value)


def test_the_options_table_agrees_with_the_methods():
    """What the table refuses the library refuses too, and the other way round."""
    good = LinearSystem(laplacian(12), np.ones(12))
    skewed = LinearSystem(as_operator(sp.csr_array(sp.tril(laplacian(12)))), np.ones(12))
    for method in Method:
        solver = build_solver(method, Precond.NONE)
        for problem, hermitian in ((good, True), (skewed, False)):
            refused = by_library = False
            try:
                check_matrix(method, Precond.NONE, (12, 12), hermitian=hermitian)
            except BadInput:
                refused = True
            try:
                solver.check(problem)
            except TypeError:
                by_library = True
            assert refused == by_library, (method, hermitian)


# -- exit codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BadInput("expected this"), 2, "sciml: error: expected this\n"),
        (FileError("f.mtx", "expected\nthat"), 2, "sciml: error: f.mtx: expected that\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.npz"), 2, "x.npz: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "y"), 2, "y: Permission denied"),
        (Failure("a worker died"), 1, "sciml: error: a worker died\n"),
        (MemoryError(), 1, "not enough memory"),
        (ValueError("a\nb"), 1, "sciml: internal error: ValueError: a b; run again with --debug"),
        (ZeroDivisionError(), 1, "sciml: internal error: ZeroDivisionError; run"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(1), 1, ""),
        (SystemExit(), 1, ""),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else None,
)
def test_each_exception_has_its_code_and_one_line(error, code, told, capsys):
    assert exit_code(error, debug=False) == code
    out, err = capsys.readouterr()
    assert out == "" and told in err and err.count("\n") == (1 if told else 0)


@pytest.mark.parametrize("status", list(Status))
def test_the_exit_code_follows_the_status(status, folder, capsys, monkeypatch):
    """The result is real but for its status, so nothing but the status can make the code."""
    from sciml import solve

    def relabelled(*args, **kwargs):
        return replace(solve(*args, **kwargs), status=status)

    monkeypatch.setattr("solvers.cli.solve.run_solve", relabelled)
    code = main(["solve", "spd.mtx", "--json", "--out", "x.npz"])
    found = json.loads(capsys.readouterr().out)
    expected = 0 if status.ok else 130 if status is Status.INTERRUPTED else 1
    assert (code, found["status"]) == (expected, status.name)
    assert (found["advice"] is None) == status.ok
    assert (folder / "x.npz").exists()


def _garbage(state, k):
    return state._replace(x=np.cos(np.arange(state.x.size)), estimate=state.estimate * 0)


def _nan(state, k):
    return state._replace(x=state.x * np.nan, estimate=state.estimate * np.nan)


def _idle(state, k):
    return state


def _interrupt(state, k):
    raise KeyboardInterrupt


def _defect(state, k):
    raise ValueError("shapes do not match")


@pytest.mark.parametrize(
    ("advance", "code", "status"),
    [
        (None, 0, "CONVERGED"),
        (_garbage, 1, "STAGNATED"),
        (_nan, 1, "NONFINITE_OUTPUT"),
        (_idle, 1, "MAX_ITERS"),
        (_interrupt, 130, "INTERRUPTED"),
        (_defect, 1, None),
    ],
)
def test_a_sabotaged_method_never_exits_with_0(advance, code, status, folder, capsys, monkeypatch):
    if advance is not None:
        monkeypatch.setattr(solvers.CG, "advance", lambda self, state, k: advance(state, k))
    words = ["--method", "cg", "--json", "--out", "x.npz", "--max-iters", "30"]
    assert main(["solve", "spd.mtx", *words]) == code
    out, err = capsys.readouterr()
    if status is None:
        assert out == "" and err.startswith("sciml: internal error: ValueError: shapes do not")
        assert not (folder / "x.npz").exists()
        return
    found = json.loads(out, parse_constant=pytest.fail)
    assert found["status"] == status
    x = np.load(folder / "x.npz")["x"]
    r = np.ones(12) - laplacian(12) @ x
    assert np.linalg.norm(r) / np.sqrt(12) == pytest.approx(found["residual"], abs=1e-12)


def test_a_full_disk_loses_no_report_and_leaves_no_file(folder, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(folder)
    monkeypatch.setattr("sciml.io._atomic.os.fsync", full)
    assert main(["solve", "spd.mtx", "--json", "--out", "x.npz", "--plot", "c.png"]) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["status"], found["out"], found["plot"]) == ("CONVERGED", None, None)
    assert err == "sciml: error: x.npz: could not be written: No space left on device\n"
    assert contents(folder) == before


def test_numbers_that_json_lacks_become_null():
    assert [finite(v) for v in (1.5, np.float32(2), np.nan, np.inf, -np.inf)] == [
        1.5,
        2.0,
        None,
        None,
        None,
    ]


def test_names_from_outside_cannot_break_the_line_or_drive_the_terminal(folder, capsys):
    name = "a\x1b[2J\nb\u202e.mtx"
    (folder / name).write_bytes((folder / "spd.mtx").read_bytes())
    assert main(["solve", name]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out
    assert all(line[:11].strip() or line.startswith(" ") for line in out.splitlines())
    assert main(["solve", name + "missing"]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err and err.count("\n") == 1
    assert one_line("a\r\n\tb\x07") == "a b\\x07"


def test_an_existing_out_is_replaced_only_by_a_whole_one(folder, capsys, monkeypatch):
    (folder / "x.npz").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr("sciml.io._atomic.os.replace", _defect_in_rename)
        assert main(["solve", "spd.mtx", "--out", "x.npz"]) == 2
    assert (folder / "x.npz").read_bytes() == b"old"
    assert main(["solve", "spd.mtx", "--out", "x.npz"]) == 0
    assert np.load(folder / "x.npz")["x"].shape == (12,)
    capsys.readouterr()


def _defect_in_rename(source, target):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_solve_error_is_no_internal_error(capsys):
    from sciml import Stop, solve

    with pytest.raises(SolveError) as caught:
        solve(LinearSystem(laplacian(12), np.ones(12)), solvers.CG(), stop=Stop(max_iters=1))
    assert exit_code(caught.value, debug=False) == 1
    assert capsys.readouterr().err.startswith("sciml: error: CG ended with MAX_ITERS")
