"""ISMRMRD files: acquisitions sorted into k-space by their encode steps.

Inati et al., "ISMRM Raw data format", Magn. Reson. Med. 77, 411 (2017). Only read; libhdf5 never
converts the samples, which lie in heaps (see `_hdf5_heap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ._hdf5 import SafeFile
from ._hdf5_heap import REFERENCE, Heaps, element_type, open_heaps
from ._kspace import NON_CARTESIAN, Axis, KSpace, KSpaceFormat
from ._limits import FileError
from ._mrd_header import Encoding, read_header

# Bits of the flags, counted from 1 as in the standard.
NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 19, 20, 21, 22
NAVIGATION, PHASE_CORRECTION, FEEDBACK, DUMMY, RT_FEEDBACK, SURFACE, STABILIZATION = (
    23,
    24,
    26,
    27,
    28,
    29,
    (30, 31),
)
NO_IMAGE = (NAVIGATION, PHASE_CORRECTION, FEEDBACK, DUMMY, RT_FEEDBACK, SURFACE, *STABILIZATION)
HEAD = (
    "flags",
    "number_of_samples",
    "active_channels",
    "discard_pre",
    "discard_post",
    "center_sample",
    "encoding_space_ref",
    "trajectory_dimensions",
)
STEPS = ("kspace_encode_step_1", "kspace_encode_step_2")
# Counters that make batch axes, outermost first.
COUNTERS = {
    "set": Axis.SET,
    "repetition": Axis.REPETITION,
    "phase": Axis.PHASE,
    "contrast": Axis.CONTRAST,
    "slice": Axis.SLICE,
}
ON_A_GRID = ("cartesian", "epi")


@dataclass(frozen=True)
class Scan:
    """The acquisitions of a file. heads: a record each. data, trajectories: where they lie."""

    heaps: Heaps
    heads: np.ndarray
    data: np.ndarray
    trajectories: np.ndarray

    def flagged(self, *bits: int) -> np.ndarray:
        word = sum(1 << (bit - 1) for bit in bits)
        return (self.heads["flags"].astype(np.uint64) & np.uint64(word)) != 0

    def samples(self, at: int) -> np.ndarray:
        """(coil, sample), complex64, of one acquisition; reversed readouts the right way round."""
        head = self.heads[at]
        coils, count = int(head["active_channels"]), int(head["number_of_samples"])
        self._check(at, self.data[at]["count"], 2 * coils * count, "numbers")
        raw = self.heaps.content(self.data[at], 4, f"acquisition {at}")
        values = np.frombuffer(raw, "<c8").reshape(coils, count)
        return values[:, ::-1] if self.reversed(at) else values

    def trajectory(self, at: int) -> np.ndarray:
        """(sample, dims), float32, of one acquisition."""
        head = self.heads[at]
        dims, count = int(head["trajectory_dimensions"]), int(head["number_of_samples"])
        self._check(at, self.trajectories[at]["count"], dims * count, "coordinates")
        raw = self.heaps.content(self.trajectories[at], 4, f"trajectory {at}")
        return np.frombuffer(raw, "<f4").reshape(count, dims)

    def reversed(self, at: int) -> bool:
        return bool(int(self.heads[at]["flags"]) >> (REVERSE - 1) & 1)

    def _check(self, at: int, got: int, wanted: int, what: str) -> None:
        if int(got) != wanted or not wanted:
            raise self.refused(f"{got} {what} in acquisition {at}, whose header says {wanted}")

    def refused(self, got: str) -> FileError:
        return FileError(
            self.heaps.file.path, f"expected acquisitions that fit together, got {got}"
        )


def find_mrd(file: SafeFile) -> list[str]:
    """The groups that hold a header and acquisitions."""
    found = []
    for group in file.groups:
        base = group.rstrip("/")
        data, xml = file.datasets.get(f"{base}/data"), file.datasets.get(f"{base}/xml")
        if xml is not None and data is not None and element_type(file, data.name, "data"):
            found.append(group)
    return found


def read_mrd(file: SafeFile, group: str) -> KSpace:
    """K-space of one group: (*batch, coil, [kz,] ky, kx), or (*batch, coil, readout, sample).

    Noise scans and calibration scans are set apart; navigators and the like are left. Lines
    measured more than once are averaged. Raises FileError for what contradicts itself.
    """
    with open_heaps(file) as heaps:
        text = heaps.records(f"{group}/xml")
        if text.dtype != REFERENCE or not len(text):
            raise FileError(file.path, "expected an XML header as text, got other data")
        encodings = read_header(heaps.content(text[0], 1, "the XML header"), file.path)
        scan = _scan(heaps, f"{group}/data")
        noise = _noise(scan, np.flatnonzero(scan.flagged(NOISE)))
        left = scan.flagged(*NO_IMAGE)
        usable = ~(scan.flagged(NOISE) | left)
        both = scan.flagged(CALIBRATION_AND_IMAGING)
        apart = scan.flagged(CALIBRATION) & ~both
        notes = [f"{left.sum()} navigators and other lines were left"] if left.any() else []
        imaging, encoding = _one_encoding(scan, np.flatnonzero(usable & ~apart), encodings, notes)
        calibrating = np.flatnonzero(usable & (apart | both))
        if encoding.trajectory not in ON_A_GRID:
            data, path, axes = _along_readouts(scan, imaging)
            return KSpace(
                data, axes, KSpaceFormat.MRD, file.path, group, None, noise, path,
                voxel=_voxel(encoding, 3), notes=tuple(notes),
            )  # fmt: skip
        data, axes = _on_a_grid(scan, imaging, encoding, notes)
        calibration = None
        if len(calibrating):
            own, theirs = _one_encoding(scan, calibrating, encodings, notes)
            calibration, _ = _on_a_grid(scan, own, theirs, [])
        readout = encoding.recon[0] if encoding.recon[0] < encoding.matrix[0] else None
        return KSpace(
            data, axes, KSpaceFormat.MRD, file.path, group, None, noise, None, calibration,
            _voxel(encoding, len(axes) - axes.index(Axis.COIL) - 1), readout, tuple(notes),
        )  # fmt: skip


def _scan(heaps: Heaps, name: str) -> Scan:
    file = heaps.file
    records = heaps.records(name)
    fields = records.dtype.fields or {}
    head = fields["head"][0] if "head" in fields else np.dtype([])
    counters = head["idx"] if "idx" in (head.names or ()) else np.dtype([])
    wanted = [(head, key) for key in HEAD]
    wanted += [(counters, key) for key in (*STEPS, *COUNTERS)]
    for dtype, key in wanted:
        if key not in (dtype.names or ()) or dtype[key].kind not in "iu":
            raise FileError(file.path, f"expected ISMRMRD headers, got none with a whole {key}")
    for member in ("data", "traj"):
        if element_type(file, name, member) != np.dtype("<f4"):
            raise FileError(file.path, f"expected float32 in {member} of {name}, got another type")
    if not len(records):
        raise FileError(file.path, f"expected acquisitions in {name}, got none; get it again")
    return Scan(heaps, records["head"], records["data"], records["traj"])


def _noise(scan: Scan, chosen: np.ndarray) -> np.ndarray | None:
    if not len(chosen):
        return None
    pieces = [scan.samples(int(at)) for at in chosen]
    if len({len(piece) for piece in pieces}) > 1:
        raise scan.refused("noise scans with different numbers of coils")
    return np.concatenate(pieces, axis=1)


def _one_encoding(
    scan: Scan, chosen: np.ndarray, encodings: Sequence[Encoding], notes: list[str]
) -> tuple[np.ndarray, Encoding]:
    """The acquisitions of the encoding that has most of them."""
    if not len(chosen):
        raise scan.refused("none that make an image")
    references = scan.heads["encoding_space_ref"][chosen]
    values, counts = np.unique(references, return_counts=True)
    most = int(values[counts.argmax()])
    if most >= len(encodings):
        raise scan.refused(f"a reference to encoding {most} of {len(encodings)}")
    if len(values) > 1:
        notes.append(f"{counts.sum() - counts.max()} lines of other encodings were left")
    return chosen[references == most], encodings[most]


def _batch(scan: Scan, chosen: np.ndarray) -> tuple[list[np.ndarray], tuple[int, ...], list[Axis]]:
    """The batch indices of each acquisition, along the counters that take several values."""
    indices, shape, axes = [], [], []
    for name, axis in COUNTERS.items():
        values, where = np.unique(scan.heads["idx"][name][chosen], return_inverse=True)
        if len(values) > 1:
            indices.append(where)
            shape.append(len(values))
            axes.append(axis)
    return indices, tuple(shape), axes


def _coils(scan: Scan, chosen: np.ndarray) -> int:
    coils = np.unique(scan.heads["active_channels"][chosen])
    if len(coils) > 1 or not coils[0]:
        raise scan.refused(f"{' and '.join(map(str, coils))} coils in one image")
    return int(coils[0])


def _on_a_grid(
    scan: Scan, chosen: np.ndarray, encoding: Encoding, notes: list[str]
) -> tuple[np.ndarray, tuple[Axis, ...]]:
    """Each line at its encode steps, the origin at n // 2 of each axis."""
    nx, ny, nz = encoding.matrix
    coils = _coils(scan, chosen)
    indices, batch, axes = _batch(scan, chosen)
    steps = [
        scan.heads["idx"][name][chosen].astype(np.int64) + n // 2 - (n // 2 if c is None else c)
        for name, n, c in zip(STEPS, (ny, nz), encoding.centers, strict=True)
    ]
    for step, n, name in zip(steps, (ny, nz), STEPS, strict=True):
        if step.min() < 0 or step.max() >= n:
            outside = step.min() if step.min() < 0 else step.max()
            raise scan.refused(f"{name} at place {outside} of a matrix of {n}")
    shape = (*batch, coils, nz, ny, nx)
    scan.heaps.file.budget.take(prod(shape) * 8, "k-space")
    data = np.zeros(shape, np.complex64)
    times = np.zeros((*batch, nz, ny), np.int64)
    for i, at in enumerate(map(int, chosen)):
        member = tuple(int(index[i]) for index in indices)
        place = (int(steps[1][i]), int(steps[0][i]))
        first, line = _line(scan, at, nx)
        data[(*member, slice(None), *place, slice(first, first + line.shape[1]))] += line
        times[(*member, *place)] += 1
    if times.max() > 1:
        notes.append(f"{(times > 1).sum()} lines measured more than once were averaged")
        data /= np.maximum(times, 1)[(..., None, slice(None), slice(None), None)]
    if scan.flagged(REVERSE)[chosen].any():
        notes.append("reversed readouts were turned round, their phase is not corrected")
    space = (Axis.KZ, Axis.KY, Axis.KX)
    if nz == 1:
        data, space = data[..., 0, :, :], space[1:]
    return data, (*axes, Axis.COIL, *space)


