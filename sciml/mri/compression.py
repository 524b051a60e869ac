"""Coil compression: a few virtual coils that hold nearly all of the signal.

k-space is (coil, *shape), whitened over the coils and centred; samples that were not taken are 0.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from .._checks import integer, is_integer, need
from ..arrays import Array, check_float, dtype_of, from_host, to_numpy
from ..operators import CoilCompression

__all__ = ["Compressed", "Compression", "compress"]


class Compression(enum.Enum):
    """How the virtual coils are found."""

    SVD = "svd"  # one matrix for all of k-space
    GEOMETRIC = "geometric"  # one for each position along a fully sampled read-out, aligned


@dataclass(frozen=True)
class Compressed:
    """What `compress` found.

    Args:
        operator: (*batch, coil, *shape) -> (*batch, virtual, *shape), for k-space and, where one
            matrix serves all, for images and sensitivity maps alike.
        energy: share of the calibration's energy that the virtual coils keep, from 0 to 1.
    """

    operator: CoilCompression
    energy: float

    @property
    def matrix(self) -> Array:
        """(virtual, coil) or (x, virtual, coil), rows orthonormal."""
        return self.operator.matrix


def compress(
    kspace: Array,
    coils: int,
    *,
    method: Compression = Compression.SVD,
    readout: int | None = None,
) -> Compressed:
    """Virtual coils, those of most energy first.

    SVD: the leading left singular vectors of the coils' samples (Buehrer et al., Magn. Reson. Med.
    57, 2007; Huang et al., Magn. Reson. Imaging 26, 2008). GEOMETRIC: those at each position x of
    the read-out, where coils' sensitivities vary in fewer ways, and each turned to be nearest to
    its neighbour's, so that virtual coils are smooth along x (Zhang, Pauly, Vasanawala and Lustig,
    Magn. Reson. Med. 69, 2013).

    Args:
        kspace: to learn from, complex, (coil, *shape): the calibration region serves as well as
            all samples do, given at full size with zeros elsewhere.
        coils: how many virtual ones, at most as many as there are.
        readout: for GEOMETRIC, the fully sampled axis, negative: -1 is the last.

    Raises:
        TypeError, ValueError: k-space is not complex, not (coil, *shape), not finite or all zeros;
            more coils than there are; readout missing, or given for SVD.
    """
    need(method, Compression, "a Compression", "Compression.SVD or Compression.GEOMETRIC")
    host = _checked(kspace, coils)
    if (readout is not None) != (method is Compression.GEOMETRIC):
        raise ValueError(
            f"expected readout for Compression.GEOMETRIC and for that alone, got {readout} for "
            f"{method}"
        )
    if readout is None:
        matrix, kept = _leading(host.reshape(1, host.shape[0], -1), coils)
        matrix = matrix[0]
    else:
        if not is_integer(readout) or not -host.ndim < readout < 0:
            raise ValueError(f"expected readout from {1 - host.ndim} to -1, got {readout}")
        matrix, kept = _leading(_by_position(host, readout), coils)
        matrix = _aligned(matrix)
    operator = CoilCompression(
        from_host(matrix, kspace, dtype_of(kspace)), tuple(host.shape[1:]), readout=readout
    )
    return Compressed(operator, kept)


def _checked(kspace: Array, coils: int) -> np.ndarray:
    if check_float(dtype_of(kspace), "k-space").kind != "c":
        raise TypeError(f"expected complex k-space, got {dtype_of(kspace)}")
    if kspace.ndim < 2:
        raise ValueError(f"expected k-space (coil, *shape), got {tuple(kspace.shape)}")
    if integer(coils, "coils", 1) > kspace.shape[0]:
        raise ValueError(f"expected at most {kspace.shape[0]} virtual coils, got {coils}")
    host = to_numpy(kspace).astype(np.complex128)
    if not np.isfinite(host).all():
        raise ValueError("expected finite k-space, got NaN or Inf among its samples")
    if not host.any():
        raise ValueError("expected k-space with samples, got zeros alone")
    return host


def _by_position(kspace: np.ndarray, readout: int) -> np.ndarray:
    """(x, coil, the other axes in one), x the positions along the read-out in image space."""
    from scipy import fft

    last = np.moveaxis(kspace, readout, -1)
    image = fft.fftshift(fft.ifft(fft.ifftshift(last, axes=-1), norm="ortho"), axes=-1)
    return np.moveaxis(image, -1, 0).reshape(image.shape[-1], kspace.shape[0], -1)


def _leading(samples: np.ndarray, coils: int) -> tuple[np.ndarray, float]:
    """((x, virtual, coil), share of energy) from (x, coil, samples): the coils' covariance's."""
    values, vectors = np.linalg.eigh(samples @ samples.conj().swapaxes(-1, -2))
    matrix = vectors[..., ::-1][..., :coils].conj().swapaxes(-1, -2)
    return matrix, math.fsum(values[:, -coils:].ravel()) / math.fsum(values.ravel())


def _aligned(matrices: np.ndarray) -> np.ndarray:
    """Each A_x turned by the unitary P_x that brings it nearest to A_{x-1} (Zhang et al.).

    P = V U^H of the singular vectors of A_x A_{x-1}^H = U S V^H. Started in the middle, where there
    is signal, and carried to both ends.
    """
    out, middle = matrices.copy(), len(matrices) // 2
    outwards = [(x, x - 1) for x in range(middle + 1, len(out))]
    outwards += [(x, x + 1) for x in range(middle - 1, -1, -1)]
    for x, before in outwards:
        u, _, vh = np.linalg.svd(out[x] @ out[before].conj().T)
        out[x] = (u @ vh).conj().T @ out[x]
    return out
