"""Stationary Gaussian random fields on a regular grid, exact, by circulant embedding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

# As parafields 1.0.2 has them by default, which is what the ConDiff sets were made with.
CORRELATION_LENGTH = 0.05
THRESHOLD = 1e-14
FACTOR = 2
MAX_FACTOR = 16


class Covariance(Enum):
    """Isotropic correlation functions of h = distance / correlation length.

    `Covariance.CUBIC(h)` evaluates one. As in parafields: with exp(-h²), not exp(-h²/2), and a
    cubic model that is zero from h = 1 on. All are positive definite in one to three dimensions.
    """

    CUBIC = "cubic"
    EXPONENTIAL = "exponential"
    GAUSSIAN = "gaussian"

    def __call__(self, h: np.ndarray) -> np.ndarray:
        """The correlation at scaled distances `h` >= 0: 1 at 0, the shape of `h`."""
        h = np.asarray(h, dtype=np.float64)
        if self is Covariance.EXPONENTIAL:
            return np.exp(-h)
        if self is Covariance.GAUSSIAN:
            return np.exp(-h * h)
        h = np.minimum(h, 1.0)
        return 1 + h**2 * (-7 + h * (8.75 + h**2 * (-3.5 + 0.75 * h**2)))


@dataclass(frozen=True, eq=False)
class CirculantEmbedding:
    """The square root of a correlation matrix, on a torus that holds the grid.

    cells: shape of the grid. factor: the torus is this many times as long along each axis.
    root: float64, factor·cells, square roots of the eigenvalues over the number of torus points.
    clipped: no correlation between two cells is changed by more than this by setting negative
    eigenvalues to zero; 0.0 where none was negative beyond rounding.

    Dietrich and Newsam, SIAM J. Sci. Comput. 18 (1997) 1088; Graham et al., SIAM J. Numer. Anal.
    56 (2018) 1871 for growing the torus.
    """

    cells: tuple[int, ...]
    factor: int
    root: np.ndarray
    clipped: float

    @staticmethod
    def build(
        cells: tuple[int, ...],
        covariance: Covariance,
        correlation_length: float = CORRELATION_LENGTH,
        *,
        max_factor: int = MAX_FACTOR,
    ) -> CirculantEmbedding:
        """Embed at twice the grid; double the torus while an eigenvalue is negative.

        An eigenvalue counts as negative below -1e-14 times the largest. Past `max_factor` what is
        negative is set to zero, and `clipped` bounds the error. The unit cube holds `cells`, so
        neighbours along axis d are 1 / cells[d] apart.

        Raises ValueError for no cells, a length that is not positive, or max_factor < 2.
        """
        _check(cells, correlation_length, max_factor)
        factor = FACTOR
        while True:
            values = _eigenvalues(cells, covariance, correlation_length, factor)
            negative = values < -THRESHOLD * values.max()
            if not negative.any() or 2 * factor > max_factor:
                break
            factor *= 2
        # C(r) is the mean of the eigenvalues times phases, so the mean size of what is dropped
        # bounds the change at every r.
        clipped = float(np.abs(values[negative]).sum() / values.size)
        root = np.sqrt(np.maximum(values, 0.0) / values.size)
        return CirculantEmbedding(cells, factor, root, clipped)

    def pair(self, rng: np.random.Generator) -> np.ndarray:
        """Two independent fields of unit variance and mean zero from one FFT: (2, *cells)."""
        noise = rng.standard_normal((*self.root.shape, 2)).view(np.complex128)[..., 0]
        whole = np.fft.fftn(self.root * noise)
        part = whole[tuple(slice(n) for n in self.cells)]
        return np.stack([part.real, part.imag])


def gaussian_field(
    cells: int | tuple[int, ...],
    covariance: Covariance,
    variance: float,
    *,
    rng: np.random.Generator,
    size: tuple[int, ...] = (),
    correlation_length: float = CORRELATION_LENGTH,
    dtype: np.dtype | type = np.float64,
    embedding: CirculantEmbedding | None = None,
) -> np.ndarray:
    """Independent samples of a stationary Gaussian field of mean zero: (*size, *cells).

    cells: grid over the unit cube; an int n is the square (n, n). variance: of every cell.
    correlation_length: in units of the cube's side. dtype: float32 or float64; float32 is the
    float64 field rounded. embedding: made beforehand for these cells, covariance and length, where
    many calls share one. Fields are drawn in pairs: an odd number discards the last of them.

    Warns, with the bound, where eigenvalues had to be set to zero (long correlation lengths).
    Raises ValueError for empty cells, a negative or non-finite variance, a length that is not
    positive, another dtype, or an embedding of other cells.
    """
    shape = (cells, cells) if isinstance(cells, int) else tuple(cells)
    if not (np.isfinite(variance) and variance >= 0):
        raise ValueError(f"expected variance >= 0, got {variance!r}: pass a finite number")
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"expected dtype float32 or float64, got {kind}: name one of them")
    if embedding is None:
        embedding = CirculantEmbedding.build(shape, covariance, correlation_length)
        if embedding.clipped:
            warnings.warn(
                f"correlations are off by up to {embedding.clipped:.1e}: the embedding of {shape} "
                f"cells has negative eigenvalues at {embedding.factor} times the grid",
                stacklevel=2,
            )
    elif embedding.cells != shape:
        raise ValueError(
            f"expected an embedding of cells {shape}, got {embedding.cells}: build one for them"
        )
    count = prod(size)
    out = np.empty((count, *shape), dtype=kind)
    for first in range(0, count, 2):
        fields = embedding.pair(rng)[: count - first]
        out[first : first + 2] = np.sqrt(variance) * fields
    return out.reshape(*size, *shape)


def _eigenvalues(
    cells: tuple[int, ...], covariance: Covariance, length: float, factor: int
) -> np.ndarray:
    """Of the circulant matrix of the torus; real because the lags are symmetric."""
    square = np.zeros((1,) * len(cells))
    for axis, n in enumerate(cells):
        index = np.arange(factor * n)
        lag = np.minimum(index, factor * n - index) / n
        square = square + (lag**2).reshape([-1 if d == axis else 1 for d in range(len(cells))])
    return np.fft.fftn(covariance(np.sqrt(square) / length)).real


def _check(cells: tuple[int, ...], length: float, max_factor: int) -> None:
    if not 1 <= len(cells) <= 3 or not all(isinstance(n, int) and n >= 1 for n in cells):
        raise ValueError(f"expected one to three counts of cells >= 1, got {cells!r}: give those")
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"expected correlation_length > 0, got {length!r}: give a share of 1")
    if max_factor < FACTOR:
        raise ValueError(f"expected max_factor >= {FACTOR}, got {max_factor!r}: raise it")