def _line(scan: Scan, at: int, nx: int) -> tuple[int, np.ndarray]:
    """Where the kept samples of a readout begin on the grid, and the samples."""
    head = scan.heads[at]
    count, center = int(head["number_of_samples"]), int(head["center_sample"])
    start, stop = int(head["discard_pre"]), count - int(head["discard_post"])
    if scan.reversed(at):
        start, stop, center = count - stop, count - start, count - 1 - center
    first = nx // 2 - center + start
    if not 0 <= start < stop <= count or first < 0 or first + stop - start > nx:
        raise scan.refused(
            f"samples {start} to {stop} of {count} about {center} in acquisition {at} for a "
            f"readout of {nx}"
        )
    return first, scan.samples(at)[:, start:stop]


def _along_readouts(
    scan: Scan, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[Axis, ...]]:
    """Readouts in the order of their measurement, with the coordinates of their samples."""
    coils = _coils(scan, chosen)
    indices, batch, axes = _batch(scan, chosen)
    samples = np.unique(scan.heads["number_of_samples"][chosen])
    dims = np.unique(scan.heads["trajectory_dimensions"][chosen])
    if len(samples) > 1 or len(dims) > 1 or not 1 <= int(dims[0]) <= 4:
        raise scan.refused(f"readouts of {samples[:4]} samples with {dims[:4]} coordinates")
    members = np.ravel_multi_index(tuple(indices), batch) if batch else np.zeros(len(chosen), int)
    counts = np.bincount(members, minlength=prod(batch))
    if counts.min() < counts.max():
        raise scan.refused(f"{counts.min()} to {counts.max()} readouts in different images")
    readouts, count = int(counts[0]), int(samples[0])
    budget = scan.heaps.file.budget
    budget.take(len(chosen) * count * (coils * 8 + int(dims[0]) * 4), "k-space")
    data = np.empty((prod(batch), coils, readouts, count), np.complex64)
    path = np.empty((prod(batch), readouts, count, int(dims[0])), np.float32)
    filled = np.zeros(prod(batch), int)
    for member, at in zip(members, map(int, chosen), strict=True):
        data[member, :, filled[member]] = scan.samples(at)
        points = scan.trajectory(at)
        path[member, filled[member]] = points[::-1] if scan.reversed(at) else points
        filled[member] += 1
    return (
        data.reshape(*batch, *data.shape[1:]),
        path.reshape(*batch, *path.shape[1:]),
        (*axes, Axis.COIL, *NON_CARTESIAN),
    )


def _voxel(encoding: Encoding, ndim: int) -> tuple[float, ...] | None:
    """mm along (z,) y, x."""
    if encoding.fov is None:
        return None
    sizes = [length / n for length, n in zip(encoding.fov, encoding.recon, strict=True)]
    return tuple(sizes[::-1][-ndim:])
