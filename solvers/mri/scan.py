"""What a reconstruction needs besides the samples: mask, maps, calibration region, noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sciml.mri import calibration_region, espirit

__all__ = ["Scan", "noise_of", "scan_of"]

# The share of measured samples, farthest from the centre, that the noise is read off.
_OUTER = 0.1
# A zero here and there is a sample that happens to be 0: from this share on nothing was left out.
_COMPLETE = 0.995
# Smallest side of a calibration region that sensitivities are found from.
_LEAST = 6


@dataclass(frozen=True, eq=False)
class Scan:
    """k-space of one slice or volume, and what is known of it.

    Attributes:
        kspace: complex (coil, *shape), centred, 0 where nothing was measured.
        mask: bool (*shape). maps: complex (coil, *shape).
        region: the fully sampled centre; None where there is none.
        calibration: a reference scan, complex (coil, *any); None without one.
        whitening: (coil, coil), what k-space, maps and reference scan were multiplied with, so that
            the coils' noise is independent and of one size; None without a noise scan.
        sigma: of the noise per complex sample, over all coils; without a noise scan an upper bound
            that may be mostly signal; None where nothing tells.
        sigma_is: where it is from.
    """

    kspace: np.ndarray
    mask: np.ndarray
    maps: np.ndarray
    region: tuple[slice, ...] | None
    sigma: float | None
    sigma_is: str
    calibration: np.ndarray | None = None
    whitening: np.ndarray | None = None

    @property
    def complete(self) -> bool:
        """Whether every sample was measured."""
        return bool(self.mask.all())

    def as_measured(self, kspace: np.ndarray) -> np.ndarray:
        """k-space (coil, *shape) of this scan's coils, as the scanner's own coils have it."""
        if self.whitening is None:
            return kspace
        return _mixed(np.linalg.inv(self.whitening), kspace)


def scan_of(
    kspace: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    maps: np.ndarray | None = None,
    calibration: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Scan:
    """Find what is not given: the mask from the zeros, the maps by ESPIRiT, the noise.

    Fewer zeros than 0.5 % of the samples count as measured.

    Args:
        kspace: complex (coil, *shape). mask: bool (*shape). maps: complex (coil, *shape).
        calibration: a reference scan, complex (coil, *any).
        noise: complex (coil, samples), without signal. By it the coils are whitened.
        say: told of what takes time.

    Raises:
        ValueError: the mask asks for samples that are all zero, shapes do not fit, or several coils
            come without maps, reference scan or calibration region.
    """
    shape, measured = kspace.shape[1:], (kspace != 0).any(axis=0)
    if mask is None:
        mask = np.ones_like(measured) if measured.mean() > _COMPLETE else measured
    mask = _fitting(np.asarray(mask), shape)
    if not mask.any():
        raise ValueError("expected a mask with samples, got an empty one: nothing was measured")
    missing = int((mask & ~measured).sum())
    if missing > (1 - _COMPLETE) * mask.sum():
        raise ValueError(
            f"expected samples where the mask is 1, got zeros in {missing} of {int(mask.sum())} "
            "places: the mask belongs to other data, or its axes are in another order"
        )
    kspace, whitening = np.where(mask, kspace, 0), None  # what is left out may be NaN
    if noise is not None and noise.size:
        whitening = _whitening(noise, len(kspace))
        kspace, noise = _mixed(whitening, kspace), _mixed(whitening, noise)
        maps = None if maps is None else _mixed(whitening, maps)
        calibration = None if calibration is None else _mixed(whitening, calibration)
    try:
        region = calibration_region(mask, mask.ndim, least=_LEAST)
    except ValueError:
        region = None
    if maps is None:
        if len(kspace) == 1:
            maps = np.ones_like(kspace)
        else:
            say("finding coil sensitivities")
            maps = espirit(kspace, calibration=calibration).maps
    elif maps.shape != kspace.shape:
        raise ValueError(f"expected maps of k-space's shape {kspace.shape}, got {maps.shape}")
    sigma, sigma_is = noise_of(kspace, mask, noise)
    maps = np.ascontiguousarray(maps, dtype=kspace.dtype)
    if not (np.isfinite(maps).all() and maps.any()):
        raise ValueError("expected finite maps that are not all 0, got others")
    kspace = np.ascontiguousarray(kspace)
    return Scan(kspace, mask, maps, region, sigma, sigma_is, calibration, whitening)


def _fitting(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask as bool of k-space's shape.

    Raises:
        ValueError: it does not broadcast to it.
    """
    try:
        return np.broadcast_to(mask != 0, shape)
    except ValueError:
        turned = mask.ndim == len(shape) and sorted(mask.shape) == sorted(shape)
        hint = ": its axes are in another order" if turned else ""
        raise ValueError(
            f"expected a mask that fits k-space {shape}, got {mask.shape}{hint}"
        ) from None


def _whitening(noise: np.ndarray, coils: int) -> np.ndarray:
    """W with W C W^H = s² I for the noise covariance C of mean variance s² (Pruessmann 1999).

    Raises:
        ValueError: the noise scan is of other coils, too short, or of coils that see the same.
    """
    if noise.ndim != 2 or len(noise) != coils or noise.shape[1] < 2 * coils:
        raise ValueError(
            f"expected a noise scan (coil, samples) of {coils} coils and at least {2 * coils} "
            f"samples, got {noise.shape}"
        )
    wide = noise.astype(np.complex128)
    C = wide @ wide.conj().T / wide.shape[1]
    try:
        L = np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        raise ValueError(
            "expected a noise scan whose coils are independent, got one that is not"
        ) from None
    return np.sqrt(np.trace(C).real / coils) * np.linalg.inv(L)


def _mixed(W: np.ndarray, kspace: np.ndarray) -> np.ndarray:
    """W along the coils."""
    return np.tensordot(W, kspace, axes=1).astype(kspace.dtype)


def noise_of(
    kspace: np.ndarray, mask: np.ndarray, noise: np.ndarray | None
) -> tuple[float | None, str]:
    """(root mean square of the noise per complex sample, where that is from).

    From a noise scan; else from the measured samples farthest from the centre, by the median of
    their squares (for complex Gaussian noise log 2 times the variance), which what signal is left
    there can only raise.
    """
    if noise is not None and noise.size:
        return float(np.sqrt((np.abs(noise) ** 2).mean())), "the noise scan"
    grids = np.meshgrid(*(np.arange(n) / n - n // 2 / n for n in mask.shape), indexing="ij")
    far = np.sum([g**2 for g in grids], axis=0)
    radius = np.quantile(far[mask], 1 - _OUTER)
    outer = kspace[:, mask & (far >= radius)]
    if outer.shape[1] < 30:
        return None, "unknown"
    squares = np.median(np.abs(outer).astype(np.float64) ** 2, axis=1) / np.log(2)
    return float(np.sqrt(squares.mean())), "the outermost samples (at most)"
