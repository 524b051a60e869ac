"""Files of k-space and images: damaged, hostile or contradictory, they end in a FileError."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import scipy.io
from PIL import Image

from sciml.io import FileError, ImageFormat, KSpaceFormat, Limits, read_image, read_kspace
from sciml.io import write_image as write
from sciml.io.images import picture
from tests.faults._fuzz import check_damaged
from tests.numerics._kspace_files import (
    CASES,
    FLAT,
    NX,
    NY,
    acquisition,
    header,
    mrd,
    undersampled,
    write_mrd,
    written,
)

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
        case ImageFormat.JPEG:
            Image.fromarray(picture(image)).save(path.with_suffix(".jpg"))
            return [path.with_suffix(".jpg")]
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
    files = make(originals)
    guarded = {path.suffix for path in files} == {".png"}
    check_damaged(reader, files, folder, count, guarded=guarded)


def test_damaged_kspace_ends_in_a_result_or_a_file_error(tmp_path, rng):
    """All formats in one process: most of the time goes into starting it."""

    def make(folder: Path) -> list[Path]:
        return [path for format in KSpaceFormat for path in kspace_files(format, folder, rng)]

    check_fuzz("kspace", make, tmp_path, 1500)


def test_damaged_images_end_in_a_result_or_a_file_error(tmp_path, rng):
    def make(folder: Path) -> list[Path]:
        files: list[Path] = []
        for format in ImageFormat:
            (folder / format.name).mkdir()
            files += image_files(format, folder / format.name, rng)
        return files

    check_fuzz("image", make, tmp_path, 1000)


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


def changed(**fields: object) -> Write:
    """A scan whose first line has other fields in its header, or counters."""

    def write(path: Path) -> None:
        line = np.ones((2, NX), np.complex64)
        counters = {"kspace_encode_step_1": 3} | fields
        write_mrd(path, header(NX, NY), [acquisition(line, **counters), acquisition(line)])

    return write


def xml(old: str, new: str) -> Write:
    def write(path: Path) -> None:
        text = header(NX, NY)
        assert old in text
        write_mrd(path, text.replace(old, new), [acquisition(np.ones((2, NX)))])

    return write


ENTITIES = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 or str()};" * 10}">' for i in range(1, 10))
    + "]><ismrmrdHeader>&a9;"
)


def fast(**changes: object) -> Write:
    """fastMRI's layout with some datasets replaced."""

    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["kspace"] = np.ones((1, 2, 4, 4), np.complex64)
            for name, value in changes.items():
                if name in file:
                    del file[name]
                file[name] = value

    return write


def bart(header: str, count: int = 16) -> Write:
    def write(path: Path) -> None:
        path.with_suffix(".hdr").write_text(header)
        np.ones(count, np.complex64).tofile(path)

    return write


def npy(values: np.ndarray) -> Write:
    return lambda path: np.save(path, values)


def hole(shape: tuple[int, ...], value: complex) -> np.ndarray:
    values = np.ones(shape, np.complex64)
    values[0, 1, 2] = value
    return values


