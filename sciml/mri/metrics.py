"""How far an image is from a reference: the definitions of fastMRI's evaluation.

All take magnitudes of the two images first (Zbontar et al., arXiv 1811.08839, section 5; the code
of the challenge is `fastmri/evaluate.py`). Arrays of any library are copied to the host.
"""

from __future__ import annotations

import math

import numpy as np

from .._checks import number
from ..arrays import Array, to_numpy

__all__ = ["nrmse", "psnr", "ssim"]

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def nrmse(image: Array, reference: Array) -> float:
    """||image - reference|| / ||reference|| of magnitudes: the root of fastMRI's NMSE.

    Args:
        image, reference: real or complex, of one shape.

    Raises:
        ValueError: shapes that differ, values that are not finite, or a reference of zeros.
    """
    x, r = _magnitudes(image, reference)
    return float(np.linalg.norm(x - r) / np.linalg.norm(r))


def psnr(image: Array, reference: Array, *, peak: float | None = None) -> float:
    """10 log10(peak² / mean (image - reference)²) in dB, of magnitudes; inf if equal.

    peak: max(reference) without. The other arguments and errors are those of `nrmse`.
    """
    x, r = _magnitudes(image, reference)
    error = float(np.mean((x - r) ** 2))
    return 10 * math.log10(_peak(peak, r) ** 2 / error) if error else math.inf


def ssim(image: Array, reference: Array, *, peak: float | None = None) -> float:
    """Mean structural similarity of magnitudes, (..., y, x): the mean over slices.

    Per window of 7 x 7 pixels, all of equal weight,

        (2 μx μr + c1) (2 σxr + c2) / ((μx² + μr² + c1) (σx² + σr² + c2)),

    with means μ, variances and covariance σ over 48 (unbiased), c1 = (0.01 L)², c2 = (0.03 L)² and
    L = peak, max(reference) over all slices without; averaged over the windows that lie within the
    slice (Wang et al., IEEE Trans. Image Process. 13 (2004) 600, eq. 13).

    Arguments and errors are those of `nrmse`; ValueError, too, for slices below 7 x 7.
    """
    from scipy.ndimage import uniform_filter

    x, r = _magnitudes(image, reference)
    if x.ndim < 2 or min(x.shape[-2:]) < _WINDOW:
        raise ValueError(f"expected slices of at least {_WINDOW} x {_WINDOW}, got {x.shape}")
    edge = _WINDOW // 2

    def mean(a: np.ndarray) -> np.ndarray:
        return uniform_filter(a, _WINDOW, axes=(-2, -1))[..., edge:-edge, edge:-edge]

    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    L = _peak(peak, r)
    c1, c2 = (_K1 * L) ** 2, (_K2 * L) ** 2
    mx, mr = mean(x), mean(r)
    vx = unbiased * (mean(x * x) - mx * mx)
    vr = unbiased * (mean(r * r) - mr * mr)
    vxr = unbiased * (mean(x * r) - mx * mr)
    similar = (2 * mx * mr + c1) * (2 * vxr + c2)
    return float(np.mean(similar / ((mx * mx + mr * mr + c1) * (vx + vr + c2))))


def _peak(peak: float | None, reference: np.ndarray) -> float:
    if peak is None:
        return float(reference.max())
    if not number(peak, "peak") > 0:
        raise ValueError(f"expected peak > 0, got {peak}")
    return float(peak)


def _magnitudes(image: Array, reference: Array) -> tuple[np.ndarray, np.ndarray]:
    x, r = (np.abs(to_numpy(a)).astype(np.float64) for a in (image, reference))
    if x.shape != r.shape:
        raise ValueError(
            f"expected image and reference of one shape, got {x.shape} and {r.shape}: crop one"
        )
    if not (np.isfinite(x).all() and np.isfinite(r).all()):
        raise ValueError("expected finite images, got NaN or infinity")
    if not r.any():
        raise ValueError("expected a reference with signal, got zeros")
    return x, r
