"""Sensitivity maps as eigenvectors: ESPIRiT.

Uecker, Lai, Murphy, Virtue, Elad, Pauly, Vasanawala, Lustig, Magn. Reson. Med. 71 (2014) 990.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._blas import one_blas_thread
from .._checks import integer, need, number, told
from ..arrays import Array, dtype_of, from_host, host_view, like_host, namespace
from ._pointwise import leading, rotate, virtual_coil
from .calibration import calibration_data, check_kspace, sizes_of

__all__ = ["Maps", "espirit"]

# Rows of the calibration matrix in memory at once.
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Maps:
    """Coil sensitivities found from data.

    maps: complex, (coil, *shape), or (sets, coil, *shape) for several sets. At each point a
        vector over the coils of norm 1 times its weight.
    eigenvalues: real, (sets, *shape): 1 where the data of a set are explained, small where there
        is no signal.
    weights: real, (sets, *shape), from 0 to 1: what the unit vectors were multiplied with.
    """

    maps: Array
    eigenvalues: Array
    weights: Array


def espirit(
    kspace: Array,
    *,
    calibration: Array | None = None,
    kernel: int | Sequence[int] = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    sets: int = 1,
    soft: bool = False,
    width: int = 24,
) -> Maps:
    """Sensitivity maps by ESPIRiT, in 1, 2 or 3 dimensions.

    Patches of k-space over all coils lie in a space of few dimensions. At each point x of the
    image, the projection onto it becomes a matrix G(x) over the coils, whose eigenvectors with
    eigenvalue 1 are the sensitivities at x. Two sets are needed where the object is larger than
    the field of view.

    G is a trigonometric polynomial of as many terms as the kernel is wide, twice less one: it is
    evaluated exactly at each point, without transforms of padded kernels.

    Phase: each vector is turned such that the first SVD-compressed coil (the combination of coils
    of most energy in the calibration data) sees it real and positive. What phase is left is that
    of the image.

    Args:
        kspace: complex, (coil, *shape), centred; unmeasured samples are 0.
        calibration: a reference scan, complex, (coil, *any), centred, of the same sample spacing;
            None: the largest fully sampled box around the centre of `kspace`.
        kernel: sides of a patch in samples, one number or one for each axis.
        threshold: singular values of the calibration matrix from this share of the largest on
            span the space.
        crop: eigenvalue below which a point is outside: its maps are 0.
        sets: vectors at each point.
        soft: instead of cutting, weigh by a smooth step from 0 at 2 crop − 1 to 1 at eigenvalue 1
            (soft SENSE: Uecker and Lustig, Magn. Reson. Med. 77 (2017) 1201).
        width: largest side of the calibration region that is used.

    Returns:
        Maps in the dtype, library and device of `kspace`. The calibration data themselves go
        through host memory. There are no gradients.

    Raises:
        TypeError: k-space is not complex.
        ValueError: a bad argument; no calibration region; or no point above `crop`.
    """
    check_kspace(kspace, "k-space")
    ndim, coils = kspace.ndim - 1, kspace.shape[0]
    sizes = sizes_of(kernel, ndim, "kernel")
    threshold, crop = _share(threshold, "threshold"), _share(crop, "crop")
    need(soft, bool, "soft as True or False")
    if integer(sets, "sets", 1) > coils:
        raise ValueError(f"expected sets from 1 to the {coils} coils, got {sets}")
    if integer(width, "width", 1) < max(sizes):
        raise ValueError(f"expected width of at least the kernel's {max(sizes)}, got {width}")
    data = calibration_data(kspace, calibration, least=sizes, width=width)
    terms = _polynomial(_projection(data, sizes, threshold), coils, sizes)

    host = host_view(kspace)
    like = kspace if host is None else host
    shape = tuple(kspace.shape[1:])
    values, vectors = leading(_evaluator(terms, shape, like), shape, coils, sets, like)
    vectors = rotate(vectors, virtual_coil(data), ndim)
    weights = _weights(values, crop, soft)
    xp = namespace(like)
    if not bool(xp.any(weights > 0)):
        raise ValueError(
            f"expected eigenvalues above crop = {crop:g} inside the object, got at most "
            f"{float(xp.max(values)):.3g}: give more calibration samples, or lower crop"
        )
    maps = vectors * xp.expand_dims(weights, axis=1)
    found = (maps if sets > 1 else maps[0, ...], values, weights)
    return Maps(*(found if host is None else (like_host(x, kspace) for x in found)))


def _projection(data: np.ndarray, sizes: tuple[int, ...], threshold: float) -> np.ndarray:
    """The projection onto the space of patches, (coil · patch, coil · patch): V V^H."""
    gram = gram_of_patches(data, sizes)
    with one_blas_thread():
        squares, vectors = np.linalg.eigh(gram)  # squares of the singular values, ascending
        V = vectors[:, squares > threshold**2 * squares[-1]]
        return V @ V.conj().T


def gram_of_patches(data: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Σ a a^H over all patches a of the data (coil, *box), each as (coil · patch) samples.

    Raises:
        ValueError: all data are 0.
    """
    axes = tuple(range(1, data.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(data, sizes, axis=axes)
    windows = np.moveaxis(windows, 0, len(sizes))  # (*positions, coil, *patch)
    columns = data.shape[0] * int(np.prod(sizes))
    gram = np.zeros((columns, columns), np.complex128)
    positions = np.indices(windows.shape[: len(sizes)]).reshape(len(sizes), -1)
    with one_blas_thread():
        for i in range(0, positions.shape[1], _ROWS):
            rows = windows[tuple(positions[:, i : i + _ROWS])].reshape(-1, columns)
            gram += rows.T @ rows.conj()
    if not gram.any():
        raise ValueError("expected signal in the calibration region, got zeros only")
    return gram


def _polynomial(projection: np.ndarray, coils: int, sizes: tuple[int, ...]) -> np.ndarray:
    """The coefficients of G, (*(2 sizes − 1), coil, coil), at the differences of two offsets."""
    patch = int(np.prod(sizes))
    P = projection.reshape(coils, patch, coils, *sizes)
    flipped = np.moveaxis(np.flip(P, axis=tuple(range(3, P.ndim))), (0, 2), (-2, -1))
    terms = np.zeros((*(2 * s - 1 for s in sizes), coils, coils), np.complex128)
    for o, offset in enumerate(np.ndindex(*sizes)):
        terms[tuple(slice(a, a + s) for a, s in zip(offset, sizes, strict=True))] += flipped[o]
    return terms / patch


def _evaluator(terms: np.ndarray, shape: tuple[int, ...], like: Array):
    """(first, last) -> G at rows first..last: Σ_d terms(d) exp(2πi d·x / n), one axis at a time."""
    dtype = dtype_of(like)
    xp = namespace(like)
    coils = terms.shape[-1]
    coefficients = from_host(terms, like, dtype)
    waves = []
    for n, count in zip(shape, terms.shape, strict=False):
        x, d = np.arange(n) - n // 2, np.arange(count) - count // 2
        waves.append(from_host(np.exp(2j * np.pi * np.outer(x, d) / n), like, dtype))

    def evaluate(first: int, last: int) -> Array:
        G = coefficients
        done = 1
        for wave in (waves[0][first:last, :], *waves[1:]):
            G = xp.matmul(wave, xp.reshape(G, (done, wave.shape[1], -1)))
            done *= wave.shape[0]
        return xp.reshape(G, (last - first, *shape[1:], coils, coils))

    return evaluate


def _weights(values: Array, crop: float, soft: bool) -> Array:
    xp = namespace(values)
    if not soft:
        return xp.where(values > crop, xp.ones_like(values), xp.zeros_like(values))
    t = (values - (2 * crop - 1)) / (2 * (1 - crop))
    t = xp.where(t > 0, xp.where(t < 1, t, xp.ones_like(t)), xp.zeros_like(t))
    return t * t * (3 - 2 * t)


def _share(value: float, name: str) -> float:
    if not 0 < number(value, name) < 1:
        raise ValueError(f"expected {name} between 0 and 1, got {told(value)}")
    return float(value)
