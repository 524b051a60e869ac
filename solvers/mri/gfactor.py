"""How much acceleration amplifies noise beyond the fewer samples: the g-factor.

Noise of a reconstruction = g √R × noise of the fully sampled one, R the acceleration
(Pruessmann, Weiger, Scheidegger, Boesiger, Magn. Reson. Med. 42 (1999) 952).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sciml._blas import one_blas_thread
from sciml._checks import integer, need
from sciml.arrays import Array, dtype_of, like_host, real_dtype, to_numpy
from sciml.mri.calibration import check_kspace

from ._host import mask_of, on_host

__all__ = ["gfactor", "gfactor_by_replicas"]


def gfactor(maps: Array, mask: Array, *, covariance: Array | None = None) -> Array:
    """The g-factor of SENSE for a regular mask, exactly.

    g_i = ((S^H Ψ⁻¹ S)⁻¹_ii (S^H Ψ⁻¹ S)_ii)^(1/2), with S the sensitivities
    at the R points that fold onto each other. Which do is read from the mask's transform, so that
    lines, grids and sheared (CAIPIRINHA) patterns of any offset are all regular.

    Args:
        maps: sensitivities, complex, (coil, *shape), in host memory.
        mask: which samples were measured, bool or 0 and 1, of `shape` or broadcasting to it.
        covariance: of the noise of the coils, Ψ, complex, (coil, coil); None: white.

    Returns:
        g, real, (*shape), at least 1; 0 where the maps are 0, infinite where the coils cannot
        tell points apart.

    Raises:
        TypeError: maps are not complex, or not in host memory.
        ValueError: the mask is not regular or accelerates beyond the number of coils, or the
            covariance is not positive definite.
    """
    check_kspace(maps, "maps")
    host = on_host(maps, "maps", "a g-factor")
    coils, *shape = host.shape
    groups = _folded(mask_of(mask, tuple(shape)))
    if groups.shape[1] > coils:
        raise ValueError(
            f"expected an acceleration of at most the {coils} coils, got {groups.shape[1]}"
        )
    S = _whitened(host, covariance).reshape(coils, -1)
    size = np.linalg.norm(S, axis=0)
    unit = S / np.where(size > 0, size, 1)
    folded = unit[:, groups].transpose(1, 0, 2)  # (group, coil, R)
    with one_blas_thread():
        correlation = folded.conj().swapaxes(1, 2) @ folded
        # A point without signal takes no part: a row of the identity.
        correlation += (size[groups] == 0)[:, :, None] * np.eye(groups.shape[1])
        values, vectors = np.linalg.eigh(correlation)
    lost = values <= groups.shape[1] * np.finfo(values.dtype).eps
    shares = np.abs(vectors) ** 2
    square = (shares / np.where(lost, 1, values)[:, None, :] * ~lost[:, None, :]).sum(axis=2)
    square[(shares * lost[:, None, :]).sum(axis=2) > np.sqrt(np.finfo(values.dtype).eps)] = np.inf
    g = np.zeros(size.shape)
    g[groups] = np.where(size[groups] > 0, np.sqrt(np.maximum(square, 1)), 0)
    return like_host(g.reshape(shape).astype(real_dtype(dtype_of(maps))), maps)


def gfactor_by_replicas(
    reconstruct: Callable[[Array], Array],
    kspace: Array,
    maps: Array,
    mask: Array,
    *,
    rng: np.random.Generator,
    covariance: Array | None = None,
    replicas: int = 100,
) -> Array:
    """The g-factor of any reconstruction, from replicas of the data with more noise.

    The deviation of the replicas over that of fully sampled SENSE, (S^H Ψ⁻¹ S)^(-1/2), and √R
    (Robson, Grant, Madhuranthakam, Lattanzi, Sodickson, McKenzie, Magn. Reson. Med. 60 (2008)
    895). Its relative error is (4 · replicas)^(-1/2). Regularisation can make it less than 1.

    Args:
        reconstruct: k-space (coil, *shape), 0 where nothing was measured, -> image, complex
            (*shape), on the scale of the maps.
        kspace: what noise is added to, complex, (coil, *shape), in host memory. Zeros serve where
            `reconstruct` is linear.
        maps: sensitivities, complex, (coil, *shape).
        mask: which samples were measured, as for `gfactor`, of any pattern.
        rng: of the noise.
        covariance: Ψ of the noise that is added, in the units of k-space, complex, (coil, coil),
            E n n^H; None: the identity.
        replicas: how many, at least 2.

    Returns:
        g, real, (*shape); 0 where the maps are 0.

    Raises:
        TypeError: arrays are not complex, or not in host memory.
        ValueError: shapes do not fit, or the covariance is not positive definite.
    """
    check_kspace(kspace, "k-space")
    check_kspace(maps, "maps")
    need(rng, np.random.Generator, "a numpy.random.Generator as rng")
    data, host = on_host(kspace, "k-space", "replicas"), on_host(maps, "maps", "replicas")
    if data.shape != host.shape:
        raise ValueError(f"expected maps of {data.shape}, got {host.shape}")
    measured = mask_of(mask, data.shape[1:])
    factor = _factor(covariance, len(data))
    mean, squares = 0.0, 0.0
    for count in range(1, integer(replicas, "replicas", 2) + 1):
        white = rng.standard_normal((2, *data.shape)) / np.sqrt(2)
        noise = np.tensordot(factor, white[0] + 1j * white[1], 1)
        x = to_numpy(reconstruct(like_host(((data + noise) * measured).astype(data.dtype), kspace)))
        if x.shape != data.shape[1:]:
            raise ValueError(f"expected an image {data.shape[1:]} of reconstruct, got {x.shape}")
        change = x - mean  # Welford's update
        mean = mean + change / count
        squares = squares + np.real(change * np.conj(x - mean))
    signal = np.linalg.norm(_whitened(host, covariance), axis=0)
    g = np.sqrt(squares / (count - 1)) * signal * np.sqrt(measured.mean())
    return like_host(g.astype(real_dtype(dtype_of(maps))), maps)


def _folded(measured: np.ndarray) -> np.ndarray:
    """The points that fold onto each other, (group, R), as indices into the flat image.

    Raises:
        ValueError: the mask is no regular one.
    """
    spread = np.abs(np.fft.ifftn(measured)) / measured.mean()
    peaks = spread > 0.5
    shifts = np.argwhere(peaks)
    if np.abs(spread - peaks).max() > 1e-6:
        raise ValueError(
            "expected a regular mask, whose gaps divide the field of view, got another: use "
            "gfactor_by_replicas"
        )
    points = np.indices(measured.shape).reshape(measured.ndim, 1, -1)
    folded = (points + shifts.T[:, :, None]) % np.reshape(measured.shape, (-1, 1, 1))
    groups = np.asarray(np.ravel_multi_index(tuple(folded), measured.shape)).T
    return groups[groups[:, 0] == groups.min(axis=1)]


def _factor(covariance: Array | None, coils: int) -> np.ndarray:
    """L with Ψ = L L^H.

    Raises:
        ValueError: Ψ is no Hermitian positive definite matrix over the coils.
    """
    if covariance is None:
        return np.eye(coils)
    psi = to_numpy(covariance)
    if psi.shape != (coils, coils):
        raise ValueError(f"expected a covariance of ({coils}, {coils}), got {psi.shape}")
    if not np.allclose(psi, psi.conj().T, rtol=1e-5, atol=1e-6 * np.abs(psi).max()):
        raise ValueError("expected a Hermitian covariance, got another matrix")
    try:
        return np.linalg.cholesky(psi.astype(np.complex128))
    except np.linalg.LinAlgError:
        raise ValueError("expected a positive definite covariance, got another") from None


def _whitened(maps: np.ndarray, covariance: Array | None) -> np.ndarray:
    """L⁻¹ S, in double precision."""
    S = maps.astype(np.complex128)
    if covariance is None:
        return S
    factor = _factor(covariance, len(S))
    with one_blas_thread():
        return np.linalg.solve(factor, S.reshape(len(S), -1)).reshape(S.shape)
