"""Files of k-space and images: damaged, hostile or contradictory, they end in a FileError."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from sciml.io import FileError, ImageFormat, KSpaceFormat, Limits, read_image, read_kspace
from sciml.io import write_image as write
from tests.faults._fuzz import check_damaged
from tests.numerics._kspace_files import (
    CASES,
    undersampled,
    written,
)

ROOT = Path(__file__).resolve().parents[2]
FORMATS = pytest.mark.parametrize("format", KSpaceFormat, ids=lambda format: format.name)
IMAGES = pytest.mark.parametrize("format", ImageFormat, ids=lambda format: format.name)
Write = Callable[[Path], object]


def kspace_files(format: KSpaceFormat, folder: Path, rng: np.random.Generator) -> list[Path]:
    files = [written(case, folder, rng)[0] for case in CASES if case.format is format]
    return files + [path.with_suffix(".hdr") for path in files if path.suffix == ".cfl"]


def image_files(format: ImageFormat, folder: Path, rng: np.random.Generator) -> list[Path]:
    image = undersampled(rng, 3, 12, 16)
    path = folder / "image"
    match format:
        case ImageFormat.NPZ:
            np.savez_compressed(path.with_suffix(".npz"), image=image, other=image.real)
            return [path.with_suffix(".npz")]
        case ImageFormat.MAT5:
            for packed in (False, True):
                name = folder / f"{'compressed' if packed else 'plain'}.mat"
                scipy.io.savemat(name, {"image": image}, do_compression=packed)
            return list(folder.iterdir())
        case ImageFormat.MAT73:
            case = next(case for case in CASES if case.format is KSpaceFormat.MAT73)
            return [written(case, folder, rng)[0]]
    suffixes = {
        ImageFormat.NIFTI: (".nii", ".nii.gz"),
        ImageFormat.PNG: (".png",),
        ImageFormat.BART: (".cfl",),
        ImageFormat.NPY: (".npy",),
        ImageFormat.HDF5: (".h5",),
    }[format]
    for suffix in suffixes:
        write(folder / f"image{suffix}", image)
    return list(folder.iterdir())


def check_fuzz(reader: str, make: Callable, folder: Path, count: int) -> None:
    originals = folder / "originals"
    originals.mkdir()
    check_damaged(reader, make(originals), folder, count)


@FORMATS
def test_damaged_kspace_ends_in_a_result_or_a_file_error(format, tmp_path, rng):
    check_fuzz("kspace", lambda folder: kspace_files(format, folder, rng), tmp_path, 400)


@IMAGES
def test_damaged_images_end_in_a_result_or_a_file_error(format, tmp_path, rng):
    check_fuzz("image", lambda folder: image_files(format, folder, rng), tmp_path, 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FORMATS
def test_damaged_kspace_long(format, tmp_path, rng):
    check_fuzz("kspace", lambda folder: kspace_files(format, folder, rng), tmp_path, 20_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@IMAGES
def test_damaged_images_long(format, tmp_path, rng):
    check_fuzz("image", lambda folder: image_files(format, folder, rng), tmp_path, 10_000)


@FORMATS
def test_limits_hold_in_every_format(format, tmp_path, rng):
    for path in kspace_files(format, tmp_path, rng):
        with pytest.raises(FileError, match=r"at most 40 B once decoded.*max_bytes"):
            read_kspace(path, limits=Limits(max_bytes=40))


@IMAGES
def test_limits_hold_in_every_image_format(format, tmp_path, rng):
    for path in image_files(format, tmp_path, rng):
        with pytest.raises(FileError, match=r"at most 40 B once decoded.*max_bytes"):
            read_image(path, limits=Limits(max_bytes=40))
