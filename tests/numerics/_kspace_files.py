"""K-space files as the field's own software lays them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from sciml.io import Axis, KSpaceFormat

COILS, NY, NX = 3, 12, 16
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <experimentalConditions><H1resonanceFrequency_Hz>123</H1resonanceFrequency_Hz>
  </experimentalConditions>
  <encoding>
    <encodedSpace><matrixSize><x>{nx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
      <fieldOfView_mm><x>{fx}</x><y>240</y><z>{fz}</z></fieldOfView_mm></encodedSpace>
    <reconSpace><matrixSize><x>{rx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
      <fieldOfView_mm><x>{fr}</x><y>240</y><z>{fz}</z></fieldOfView_mm></reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{ly}</maximum><center>{cy}</center>
      </kspace_encoding_step_1>
      <kspace_encoding_step_2><minimum>0</minimum><maximum>{lz}</maximum><center>{cz}</center>
      </kspace_encoding_step_2>
    </encodingLimits>
    <trajectory>{trajectory}</trajectory>
  </encoding>
</ismrmrdHeader>
"""


def header(nx: int, ny: int, nz: int = 1, rx: int | None = None, trajectory: str = "cartesian"):
    """The XML of a scan whose image has 256 mm along x and 2 mm slices."""
    rx = rx or nx
    fields = dict(nx=nx, ny=ny, nz=nz, rx=rx, fx=256 * nx / rx, fr=256, fz=2 * nz)
    limits = dict(ly=ny - 1, lz=nz - 1, cy=ny // 2, cz=nz // 2)
    return HEADER.format(**fields, **limits, trajectory=trajectory)


def acquisition(line: np.ndarray, *flags: int, trajectory: np.ndarray | None = None, **counters):
    """One readout (coil, sample) about its middle; counters of `idx`, or fields of the header."""
    import ismrmrd

    line = np.ascontiguousarray(line, np.complex64)
    made = ismrmrd.Acquisition.from_array(line, trajectory)
    made.center_sample = line.shape[1] // 2
    for name, value in counters.items():
        setattr(made.idx if hasattr(made.idx, name) else made, name, value)
    for flag in flags:
        made.setFlag(flag)
    return made


def write_mrd(path: Path, xml: str, acquisitions) -> None:
    import ismrmrd

    with ismrmrd.Dataset(path, "dataset", mode="w") as file:
        file.write_xml_header(xml.encode())
        for made in acquisitions:
            file.append_acquisition(made)


def random(rng: np.random.Generator, *shape: int, dtype: type = np.complex64) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def undersampled(rng: np.random.Generator, *shape: int, dtype: type = np.complex64) -> np.ndarray:
    """k-space of which every second line along the last axis but one was measured."""
    values = random(rng, *shape, dtype=dtype)
    values[..., 1::2, :] = 0
    return values


def mrd(path: Path, data: np.ndarray) -> None:
    """Lines of a slice or a volume in a shuffled order, after a noise scan."""
    import ismrmrd

    volume = data if data.ndim == 4 else data[:, None]
    nz, ny, nx = volume.shape[1:]
    places = [(z, y) for z in range(nz) for y in range(ny) if volume[:, z, y].any()]
    lines = [acquisition(np.ones((len(data), 8)), ismrmrd.ACQ_IS_NOISE_MEASUREMENT)]
    for i in np.random.default_rng(1).permutation(len(places)):
        z, y = places[i]
        steps = {"kspace_encode_step_1": y, "kspace_encode_step_2": z}
        lines.append(acquisition(volume[:, z, y], **steps))
    write_mrd(path, header(nx, ny, nz), lines)


def radial(path: Path, data: np.ndarray) -> None:
    angles = np.pi * np.arange(data.shape[1]) / data.shape[1]
    along = np.arange(data.shape[2]) / data.shape[2] - 0.5
    lines = []
    for i, angle in enumerate(angles):
        points = np.stack([along * np.cos(angle), along * np.sin(angle)], 1).astype(np.float32)
        lines.append(acquisition(data[:, i], trajectory=points))
    write_mrd(path, header(data.shape[2], data.shape[1], trajectory="radial"), lines)


def fastmri(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=data, chunks=(1, *data.shape[1:]), compression="gzip")
        file["reconstruction_rss"] = np.ones((data.shape[0], 8, 8), np.float32)
        file["mask"] = (data != 0).any(axis=(0, 1, 2)) if data.ndim == 4 else [1]
        file["ismrmrd_header"] = header(data.shape[-1], data.shape[-2])
        file.attrs["acquisition"] = "AXT2"


def single_coil(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["kspace"] = data[:, 0]
        file["reconstruction_esc"] = np.ones((data.shape[0], 8, 8), np.float32)


def bart(path: Path, data: np.ndarray) -> None:
    """(coil, kz, ky, kx) as BART orders them: kx first and fastest, coils after kz."""
    dims = [*data.shape[:0:-1], data.shape[0], *[1] * 12]
    text = f"# Dimensions\n{' '.join(map(str, dims))} \n# Command\nphantom -x16 -k\n# Files\n"
    path.with_suffix(".hdr").write_text(text)
    data.T.ravel(order="F").tofile(path)


def mat(*, compressed: bool) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, data: np.ndarray) -> None:
        variables = {"kspace": np.moveaxis(data, 0, -1), "te": 3.0, "image": np.ones((4, 5))}
        scipy.io.savemat(path, variables, do_compression=compressed)

    return write


def mat73(path: Path, data: np.ndarray) -> None:
    """As MATLAB stores complex numbers: pairs of real and imag, axes in reverse, a user's block."""
    pairs = np.dtype([("real", data.real.dtype), ("imag", data.real.dtype)])
    with h5py.File(path, "w", userblock_size=512) as file:
        file["kspace"] = np.moveaxis(data, 0, -1).T.copy().view(pairs)
        file["kspace"].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def npz(path: Path, data: np.ndarray) -> None:
    np.savez(path, ksp=data, mask=np.abs(data[0]) > 0)


@dataclass(frozen=True)
class Case:
    """A format, a writer of others, and what is to be read. shape: of the k-space written."""

    name: str
    format: KSpaceFormat
    suffix: str
    write: Callable[[Path, np.ndarray], object]
    shape: tuple[int, ...]
    axes: str
    dtype: type = np.complex64
    variable: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def named_axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(word) for word in self.axes.split())


