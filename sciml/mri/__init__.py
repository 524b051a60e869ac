"""Magnetic resonance imaging: masks, trajectories, phantoms, simulated measurements, metrics,
coil compression."""

from .brain import Contrast, Tissue, brain, smooth_phase
from .calibration import calibration_region
from .coils import biot_savart, birdcage, loop_field
from .combination import combine
from .compression import Compressed, Compression, compress
from .espirit import Maps, espirit
from .masks import (
    calibration_block,
    equispaced,
    golden_offset,
    partial_lines,
    poisson_disc,
    random_2d,
    random_lines,
)
from .metrics import nrmse, psnr, ssim
from .phantoms import shepp_logan, shepp_logan_kspace
from .sample import simulate_brain, write_measurement
from .sensitivities import low_resolution, walsh
from .simulate import Measurement, coil_covariance, simulate
from .trajectories import cartesian, koosh_ball, pipe_menon, radial, ramp, spiral

__all__ = [
    "Compressed",
    "Compression",
    "Contrast",
    "Maps",
    "Measurement",
    "Tissue",
    "biot_savart",
    "birdcage",
    "brain",
    "calibration_block",
    "calibration_region",
    "cartesian",
    "coil_covariance",
    "combine",
    "compress",
    "equispaced",
    "espirit",
    "golden_offset",
    "koosh_ball",
    "loop_field",
    "low_resolution",
    "nrmse",
    "partial_lines",
    "pipe_menon",
    "poisson_disc",
    "psnr",
    "radial",
    "ramp",
    "random_2d",
    "random_lines",
    "shepp_logan",
    "shepp_logan_kspace",
    "simulate",
    "simulate_brain",
    "smooth_phase",
    "spiral",
    "ssim",
    "walsh",
    "write_measurement",
]
