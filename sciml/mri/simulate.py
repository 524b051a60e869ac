"""Measurements of a scanner, made from an image: coils, phase, sampling and correlated noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._checks import Argument, ArgumentError, integer, need, number
from ..noise import Gaussian
from ..operators import SENSE
from ..problem import InverseProblem
from .masks import partial_lines

__all__ = ["Measurement", "coil_covariance", "simulate"]

# Pixels brighter than this share of the brightest are the object.
_OBJECT = 0.1


@dataclass(frozen=True, eq=False)
class Measurement:
    """What `simulate` made.

    kspace: (coil, *shape), zero where nothing was measured. image: (*shape) complex, what an exact
    reconstruction with these maps would give. maps: (coil, *shape). mask: bool, with partial
    Fourier. covariance: (coil, coil), E n n^H of the noise in k-space, and in the coils' images as
    the Fourier transform is orthonormal. sigma: standard deviation of a complex sample, the root of
    the mean of the covariance's diagonal.
    """

    kspace: np.ndarray
    image: np.ndarray
    maps: np.ndarray
    mask: np.ndarray
    covariance: np.ndarray
    sigma: float

    @property
    def noise(self) -> Gaussian:
        """The noise as it was drawn."""
        return Gaussian(covariance=self.covariance, axis=-self.kspace.ndim)

    @property
    def reference(self) -> np.ndarray:
        """Root sum of squares of all coils' images without noise, (*shape) float."""
        return np.sqrt((np.abs(self.maps * self.image) ** 2).sum(axis=0))

    def problem(self) -> InverseProblem:
        """kspace = SENSE(maps, mask) image + noise."""
        operator = SENSE(self.maps, self.mask, ndim=self.image.ndim)
        return InverseProblem(operator, self.kspace, self.noise)


def simulate(
    image: np.ndarray,
    maps: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    snr: float,
    rng: np.random.Generator,
    covariance: np.ndarray | None = None,
    phase: np.ndarray | None = None,
    partial_fourier: float | None = None,
) -> Measurement:
    """k-space of `image` as coils see it: mask · (F S image exp(i phase) + noise).

    The noise is complex circular Gaussian, drawn for every sample of the grid, so that masks see
    the same noise. Its size: snr = (mean over the object of the root sum of squares of all coils'
    images) / sigma, with sigma² = E|n|² of one complex sample of one coil, averaged over coils, in
    k-space or, as the transform is orthonormal, in one coil's fully sampled image. The object is
    where that root sum of squares is above a tenth of its largest value. Real and imaginary part
    have sigma / √2 each.

    Args:
        image: real or complex, (*shape). maps: complex, (coil, *shape); the result has their dtype.
        mask: as for `SENSE`; None: everything is measured.
        snr: > 0. rng: draws the noise.
        covariance: Hermitian positive definite, (coil, coil), of any scale; None: the identity.
        phase: in radians, broadcasts to (*shape).
        partial_fourier: the share of lines that is measured along the image's first axis.

    Raises:
        TypeError, ValueError: as `SENSE` and `Gaussian`; shapes that do not go together; snr not
            positive and finite; an image of zeros.
    """
    need(rng, np.random.Generator, "rng as a Generator", "np.random.default_rng(seed)")
    image, maps = np.asarray(image), np.asarray(maps)
    if maps.shape[1:] != image.shape:
        raise ValueError(
            f"expected maps (coil, {', '.join(map(str, image.shape))}), got {maps.shape}: "
            "put the coils first"
        )
    if not number(snr, "snr") > 0:
        raise ArgumentError("expected ", Argument("snr"), " > 0, got 0: SENSE alone adds no noise")
    operator = SENSE(maps, mask, ndim=image.ndim)
    if partial_fourier is not None:
        lines = partial_lines(image.shape, partial_fourier)
        operator = SENSE(maps, operator.mask * lines, ndim=image.ndim)
    kept = operator.mask.astype(bool)
    turned = image if phase is None else image * np.exp(1j * np.asarray(phase))
    truth = np.asarray(turned, operator.domain.dtype)

    seen = np.sqrt((np.abs(maps * truth) ** 2).sum(axis=0, dtype=np.float64))
    if not seen.max() > 0:
        raise ValueError("expected an image with signal, got none where the coils see")
    sigma = float(seen[seen > _OBJECT * seen.max()].mean() / snr)
    between = np.eye(len(maps)) if covariance is None else np.asarray(covariance)
    if between.shape != (len(maps), len(maps)):
        raise ValueError(f"expected a covariance of {len(maps)} coils, got {between.shape}")
    Gaussian(covariance=between)  # refuses one that is none
    between = between * (sigma**2 / float(np.mean(np.real(np.diag(between)))))

    parts = rng.standard_normal((len(maps), image.size, 2))
    white = (parts[..., 0] + 1j * parts[..., 1]) / math.sqrt(2)
    noise = (np.linalg.cholesky(between) @ white).reshape(maps.shape)
    kspace = operator(truth) + (noise * kept).astype(operator.range.dtype)
    return Measurement(kspace, truth, maps, kept, between, sigma)


def coil_covariance(coils: int, correlation: float = 0.3) -> np.ndarray:
    """Noise of coils on a ring that couple to their neighbours: correlation^(steps between them).

    Returns:
        float64, (coils, coils), 1 on the diagonal.

    Raises:
        ValueError: correlation outside [0, 1).
    """
    if not number(correlation, "correlation") < 1:
        raise ValueError(f"expected a correlation from 0 to below 1, got {correlation:g}")
    c = np.arange(integer(coils, "coils", 1))
    apart = np.abs(c[:, None] - c[None, :])
    return correlation ** np.minimum(apart, coils - apart).astype(np.float64)
