"""A brain-like phantom, drawn from random numbers: one axial slice with a head's tissues.

It is no anatomy. It has what reconstruction is hard for: a bright scalp, a ribbon of folded grey
matter between white matter and fluid, small deep structures, soft edges and, if asked for, phase.
The anatomy does not depend on the resolution.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from .._checks import integer, need, number

__all__ = ["Contrast", "Tissue", "brain", "smooth_phase"]

# Each pixel is the mean of this many points squared.
_SUPERSAMPLING = 2
# Points along a side of the square in which noise is periodic.
_TEXTURE = 256


@dataclass(frozen=True)
class Relaxation:
    """Proton density (water: 1) and relaxation times in milliseconds."""

    density: float
    t1: float
    t2: float


class Tissue(enum.Enum):
    """Tissues and their constants at 1.5 T.

    Those of BrainWeb (Kwan, Evans and Pike, IEEE Trans. Med. Imaging 18 (1999) 1085, table "tissue
    MR parameters"); NUCLEUS, grey matter with much myelin, is the mean of grey and white matter,
    and MARROW is fat of half the density.
    """

    AIR = Relaxation(0.0, 1.0, 1.0)
    BONE = Relaxation(0.0, 1.0, 2.0)
    CSF = Relaxation(1.0, 2569.0, 329.0)
    GREY = Relaxation(0.86, 833.0, 83.0)
    WHITE = Relaxation(0.77, 500.0, 70.0)
    NUCLEUS = Relaxation(0.815, 666.0, 76.0)
    FAT = Relaxation(1.0, 350.0, 70.0)
    MUSCLE = Relaxation(1.0, 900.0, 47.0)
    MARROW = Relaxation(0.5, 350.0, 70.0)


class Contrast(enum.Enum):
    """Sequences: repetition, echo and, for FLAIR, inversion time in milliseconds."""

    T1 = (2000.0, 5.0, 900.0)
    T2 = (4500.0, 100.0, 0.0)
    PD = (4500.0, 15.0, 0.0)
    FLAIR = (9000.0, 110.0, 1704.6)

    def signal(self, tissue: Tissue) -> float:
        """|PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2)|; spin echo without the term of TI."""
        repetition, echo, inversion = self.value
        r = tissue.value
        recovered = 1 - math.exp(-repetition / r.t1)
        if inversion:
            recovered += 2 * math.exp(-repetition / r.t1) - 2 * math.exp(-inversion / r.t1)
        return abs(r.density * recovered * math.exp(-echo / r.t2))


def brain(
    shape: tuple[int, int],
    contrast: Contrast = Contrast.T1,
    *,
    rng: np.random.Generator,
    phase: float = 0.0,
) -> np.ndarray:
    """An axial slice of a head; the front is at the first row.

    Args:
        shape: (y, x). The head fills the larger side's field of view to about nine tenths.
        contrast: the weighting, see `Contrast`.
        rng: decides the anatomy; the same for every shape and contrast.
        phase: largest phase in radians of a smooth one as of `smooth_phase`; 0: a real image.

    Returns:
        float64 (complex128 with a phase), `shape`, magnitudes from 0 to 1.

    Raises:
        TypeError: contrast or rng of another type. ValueError: shape not of two axes.
    """
    need(contrast, Contrast, "a Contrast", "Contrast.T1, for example")
    need(rng, np.random.Generator, "rng as a Generator", "np.random.default_rng(seed)")
    shape = _plane(shape)
    seeds = rng.spawn(2)
    fine = (shape[0] * _SUPERSAMPLING, shape[1] * _SUPERSAMPLING)
    values = [contrast.signal(t) for t in Tissue]
    picture = np.asarray(values)[_tissues(*_points(fine), seeds[0])] / max(values)
    image = picture.reshape(shape[0], _SUPERSAMPLING, shape[1], _SUPERSAMPLING).mean(axis=(1, 3))
    if not number(phase, "phase"):
        return image
    return image * np.exp(1j * smooth_phase(shape, rng=seeds[1], peak=phase))


def smooth_phase(
    shape: tuple[int, ...], *, rng: np.random.Generator, peak: float = math.pi / 2
) -> np.ndarray:
    """A random polynomial of degree 3 over the field of view with the largest size `peak`.

    Returns:
        float64, `shape`, in radians: what a field that is not quite homogeneous leaves.
    """
    need(rng, np.random.Generator, "rng as a Generator", "np.random.default_rng(seed)")
    lengths = [integer(n, "a length of the shape", 1) for n in shape]
    axes = [(np.arange(n) - n // 2) / (n / 2) for n in lengths]
    points = np.meshgrid(*axes, indexing="ij", sparse=True)
    field = np.zeros(lengths)
    for powers in np.ndindex(*(4,) * len(lengths)):
        if 0 < sum(powers) <= 3:
            term = rng.standard_normal() / math.factorial(sum(powers))
            field = field + term * math.prod(p**e for p, e in zip(points, powers, strict=True))
    return number(peak, "peak") / max(np.abs(field).max(), np.finfo(np.float64).tiny) * field


def _tissues(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The index of the tissue at each point; x to the right, y to the front, both in [-1, 1)."""
    warp, folds, wander, detail = (_Noise.draw(rng, n) for n in (3, 36, 6, 12))
    u, v = x + 0.02 * warp(x, y), y + 0.02 * warp(x + 0.7, y - 0.4)
    index = {t: i for i, t in enumerate(Tissue)}
    label = np.full(x.shape, index[Tissue.AIR], np.intp)

    def fill(where: np.ndarray, tissue: Tissue) -> None:
        label[where] = index[tissue]

    # The head from outside inwards: r is 1 at the skin.
    r = np.hypot(u / 0.74, v / 0.92) * (1 + 0.02 * v)
    fill(r < 1, Tissue.MUSCLE)
    fill(r < 0.985, Tissue.FAT)
    fill((r < 0.97 - 0.4 * (v + 0.1) ** 2) & (np.abs(u) > 0.3), Tissue.MUSCLE)  # temporalis
    fill(r < 0.925 + 0.008 * wander(x, y), Tissue.BONE)
    fill(np.abs(r - 0.895) < 0.010 + 0.006 * wander(y, x), Tissue.MARROW)
    fill(r < 0.865, Tissue.CSF)

    # The brain: depth is 0 at its surface and grows inwards.
    depth = 0.845 + 0.006 * wander(x + 0.3, y) - r
    fill(depth > 0, Tissue.WHITE)
    _fold(fill, u, v, depth, r, folds, wander)
    _deep(fill, np.abs(u), v, depth, 0.012 * detail(x, y))
    return label


