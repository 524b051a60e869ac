"""GRAPPA: missing samples as combinations of measured ones nearby, over all coils.

Griswold, Jakob, Heidemann, Nittka, Jellus, Wang, Kiefer, Haase, Magn. Reson. Med. 47 (2002) 1202.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sciml._blas import one_blas_thread
from sciml._checks import Argument, ArgumentError, number
from sciml.arrays import Array, like_host
from sciml.mri.calibration import calibration_data, check_kspace, sizes_of
from sciml.mri.espirit import gram_of_patches

from ._host import mask_of, on_host

__all__ = ["grappa"]

# Entries of the largest arrays of a step.
_ENTRIES = 1 << 21
# Sides of a kernel where none are given: what lines of acceleration 3 need, and the most.
_USUAL, _LARGEST = 5, 9


def grappa(
    kspace: Array,
    mask: Array | None = None,
    *,
    calibration: Array | None = None,
    kernel: int | Sequence[int] | None = None,
    lamda: float = 0.01,
) -> Array:
    """Full k-space from undersampled k-space of several coils.

    Each missing sample is predicted from the measured ones in a box around it. The weights depend
    only on which samples of the box were measured: for each such pattern they are the regularised
    least-squares fit over all boxes of the calibration region. Regular patterns along one axis or
    two, lines with a fully sampled centre, and random masks are all served by this; a random mask
    has many patterns. A missing sample with no measured one in reach stays 0.

    Args:
        kspace: complex, (coil, *shape), centred, in host memory.
        mask: which samples were measured, bool or 0 and 1, of an image's shape or one that
            broadcasts to it; values of `kspace` elsewhere are not looked at. None: those that are
            not 0 in every coil.
        calibration: a reference scan, complex, (coil, *any), of the same sample spacing; None: the
            largest fully sampled box around the centre of `kspace`.
        kernel: odd sides of the box, one number or one for each axis. None: 5, and more along an
            axis where fewer than every third sample is measured, so that each missing sample
            sees measured ones on both sides, up to 9.
        lamda: Tikhonov regularisation, relative to the mean energy of a sample of the calibration
            region.

    Returns:
        k-space, (coil, *shape), in the dtype of `kspace`; measured samples are returned as they
        came.

    Raises:
        TypeError: k-space is not complex, or not in host memory.
        ValueError: a bad argument, an empty mask, a sample that is not finite, or no calibration
            region at least as large as the kernel.
    """
    check_kspace(kspace, "k-space")
    host = on_host(kspace, "k-space", "GRAPPA")
    shape = host.shape[1:]
    measured = mask_of((host != 0).any(axis=0) if mask is None else mask, shape)
    sizes = _usual_sizes(measured) if kernel is None else sizes_of(kernel, len(shape), "kernel")
    if any(s % 2 == 0 for s in sizes):
        raise ValueError(f"expected a kernel of odd sides, got {kernel}")
    if number(lamda, "lamda") == 0:
        raise ArgumentError(
            "expected ", Argument("lamda"), " > 0, got 0: use 1e-9 for data without noise"
        )
    known = np.where(measured, host, 0)
    if not np.isfinite(known).all():
        raise ValueError("expected finite samples of k-space, got NaN or infinity")
    data = calibration_data(known, calibration, least=sizes)
    filled = _fill(known, measured, _patches_gram(data, sizes, float(lamda)), sizes)
    return like_host(filled, kspace)


def _patches_gram(data: np.ndarray, sizes: tuple[int, ...], lamda: float) -> np.ndarray:
    """Σ conj(a) a^T + λ over the boxes a of the data, (box, coil, box, coil), of mean energy 1."""
    coils, box = data.shape[0], int(np.prod(sizes))
    gram = gram_of_patches(data / np.abs(data).max(), sizes).conj()
    gram /= np.trace(gram).real / len(gram)
    gram[np.diag_indices(len(gram))] += lamda
    return np.ascontiguousarray(gram.reshape(coils, box, coils, box).transpose(1, 0, 3, 2))


def _fill(
    known: np.ndarray, measured: np.ndarray, gram: np.ndarray, sizes: tuple[int, ...]
) -> np.ndarray:
    """Every missing sample from the measured ones in its box."""
    coils = known.shape[0]
    half = [s // 2 for s in sizes]
    grid = np.pad(measured, [(h, h) for h in half])
    samples = np.pad(known, [(0, 0), *((h, h) for h in half)]).reshape(coils, -1)
    strides = np.array([int(np.prod(grid.shape[a + 1 :])) for a in range(grid.ndim)])
    offsets = (np.indices(sizes).reshape(len(sizes), -1).T - half) @ strides
    missing = (np.argwhere(~measured) + half) @ strides
    values = np.zeros((len(missing), coils), known.dtype)
    with one_blas_thread():
        for sources, members in _patterns(grid.reshape(-1), missing, offsets):
            # The normal equations of the fit: gram[sources, sources] w = gram[sources, centre].
            for chunk in _chunks(len(sources), (sources.shape[1] * coils) ** 2):
                weights = _weights(gram, sources[chunk])
                for w, source, which in zip(weights, sources[chunk], members[chunk], strict=True):
                    seen = samples[:, missing[which, None] + offsets[source]]
                    seen = seen.transpose(1, 2, 0).reshape(len(which), -1)
                    values[which] = seen @ w
    out = known.copy()
    out[:, ~measured] = values.T
    return out


def _weights(gram: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Weights (patterns, source · coil, coil) for the sources (patterns, source) of each."""
    count, n = sources.shape
    coils, centre = gram.shape[1], gram.shape[0] // 2
    normal = gram[sources[:, :, None], :, sources[:, None, :], :].swapaxes(2, 3)
    right = gram[sources, :, centre, :]
    return np.linalg.solve(
        normal.reshape(count, n * coils, n * coils), right.reshape(count, n * coils, coils)
    )


def _patterns(
    grid: np.ndarray, missing: np.ndarray, offsets: np.ndarray
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Patterns of as many sources each: their sources (patterns, source), and who has them."""
    rows = max(1, _ENTRIES // len(offsets))
    packed = [
        np.packbits(grid[missing[i : i + rows, None] + offsets], axis=1)
        for i in range(0, len(missing), rows)
    ]
    if not packed:
        return
    unique, kind = np.unique(np.concatenate(packed), axis=0, return_inverse=True)
    found = np.unpackbits(unique, axis=1, count=len(offsets)).astype(bool)
    order = np.argsort(kind.reshape(-1), kind="stable")
    members = np.split(order, np.cumsum(np.bincount(kind.reshape(-1)))[:-1])
    counts = found.sum(axis=1)
    for n in np.unique(counts[counts > 0]):
        alike = np.flatnonzero(counts == n)
        yield np.nonzero(found[alike])[1].reshape(-1, n), [members[i] for i in alike]


def _chunks(count: int, entries: int) -> Iterator[slice]:
    step = max(1, _ENTRIES // entries)
    return (slice(i, i + step) for i in range(0, count, step))


def _usual_sizes(measured: np.ndarray) -> tuple[int, ...]:
    """Sides of the box such that a missing sample sees measured ones on both sides."""
    sizes = []
    for axis in range(measured.ndim):
        rest = tuple(a for a in range(measured.ndim) if a != axis)
        places = np.flatnonzero(measured.any(axis=rest))
        gap = int(np.diff(places).max(initial=1))
        sizes.append(min(max(_USUAL, 2 * gap - 1), _LARGEST))
    return tuple(sizes)
