"""Pilots and channels in files that are damaged, too large, or not what they should be."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from sciml.datasets import CHANNEL_FAMILIES, simulate_pilots
from sciml.io import FileError, Limits, MatrixFormat
from sciml.io.channels import read_channels, read_pilots, write_arrays
from tests.faults._fuzz import check_damaged

DATA = simulate_pilots(CHANNEL_FAMILIES["cdl-c"], 3, pilots=5, snr=10.0, seed=1)


def files(folder: Path) -> list[Path]:
    """The same arrays in every format that is read."""
    paths = [folder / f"pilots.{suffix}" for suffix in ("npz", "mat", "h5")]
    np.savez_compressed(paths[0], **DATA)  # pyright: ignore[reportArgumentType]
    savemat(paths[1], DATA, do_compression=True)
    with h5py.File(paths[2], "w") as file:
        for name, values in DATA.items():
            file.create_dataset(name, data=values)
    return paths


def test_every_format_gives_the_same_arrays(tmp_path: Path) -> None:
    kinds = [MatrixFormat.NPZ, MatrixFormat.MAT5, MatrixFormat.HDF5]
    for path, kind in zip(files(tmp_path), kinds, strict=True):
        found = read_pilots(path)
        assert found.format is kind and found.source == path
        for name in ("Y", "P", "H"):
            np.testing.assert_array_equal(getattr(found, name), DATA[name])
        np.testing.assert_array_equal(read_channels(path), DATA["H"])
        with pytest.raises(FileError, match="at most 40 B once decoded"):
            read_pilots(path, limits=Limits(max_bytes=40))


def test_damaged_pilots_end_in_a_result_or_a_file_error(tmp_path: Path) -> None:
    check_damaged("pilots", files(tmp_path), tmp_path, 600)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for name in ("a.npz", "a.h5"):
        write_arrays(tmp_path / name, DATA)
        np.testing.assert_array_equal(read_channels(tmp_path / name), DATA["H"])
    with pytest.raises(FileError, match=r"\.npz or \.h5"):
        write_arrays(tmp_path / "a.mat", DATA)
    assert not (tmp_path / "a.mat").exists()


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    write_arrays(path, {"H": DATA["H"][0]})
    with pytest.raises(FileError, match="expected H \\(n, Nr, Nt\\)"):
        read_channels(path)
    with pytest.raises(FileError, match="a complex array Y, got H 16×64"):
        read_pilots(path)
    write_arrays(path, {"Y": DATA["Y"][:0, :0], "P": DATA["P"]})
    with pytest.raises(FileError, match="entries in Y"):
        read_pilots(path)
