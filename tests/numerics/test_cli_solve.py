"""`sciml solve` on real and made matrices: what it writes is measured again, by SciPy and NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from solvers.cli import main

SPD = (
    "1138_bus.mtx",
    "airfoil.mat",
    "ani1.mtx",
    "ani4.mtx",
    "bar.mat",
    "gr_900_900_crg.mtx",
    "lap2D_5pt_n100.mtx",
    "lap3D_7pt_n20.mtx",
    "local_disc_galerkin_diffusion.mat",
    "unit_cube.mat",
)
KEYS = {
    "status": str,
    "residual": float,
    "target": float,
    "estimate": float,
    "residual_is": str,
    "iterations": int,
    "restarts": int,
    "method": str,
    "preconditioner": str | None,
    "reason": str | None,
    "advice": str | None,
    "setup_seconds": float,
    "solve_seconds": float,
    "memory_bytes": int,
    "file": str,
    "format": str,
    "key": str | None,
    "m": int,
    "n": int,
    "nnz": int,
    "hermitian": bool,
    "dtype": str,
    "rhs": str,
    "certified_in": str,
    "out": str | None,
    "plot": str | None,
    "notes": list,
    "version": str,
}


def test_no_matrix_is_forgotten(shared_data):
    names = {path.name for path in (shared_data / "matrices").iterdir()}
    assert names == {*SPD, "recirc_flow.mat", "unit_square.mat"}


def stored(path: Path) -> Any:
    """The matrix by SciPy's readers."""
    if path.suffix == ".mat":
        return sp.csr_array(scipy.io.loadmat(path)["A"])
    return sp.csr_array(scipy.io.mmread(path))


