"""Magnetic resonance imaging: calibration regions, coil sensitivities, coil combination."""

from .calibration import calibration_region
from .combination import combine
from .espirit import Maps, espirit
from .sensitivities import low_resolution, walsh

__all__ = ["Maps", "calibration_region", "combine", "espirit", "low_resolution", "walsh"]
