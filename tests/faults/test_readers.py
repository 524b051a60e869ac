"""Files in every format: read back exactly, damaged they end in a result or a FileError."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from sciml.io import FileError, Limits, MatrixFormat, read_system, read_vector, write_npz
from tests.faults._fuzz import check_damaged

N = 12


@dataclass(frozen=True)
class Case:
    """A format and a foreign writer. matrix: makes what is written, (N, N) or another shape."""

    name: str
    format: MatrixFormat
    suffix: str
    write: Callable[[Path, np.ndarray, np.ndarray], object]
    matrix: Callable[[np.random.Generator], np.ndarray]
    rhs: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        return self.name


def real(rng: np.random.Generator) -> np.ndarray:
    """Sparse, with values of every magnitude and no two alike."""
    values = rng.standard_normal((N, N)) * 10.0 ** rng.integers(-300, 300, (N, N))
    return np.where(rng.random((N, N)) < 0.3, values, 0.0) + np.diag(rng.random(N))


def wide(rng: np.random.Generator) -> np.ndarray:
    return real(rng)[:7]


def complex_(rng: np.random.Generator) -> np.ndarray:
    return real(rng) + 1j * real(rng)


def single(rng: np.random.Generator) -> np.ndarray:
    return np.where(real(rng) != 0, rng.standard_normal((N, N)), 0).astype(np.float32)


def integer(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(-9, 9, (N, N))


def logical(rng: np.random.Generator) -> np.ndarray:
    return real(rng) != 0


def symmetric(rng: np.random.Generator) -> np.ndarray:
    lower = np.tril(real(rng))
    return lower + np.tril(lower, -1).T


def skew(rng: np.random.Generator) -> np.ndarray:
    lower = np.tril(real(rng), -1)
    return lower - lower.T


def hermitian(rng: np.random.Generator) -> np.ndarray:
    lower = np.tril(complex_(rng), -1)
    return lower + lower.conj().T + np.diag(rng.random(N))


def mtx(layout: Callable = sp.coo_array, **options) -> Callable:
    def write(path: Path, a: np.ndarray, b: np.ndarray) -> None:
        with open(path, "wb") as handle:
            # 17 digits tell any two doubles apart.
            scipy.io.mmwrite(handle, layout(a), precision=17, **options)

    return write


def mtx_gz(path: Path, a: np.ndarray, b: np.ndarray) -> None:
    with gzip.open(path, "wb") as handle:
        scipy.io.mmwrite(handle, sp.coo_array(a), precision=17)


def sparse_npz(layout: str, *, compressed: bool = True) -> Callable:
    def write(path: Path, a: np.ndarray, b: np.ndarray) -> None:
        made = sp.coo_array(a).asformat(layout)
        sp.save_npz(path, made, compressed=compressed)

    return write


def mat(layout: Callable, *, compressed: bool) -> Callable:
    def write(path: Path, a: np.ndarray, b: np.ndarray) -> None:
        variables = {"A": layout(a), "b": b[:, None], "names": "text", "size": 3.0}
        scipy.io.savemat(path, variables, do_compression=compressed)

    return write


def mat_struct(path: Path, a: np.ndarray, b: np.ndarray) -> None:
    problem = {"title": "a title", "A": sp.csc_array(a), "b": b[:, None], "id": 7}
    scipy.io.savemat(path, {"Problem": problem}, do_compression=True)


def hdf5_dense(path: Path, a: np.ndarray, b: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("A", data=a, chunks=(5, 5), compression="gzip", shuffle=True)
        file["b"] = b
        file["label"] = "text"


def hdf5_group(layout: str, *, attributes: bool) -> Callable:
    def write(path: Path, a: np.ndarray, b: np.ndarray) -> None:
        made = sp.coo_array(a).asformat(layout)
        with h5py.File(path, "w") as file:
            group = file.create_group("system/A")
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(made, part)
            if attributes:
                group.attrs["encoding-type"] = f"{layout}_matrix"
                group.attrs["shape"] = a.shape
            else:
                group["shape"] = np.array(a.shape)
            file["system/b"] = b[:, None]

    return write


def matlab73(*, sparse: bool) -> Callable:
    """As MATLAB lays a v7.3 file out: a user's block, classes, and axes in reverse."""

    def write(path: Path, a: np.ndarray, b: np.ndarray) -> None:
        with h5py.File(path, "w", userblock_size=512) as file:
            if sparse:
                made = sp.csc_array(a)
                group = file.create_group("A")
                group.attrs["MATLAB_sparse"] = np.uint64(a.shape[0])
                group["data"], group["ir"] = made.data, made.indices.astype(np.uint64)
                group["jc"] = made.indptr.astype(np.uint64)
            else:
                file["A"] = a.T
            file["b"] = b[None]
            file["text"] = np.array([[65, 66]], np.uint16)
            for name in ("A", "b", "text"):
                file[name].attrs["MATLAB_class"] = np.bytes_("char" if name == "text" else "double")
        with open(path, "r+b") as handle:
            handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")

    return write


