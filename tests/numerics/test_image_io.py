"""Images through files: exact, and laid out as the standards say."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
from PIL import Image

from sciml.io import FileError, ImageFormat, read_image, write_image
from tests.numerics._kspace_files import random

SUFFIXES = [".npy", ".h5", ".cfl", ".nii", ".nii.gz"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_are_read_back_bit_for_bit(suffix, dtype, tmp_path, rng):
    image = random(rng, 5, 6, 7, dtype=np.complex128)
    image = (image.real if np.dtype(dtype).kind == "f" else image).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".cfl" and np.dtype(dtype) in (np.float64, np.complex128):
        with pytest.raises(FileError, match="complex64"):
            write_image(path, image)
        assert os.listdir(tmp_path) == []
        return
    write_image(path, image, voxel=(1.5, 2.0, 0.25))
    found = read_image(path)
    np.testing.assert_array_equal(found.data, image)
    assert found.data.dtype == (np.complex64 if suffix == ".cfl" else dtype)
    assert found.voxel == (None if suffix in (".npy", ".cfl") else (1.5, 2.0, 0.25))
    first = path.read_bytes()
    write_image(path, image, voxel=(1.5, 2.0, 0.25))
    assert path.read_bytes() == first


def test_nifti_is_laid_out_as_the_standard_says(tmp_path, rng):
    image = random(rng, 4, 3, 2)
    write_image(tmp_path / "a.nii", image, voxel=(1.0, 2.0, 3.0))
    raw = (tmp_path / "a.nii").read_bytes()
    assert struct.unpack_from("<i", raw) == (348,) and raw[344:348] == b"n+1\0"
    assert struct.unpack_from("<8h", raw, 40) == (3, 4, 3, 2, 1, 1, 1, 1)
    assert struct.unpack_from("<2h", raw, 70) == (32, 64)
    assert struct.unpack_from("<f", raw, 108) == (352.0,)
    data = np.frombuffer(raw[352:], "<c8").reshape(2, 3, 4)
    np.testing.assert_array_equal(data, image.T)
    affine = read_image(tmp_path / "a.nii").affine
    np.testing.assert_array_equal(affine @ [2, 1, 1, 1], [0, 0, 0, 1])
    np.testing.assert_array_equal(np.diag(affine), [1, 2, 3, 1])


def nifti(data: np.ndarray, code: int, order: str = "<", **fields: tuple) -> bytes:
    """A header made by hand. fields: at_OFFSET=(format, values...)."""
    head = bytearray(352)
    struct.pack_into(order + "i", head, 0, 348)
    dims = data.shape + (1,) * (7 - data.ndim)
    struct.pack_into(order + "8h", head, 40, data.ndim, *dims)
    struct.pack_into(order + "2h", head, 70, code, data.dtype.itemsize * 8)
    struct.pack_into(order + "8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into(order + "f", head, 108, 352)
    head[344:348] = b"n+1\0"
    for name, (layout, *values) in fields.items():
        struct.pack_into(order + layout, head, int(name[3:]), *values)
    stored = data.astype(data.dtype.newbyteorder(order))
    return bytes(head) + stored.tobytes(order="F")


def test_nifti_of_others(tmp_path):
    path = tmp_path / "a.nii"
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 9
    path.write_bytes(nifti(volume, 4, ">", at_112=("2f", 0.5, 3.0)))
    found = read_image(path)
    assert found.format is ImageFormat.NIFTI and found.data.dtype == np.float64
    np.testing.assert_array_equal(found.data, volume * 0.5 + 3)
    path.write_bytes(nifti(volume, 4))
    assert read_image(path).data.dtype == np.float32
    # Half a turn about the third axis, left-handed, in metres.
    quaternion = {"at_252": ("2h", 1, 0), "at_256": ("6f", 0.0, 0.0, 1.0, 5.0, 6.0, 7.0)}
    sizes = {"at_76": ("4f", -1.0, 0.002, 0.003, 0.004), "at_123": ("b", 1)}
    path.write_bytes(nifti(volume, 4, **quaternion, **sizes))
    found = read_image(path)
    np.testing.assert_allclose(np.diag(found.affine), [-2, -3, -4, 1], rtol=1e-6)
    np.testing.assert_allclose(found.affine[:3, 3], [5000, 6000, 7000])
    np.testing.assert_allclose(found.voxel, [2, 3, 4], rtol=1e-6)


def test_real_volumes(shared_data, tmp_path):
    wanted = {
        "chris_t1": ((188, 256, 190), "u1", np.float32),
        "complex": ((64, 64, 44), "<c8", np.complex64),
    }
    for name, (shape, stored, dtype) in wanted.items():
        path = shared_data / "mri_images" / f"{name}.nii.gz"
        found = read_image(path)
        with gzip.open(path) as handle:
            raw = np.frombuffer(handle.read()[352:], stored).reshape(shape, order="F")
        assert (found.data.shape, found.data.dtype) == (shape, dtype)
        np.testing.assert_array_equal(found.data, raw)
    assert found.voxel == pytest.approx((3.296875, 3.296875, 3.3), rel=1e-6)
    copy = tmp_path / "a.nii"
    write_image(copy, found.data, voxel=found.voxel)
    np.testing.assert_array_equal(read_image(copy).data, found.data)


def test_pictures(tmp_path, shared_data):
    image = np.outer(np.arange(20), np.ones(30)).astype(np.complex64) * 1j
    image[-1, -1] = 1e6
    write_image(tmp_path / "a.png", image)
    found = read_image(tmp_path / "a.png").data
    assert found.shape == (20, 30) and found.dtype == np.float32
    # One bright pixel of 600 is past the 99.9th percentile, which lies between it and the rest.
    white = np.percentile(np.abs(image), 99.9)
    np.testing.assert_array_equal(found, np.rint(np.abs(image).clip(0, white) / white * 255) / 255)
    write_image(tmp_path / "b.png", np.stack([image * 0, image, image * 0]))
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").data, found)
    write_image(tmp_path / "c.png", np.zeros((4, 4)))
    assert not read_image(tmp_path / "c.png").data.any()
    camera = read_image(shared_data / "images" / "camera.png").data
    assert camera.shape == (512, 512) and 0.4 < camera.mean() < 0.6


def test_photographs_as_cameras_store_them(tmp_path, rng):
    """JPEG: grey values to its own accuracy, colours as their luma, as PNG has them."""
    smooth = np.add.outer(np.arange(40.0), 2 * np.arange(60.0)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "grey.jpg", quality=95)
    grey = read_image(tmp_path / "grey.jpg")
    assert grey.format is ImageFormat.JPEG and grey.data.dtype == np.float32
    np.testing.assert_allclose(grey.data, smooth / 255, atol=0.02)
    colours = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    for kind in ("RGB", "CMYK"):
        colours.convert(kind).save(tmp_path / "colours.jpeg")
        with Image.open(tmp_path / "colours.jpeg") as stored:
            stored.convert("L").save(tmp_path / "colours.png")
        same = read_image(tmp_path / "colours.png").data
        np.testing.assert_array_equal(read_image(tmp_path / "colours.jpeg").data, same)


def test_what_is_no_image_is_told_what_would_be_one(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.gif")
    with pytest.raises(FileError, match=r"NIfTI-1, PNG, JPEG, BART \.cfl, NumPy \.npy.*GIF8"):
        read_image(tmp_path / "a.gif")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(FileError, match="expected a whole JPEG, got an error"):
        read_image(tmp_path / "a.jpg")
