"""K-space and images through files: exact, with the axes and the extras that belong to them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import scipy.io

from sciml.io import (
    Axis,
    FileError,
    KSpace,
    KSpaceFormat,
    read_image,
    read_kspace,
    write_image,
    write_kspace,
)
from tests.numerics._kspace_files import (
    CASES,
    COILS,
    FLAT,
    NX,
    NY,
    acquisition,
    header,
    random,
    undersampled,
    write_mrd,
    written,
)


def test_every_format_has_a_case():
    assert {case.format for case in CASES} == set(KSpaceFormat)
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_others_write_is_read_exactly(case, tmp_path, rng):
    path, data = written(case, tmp_path, rng)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    found = read_kspace(path)
    assert (found.format, found.name) == (case.format, case.variable)
    assert found.axes == case.named_axes
    assert found.data.dtype == case.dtype and found.data.flags.c_contiguous
    np.testing.assert_array_equal(found.data, data)
    coil = found.axes.index(Axis.COIL)
    assert found.coils == data.shape[coil] and found.shape == data.shape[coil + 1 :]
    np.testing.assert_array_equal(found.mask, np.abs(data).sum(axis=coil) > 0)
    if case.variable is not None:
        np.testing.assert_array_equal(read_kspace(path, variable=case.variable).data, data)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [".h5", ".cfl", ".npy"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_written_is_read_back_bit_for_bit(case, suffix, tmp_path, rng):
    kspace = read_kspace(written(case, tmp_path, rng)[0])
    path = tmp_path / f"again{suffix}"
    if suffix == ".cfl" and (kspace.data.dtype == np.complex128 or not kspace.cartesian):
        with pytest.raises(FileError, match=r"expected (C|c)"):
            write_kspace(path, kspace)
        return
    write_kspace(path, kspace)
    if suffix == ".npy" and case.axes.startswith("slice"):
        stored = np.load(path)
        wanted = kspace.data[:, 0] if kspace.coils == 1 else kspace.data
        np.testing.assert_array_equal(stored, wanted)
        return
    again = read_kspace(path)
    np.testing.assert_array_equal(again.data, kspace.data)
    assert again.data.dtype == kspace.data.dtype
    if suffix == ".h5":
        assert again.axes == kspace.axes and again.voxel == kspace.voxel
        for name in ("noise", "trajectory", "calibration"):
            np.testing.assert_array_equal(getattr(again, name), getattr(kspace, name))
    write_kspace(path, again)
    np.testing.assert_array_equal(read_kspace(path).data, kspace.data)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_bart_writes_what_bart_reads(tmp_path, rng):
    """The layout of the format: 16 lengths as text, then complex64 with the first axis fastest."""
    data = random(rng, 2, COILS, 3, 4, 5)
    axes = (Axis.SLICE, Axis.COIL, Axis.KZ, Axis.KY, Axis.KX)
    write_kspace(tmp_path / "a.cfl", KSpace(data, axes))
    lines = (tmp_path / "a.hdr").read_text().splitlines()
    assert lines[0] == "# Dimensions"
    assert [int(w) for w in lines[1].split()] == [5, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1]
    raw = np.fromfile(tmp_path / "a.cfl", "<c8").reshape((5, 4, 3, COILS, 2), order="F")
    np.testing.assert_array_equal(raw, data.T)
    for name in ("a.cfl", "a.hdr", "a"):
        found = read_kspace(tmp_path / name)
        assert found.axes == axes
        np.testing.assert_array_equal(found.data, data)


def test_bart_maps_are_no_kspace(tmp_path, rng):
    dims = [4, 4, 1, 2, 2]
    (tmp_path / "a.hdr").write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n")
    random(rng, 64).tofile(tmp_path / "a.cfl")
    with pytest.raises(FileError, match="2 along BART's axis 4"):
        read_kspace(tmp_path / "a.cfl")
    assert read_image(tmp_path / "a.cfl").data.shape == (2, 2, 4, 4)


def lines(data: np.ndarray, *flags: int, **counters):
    """An acquisition for each line of (coil, ky, kx) that is not zero."""
    return [
        acquisition(data[:, y], *flags, kspace_encode_step_1=y, **counters)
        for y in range(data.shape[1])
        if data[:, y].any()
    ]


def test_mrd_noise_calibration_and_others_are_told_apart(tmp_path, rng):
    data, center = undersampled(rng, *FLAT), np.zeros(FLAT, np.complex64)
    center[:, 4:8] = random(rng, COILS, 4, NX)
    noise = [random(rng, COILS, 20) for _ in range(2)]
    acquisitions = [acquisition(part, ismrmrd.ACQ_IS_NOISE_MEASUREMENT) for part in noise]
    acquisitions += lines(center, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    acquisitions += lines(data)
    acquisitions.append(acquisition(data[:, 0], ismrmrd.ACQ_IS_NAVIGATION_DATA))
    acquisitions.append(acquisition(data[:, 0], ismrmrd.ACQ_IS_PHASECORR_DATA))
    write_mrd(tmp_path / "a.h5", header(NX, NY, rx=NX // 2), acquisitions)
    found = read_kspace(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.data, data)
    np.testing.assert_array_equal(found.noise, np.concatenate(noise, axis=1))
    np.testing.assert_array_equal(found.calibration, center)
    assert found.voxel == (240 / NY, 256 / (NX // 2))
    assert found.notes == ("2 navigators and other lines were left",)


def test_mrd_lines_for_both_serve_both(tmp_path, rng):
    data = undersampled(rng, *FLAT)
    acquisitions = lines(data[:, :4])
    both = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING
    for y in range(4, NY, 2):
        acquisitions.append(acquisition(data[:, y], both, kspace_encode_step_1=y))
    write_mrd(tmp_path / "a.h5", header(NX, NY), acquisitions)
    found = read_kspace(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.data, data)
    np.testing.assert_array_equal(found.calibration[:, 4:], data[:, 4:])
    assert not found.calibration[:, :4].any()


def test_mrd_counters_are_axes_and_averages_are_averaged(tmp_path, rng):
    data = random(rng, 2, 3, *FLAT)
    acquisitions = []
    for average, sign in enumerate((1, -1)):
        for r in range(2):
            for s in range(3):
                shifted = data[r, s] + sign * np.float32(0.5)
                acquisitions += lines(shifted, repetition=r, slice=s, average=average)
    write_mrd(tmp_path / "a.h5", header(NX, NY), acquisitions)
    found = read_kspace(tmp_path / "a.h5")
    assert found.axes == (Axis.REPETITION, Axis.SLICE, Axis.COIL, Axis.KY, Axis.KX)
    np.testing.assert_allclose(found.data, data, atol=1e-6)
    assert found.notes == (f"{6 * NY} lines measured more than once were averaged",)
    assert found.batch_shape == (2, 3)


def test_mrd_partial_and_reversed_readouts_find_their_place(tmp_path, rng):
    data = random(rng, *FLAT)
    short = [
        acquisition(data[:, y, 4:], kspace_encode_step_1=y, center_sample=NX // 2 - 4)
        for y in range(0, NY, 3)
    ]
    padded = np.pad(data, ((0, 0), (0, 0), (2, 3)), constant_values=7)
    cut = [
        acquisition(
            padded[:, y], kspace_encode_step_1=y, center_sample=NX // 2 + 2,
            discard_pre=2, discard_post=3,
        )
        for y in range(1, NY, 3)
    ]  # fmt: skip
    turned = [
        acquisition(
            data[:, y, ::-1], ismrmrd.ACQ_IS_REVERSE, kspace_encode_step_1=y,
            center_sample=NX - 1 - NX // 2,
        )
        for y in range(2, NY, 3)
    ]  # fmt: skip
    write_mrd(tmp_path / "a.h5", header(NX, NY), short + cut + turned)
    found = read_kspace(tmp_path / "a.h5")
    wanted = data.copy()
    wanted[:, ::3, :4] = 0
    np.testing.assert_array_equal(found.data, wanted)
    assert "turned round" in found.notes[0]


def test_mrd_steps_are_about_the_declared_centre(tmp_path, rng):
    """A scan that begins late: step 2 is the origin, which belongs at n // 2."""
    data = random(rng, COILS, 8, NX)
    xml = header(NX, NY).replace(f"<center>{NY // 2}</center>", "<center>2</center>")
    write_mrd(tmp_path / "a.h5", xml, lines(data))
    found = read_kspace(tmp_path / "a.h5").data
    np.testing.assert_array_equal(found[:, NY // 2 - 2 : NY // 2 + 6], data)
    assert not found[:, : NY // 2 - 2].any()


def test_oversampling_is_removed_when_asked(tmp_path):
    """An object inside the middle half: its k-space at half the density has the same image."""
    image = np.zeros((COILS, NY, 2 * NX), np.complex64)
    rng = np.random.default_rng(3)
    image[..., NX // 2 : NX // 2 + NX] = random(rng, *FLAT)

    def transformed(x: np.ndarray) -> np.ndarray:
        inside = np.fft.ifftshift(x, axes=(-2, -1))
        return np.fft.fftshift(np.fft.fft2(inside, norm="ortho"), axes=(-2, -1))

    dense = transformed(image)
    write_mrd(tmp_path / "a.h5", header(2 * NX, NY, rx=NX), lines(dense))
    found = read_kspace(tmp_path / "a.h5")
    assert found.shape == (NY, 2 * NX) and found.readout == NX
    cropped = found.without_oversampling()
    wanted = transformed(image[..., NX // 2 : NX // 2 + NX])
    np.testing.assert_allclose(cropped.data, wanted, atol=3e-6)
    assert cropped.data.dtype == np.complex64
    assert cropped.without_oversampling() is cropped
    write_kspace(tmp_path / "b.h5", found)
    assert read_kspace(tmp_path / "b.h5").readout == NX


def test_mrd_is_what_the_package_reads(tmp_path, rng):
    path, _ = written(CASES[2], tmp_path, rng)
    found = read_kspace(path)
    with ismrmrd.Dataset(path, "dataset", mode="r") as file:
        assert file.number_of_acquisitions() == NY
        ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        for i in range(NY):
            theirs = file.read_acquisition(i)
            np.testing.assert_array_equal(found.data[:, i], theirs.data)
            np.testing.assert_array_equal(found.trajectory[i], theirs.traj)


@pytest.mark.parametrize(
    ("shape", "coil_axis", "order"),
    [
        ((12, 16), None, (-1, 0, 1)),
        ((4, 12, 16), None, (0, 1, 2)),
        ((12, 16, 4), None, (2, 0, 1)),
        ((12, 4, 16), None, (1, 0, 2)),
        ((12, 16, 1), None, (2, 0, 1)),
        ((12, 16, 11), 2, (2, 0, 1)),
        ((12, 16, 11), -1, (2, 0, 1)),
        ((9, 4, 12, 16), None, (0, 1, 2, 3)),
        ((12, 16, 4, 9), None, (3, 2, 0, 1)),
        ((4, 9, 12, 16), None, (0, 1, 2, 3)),
        ((9, 12, 16, 4), None, (3, 0, 1, 2)),
        ((2, 9, 3, 12, 16), 2, (0, 1, 2, 3, 4)),
    ],
)
def test_the_coil_axis_of_bare_arrays(shape, coil_axis, order, tmp_path, rng):
    stored = random(rng, *shape)
    np.save(tmp_path / "a.npy", stored)
    found = read_kspace(tmp_path / "a.npy", coil_axis=coil_axis)
    assert found.order == order
    wanted = stored[None] if -1 in order else stored.transpose(order)
    np.testing.assert_array_equal(found.data, wanted)
    np.testing.assert_array_equal(found.stored(), stored)
    write_kspace(tmp_path / "b.npy", found)
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


def test_an_unplugged_coil_is_no_other_axis(tmp_path, rng):
    data = random(rng, 8, 12, 16)
    data[3] = 0
    np.save(tmp_path / "a.npy", data)
    np.testing.assert_array_equal(read_kspace(tmp_path / "a.npy").data, data)
    data[:, ::3] = 0
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(FileError, match=r"differ along axis 1 .*pass coil_axis=0"):
        read_kspace(tmp_path / "a.npy", coil_axis=1)


def test_real_brain(shared_data, tmp_path):
    path = shared_data / "mri_kspace" / "cartesian_ksp.npy"
    found = read_kspace(path)
    assert found.data.shape == (8, 230, 180) and found.data.dtype == np.complex64
    np.testing.assert_array_equal(found.data, np.load(path))
    assert found.mask.mean() == pytest.approx(0.124, abs=5e-4)
    for wrong in (1, 2, -1):
        with pytest.raises(FileError, match=r"zeros that differ along axis .*pass coil_axis=0"):
            read_kspace(path, coil_axis=wrong)
    for suffix in (".h5", ".cfl", ".npy"):
        write_kspace(tmp_path / f"a{suffix}", found)
        again = read_kspace(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(again.data, found.data)


def test_real_phantom_with_its_reference(shared_data):
    folder = shared_data / "mri_kspace" / "epi16"
    for name, key, shape in (
        ("kdata.mat", "KSpaceDATA", (16, 64, 64)),
        ("refscan.mat", "refscan", (16, 64, 24)),
    ):
        found = read_kspace(folder / name)
        theirs = scipy.io.loadmat(folder / name)[key]
        assert (found.name, found.data.shape) == (key, shape)
        np.testing.assert_array_equal(found.data, np.moveaxis(theirs, 2, 0))
        np.testing.assert_array_equal(found.stored(), theirs)


def test_real_single_coil(shared_data):
    path = shared_data / "mri_kspace" / "single_coil" / "se_t1_sag_data.mat"
    found = read_kspace(path)
    assert found.data.shape == (1, 256, 256) and found.axes[0] is Axis.COIL
    np.testing.assert_array_equal(found.data[0], scipy.io.loadmat(path)["data"])
    np.testing.assert_array_equal(found.stored(), found.data[0])


def test_kspace_is_checked():
    data = np.ones((2, 4, 4), np.complex64)
    axes = (Axis.COIL, Axis.KY, Axis.KX)
    with pytest.raises(TypeError, match="complex64"):
        KSpace(data.real, axes)
    for wrong in ((Axis.COIL, Axis.KY), (Axis.SLICE, Axis.KY, Axis.KX), (*axes[1:], axes[0])):
        with pytest.raises(ValueError, match="expected"):
            KSpace(data, wrong)
    with pytest.raises(ValueError, match="shape"):
        KSpace(data, axes).stored(data[:1])


def test_writers_refuse_before_anything_is_touched(tmp_path):
    kspace = KSpace(np.ones((2, 4, 4), np.complex64), (Axis.COIL, Axis.KY, Axis.KX))
    image = np.ones((4, 4), np.float32)
    refused = [
        (ValueError, "ends in", lambda: write_kspace(tmp_path / "a.txt", kspace)),
        (TypeError, "KSpace", lambda: write_kspace(tmp_path / "a.npy", kspace.data)),
        (ValueError, "ends in", lambda: write_image(tmp_path / "a.jpg", image)),
        (TypeError, "float or complex", lambda: write_image(tmp_path / "a.npy", image > 0)),
        (ValueError, "NaN or Inf", lambda: write_image(tmp_path / "a.npy", image * np.nan)),
        (ValueError, "voxel", lambda: write_image(tmp_path / "a.nii", image, voxel=(1.0, -2.0))),
        (ValueError, "two axes", lambda: write_image(tmp_path / "a.png", image[0])),
        (ValueError, "32767", lambda: write_image(tmp_path / "a.nii", np.ones(40_000))),
    ]
    for kind, reason, write in refused:
        with pytest.raises(kind, match=reason):
            write()
    assert os.listdir(tmp_path) == []


def test_a_failing_write_keeps_both_files_of_a_pair(tmp_path, monkeypatch):
    kspace = KSpace(np.ones((2, 4, 4), np.complex64), (Axis.COIL, Axis.KY, Axis.KX))
    write_kspace(tmp_path / "a.cfl", kspace)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))
    for suffix in (".cfl", ".h5", ".npy"):
        with pytest.raises(OSError, match="no space"):
            write_kspace(tmp_path / f"a{suffix}", replace(kspace, data=kspace.data[:1] * 2))
    with pytest.raises(OSError, match="no space"):
        write_image(tmp_path / "a.cfl", kspace.data * 3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_hdf5_is_laid_out_as_fastmri(tmp_path, rng):
    data = undersampled(rng, 2, COILS, NX, NY).swapaxes(-1, -2)
    axes = (Axis.SLICE, Axis.COIL, Axis.KY, Axis.KX)
    write_kspace(tmp_path / "a.h5", KSpace(np.ascontiguousarray(data), axes))
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["kspace"][()], data)
        np.testing.assert_array_equal(file["mask"][()], np.arange(NX) % 2 == 0)


def test_paths_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 4), complex))
    assert read_kspace(tmp_path / "a.npy").source == Path(tmp_path / "a.npy")
