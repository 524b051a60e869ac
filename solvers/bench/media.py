"""Random media in two dimensions, whose parameters are drawn too: what a learned set-up is for.

A class gives k on the cells of a square, float64, from a generator of random numbers. One class is
not one difficulty: grains of half a cell and of six, layers along the grid and askew, contrasts of
1e4 and of 1e6. The seeds are fixed here, before anything is trained on the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

__all__ = ["CLASSES", "MEASURED", "TRAINED", "draw_medium"]

# First of the seeds that training may use, and that measurements use: a system's own is added, and
# there are fewer than a million of either.
TRAINED, MEASURED = 1_000_000, 5_000_000

Medium = Callable[[int, np.random.Generator], np.ndarray]


def _contrast(rng: np.random.Generator, low: float = 4.0) -> float:
    return 10 ** rng.uniform(low, 6)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _correlated(n: int, rng: np.random.Generator, length: float) -> np.ndarray:
    """Gaussian noise on a torus, smoothed by a Gaussian of that standard deviation in cells."""
    from scipy import fft

    f = 2 * np.pi * np.abs(fft.fftfreq(n))
    g = np.exp(-((length * f) ** 2) / 2)
    noise = fft.rfft2(rng.standard_normal((n, n))) * g[:, None] * g[: n // 2 + 1]
    smooth: np.ndarray = np.asarray(fft.irfft2(noise, s=(n, n)))
    return smooth / smooth.std()


def grains(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two phases: correlated noise (0.5 to 6 cells) above one of its quantiles (0.3 to 0.7)."""
    noise = _correlated(n, rng, _log_uniform(rng, 0.5, 6))
    return np.where(noise < np.quantile(noise, rng.uniform(0.3, 0.7)), _contrast(rng), 1.0)


def layers(n: int, rng: np.random.Generator) -> np.ndarray:
    """Layers 1.5 to 10 cells thick at any angle, each with a k of its own, log-uniform."""
    angle, thick = rng.uniform(0, np.pi), _log_uniform(rng, 1.5, 10)
    i, j = np.ogrid[:n, :n]
    number = ((np.cos(angle) * i + np.sin(angle) * j) // thick).astype(int)
    number -= number.min()
    return (_contrast(rng) ** rng.random(number.max() + 1))[number]


def blocks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Pixels of 2 to 12 cells a side, each with a k of its own, log-uniform."""
    side = int(rng.integers(2, 13))
    pixels = _contrast(rng) ** rng.random((-(-n // side),) * 2)
    return np.ascontiguousarray(pixels.repeat(side, 0).repeat(side, 1)[:n, :n])


def white(n: int, rng: np.random.Generator) -> np.ndarray:
    """Every cell has a k of its own, log-uniform; contrasts from 10 on."""
    return _contrast(rng, 1) ** rng.random((n, n))


def fibres(n: int, rng: np.random.Generator) -> np.ndarray:
    """10 to 60 straight lines of high k through the box, 1 to 3 cells wide."""
    count, width, k = int(rng.integers(10, 61)), int(rng.integers(1, 4)), np.ones((n, n))
    contrast = _contrast(rng)
    for _ in range(count):
        angle, start = rng.uniform(0, np.pi), rng.random(2) * n
        along = np.array([np.cos(angle), np.sin(angle)])
        steps = np.arange(-1.5 * n, 1.5 * n, 0.5)
        rows, columns = np.floor(start[:, None] + along[:, None] * steps).astype(int)
        for beside in range(width):
            i, j = (rows + beside, columns) if along[1] ** 2 > 0.5 else (rows, columns + beside)
            inside = (i >= 0) & (i < n) & (j >= 0) & (j < n)
            k[i[inside], j[inside]] = contrast
    return k


def rough(n: int, rng: np.random.Generator) -> np.ndarray:
    """exp(s g), g correlated noise of 0.7 to 6 cells, s from 0.5 to 3."""
    return np.exp(rng.uniform(0.5, 3) * _correlated(n, rng, _log_uniform(rng, 0.7, 6)))


def mixed(n: int, rng: np.random.Generator) -> np.ndarray:
    """Any of the other classes."""
    return _PURE[int(rng.integers(len(_PURE)))](n, rng)


_PURE: tuple[Medium, ...] = (grains, layers, blocks, white, fibres, rough)
CLASSES: Mapping[str, Medium] = MappingProxyType({f.__name__: f for f in (*_PURE, mixed)})


def draw_medium(name: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k of a class on n x n cells, and a white right-hand side: always the same for one seed."""
    rng = np.random.default_rng([seed, n])
    return CLASSES[name](n, rng), rng.standard_normal((n, n))
