"""ConDiff files: written in the published layout, read with the unknowns where they belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from sciml.datasets import (
    ConDiffConfig,
    ConDiffData,
    Order,
    Rhs,
    Source,
    Split,
    condiff_matrix,
    draw_condiff,
    generate_condiff,
    generate_condiff_file,
    read_condiff,
)
from sciml.io import FileError
from tests.numerics._condiff import SMALL, published_matrix

ROOT = Path(__file__).resolve().parents[2]


def test_files_have_the_published_layout(tmp_path):
    paths = generate_condiff(SMALL, tmp_path, train=12, test=3, seed=1)
    folder = tmp_path / "cubic0.1_grid16"
    assert paths == [folder / f"cubic0.1_grid16_{split}.h5" for split in ("train", "test")]
    assert sorted(folder.iterdir()) == sorted(paths)
    for path, count in zip(paths, (12, 3), strict=True):
        with h5py.File(path) as file:
            assert {name: d.shape for name, d in file.items()} == {
                "k": (count, 17, 17),
                "rhs": (count, 256),
                "x": (count, 256),
            }
            assert all(d.dtype == np.float64 for d in file.values())
            for k, b, x in zip(file["k"], file["rhs"], file["x"], strict=True):
                np.testing.assert_allclose(published_matrix(k) @ x, b, atol=1e-11)


def test_the_poisson_file_has_no_k_and_reads_with_k_of_ones(tmp_path):
    config = ConDiffConfig(None, None, 8)
    (path,) = generate_condiff(config, tmp_path, train=0, test=4)
    with h5py.File(path) as file:
        assert set(file) == {"rhs", "x"}
    data = read_condiff(path)
    assert data.config == config
    assert data.k.shape == (4, 9, 9)
    assert np.all(data.k == 1)


@pytest.mark.parametrize("config", [SMALL, ConDiffConfig(None, None, 8)])
def test_reading_gives_back_what_was_drawn(config, tmp_path):
    path = generate_condiff_file(
        config, tmp_path / "any.h5", 13, seed=9, split=Split.TEST, rhs=Rhs.SMOOTH
    )
    data = read_condiff(path)
    drawn = draw_condiff(config, 13, seed=9, split=Split.TEST, rhs=Rhs.SMOOTH)
    assert data.config == config
    assert len(data) == 13
    for name in ("k", "rhs", "x", "flat_rhs", "flat_x"):
        np.testing.assert_array_equal(getattr(data, name), getattr(drawn, name))


@pytest.mark.parametrize("samples", [slice(2), slice(3, 9, 2), slice(-2, None), slice(5, 5)])
def test_part_of_a_file_can_be_read(samples, tmp_path):
    path = generate_condiff_file(SMALL, tmp_path / "any.h5", 11)
    part, whole = read_condiff(path, samples=samples), read_condiff(path)
    for name in ("k", "rhs", "x"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[samples])


@pytest.mark.parametrize("samples", [3, [0, 1], (0, 2)])
def test_only_slices_of_a_file_can_be_asked_for(samples, tmp_path):
    path = generate_condiff_file(SMALL, tmp_path / "any.h5", 4)
    with pytest.raises(TypeError, match="expected samples to be a slice"):
        read_condiff(path, samples=samples)


def published_file(path: Path, data: ConDiffData) -> Path:
    """As the authors' script writes it: contiguous, no attributes."""
    with h5py.File(path, "w") as file:
        if data.config is None or data.config.covariance is not None:
            file["k"] = data.k
        file["rhs"], file["x"] = data.flat_rhs, data.flat_x
    return path


def test_fortran_order_aligns_the_solution_with_k_and_c_order_does_not(tmp_path):
    """The published notebooks reshape in C order, so their networks see k transposed."""
    drawn = draw_condiff(SMALL, 4, seed=1)
    path = published_file(tmp_path / "cubic0.1_grid16_train.h5", drawn)
    data = read_condiff(path)
    with h5py.File(path) as file:
        flat_rhs, flat_x = file["rhs"][:], file["x"][:]
    np.testing.assert_array_equal(data.flat_rhs, flat_rhs)

    def residual(s: int, rhs: np.ndarray, x: np.ndarray) -> float:
        A = condiff_matrix(data.k[s], Order.C)
        return np.linalg.norm(rhs.ravel() - A @ x.ravel()) / np.linalg.norm(rhs)

    for s in range(4):
        assert residual(s, data.rhs[s], data.x[s]) < 1e-12
        assert residual(s, flat_rhs[s].reshape(16, 16), flat_x[s].reshape(16, 16)) > 0.05