def cut(write: Write, keep: float) -> Write:
    def shorter(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return shorter


REFUSED: dict[str, tuple[str, Write, str]] = {
    "nan": (".npy", npy(hole((2, 4, 4), np.nan)), r"nan.* at \(0, 1, 2\)"),
    "inf": (".npy", npy(hole((2, 4, 4), 1j * np.inf)), r"inf.* at \(0, 1, 2\)"),
    "zeros": (".npy", npy(np.zeros((2, 4, 4), np.complex64)), "got zeros only"),
    "empty": (".npy", npy(np.zeros((2, 0, 4), np.complex64)), "expected"),
    "real": (".npy", npy(np.ones((2, 4, 4))), "complex numbers.*got float64"),
    "pairs": (".npy", npy(np.ones((4, 4, 2))), r"save real \+ 1j"),
    "one axis": (".npy", npy(np.ones(4, np.complex64)), "2 or more axes"),
    "equal axes": (".npy", npy(np.ones((8, 8, 8), np.complex64)), "pass coil_axis=0 or another"),
    "close axes": (".npy", npy(np.ones((20, 24, 32), np.complex64)), "20 and 24 at axes 0 and 1"),
    "many axes": (".npy", npy(np.ones((2, 4, 4, 4, 4), np.complex64)), "at most 3 axes"),
    "objects": (".npy", npy(np.array([[None]])), "pickled"),
    "cut npy": (".npy", cut(npy(np.ones((2, 4, 4), np.complex64)), 0.9), "get it again"),
    "no array": (".npz", lambda p: np.savez(p, a=np.ones(3)), "got none among a 3"),
    "two arrays": (
        ".npz",
        lambda p: np.savez(p, a=np.ones((2, 2), complex), b=np.ones((2, 2), complex)),
        "a 2×2, b 2×2; choose with variable=NAME",
    ),
    "matrix": (".mtx", lambda p: p.write_text("%%MatrixMarket matrix array real general\n1 1\n1\n"),
               "expected k-space, got MatrixMarket"),
    "no format": (".csv", lambda p: p.write_text("1,2\n"), "ISMRMRD, .* by its content"),
    "bart alone": (".cfl", lambda p: np.ones(4, np.complex64).tofile(p), "readable file"),
    "bart no header": (".cfl", bart("nothing"), "after '# Dimensions', got 'none'"),
    "bart words": (".cfl", bart("# Dimensions\n4 x\n"), "got '4 x'"),
    "bart zero": (".cfl", bart("# Dimensions\n4 0\n"), "got '4 0'"),
    "bart cut": (".cfl", bart("# Dimensions\n4 4 1 2\n"), "expected 256 bytes .* got 128"),
    "bart longer": (".cfl", bart("# Dimensions\n4 2\n"), "expected 64 bytes .* got 128"),
    "bart axes": (".cfl", bart("# Dimensions\n" + "1 " * 16 + "16\n"), "1 to 16 dimensions"),
    "bart huge": (".cfl", bart("# Dimensions\n65536 32768\n"), "16 GiB declared at the array"),
    "mask": (".h5", fast(mask=np.array([1, 0, 1, 1])), "got 4 samples outside of it"),
    "mask shape": (".h5", fast(mask=np.ones(3)), "a mask of 0 and 1 that broadcasts"),
    "mask values": (".h5", fast(mask=np.full(4, 0.5)), "a mask of 0 and 1"),
    "mask empty": (".h5", fast(mask=np.zeros(4)), "a mask with samples"),
    "noise": (".h5", fast(noise=np.full((2, 3), np.nan)), "finite numbers in noise"),
    "cut h5": (".h5", cut(fast(), 0.9), "HDF5"),
    "swapped": (
        ".h5",
        fast(kspace=undersampled(np.random.default_rng(0), 3, 4, 12, 16).swapaxes(1, 2)),
        "zeros that differ along axis 1 .*pass coil_axis=0 or 2",
    ),
    "mrd step": (".h5", changed(kspace_encode_step_1=NY), f"place {NY} of a matrix of {NY}"),
    "mrd samples": (".h5", changed(center_sample=NX), "for a readout of 16"),
    "mrd discards": (".h5", changed(discard_pre=NX), "samples 16 to 16"),
    "mrd encoding": (
        ".h5",
        lambda p: write_mrd(
            p, header(NX, NY), [acquisition(np.ones((2, NX)), encoding_space_ref=4)]
        ),
        "reference to encoding 4 of 1",
    ),
    "mrd noise only": (
        ".h5",
        lambda p: write_mrd(
            p, header(NX, NY), [acquisition(np.ones((2, 8)), ismrmrd.ACQ_IS_NOISE_MEASUREMENT)]
        ),
        "none that make an image",
    ),
    "mrd coils": (
        ".h5",
        lambda p: write_mrd(
            p, header(NX, NY), [acquisition(np.ones((n, NX))) for n in (2, 3)]
        ),
        "2 and 3 coils",
    ),
    "mrd xml": (".h5", xml("</encoding>", ""), "an error in it"),
    "mrd entities": (".h5", xml("<ismrmrdHeader", ENTITIES + "<a"), "a document type"),
    "mrd no encoding": (".h5", xml("encoding>", "decoding>"), "expected an encoding"),
    "mrd no size": (".h5", xml(f"<x>{NX}</x>", "<x>-1</x>"), "a matrix size in encodedSpace"),
    "mrd radial": (".h5", xml("cartesian", "radial"), r"with \[0\] coordinates"),
    "cut mrd": (".h5", cut(lambda p: mrd(p, undersampled(np.random.default_rng(0), *FLAT)), 0.8),
                "expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused_with_the_reason(name, tmp_path):
    suffix, write, reason = REFUSED[name]
    path = tmp_path / f"file{suffix}"
    write(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(FileError, match=reason) as caught:
        read_kspace(path)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_choices_that_a_format_makes_itself_are_refused(tmp_path, rng):
    for case in CASES:
        if case.format in (KSpaceFormat.MRD, KSpaceFormat.BART):
            path, _ = written(case, tmp_path, rng)
            with pytest.raises(FileError, match="name their own"):
                read_kspace(path, coil_axis=0)
    np.save(tmp_path / "a.npy", undersampled(rng, *FLAT))
    with pytest.raises(FileError, match="coil_axis in -3 to 2, got 3"):
        read_kspace(tmp_path / "a.npy", coil_axis=3)
    with pytest.raises(TypeError, match="coil_axis as an integer"):
        read_kspace(tmp_path / "a.npy", coil_axis="0")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileError, match="expected an array b, got none"):
        read_kspace(tmp_path / "a.npy", variable="b")


def external(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("secret.h5", "/kspace")


def external_kspace(file: h5py.File) -> None:
    file.move("kspace", "old")
    file["kspace"] = h5py.ExternalLink("secret.h5", "/kspace")


def soft(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/nowhere")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((1, 2, 4, 4), np.complex64)
    layout[:] = h5py.VirtualSource("secret.h5", "kspace", (1, 2, 4, 4))
    del file["kspace"]
    file.create_virtual_dataset("kspace", layout)


def storage(file: h5py.File) -> None:
    raw = Path(file.filename).with_name("raw.bin")
    raw.write_bytes(bytes(256))
    file.create_dataset("x", (4, 8), np.complex64, external=[(str(raw), 0, 256)])


OUTSIDE = {
    external: "external link",
    external_kspace: "external link",
    soft: "leads nowhere",
    virtual: "virtual",
    storage: "external storage",
}


@pytest.mark.parametrize("make", OUTSIDE, ids=lambda make: make.__name__)
def test_hdf5_cannot_reach_outside_itself(make, tmp_path, rng):
    fast()(tmp_path / "secret.h5")
    fast()(tmp_path / "a.h5")
    scan, _ = written(CASES[0], tmp_path, rng)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        make(file)
    if make is not virtual and make is not external_kspace:
        with h5py.File(scan, "a") as file:
            make(file)
        with pytest.raises(FileError, match=OUTSIDE[make]):
            read_kspace(scan)
    for read in (read_kspace, read_image):
        for variable in (None, "kspace"):
            with pytest.raises(FileError, match=OUTSIDE[make]):
                read(tmp_path / "a.h5", variable=variable)
