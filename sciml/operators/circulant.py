"""Compressed sensing by random convolution."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from .._checks import integer, need
from .._fft import filtered
from ..arrays import Array, astype, dtype_of, from_host, namespace, with_precision
from ..operator import Operator
from ..space import Space

__all__ = ["RandomCirculant", "Spectrum"]


class Spectrum(enum.Enum):
    """How the random convolution of a `RandomCirculant` is drawn."""

    UNIT = "unit"  # |c^| = 1 with random phases: the convolution is orthogonal
    GAUSSIAN = "gaussian"  # c of independent entries N(0, 1/N): orthogonal on average


class RandomCirculant(Operator):
    """x -> y = S F^-1 diag(c^) F D x: M of N entries of a random convolution (Romberg 2009).

    SIAM J. Imaging Sci. 2, 1098-1128. D flips signs at random, F is the transform of the N entries
    of x in one line, c^ the spectrum of a real c, and S keeps M entries at random, in order. Every
    measurement sees all of the image, at the cost of two transforms.

    With Spectrum.UNIT, Romberg's choice, A A^H = I: noise stays white, the norm is 1, and the
    distance to {x : A x = y} is ‖y − A x‖. Fang, Buchanan and Sulam (ICLR 2024) draw c from a
    Gaussian (theirs of variance 1, not 1/N: y, and noise beside it, are sqrt(N) times as large);
    |c^|² is then exponentially distributed, and frequencies that c^ happens to leave out are lost.

    Args:
        space: of real images, of any shape.
        measurements: M, 1 to N.
        rng: draws signs, c and which entries are kept.
        spectrum: how c is drawn.
        like: an array of the library and on the device that is wanted; NumPy without.

    Raises:
        TypeError: a complex space, or no generator. ValueError: M is not from 1 to N.
    """

    recordable = False

    param_names = ("spectrum",)
    structure_names = ("signs", "kept", "home_of")

    def __init__(
        self,
        space: Space,
        measurements: int,
        *,
        rng: np.random.Generator,
        spectrum: Spectrum = Spectrum.UNIT,
        like: Array | None = None,
    ) -> None:
        need(space, Space, "a Space of images")
        need(rng, np.random.Generator, "a random generator", "np.random.default_rng(seed)")
        need(spectrum, Spectrum, "a spectrum as a Spectrum member", "Spectrum.UNIT, for example")
        if space.is_complex:
            raise TypeError(
                f"expected a space of real images, got {space.dtype}: measure real and imaginary "
                "part apart"
            )
        n, m = space.size, integer(measurements, "measurements", 1)
        if m > n:
            raise ValueError(f"expected up to {n} measurements of {n} pixels, got {m}")
        # 1. D, c^ and S are drawn in this order
        signs = rng.choice((-1.0, 1.0), n)
        c = _unit(rng, n) if spectrum is Spectrum.UNIT else np.fft.rfft(
            rng.standard_normal(n) / np.sqrt(n))  # fmt: skip
        kept = np.sort(rng.permutation(n)[:m])
        # 2. where each entry is found in y with a zero behind it, for the adjoint of S
        home = np.full(n, m)
        home[kept] = np.arange(m)
        at: Any = signs if like is None else like
        dtype = with_precision(np.complex64, space.dtype)
        self.spectrum = from_host(c.astype(dtype), at, dtype)
        self.signs = from_host(signs, at, space.dtype)
        self.kept, self.home_of = (from_host(i, at, np.int64) for i in (kept, home))
        self._bound = 1.0 if spectrum is Spectrum.UNIT else float(abs(c).max())
        super().__init__(space, Space((m,), space.dtype))

    def _apply(self, x: Array) -> Array:
        xp, n = namespace(x), self.domain.size
        flat = xp.reshape(x, (*x.shape[: x.ndim - self.domain.ndim], n))
        seen = filtered(flat * astype(self.signs, dtype_of(x)), self._response(x), (n,))
        return xp.take(seen, self.kept, axis=-1)

    def _adjoint(self, y: Array) -> Array:
        xp, n = namespace(y), self.domain.size
        lead = tuple(y.shape[:-1])
        behind = from_host(np.zeros((*lead, 1)), y, dtype_of(y))
        laid = xp.take(xp.concat([y, behind], axis=-1), self.home_of, axis=-1)
        back = filtered(laid, xp.conj(self._response(y)), (n,)) * astype(self.signs, dtype_of(y))
        return xp.reshape(back, (*lead, *self.domain.shape))

    def _response(self, x: Array) -> Array:
        return astype(self.spectrum, with_precision(np.complex64, dtype_of(x)))

    @property
    def norm_bound(self) -> float:
        """||A|| = 1 for Spectrum.UNIT; max |c^| otherwise, the norm before entries are left out."""
        return self._bound


def _unit(rng: np.random.Generator, n: int) -> np.ndarray:
    """The half of a Hermitian spectrum, of modulus 1: the entries that must be real are ±1."""
    half = np.exp(2j * np.pi * rng.random(n // 2 + 1))
    half[0] = rng.choice((-1.0, 1.0))
    if n % 2 == 0:
        half[-1] = rng.choice((-1.0, 1.0))
    return half
