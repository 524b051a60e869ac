"""What `sciml recon` reads: k-space, and what comes beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sciml.io import Limits
from sciml.io.images import read_image
from sciml.io.kspace import KSpace, read_kspace
from solvers.mri import Scan, scan_of

from ._errors import BadInput, refusals


@dataclass(frozen=True)
class Source:
    """A file, and the name of the array in it where it has to be told."""

    path: Path
    key: str | None


@dataclass(frozen=True, eq=False)
class Given:
    """What the user gave, a scan for each slice.

    kspace: Cartesian. mask: bool (*shape), maps: (*batch, coil, *shape), calibration: a reference
    scan (*batch, coil, *any); None: found. reference: real or complex, of the image's shape.
    """

    kspace: KSpace
    mask: np.ndarray | None
    maps: np.ndarray | None
    calibration: np.ndarray | None
    reference: np.ndarray | None

    @property
    def count(self) -> int:
        """Of slices and other members of the batch."""
        return int(np.prod(self.kspace.batch_shape))

    def scans(self, say: Callable[[str], None]) -> Iterator[Scan]:
        """One after the other: what belongs to a slice is found when it is its turn."""
        full = self.kspace.data.shape[len(self.kspace.batch_shape) :]
        for i, member in enumerate(self.kspace.data.reshape(-1, *full)):
            with refusals():
                yield scan_of(
                    member,
                    mask=self.mask,
                    maps=_of_member(self.maps, i, len(full)),
                    calibration=_of_member(self.calibration, i, len(full)),
                    noise=self.kspace.noise,
                    say=say,
                )


def read_given(
    file: Source,
    *,
    coil_axis: int | None,
    maps: Source | None,
    mask: Source | None,
    calibration: Source | None,
    reference: Source | None,
    limits: Limits | None,
) -> Given:
    """Read all files, and check that they go together.

    Raises:
        BadInput: a file that cannot be read, or does not fit k-space.
    """
    with refusals(variable="--key"):
        kspace = read_kspace(file.path, variable=file.key, coil_axis=coil_axis, limits=limits)
    kspace = kspace.without_oversampling()
    if not kspace.cartesian:
        raise BadInput(
            f"{file.path}: expected Cartesian k-space, got a trajectory: use "
            "sciml.operators.NonCartesianSENSE from Python"
        )
    scan = kspace.calibration
    if calibration is not None:
        # Files of one kind are written alike.
        alike = calibration.path.suffix == file.path.suffix
        with refusals(variable="--calibration-key"):
            found = read_kspace(
                calibration.path,
                variable=calibration.key,
                coil_axis=coil_axis if alike else None,
                limits=limits,
            )
        scan = _reference_scan(calibration.path, found, kspace)
    return Given(
        kspace,
        None if mask is None else np.abs(_image(mask, "--mask-key", limits)) != 0,
        None if maps is None else _maps(maps.path, _image(maps, "--maps-key", limits), kspace),
        scan,
        None
        if reference is None
        else _compared(reference.path, _image(reference, "--reference-key", limits), kspace),
    )


def _image(source: Source, option: str, limits: Limits | None) -> np.ndarray:
    with refusals(variable=option):
        return read_image(source.path, variable=source.key, limits=limits).data


def _of_member(array: np.ndarray | None, i: int, axes: int) -> np.ndarray | None:
    """What of an array with batch axes, or without, belongs to a member."""
    if array is None or array.ndim == axes:
        return array
    members = array.reshape(-1, *array.shape[array.ndim - axes :])
    return members[i if len(members) > 1 else 0]


def _maps(path: Path, maps: np.ndarray, kspace: KSpace) -> np.ndarray:
    expected = (kspace.coils, *kspace.shape)
    if maps.shape[-len(expected) :] != expected:
        raise BadInput(f"{path}: expected maps (coil, ...) {expected}, got {maps.shape}")
    _check_batch(path, maps.shape[: -len(expected)], kspace)
    return maps.astype(kspace.data.dtype)


def _reference_scan(path: Path, found: KSpace, kspace: KSpace) -> np.ndarray:
    if found.coils != kspace.coils:
        raise BadInput(
            f"{path}: expected a reference scan of {kspace.coils} coils, got {found.coils}"
        )
    _check_batch(path, found.batch_shape, kspace)
    return found.data


def _check_batch(path: Path, batch: tuple[int, ...], kspace: KSpace) -> None:
    if int(np.prod(batch)) not in (1, int(np.prod(kspace.batch_shape))):
        raise BadInput(
            f"{path}: expected one slice for all, or slices {kspace.batch_shape}, got {batch}"
        )


def _compared(path: Path, found: np.ndarray, kspace: KSpace) -> np.ndarray:
    """The reference with the image's axes; axes of length 1 do not count."""
    expected = (*kspace.batch_shape, *kspace.shape)
    if np.squeeze(found).shape != tuple(n for n in expected if n > 1):
        raise BadInput(f"{path}: expected a reference {expected}, got {found.shape}")
    return found.reshape(expected)
