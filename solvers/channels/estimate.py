"""What every channel estimator gives back, and what all ask of their input."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from sciml import Result, Samples
from sciml._checks import Argument, ArgumentError, told
from sciml.samples import radius_of

__all__ = ["ChannelEstimate"]


@dataclass(frozen=True, eq=False)
class ChannelEstimate:
    """A channel for each member of a batch, and what is known of it.

    Attributes:
        H: (*batch, Nr, Nt), in the precision of Y.
        std: posterior standard deviation of each entry, E|H − h|² = std²; real, (Nr, Nt), the same
            for every member, or (*batch, Nr, Nt); None where the method knows none.
        misfit: ||Y − H P|| / (σ sqrt(Nr Np)) of each member, (*batch,): 1 at the truth, give or
            take sqrt(1 / (2 Nr Np)). Far above, H does not explain the pilots; 0 fits the noise.
        result: the certified solve or draws; None for greedy methods, which have no residual to
            certify.
        note: what was chosen on the way, in words.
        seconds: in all.
    """

    H: np.ndarray
    std: np.ndarray | None
    misfit: np.ndarray
    seconds: float
    result: Result | Samples | None = field(default=None, repr=False)
    note: str = ""

    def radius(self, probability: float = 0.9) -> np.ndarray | None:
        """How far h is from H at most, entry by entry, with this probability: shaped as std.

        For Gaussian p(h | Y); of few draws as `Samples.radius`. None where std is.

        Raises:
            TypeError, ValueError: no probability, or too few draws.
        """
        if self.std is None:
            return None
        if isinstance(self.result, Samples):
            return self.result.radius(probability)
        return self.std * radius_of(probability)

    @property
    def ok(self) -> bool:
        """Whether it was solved to the tolerance, or drawn with a certificate, or is greedy."""
        return self.result is None or self.result.ok


def checked(Y: np.ndarray, P: np.ndarray, sigma2: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Y and P in one complex dtype, and the noise variance.

    Raises:
        TypeError: no arrays of numbers. ValueError: shapes that do not go together, NaN or Inf, or
            a noise variance that is not positive.
    """
    for name, array in (("Y", Y), ("P", P)):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fc":
            raise TypeError(f"expected {name} as a complex NumPy array, got {told(array)}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected finite {name}, got NaN or Inf")
    if P.ndim != 2 or Y.ndim < 2 or 0 in (*P.shape, *Y.shape[-2:]) or Y.shape[-1] != P.shape[1]:
        raise ValueError(
            f"expected Y (*batch, Nr, Np) and P (Nt, Np) with one Np, got {Y.shape} and {P.shape}"
        )
    if not (np.isfinite(sigma2) and sigma2 > 0):
        raise ArgumentError("expected ", Argument("sigma2"), f" > 0, got {told(sigma2)}")
    single = np.result_type(Y.dtype, P.dtype) in (np.float32, np.complex64)
    dtype = np.complex64 if single else np.complex128
    return Y.astype(dtype, copy=False), P.astype(dtype, copy=False), float(sigma2)


def finished(
    H: np.ndarray,
    Y: np.ndarray,
    P: np.ndarray,
    sigma2: float,
    began: float,
    *,
    std: np.ndarray | None = None,
    result: Result | Samples | None = None,
    note: str = "",
) -> ChannelEstimate:
    """The estimate with its misfit, evaluated in complex128."""
    rest = Y - H.astype(np.complex128) @ P
    misfit = np.sqrt(np.mean(np.abs(rest) ** 2, axis=(-2, -1)) / sigma2)
    seconds = time.perf_counter() - began
    return ChannelEstimate(H.astype(Y.dtype, copy=False), std, misfit, seconds, result, note)
