"""A picture of a reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sciml.operators import SENSE

from .reconstruct import Reconstruction
from .scan import Scan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_WHITE = 99.5  # percentile of the magnitude that is shown white


def draw(
    figure: Figure, scan: Scan, found: Reconstruction, reference: np.ndarray | None = None
) -> None:
    """Magnitude, phase, the mask, and what the image leaves unexplained.

    Volumes are shown by their middle plane. The last panel is |A^H (y − A x)|, which is noise where
    the image explains the data, or the error against a reference.
    """
    image = _plane(found.image)
    magnitude = np.abs(image)
    white = float(np.percentile(magnitude, _WHITE)) or 1.0
    if reference is None:
        A = SENSE(scan.maps, scan.mask, ndim=scan.mask.ndim)
        rest = _plane(np.abs(A.adjoint(scan.kspace - found.kspace * scan.mask)))
        title, most = "|A^H (y − A x)|, 20 times brighter", white / 20
    else:
        rest = np.abs(magnitude - _plane(np.abs(reference)))
        title, most = "error, 5 times brighter", white / 5
    axes = figure.subplots(1, 4)
    phase = np.where(magnitude > 0.05 * white, np.angle(image), np.nan)
    axes[0].imshow(magnitude, cmap="gray", vmin=0, vmax=white)
    axes[0].set_title(found.method.value)
    axes[1].imshow(phase, cmap="twilight", vmin=-np.pi, vmax=np.pi)
    axes[1].set_title("phase")
    axes[2].imshow(_plane(scan.mask), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes[2].set_title(f"samples, {scan.mask.mean():.1%}")
    axes[3].imshow(rest, cmap="gray", vmin=0, vmax=most)
    axes[3].set_title(title)
    for axis in axes:
        axis.axis("off")


def _plane(image: np.ndarray) -> np.ndarray:
    return image[tuple(n // 2 for n in image.shape[:-2])]