F = KSpaceFormat
FLAT, VOLUME = (COILS, NY, NX), (COILS, 10, NY, NX)
CASES = [
    Case("mrd", F.MRD, ".h5", mrd, FLAT, "coil ky kx", variable="/dataset"),
    Case("mrd-3d", F.MRD, ".mrd", mrd, VOLUME, "coil kz ky kx", variable="/dataset"),
    Case("mrd-radial", F.MRD, ".h5", radial, FLAT, "coil readout sample", variable="/dataset"),
    Case("fastmri", F.FASTMRI, ".h5", fastmri, (2, *FLAT), "slice coil ky kx", variable="kspace"),
    Case(
        "fastmri-single", F.FASTMRI, ".h5", single_coil, (2, 1, NY, NX), "slice coil ky kx",
        variable="kspace",
    ),
    Case("h5", F.HDF5, ".h5", lambda p, d: h5py.File(p, "w").create_dataset("a/k", data=d), FLAT,
         "coil k k", np.complex128, "a/k"),
    Case("bart", F.BART, ".cfl", bart, (COILS, 1, NY, NX), "coil ky kx"),
    Case("bart-3d", F.BART, ".cfl", bart, VOLUME, "coil kz ky kx"),
    Case("npy", F.NPY, ".npy", np.save, FLAT, "coil k k"),
    Case("npz", F.NPZ, ".npz", npz, FLAT, "coil k k", np.complex128, "ksp"),
    Case("mat", F.MAT5, ".mat", mat(compressed=False), FLAT, "coil k k", np.complex128, "kspace"),
    Case("mat-compressed", F.MAT5, ".mat", mat(compressed=True), VOLUME, "coil k k k",
         np.complex64, "kspace"),
    Case("mat73", F.MAT73, ".mat", mat73, FLAT, "coil k k", np.complex128, "kspace"),
]  # fmt: skip


def written(case: Case, folder: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    """The file and the k-space as it is to be read."""
    path = folder / f"{case.name}{case.suffix}"
    data = undersampled(rng, *case.shape, dtype=case.dtype)
    if case.write is radial:
        data = random(rng, *case.shape)
    elif case.write is fastmri:
        data = np.ascontiguousarray(data.swapaxes(-1, -2)[..., : case.shape[-1]])
    case.write(path, data)
    return path, data[:, 0] if case.shape == (COILS, 1, NY, NX) else data