F = MatrixFormat
CASES = [
    Case("mtx-real", F.MATRIX_MARKET, ".mtx", mtx(), real),
    Case("mtx-wide", F.MATRIX_MARKET, ".mtx", mtx(), wide),
    Case("mtx-complex", F.MATRIX_MARKET, ".mtx", mtx(), complex_),
    Case("mtx-integer", F.MATRIX_MARKET, ".mtx", mtx(), integer),
    Case("mtx-pattern", F.MATRIX_MARKET, ".mtx", mtx(field="pattern"), logical),
    Case("mtx-symmetric", F.MATRIX_MARKET, ".mtx", mtx(symmetry="symmetric"), symmetric),
    Case("mtx-skew", F.MATRIX_MARKET, ".mtx", mtx(symmetry="skew-symmetric"), skew),
    Case("mtx-hermitian", F.MATRIX_MARKET, ".mtx", mtx(symmetry="hermitian"), hermitian),
    Case("mtx-array", F.MATRIX_MARKET, ".mtx", mtx(np.asarray), wide),
    Case("mtx-array-complex", F.MATRIX_MARKET, ".mtx", mtx(np.asarray), complex_),
    Case(
        "mtx-array-sym", F.MATRIX_MARKET, ".mtx", mtx(np.asarray, symmetry="symmetric"), symmetric
    ),
    Case(
        "mtx-array-skew", F.MATRIX_MARKET, ".mtx", mtx(np.asarray, symmetry="skew-symmetric"), skew
    ),
    Case(
        "mtx-array-herm", F.MATRIX_MARKET, ".mtx", mtx(np.asarray, symmetry="hermitian"), hermitian
    ),
    Case("mtx-gz", F.MATRIX_MARKET_GZ, ".mtx.gz", mtx_gz, real),
    Case("npy", F.NPY, ".npy", lambda path, a, b: np.save(path, a), wide),
    Case(
        "npy-fortran", F.NPY, ".npy", lambda path, a, b: np.save(path, np.asfortranarray(a)), real
    ),
    Case(
        "npy-big-endian",
        F.NPY,
        ".npy",
        lambda path, a, b: np.save(path, a.astype(">c16")),
        complex_,
    ),
    Case("npz-csr", F.NPZ, ".npz", sparse_npz("csr"), real),
    Case("npz-csr-stored", F.NPZ, ".npz", sparse_npz("csr", compressed=False), single),
    Case("npz-csc", F.NPZ, ".npz", sparse_npz("csc"), complex_),
    Case("npz-coo", F.NPZ, ".npz", sparse_npz("coo"), wide),
    Case("npz-bsr", F.NPZ, ".npz", sparse_npz("bsr"), real),
    Case("npz-dia", F.NPZ, ".npz", sparse_npz("dia"), wide),
    Case("npz-bool", F.NPZ, ".npz", sparse_npz("csr"), logical),
    Case("npz-dense", F.NPZ, ".npz", lambda path, a, b: np.savez(path, A=a, b=b), real, "b", "A"),
    Case(
        "npz-ours",
        F.NPZ,
        ".npz",
        lambda path, a, b: write_npz(path, {"A": a, "rhs": b}),
        real,
        "rhs",
        "A",
    ),
    Case("mat-sparse", F.MAT5, ".mat", mat(sp.csc_array, compressed=False), real, "b", "A"),
    Case("mat-compressed", F.MAT5, ".mat", mat(sp.csc_array, compressed=True), complex_, "b", "A"),
    Case("mat-logical", F.MAT5, ".mat", mat(sp.csc_array, compressed=True), logical, "b", "A"),
    Case("mat-dense", F.MAT5, ".mat", mat(np.asarray, compressed=False), complex_, "b", "A"),
    Case("mat-single", F.MAT5, ".mat", mat(np.asarray, compressed=True), single, "b", "A"),
    Case("mat-integer", F.MAT5, ".mat", mat(np.asarray, compressed=True), integer, "b", "A"),
    Case("mat-struct", F.MAT5, ".mat", mat_struct, real, "Problem.b", "Problem.A"),
    Case("mat73-sparse", F.MAT73, ".mat", matlab73(sparse=True), real, "b", "A"),
    Case("mat73-dense", F.MAT73, ".mat", matlab73(sparse=False), wide, "b", "A"),
    Case("h5-dense", F.HDF5, ".h5", hdf5_dense, complex_, "b", "A"),
    Case(
        "h5-csr", F.HDF5, ".h5", hdf5_group("csr", attributes=True), single, "system/b", "system/A"
    ),
    Case("h5-csc", F.HDF5, ".h5", hdf5_group("csc", attributes=True), real, "system/b", "system/A"),
    Case(
        "h5-shape", F.HDF5, ".h5", hdf5_group("csc", attributes=False), wide, "system/b", "system/A"
    ),
]


