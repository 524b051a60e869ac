"""What a small network is told of a medium: numbers that a millisecond can find."""

from __future__ import annotations

import numpy as np

__all__ = ["COUNT", "describe"]

_PATCH, _PATCHES = 32, 12
_LAGS = (1, 2, 4, 8)
_SCALES = (1, 2, 4)
_JUMP = np.log(50.0)
# Logarithms of k beyond this say no more than this.
_FAR = np.log(1e8)
COUNT = 2 + 8 * len(_LAGS) + 8 * len(_SCALES)


def describe(k: np.ndarray) -> np.ndarray:
    """(COUNT,) float64 of k (rows, columns): how it varies over lags, and how cells hang together.

    From patches at random places, the same for every k of a shape. Turning or reflecting k, and
    multiplying it by a number, changes nothing but the places. A k of 0 (a solid cell) counts as
    1e-8 of the median.
    """
    patches = _patches(k)
    fluid = patches[patches > 0]
    middle = np.log(np.median(fluid)) if fluid.size else 0.0
    with np.errstate(divide="ignore"):
        logs = np.clip(np.log(patches) - middle, -_FAR, _FAR).astype(np.float32)
    found = [np.log2(max(k.shape)) - 8, float(logs.std())]
    for lag in _LAGS:
        found += _variation(logs, lag)
    for scale in _SCALES:
        found += _couplings(_coarser(logs, scale))
    return np.array(found, np.float64)


def _patches(k: np.ndarray) -> np.ndarray:
    rows, columns = (min(_PATCH, n) for n in k.shape)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, [k.shape[0] - rows + 1, k.shape[1] - columns + 1], (_PATCHES, 2))
    return np.stack([k[i : i + rows, j : j + columns] for i, j in corners])


def _variation(logs: np.ndarray, lag: int) -> list[float]:
    """Mean differences and shares of jumps at a lag, along axes and diagonals, each sorted."""
    if min(logs.shape[1:]) <= lag:
        return [0.0] * 8
    a = lag
    pairs = (
        (logs[:, a:], logs[:, :-a]),
        (logs[:, :, a:], logs[:, :, :-a]),
        (logs[:, a:, a:], logs[:, :-a, :-a]),
        (logs[:, a:, :-a], logs[:, :-a, a:]),
    )
    steps = [np.abs(x - y) for x, y in pairs]
    means = [float(s.mean()) for s in steps]
    jumps = [float((s > _JUMP).mean()) for s in steps]
    return [*sorted(means[:2]), *sorted(means[2:]), *sorted(jumps[:2]), *sorted(jumps[2:])]


def _couplings(logs: np.ndarray) -> list[float]:
    """How much stronger a cell's first, second and third link are than the next one.

    A pair of strongly coupled cells among weak ones has a strong first link, a piece of a thin body
    a strong second one too.
    """
    if min(logs.shape[1:]) < 3:
        return [0.0] * 8
    own = logs[:, 1:-1, 1:-1]
    # A harmonic mean of k is the smaller one, up to a factor of 2.
    around = [logs[:, :-2, 1:-1], logs[:, 2:, 1:-1], logs[:, 1:-1, :-2], logs[:, 1:-1, 2:]]
    a, b, c, d = (np.minimum(own, x) for x in around)
    a, b = np.maximum(a, b), np.minimum(a, b)
    c, d = np.maximum(c, d), np.minimum(c, d)
    first, x = np.maximum(a, c), np.minimum(a, c)
    y, fourth = np.maximum(b, d), np.minimum(b, d)
    second, third = np.maximum(x, y), np.minimum(x, y)
    gaps = (own - first, first - second, second - third, third - fourth)
    return [float(g.mean()) for g in gaps] + [float((g > _JUMP).mean()) for g in gaps]


def _coarser(logs: np.ndarray, scale: int) -> np.ndarray:
    """Means of k over squares of `scale` cells, as logarithms."""
    if scale == 1:
        return logs
    m, rows, columns = (n // scale for n in (scale * len(logs), *logs.shape[1:]))
    squares = np.exp(logs[:, : rows * scale, : columns * scale])
    return np.log(squares.reshape(m, rows, scale, columns, scale).mean(axis=(2, 4)))