def _fold(fill, u, v, depth, r, folds, wander) -> None:
    """Cortex: a ribbon of grey matter along the surface and along the sulci that run inwards."""
    # Noise of which the radial direction is compressed: its zero lines run from the surface in.
    stretch = (0.62 + 0.30 * r) / np.maximum(r, 1e-3)
    bent = 0.05 * wander(u, v)
    noise = folds(stretch * u + bent, stretch * v - bent)
    # Sulci end at a depth that varies from place to place.
    reach = np.clip(1 - depth / (0.30 + 0.09 * wander(u - 0.5, v + 0.2)), 0, 1)
    inside = depth > 0
    ribbon = (np.abs(noise) < 0.80 * np.sqrt(reach)) | (depth < 0.040)
    fill(inside & ribbon, Tissue.GREY)
    fill(inside & (np.abs(noise) < 0.24 * reach), Tissue.CSF)
    # The fissure between the hemispheres, with cortex on either side, but not across the middle.
    gap = np.abs(u + 0.012 * wander(v, v))
    apart = (v > 0.34) | (v < -0.42)
    fill(inside & apart & (gap < 0.055), Tissue.GREY)
    fill(inside & apart & (gap < 0.014), Tissue.CSF)
    # Insula: the Sylvian fissure from either side
    side = np.hypot((np.abs(u) - 0.52) / 0.18, (v - 0.05 - 0.05 * wander(v, u)) / 0.055)
    fill(inside & (side < 1), Tissue.GREY)
    fill(inside & (side < 0.85) & (np.abs(v - 0.05 - 0.05 * wander(v, u)) < 0.014), Tissue.CSF)


def _deep(fill, a, v, depth, edge) -> None:
    """Ventricles and nuclei, mirrored: `a` is |x|. `edge` roughens their outlines."""

    def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float) -> np.ndarray:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        p, q = a - cx, v - cy
        return np.hypot((c * p + s * q) / rx, (c * q - s * p) / ry) - 1 + edge / min(rx, ry)

    fill(ellipse(0.300, 0.045, 0.060, 0.175, -14) < 0, Tissue.NUCLEUS)  # putamen
    fill(ellipse(0.235, 0.030, 0.032, 0.095, -18) < 0, Tissue.WHITE)  # pallidum
    fill(ellipse(0.105, -0.120, 0.085, 0.125, 24) < 0, Tissue.NUCLEUS)  # thalamus
    fill(ellipse(0.160, 0.215, 0.052, 0.100, 28) < 0, Tissue.NUCLEUS)  # head of the caudate
    fill(ellipse(0.085, 0.205, 0.040, 0.135, 20) < 0, Tissue.CSF)  # frontal horns
    fill(ellipse(0.205, -0.345, 0.045, 0.150, -24) < 0, Tissue.CSF)  # occipital horns
    fill(ellipse(0.195, -0.300, 0.022, 0.075, -24) < 0, Tissue.GREY)  # choroid plexus
    fill(ellipse(0.0, -0.060, 0.016, 0.120, 0) < 0, Tissue.CSF)  # third ventricle
    fill(ellipse(0.0, -0.275, 0.060, 0.040, 0) < 0, Tissue.CSF)  # cistern


@dataclass(frozen=True)
class _Noise:
    """A smooth random function of the plane, of variance 1 and period 4 along each axis."""

    texture: np.ndarray

    @staticmethod
    def draw(rng: np.random.Generator, waves: int) -> _Noise:
        """With wave numbers about `waves` periods per side of the square."""
        n = _TEXTURE
        k = np.fft.fftfreq(n, 1 / n)
        size = np.hypot(k[:, None], k[None, :]) / waves
        spectrum = np.fft.fft2(rng.standard_normal((n, n))) * size * np.exp(-(size**2) * 2)
        texture = np.fft.ifft2(spectrum).real
        return _Noise(texture / texture.std())

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        x, y = np.broadcast_arrays(x, y)
        place = [(p + 2) * (_TEXTURE / 4) for p in (y, x)]
        return map_coordinates(self.texture, place, order=3, mode="grid-wrap")


def _points(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x to the right and y upwards of the points of a fine grid, square pixels, (rows, columns)."""
    rows, columns = shape
    scale = max(shape) / 2
    # the origin is the centre of the pixel that holds index n // 2 of the coarse grid
    middle = [(n // _SUPERSAMPLING // 2 + 0.5) * _SUPERSAMPLING - 0.5 for n in shape]
    y = -(np.arange(rows) - middle[0]) / scale
    x = (np.arange(columns) - middle[1]) / scale
    return np.meshgrid(x, y)


def _plane(shape: tuple[int, int]) -> tuple[int, int]:
    lengths = tuple(integer(n, "a length of the shape", 1) for n in shape)
    if len(lengths) != 2:
        raise ValueError(f"expected a shape (y, x), got {shape}")
    return lengths