def written(
    case: Case, folder: Path, rng: np.random.Generator
) -> tuple[Path, np.ndarray, np.ndarray]:
    a = case.matrix(rng)
    b = rng.standard_normal(a.shape[0])
    path = folder / f"{case.name}{case.suffix}"
    case.write(path, a, b)
    return path, a, b


def test_every_format_has_a_case():
    assert {case.format for case in CASES} == set(MatrixFormat)
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_round_trips_are_exact(case, tmp_path, rng):
    path, a, b = written(case, tmp_path, rng)
    content = path.read_bytes()
    system = read_system(path)
    assert (system.format, system.key, system.rhs_name) == (case.format, case.key, case.rhs)
    dtype = a.dtype if a.dtype.kind in "fc" else np.dtype(float)
    assert system.matrix.dtype == dtype
    assert any(f"to {dtype}" in note for note in system.notes) == (a.dtype != dtype)
    if isinstance(system.matrix, np.ndarray):
        got = system.matrix
    else:
        got = system.matrix.toarray()
        assert system.matrix.has_canonical_format
        assert system.matrix.nnz == np.count_nonzero(a) or "bsr" in case.name
    np.testing.assert_array_equal(got, a)
    if case.rhs is None:
        assert system.rhs is None
    else:
        np.testing.assert_array_equal(system.rhs, b)
        assert read_vector(path).name == case.rhs
        np.testing.assert_array_equal(read_vector(path, key=case.rhs).vector, b)
        np.testing.assert_array_equal(read_vector(path).vector, b)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_limits_hold_in_every_format(case, tmp_path, rng):
    path = written(case, tmp_path, rng)[0]
    for read in (read_system, read_vector):
        with pytest.raises(FileError, match=r"at most 40 B once decoded.*max_bytes"):
            read(path, limits=Limits(max_bytes=40))


def check_fuzz(format: MatrixFormat, folder: Path, rng: np.random.Generator, count: int) -> None:
    originals = folder / "originals"
    originals.mkdir()
    files = [written(case, originals, rng)[0] for case in CASES if case.format is format]
    check_damaged("system", files, folder, count)


@pytest.mark.parametrize("format", MatrixFormat, ids=lambda format: format.name)
def test_damaged_files_end_in_a_result_or_a_file_error(format, tmp_path, rng):
    check_fuzz(format, tmp_path, rng, 2000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("format", MatrixFormat, ids=lambda format: format.name)
def test_damaged_files_long(format, tmp_path, rng):
    check_fuzz(format, tmp_path, rng, 20_000)


# n and nnz as in SOURCES.md beside the files.
MEASURED = {
    "1138_bus.mtx": (1138, 4054),
    "ani1.mtx": (36, 208),
    "ani4.mtx": (3081, 20971),
    "gr_900_900_crg.mtx": (900, 7744),
    "lap2D_5pt_n100.mtx": (10000, 49600),
    "lap3D_7pt_n20.mtx": (8000, 53600),
    "local_disc_galerkin_diffusion.mat": (966, 35338),
    "bar.mat": (600, 23402),
    "unit_square.mat": (191, 1243),
    "unit_cube.mat": (125, 1473),
    "airfoil.mat": (260, 1682),
    "recirc_flow.mat": (225, 1849),
}


@pytest.mark.parametrize("name", MEASURED)
def test_measured_matrices(name, shared_data):
    path = shared_data / "matrices" / name
    system = read_system(path)
    n, nnz = MEASURED[name]
    assert system.matrix.shape == (n, n)
    assert system.matrix.nnz == nnz
    if path.suffix == ".mat":
        theirs = scipy.io.loadmat(path)
        assert abs(system.matrix - sp.csr_array(theirs["A"])).nnz == 0
        # PyAMG's B is a near null space: a right-hand side only for who asks for it.
        assert system.rhs is None and "near null space" in system.notes[-1]
        vector, name, _ = read_vector(path, key="B")
        np.testing.assert_array_equal(vector, theirs["B"][:, 0])
    else:
        assert abs(system.matrix - sp.csr_array(scipy.io.mmread(path))).nnz == 0


def test_no_measured_matrix_is_left_out(shared_data):
    assert set(os.listdir(shared_data / "matrices")) == set(MEASURED)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_another_name_is_no_obstacle_and_is_told(case, tmp_path, rng):
    path = written(case, tmp_path, rng)[0]
    other = path.rename(tmp_path / ("wrong.npy" if case.suffix != ".npy" else "wrong.mtx"))
    system = read_system(other)
    assert system.format is case.format
    assert any(case.format.value in note and other.suffix in note for note in system.notes)


def test_a_name_that_promises_too_much_is_told(tmp_path):
    path = tmp_path / "page.mtx"
    path.write_text("<html>404 Not Found</html>")
    with pytest.raises(FileError, match=r"MatrixMarket.*although its name ends in \.mtx"):
        read_system(path)