def test_a_published_file_is_known_by_its_name(tmp_path):
    drawn = draw_condiff(SMALL, 2, seed=1)
    told = published_file(tmp_path / "cubic0.1_grid16_test.h5", drawn)
    untold = published_file(tmp_path / "3fa9c1.h5", drawn)
    assert read_condiff(told).config == SMALL
    assert read_condiff(untold).config is None


def test_a_file_says_how_it_was_made(tmp_path):
    path = generate_condiff_file(SMALL, tmp_path / "a.h5", 2, seed=2**64 - 1, rhs=Rhs.SMOOTH)
    with h5py.File(path) as file:
        told = {key: value.item() for key, value in file.attrs.items()}
    assert told.pop("order").startswith(b"F: unknown i + n*j")
    assert told == {
        "name": b"cubic0.1_grid16",
        "split": b"train",
        "seed": 2**64 - 1,
        "right_hand_side": b"smooth",
        "field_source": b"circulant",
        "recipe": 1,
        "first": 0,
        "samples": 2,
    }


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: generate_condiff(SMALL, p, train=0, test=0), "got 0 of both"),
        (lambda p: generate_condiff(SMALL, p, train=-1), "samples >= 1"),
        (lambda p: generate_condiff(SMALL, p, workers=0), "workers >= 1"),
        (lambda p: generate_condiff(SMALL, p, seed=-1), "expected seed"),
        (lambda p: generate_condiff(SMALL, p / "none"), "existing folder"),
        (lambda p: generate_condiff_file(SMALL, p / "none" / "a.h5", 1), "existing folder"),
        (lambda p: generate_condiff_file(SMALL, p / "a.h5", 0), "samples >= 1"),
    ],
)
def test_bad_calls_are_refused_before_anything_is_written(call, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_sample(tmp_path):
    seen = []
    generate_condiff(SMALL, tmp_path, train=25, test=5, progress=lambda *now: seen.append(now))
    assert seen == [(0, 30), (10, 30), (20, 30), (25, 30), (30, 30)]


def test_without_parafields_its_source_is_refused_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "parafields", None)
    with pytest.raises(ImportError, match=r"install parafields, or use Source\.CIRCULANT"):
        generate_condiff(SMALL, tmp_path, train=1, test=0, source=Source.PARAFIELDS)
    assert list(tmp_path.iterdir()) == []


def test_the_sample_on_disk_is_the_one_that_its_card_makes(tmp_path):
    sample = ROOT / "data" / "samples" / "condiff_gaussian2.0_grid64.h5"
    config = ConDiffConfig.from_name("gaussian2.0_grid64")
    data = read_condiff(sample)
    assert data.config == config
    drawn = draw_condiff(config, len(data), seed=42)
    # Another FFT or LAPACK may differ in the last bits.
    for name in ("k", "rhs", "x"):
        got, wanted = getattr(data, name), getattr(drawn, name)
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


def test_importing_the_data_sets_loads_numpy_and_nothing_heavier():
    heavy = ("torch", "cupy", "h5py", "numba", "scipy", "parafields")
    code = f"import sys, sciml.datasets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_file_in_the_way_is_not_overwritten(tmp_path):
    path = generate_condiff_file(SMALL, tmp_path / "a.h5", 3, seed=1)
    before = path.read_bytes()
    for how in ({"seed": 2}, {"rhs": Rhs.SMOOTH}, {"split": Split.TEST}, {"samples": 4}):
        how = {"seed": 1, "samples": 3} | how
        with pytest.raises(FileError, match="move it away"):
            generate_condiff_file(SMALL, path, **how)
    assert path.read_bytes() == before
    assert generate_condiff_file(SMALL, path, 3, seed=1) == path
