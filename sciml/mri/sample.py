"""A small file of simulated multi-coil k-space, in the layout of fastMRI."""

from __future__ import annotations

import os

import numpy as np

from .._checks import integer
from .brain import Contrast, brain, smooth_phase
from .coils import biot_savart
from .masks import poisson_disc
from .simulate import Measurement, coil_covariance, simulate

__all__ = ["simulate_brain", "write_measurement"]


def simulate_brain(
    shape: tuple[int, int] = (128, 128),
    *,
    coils: int = 8,
    acceleration: float = 4.0,
    calibration: int = 20,
    snr: float = 30.0,
    contrast: Contrast = Contrast.T1,
    seed: int = 42,
) -> Measurement:
    """A measurement of the brain phantom: loop coils, Poisson disc mask, correlated noise, phase.

    Args:
        shape: (y, x). snr: as for `simulate`. seed: decides anatomy, phase, mask and noise, each
            with a random stream of its own.
    """
    anatomy, field, points, noise = np.random.default_rng(integer(seed, "seed", 0)).spawn(4)
    return simulate(
        brain(shape, contrast, rng=anatomy),
        biot_savart(shape, coils),
        poisson_disc(shape, acceleration, rng=points, calibration=calibration),
        snr=snr,
        rng=noise,
        covariance=coil_covariance(coils),
        phase=smooth_phase(shape, rng=field),
    )


def write_measurement(path: str | os.PathLike[str], measured: Measurement) -> None:
    """Write one slice as HDF5, atomically: the file is whole or the old one stays.

    Datasets: kspace (1, coil, ky, kx) complex64; mask (ky, kx) uint8; reference (1, y, x) float32,
    the root sum of squares of the coils' images without noise; noise_covariance (coil, coil).
    Attributes as in fastMRI: acquisition, max and norm (of the reference).

    Raises:
        ValueError: the measurement is no slice. FileError: as `sciml.io.atomic_file`.
    """
    import h5py

    from ..io import atomic_path

    if measured.image.ndim != 2:
        raise ValueError(f"expected a slice (y, x), got {measured.image.shape}: write each slice")
    reference = measured.reference.astype(np.float32)
    mask = np.broadcast_to(measured.mask, measured.image.shape).astype(np.uint8)
    datasets = {
        "kspace": measured.kspace[None].astype(np.complex64),
        "mask": mask,
        "reference": reference[None],
        "noise_covariance": measured.covariance,
    }
    with atomic_path(path) as scratch, h5py.File(scratch, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        file.attrs["acquisition"] = "simulated"
        file.attrs["max"] = float(reference.max())
        file.attrs["norm"] = float(np.linalg.norm(reference))
