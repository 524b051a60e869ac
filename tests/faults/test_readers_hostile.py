"""Files that contradict themselves or reach outside themselves, and what is told of the others."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from sciml.io import FileError, read_system, read_vector

BANNER = "%%MatrixMarket matrix coordinate real general\n"
Write = Callable[[Path], object]


def text(content: str) -> Write:
    return lambda path: path.write_text(content)


def npy(array: np.ndarray) -> Write:
    return lambda path: path.write_bytes(_npy(array))


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: object) -> Write:
    def write(path: Path) -> None:
        with open(path, "wb") as handle:
            np.savez(handle, **{k: np.asarray(v) for k, v in arrays.items()})

    return write


def csr(**changes: object) -> Write:
    """The identity of order 3 as SciPy saves it, with some parts replaced."""
    parts = {"format": b"csr", "shape": [3, 3], "data": np.ones(3)}
    parts |= {"indices": [0, 1, 2], "indptr": [0, 1, 2, 3]}
    return npz(**parts | changes)


def archive(*names: str, method: int = zipfile.ZIP_STORED, flag: int = 0) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as file:
            for name in names:
                file.writestr(name, _npy(np.eye(3)))
            for info in file.infolist():
                info.flag_bits |= flag

    return write


def mat(**variables: object) -> Write:
    return lambda path: scipy.io.savemat(path, variables)


def group(**parts: object) -> Write:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, value in parts.items():
                file[f"A/{name}"] = value

    return write


with_nan = np.eye(3)
with_nan[1, 2] = np.nan
bad_csr = sp.csr_array(with_nan)

REFUSED: dict[str, tuple[str, Write, str]] = {
    "mtx nan": (".mtx", text(BANNER + "3 3 2\n1 1 1\n3 2 nan\n"), r"nan at .*\(2, 1\)"),
    "mtx overflow": (".mtx", text(BANNER + "1 1 2\n1 1 1e308\n1 1 1e308\n"), r"inf at .*\(0, 0\)"),
    "mtx index 0": (".mtx", text(BANNER + "3 3 1\n0 1 1\n"), "from 1 to"),
    "mtx index 4": (".mtx", text(BANNER + "3 3 1\n1 4 1\n"), "from 1 to"),
    "mtx fraction": (".mtx", text(BANNER + "3 3 1\n1.5 1 1\n"), "whole numbers"),
    "mtx impossible": (".mtx", text(BANNER + "9 9 4000000\n1 1 1\n"), "cannot hold them"),
    "mtx too few": (".mtx", text(BANNER + "3 3 2\n1 1 1\n"), "expected 2 entries, got 1"),
    "mtx too many": (".mtx", text(BANNER + "3 3 1\n1 1 1\n2 2 2\n"), "1 entries, got more"),
    "mtx more than none": (".mtx", text(BANNER + "3 3 0\n1 1 1\n"), "0 entries, got more"),
    "mtx two columns": (".mtx", text(BANNER + "3 3 1\n1 1\n"), "lines of 3 numbers"),
    "mtx ragged": (".mtx", text(BANNER + "3 3 2\n1 1 1\n2 2\n"), "lines of 3 numbers"),
    "mtx words": (".mtx", text(BANNER + "3 3 1\n1 1 one\n"), "lines of 3 numbers"),
    "mtx integer": (".mtx", text(BANNER.replace("real", "integer") + "1 1 1\n1 1 2.5\n"), "whole"),
    "mtx long line": (".mtx", text(BANNER + "3 3 1\n" + "1" * 5000), "1024"),
    "mtx no size": (".mtx", text(BANNER + "% only\n"), "size line"),
    "mtx bad size": (".mtx", text(BANNER + "3 -3 1\n"), "size line of 3"),
    "mtx bad banner": (
        ".mtx",
        text(BANNER.replace("real", "quaternion") + "1 1 0\n"),
        "first line",
    ),
    "mtx vector": (".mtx", text(BANNER.replace("matrix c", "vector c") + "1 1\n"), "first line"),
    "mtx 0x0": (".mtx", text(BANNER + "0 0 0\n"), "at least one row"),
    "mtx not square": (".mtx", text(BANNER.replace("general", "symmetric") + "2 3 0\n"), "square"),
    "mtx skew diagonal": (
        ".mtx",
        text(BANNER.replace("general", "skew-symmetric") + "2 2 1\n1 1 5\n"),
        "diagonal that fits",
    ),
    "mtx hermitian diagonal": (
        ".mtx",
        text(BANNER.replace("real general", "complex hermitian") + "2 2 1\n1 1 5 1\n"),
        "diagonal that fits",
    ),
    "gz cut": (".mtx.gz", lambda p: p.write_bytes(gzip.compress(BANNER.encode())[:-6]), "gzip"),
    "npy 0x0": (".npy", npy(np.empty((0, 0))), "at least one row"),
    "npy vector": (".npy", npy(np.ones(3)), r"got shape \(3,\)"),
    "npy 3-D": (".npy", npy(np.ones((2, 2, 2))), r"got shape \(2, 2, 2\)"),
    "npy nan": (".npy", npy(with_nan), r"nan at .*\(1, 2\)"),
    "npy objects": (".npy", npy(np.array([[None]])), "pickled"),
    "npy records": (".npy", npy(np.zeros((2, 2), "f8,f8")), "expected numbers"),
    "npy cut": (".npy", lambda p: p.write_bytes(_npy(np.eye(3))[:-1]), "get it again"),
    "npy longer": (".npy", lambda p: p.write_bytes(_npy(np.eye(3)) + b"x"), "get it again"),
    "npz objects": (".npz", npz(A=np.array([[None]])), "pickled"),
    "npz text": (".npz", npz(A="text"), "expected a matrix, got none.*A"),
    "npz encrypted": (".npz", archive("A.npy", flag=1), "encrypted"),
    "npz folder": (".npz", archive("a/A.npy"), "no folder"),
    "npz upwards": (".npz", archive("../A.npy"), "no folder"),
    "npz foreign": (".npz", archive("A.txt"), "NAME.npy"),
    "npz bzip2": (".npz", archive("A.npy", method=zipfile.ZIP_BZIP2), "stored or deflated"),
    "npz two": (".npz", npz(P=np.eye(3), Q=np.eye(2)), "got 2: P 3×3, Q 2×2; choose"),
    "csr nan": (
        ".npz",
        csr(data=bad_csr.data, indices=bad_csr.indices, indptr=bad_csr.indptr),
        r"nan at .*\(1, 2\)",
    ),
    "csr index past": (".npz", csr(indices=[0, 1, 3]), "in 0 to 2, got 3"),
    "csr index below": (".npz", csr(indices=[0, -1, 2]), "in 0 to 2, got -1"),
    "csr float index": (".npz", csr(indices=[0.0, 1.0, 2.0]), "integer"),
    "csr falling": (".npz", csr(indptr=[0, 2, 1, 3]), "never fall"),
    "csr start": (".npz", csr(indptr=[1, 1, 2, 3]), "start at 0"),
    "csr past the end": (".npz", csr(indptr=[0, 1, 2, 4]), "4 entries .* got 3"),
    "csr short": (".npz", csr(indptr=[0, 1, 3]), "4 pointers"),
    "csr no indices": (".npz", npz(format=b"csr", shape=[3, 3], data=[1.0]), "got no indices"),
    "csr shape": (".npz", csr(shape=[3, 3, 3]), "two integers"),
    "csr huge": (".npz", csr(shape=[1 << 60, 3]), "2\\^53"),
    "layout": (".npz", csr(format=b"lil"), "sparse format of csr"),
    "coo": (".npz", csr(format=b"coo", row=[0, 1, 9], col=[0, 1, 2]), "in 0 to 2, got 9"),
    "coo lengths": (".npz", csr(format=b"coo", row=[0, 1], col=[0, 1, 2]), "as many rows"),
    "dia": (".npz", csr(format=b"dia", data=np.ones((1, 3)), offsets=[7]), "offsets inside"),
    "dia twice": (".npz", csr(format=b"dia", data=np.ones((2, 3)), offsets=[0, 0]), "twice"),
    "bsr": (".npz", csr(format=b"bsr", data=np.ones((3, 2, 2))), "tile"),
    "bsr index": (
        ".npz",
        csr(format=b"bsr", data=np.ones((3, 1, 1)), indices=[0, 1, 5]),
        "block columns",
    ),
    "mat cells": (".mat", mat(A=np.array([[1, "x"]], object)), "expected a matrix, got none"),
    "mat nan": (".mat", mat(A=sp.csc_array(with_nan)), r"nan at .*\(1, 2\)"),
    "mat ambiguous": (".mat", mat(P=np.eye(3), Q=np.eye(2)), "P 3×3, Q 2×2"),
    "h5 no layout": (
        ".h5",
        group(data=np.ones(3), indices=[0, 1, 2], indptr=[0, 1, 2, 3], shape=[3, 3]),
        "csr or csc",
    ),
    "h5 index": (
        ".h5",
        group(data=np.ones(3), indices=[0, 1, 9], indptr=[0, 1, 3], shape=[2, 3]),
        "in 0 to 2, got 9",
    ),
    "h5 text": (".h5", group(x="text"), "expected a matrix, got none"),
    "no format": (".csv", text("1,2\n3,4\n"), "by its content"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused_with_the_reason(name, tmp_path):
    suffix, write, reason = REFUSED[name]
    path = tmp_path / f"file{suffix}"
    write(path)
    with pytest.raises(FileError, match=reason) as caught:
        read_system(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_an_archive_holds_twice_is_refused(tmp_path):
    archive("A.npy", "A.npy")(tmp_path / "a.npz")
    with pytest.raises(FileError, match="twice"):
        read_system(tmp_path / "a.npz")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.mtx").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", tmp_path / "empty.mtx", "a\0b"):
        for read in (read_system, read_vector):
            with pytest.raises(FileError):
                read(path)


def test_keys_are_told_apart(tmp_path):
    path = tmp_path / "a.npz"
    npz(P=np.eye(3), Q=2 * np.eye(3), b=np.arange(3.0), word="text")(path)
    assert read_system(path, key="Q").matrix[0, 0] == 2
    assert read_system(path, key="Q").rhs_name == "b"
    for key, reason in {
        "R": "none of that name",
        "word": "no numbers",
        "b": "a matrix in b",
    }.items():
        with pytest.raises(FileError, match=reason):
            read_system(path, key=key)
    with pytest.raises(FileError, match="P 3×3"):
        read_vector(path, key="R")


def test_casts_sums_and_choices_are_noted(tmp_path):
    path = tmp_path / "a.npz"
    npz(A=np.full((2, 2), 1 << 60), b=np.array([[1, 2], [3, 4]], np.float16)[:, :1])(path)
    system = read_system(path)
    assert system.matrix.dtype == system.rhs.dtype == np.float64
    assert "int64 to float64, with integers past 2^53 rounded" in system.notes[0]
    assert "b: cast from float16" in system.notes[1]
    npz(A=np.eye(3, dtype=np.clongdouble), b=np.arange(6.0).reshape(3, 2), B=np.eye(3))(path)
    system = read_system(path)
    assert system.matrix.dtype == np.complex128
    assert list(system.rhs) == [0, 2, 4] and "first of its 2 columns" in system.notes[1]
    npz(A=np.eye(3), b=np.ones(4), B=np.eye(3))(path)
    system = read_system(path)
    assert system.rhs is None and len(system.notes) == 2
    path = tmp_path / "a.mtx"
    path.write_text(BANNER + "2 2 4\n1 1 1\n2 2 5\n1 1 2\n1 1 3\n")
    system = read_system(path)
    assert "2 duplicate entries were summed" in system.notes[0]
    np.testing.assert_array_equal(system.matrix.toarray(), [[6, 0], [0, 5]])
    csr(indices=[2, 0, 2], indptr=[0, 3, 3, 3])(tmp_path / "b.npz")
    system = read_system(tmp_path / "b.npz")
    assert "1 duplicate" in system.notes[0] and list(system.matrix.indices) == [0, 2]


def test_vectors_of_every_shape(tmp_path):
    for array in (np.arange(5.0), np.arange(5.0)[:, None], np.arange(5.0)[None]):
        npy(array)(tmp_path / "v.npy")
        vector, name, notes = read_vector(tmp_path / "v.npy")
        assert vector.shape == (5,) and name is None and notes == ()
        np.testing.assert_array_equal(vector, np.arange(5.0))
    scipy.io.mmwrite(tmp_path / "v.mtx", sp.coo_array(np.array([[0.0], [2.0], [0.0]])))
    np.testing.assert_array_equal(read_vector(tmp_path / "v.mtx").vector, [0, 2, 0])
    mat(n=3.0, f=np.arange(4.0))(tmp_path / "v.mat")
    assert read_vector(tmp_path / "v.mat").name == "f"
    npy(np.arange(6.0).reshape(3, 2))(tmp_path / "v.npy")
    assert "first of its 2 columns" in read_vector(tmp_path / "v.npy").notes[0]
    for bad, reason in (([1, np.inf], "inf at entry 1"), ([], "a vector"), (5.0, "a vector")):
        npy(np.array(bad))(tmp_path / "v.npy")
        with pytest.raises(FileError, match=reason):
            read_vector(tmp_path / "v.npy")


def _elsewhere(file: h5py.File) -> str:
    """The path of another file, which holds a secret."""
    path = Path(file.filename).with_name("secret.h5")
    with h5py.File(path, "w") as other:
        other["A"] = np.full((3, 3), 42.0)
    return str(path)


def _external(at: str) -> Callable[[h5py.File], object]:
    return lambda file: file.__setitem__(at, h5py.ExternalLink(_elsewhere(file), "/A"))


def _soft(**links: str) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        for name, target in links.items():
            file[name.replace("__", "/")] = h5py.SoftLink(target)

    return make


def _soft_through_external(file: h5py.File) -> None:
    file["away"] = h5py.ExternalLink(_elsewhere(file), "/")
    file["near"] = h5py.SoftLink("/away/A")


def _hard_cycle(child: str, target: str) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        file.require_group(child.rpartition("/")[0])
        file[child] = file[target]

    return make


def _external_storage(name: str) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        raw = Path(file.filename).with_name("raw.bin")
        raw.write_bytes(bytes(72))
        file.create_dataset(name, (3, 3), "f8", external=[(str(raw), 0, 72)])

    return make


def _virtual(name: str, source: str | None) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((3, 3), "f8")
        layout[:] = h5py.VirtualSource(source or _elsewhere(file), "A", (3, 3))
        file.create_virtual_dataset(name, layout)

    return make


OUTSIDE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (_external("x"), "external link"),
    "external link in a group": (_external("g/h/x"), "external link"),
    "soft link through an external one": (_soft_through_external, "link"),
    "soft link to nothing": (_soft(x="/none"), "leads nowhere"),
    "soft link through nothing": (_soft(x="/none/A"), "leads nowhere"),
    "soft link through a dataset": (_soft(x="/A/y"), "leads nowhere"),
    "soft link to itself": (_soft(x="/x"), "leads nowhere"),
    "soft links in a ring": (_soft(x="/y", y="/z", z="/x"), "leads nowhere"),
    "soft link upwards": (_soft(g__x="/g"), "holds it"),
    "soft link to the root": (_soft(g__x="/"), "holds it"),
    "hard link upwards": (_hard_cycle("g/h/x", "g"), "contains itself"),
    "hard link to the root": (_hard_cycle("g/x", "/"), "contains itself"),
    "external storage": (_external_storage("x"), "external storage"),
    "external storage in a group": (_external_storage("g/x"), "external storage"),
    "virtual dataset": (_virtual("x", None), "virtual"),
    "virtual dataset without its source": (_virtual("g/x", "none.h5"), "virtual"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_hdf5_cannot_reach_outside_itself(name, tmp_path):
    make, reason = OUTSIDE[name]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["A"] = np.eye(3)
    assert read_system(path).key == "A"
    with h5py.File(path, "a") as file:
        make(file)
    for read in (read_system, read_vector):
        for key in (None, "A", "x", "near"):
            with pytest.raises(FileError, match=reason):
                read(path, key=key)