def relative(A, x: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `sciml solve` in an empty folder; (code, JSON object, x)."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, dict, np.ndarray]:
        code = main(["solve", *map(str, words), "--json", "--out", "x.npz"])
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        found = json.loads(out, parse_constant=pytest.fail)
        with np.load("x.npz", allow_pickle=False) as archive:
            assert archive.files == ["x"]
            return code, found, archive["x"]

    return call


@pytest.mark.parametrize("name", SPD)
def test_every_definite_matrix_is_solved_to_the_tolerance(name, shared_data, run):
    path = shared_data / "matrices" / name
    A = stored(path)
    code, found, x = run(path)
    residual = relative(A, x, np.ones(A.shape[0]))
    assert (code, found["status"]) == (0, "CONVERGED")
    assert residual <= 1e-8
    size = np.linalg.norm(abs(A) @ abs(x)) / np.sqrt(A.shape[0])  # what rounding may make of it
    assert found["residual"] == pytest.approx(residual, rel=0.1, abs=4 * np.finfo(float).eps * size)
    assert (found["m"], found["n"]) == A.shape
    assert found["hermitian"] or abs(A - A.T).max() > 0
    assert "chosen" not in found["reason"] and found["reason"]
    assert found["rhs"].startswith("ones")


def test_the_nonsymmetric_matrix_converges_honestly(shared_data, run):
    path = shared_data / "matrices" / "recirc_flow.mat"
    A = stored(path)
    for words in ([], ["--method", "gmres", "--precond", "ilu0"], ["--method", "bicgstab"]):
        code, found, x = run(path, *words)
        residual = relative(A, x, np.ones(A.shape[0]))
        assert not found["hermitian"]
        assert (code == 0) == (found["status"] == "CONVERGED") == (residual <= 1e-8), words
        if not words or "ilu0" in words:
            assert code == 0


METHODS = ("auto", "cg", "fcg", "minres", "gmres", "fgmres", "bicgstab", "lsqr", "lsmr", "direct")


@pytest.mark.parametrize("method", METHODS)
def test_a_singular_system_without_a_solution_is_never_called_solved(method, shared_data, run):
    """b = 1 is orthogonal to the range: no x does better than x = 0, with a residual of 1."""
    path = shared_data / "matrices" / "unit_square.mat"
    A = stored(path)
    code, found, x = run(path, "--method", method, "--max-iters", 500)
    assert code == 1 and found["status"] != "CONVERGED" and found["advice"]
    assert relative(A, x, np.ones(A.shape[0])) == pytest.approx(1.0, abs=1e-6)
    assert found["residual"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("method", ["auto", "cg", "minres", "lsqr"])
def test_the_same_matrix_with_a_right_hand_side_that_has_one(method, shared_data, run, rng):
    path = shared_data / "matrices" / "unit_square.mat"
    A = stored(path)
    b = rng.standard_normal(A.shape[0])
    np.save("b.npy", b - b.mean())
    code, found, x = run(path, "--method", method, "--rhs", "b.npy", "--rtol", 1e-7)
    residual = relative(A, x, b - b.mean())
    assert (code, found["status"]) == (0, "CONVERGED")
    assert residual <= 1e-7 and found["rhs"] == "b.npy"


PAIRS = [
    ("cg", "jacobi"),
    ("cg", "ssor"),
    ("cg", "ic0"),
    ("cg", "amg"),
    ("cg", "superlu"),
    ("fcg", "ilu0"),
    ("minres", "ic0"),
    ("gmres", "ilut"),
    ("fgmres", "jacobi"),
    ("bicgstab", "ilu0"),
    ("lsqr", "ic0"),
    ("lsmr", "jacobi"),
    ("chebyshev", "ssor"),
    ("chebyshev", "none"),
    ("direct", "none"),
]


@pytest.mark.parametrize(("method", "precond"), PAIRS)
def test_each_method_and_preconditioner_does_what_it_is_called(method, precond, shared_data, run):
    path = shared_data / "matrices" / "airfoil.mat"
    code, found, x = run(path, "--method", method, "--precond", precond, "--rhs", "random")
    b = np.random.default_rng(0).standard_normal(260)
    assert (code, found["method"]) == (0, method)
    used = {("direct", "none"): "superlu"}.get((method, precond), precond)
    assert (found["preconditioner"] or "none") == used
    assert found["reason"] is None
    assert relative(stored(path), x, b) <= 1e-8


def test_the_json_object_has_these_keys_and_types(shared_data, run):
    for words, code in (([], 0), (["--method", "cg", "--max-iters", "2"], 1)):
        got, found, _ = run(shared_data / "matrices" / "bar.mat", *words)
        assert got == code
        assert set(found) == set(KEYS)
        for key, kind in KEYS.items():
            assert isinstance(found[key], kind), key
        assert found["key"] == "A" and found["nnz"] == 23402 and found["out"] == "x.npz"
        assert any("near null space" in note for note in found["notes"])


def test_the_report_names_what_it_has_to(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = shared_data / "matrices" / "bar.mat"
    assert main(["solve", str(path), "--out", "x.npz", "--plot", "c.png"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        f"{path}, A (MATLAB level 5 .mat)",
        "600 x 600, 23,402 nonzeros, symmetric, float64",
        "ones (the file has none and --rhs was not given)",
        "Direct with SuperLU",
        "chosen because A is Hermitian and positive definite",
        "CONVERGED",
        "true, of ||b - A x|| / ||b||",
        "asked for 1.000e-08",
        "set-up",
        "x to x.npz (key x)",
        "plot to c.png",
    ):
        assert words in out, words
    assert "advice" not in out
    assert main(["solve", str(path), "--method", "cg", "--max-iters", "1", "--out", "y.npz"]) == 1
    out = capsys.readouterr().out
    assert "the best x, not converged, to y.npz" in out and "raise --max-iters" in out


def test_the_plot_is_a_picture_that_is_not_blank(shared_data, tmp_path, monkeypatch):
    from matplotlib.image import imread

    monkeypatch.chdir(tmp_path)
    path = str(shared_data / "matrices" / "airfoil.mat")
    assert main(["solve", path, "--method", "cg", "--plot", "c.png"]) == 0
    picture = imread("c.png")
    assert picture.shape[:2] == (400, 600)
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10


# -- data types, right-hand sides, shapes -------------------------------------------------------


def spd(n: int, rng: np.random.Generator, dtype: type = float) -> np.ndarray:
    G = rng.standard_normal((n, n))
    if np.dtype(dtype).kind == "c":
        G = G + 1j * rng.standard_normal((n, n))
    return (G @ G.conj().T / n + 2 * np.eye(n)).astype(dtype)


def test_a_complex_hermitian_matrix_and_a_real_right_hand_side(run, rng):
    A = spd(30, rng, complex)
    b = rng.standard_normal(30)
    np.savez("A.npz", A=A, b=b)
    for words in ([], ["--method", "cg"], ["--method", "minres"], ["--method", "lsmr"]):
        code, found, x = run("A.npz", *words)
        assert (code, found["hermitian"], found["dtype"]) == (0, True, "complex128")
        assert x.dtype == np.complex128 and relative(A, x, b) <= 1e-8
        assert found["rhs"] == "b, beside the matrix in the file"
        assert any("cast from float64 to complex128" in note for note in found["notes"])


def test_a_complex_sparse_hermitian_matrix_with_incomplete_cholesky(run, rng):
    A = sp.csr_array(spd(30, rng, complex))
    sp.save_npz("A.npz", A)
    code, found, x = run("A.npz", "--method", "cg", "--precond", "ic0", "--rhs", "random")
    assert (code, found["preconditioner"]) == (0, "ic0")
    draw = np.random.default_rng(0)
    b = (draw.standard_normal(30) + 1j * draw.standard_normal(30)) / np.sqrt(2)
    assert relative(A, x, b) <= 1e-8


def test_a_complex_symmetric_matrix_is_not_hermitian(run, rng):
    A = spd(12, rng) + 1j * np.diag(np.arange(12.0))
    np.save("A.npy", A)
    code, found, x = run("A.npy")
    assert (code, found["hermitian"]) == (0, False)
    assert relative(A, x, np.ones(12)) <= 1e-8


def test_a_complex_right_hand_side_makes_a_real_matrix_complex(run, rng):
    A, b = spd(20, rng), rng.standard_normal(20) + 1j * rng.standard_normal(20)
    np.save("A.npy", A)
    np.save("b.npy", b)
    code, found, x = run("A.npy", "--rhs", "b.npy")
    assert (code, found["dtype"], found["hermitian"]) == (0, "complex128", True)
    assert relative(A, x, b) <= 1e-8
    assert any("cast from float64 to complex128" in note for note in found["notes"])


def test_single_precision_stays_and_is_certified_in_double(run, rng):
    A = sp.csr_array(spd(40, rng, np.float32))
    sp.save_npz("A.npz", A)
    code, found, x = run("A.npz", "--method", "cg", "--rtol", 1e-5)
    assert (code, found["dtype"], found["certified_in"]) == (0, "float32", "float64")
    assert x.dtype == np.float32
    exact = relative(A.astype(float), x.astype(float), np.ones(40))
    assert found["residual"] == pytest.approx(exact, rel=1e-6) and exact <= 1e-5
    code, found, x = run("A.npz", "--method", "cg", "--rtol", 1e-12)  # out of its reach
    assert code == 1 and found["status"] == "STAGNATED"
    assert found["residual"] == pytest.approx(
        relative(A.astype(float), x.astype(float), np.ones(40)), rel=1e-6
    )


def test_integers_are_cast_and_duplicates_summed_and_both_are_told(run):
    Path("A.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n2 2 4\n1 1 1\n1 1 2\n2 2 4\n1 2 1\n"
    )
    code, found, x = run("A.mtx")
    assert code == 0 and found["nnz"] == 3
    np.testing.assert_allclose(x, [0.25, 0.25], rtol=1e-12)  # 3 x + y = 1, 4 y = 1
    assert any("to float64" in note for note in found["notes"])
    assert any("1 duplicate entries were summed" in note for note in found["notes"])


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_a_rectangular_matrix_is_solved_by_least_squares(shape, run, rng):
    A, b = rng.standard_normal(shape), rng.standard_normal(shape[0])
    np.savez("A.npz", A=A, b=b)
    expected = np.linalg.lstsq(A, b, rcond=None)[0]  # of smallest norm, as from x = 0
    for words in ([], ["--method", "lsqr"], ["--method", "lsmr"]):
        code, found, x = run("A.npz", *words, "--rtol", 1e-10)
        assert (code, found["method"]) == (0, words[-1] if words else "lsmr")
        np.testing.assert_allclose(x, expected, rtol=1e-7, atol=1e-9)
        assert found["residual_is"] == "||A^H (b - A x)|| / ||A^H b||"
        assert (found["m"], found["n"]) == shape
        assert any("least squares" in note for note in found["notes"])


def test_where_the_right_hand_side_comes_from(run, rng):
    A, b, other = spd(9, rng), rng.standard_normal(9), rng.standard_normal(9)
    np.savez("A.npz", A=A, b=b)
    np.savez("other.npz", first=other, second=2 * other)
    cases = [
        ([], b, "b, beside the matrix in the file"),
        (["--rhs", "ones"], np.ones(9), "ones (asked for)"),
        (["--rhs", "random", "--seed", 5], None, "random, standard normal with seed 5"),
        (["--rhs", "other.npz", "--rhs-key", "second"], 2 * other, "second in other.npz"),
    ]
    for words, wanted, told in cases:
        if wanted is None:
            wanted = np.random.default_rng(5).standard_normal(9)
        code, found, x = run("A.npz", *words)
        assert (code, found["rhs"]) == (0, told)
        np.testing.assert_allclose(x, np.linalg.solve(A, wanted), rtol=1e-7)


def test_a_key_chooses_among_matrices(run, rng):
    P, Q = spd(5, rng), spd(5, rng)
    np.savez("two.npz", P=P, Q=Q)
    code, found, x = run("two.npz", "--key", "Q")
    assert (code, found["key"]) == (0, "Q")
    np.testing.assert_allclose(x, np.linalg.solve(Q, np.ones(5)), rtol=1e-7)


def test_zero_right_hand_sides_and_absolute_tolerances(run, rng):
    A = spd(8, rng)
    np.savez("A.npz", A=A, b=np.zeros(8))
    code, found, x = run("A.npz")
    assert (code, found["residual"]) == (0, 0.0) and not x.any()
    np.savez("A.npz", A=A, b=1e-3 * np.ones(8))
    code, found, x = run("A.npz", "--rtol", 0, "--atol", 1)
    assert code == 0 and found["iterations"] == 0 and not x.any()


def test_an_indefinite_matrix_stops_cg_and_not_auto(run):
    np.save("A.npy", np.diag([1.0, 2.0, -3.0, 4.0]))
    code, found, _ = run("A.npy", "--method", "cg")
    assert (code, found["status"]) == (1, "INDEFINITE")
    code, found, x = run("A.npy")
    assert code == 0
    np.testing.assert_allclose(x, [1, 1 / 2, -1 / 3, 1 / 4], rtol=1e-7)


def test_inputs_are_left_as_they_were(run, rng, tmp_path):
    np.savez("A.npz", A=spd(6, rng), b=np.ones(6))
    before = (tmp_path / "A.npz").read_bytes()
    run("A.npz")
    assert (tmp_path / "A.npz").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A.npz", "x.npz"]


def test_double_lifts_a_single_precision_matrix(tmp_path, capsys):
    file = tmp_path / "A.npz"
    sp.save_npz(file, sp.csr_array(sp.diags_array(np.logspace(0, 2, 200, dtype=np.float32))))
    assert main(["solve", str(file), "--method", "cg", "--rtol", "1e-12", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["dtype"] == "float32" and "--double" in told["advice"]
    assert main(["solve", str(file), "--rtol", "1e-12", "--double", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dtype"] == "float64"
