"""MIMO channel estimation: pilots seen through a channel, and channels out of plane waves.

A channel is H (*batch, Nr, Nt), pilots are P (Nt, Np), and the receiver sees Y = H P + N. Code that
writes Y^H = P^H H^H + N^H means the same, with everything conjugated and transposed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._checks import integer, number
from ..arrays import Array, astype, check_float, dtype_of, from_host, namespace, sum_to, to_numpy
from ..operator import Operator, Trait
from ..space import Space

__all__ = ["Pilots", "PlaneWaves"]


class Pilots(Operator):
    """H -> H P: (*batch, Nr, Nt) to (*batch, Nr, Np).

    Args:
        P: pilots, complex, (Nt, Np), or (*batch, Nt, Np): others for each member.
        nr: receiving antennas.

    Raises:
        TypeError, ValueError: P is not complex or has fewer than two axes, or nr is no size.
    """

    param_names = ("P",)

    def __init__(self, P: Array, nr: int) -> None:
        namespace(P)
        dtype = check_float(dtype_of(P), "pilots")
        if dtype.kind != "c":
            raise TypeError(f"expected complex pilots, got {dtype}")
        if P.ndim < 2:
            raise ValueError(f"expected pilots (*batch, Nt, Np), got {tuple(P.shape)}")
        self.P, self.nr = P, integer(nr, "nr", 1)
        *batch, nt, pilots = P.shape
        super().__init__(
            Space((self.nr, nt), dtype), Space((self.nr, pilots), dtype), batch_shape=tuple(batch)
        )

    def _apply(self, x: Array) -> Array:
        return _times(x, self.P)

    def _adjoint(self, y: Array) -> Array:
        return _times(y, _adjoint_of(self.P))

    @property
    def normal(self) -> PilotsNormal:
        return PilotsNormal(self)

    @property
    def norm_bound(self) -> float:
        """||P||_2, the largest over the members."""
        return _norm(self.P)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        return {"P": sum_to(namespace(x).matmul(_adjoint_of(x), ybar), self.P.shape)}


class PilotsNormal(Operator):
    """H -> H P P^H. Made by `Pilots.normal`."""

    param_names = ("gram",)

    def __init__(self, A: Pilots) -> None:
        self.gram = namespace(A.P).matmul(A.P, _adjoint_of(A.P))
        super().__init__(A.domain, traits={Trait.POSITIVE}, batch_shape=A.batch_shape)

    def _apply(self, x: Array) -> Array:
        return _times(x, self.gram)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def diagonal(self) -> Array:
        xp = namespace(self.gram)
        row = xp.linalg.diagonal(self.gram)[..., None, :]
        return xp.broadcast_to(row, (*self.batch_shape, *self.domain.shape))

    @property
    def norm_bound(self) -> float:
        return _norm(self.gram)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        return {"gram": sum_to(namespace(x).matmul(_adjoint_of(x), ybar), self.gram.shape)}


class PlaneWaves(Operator):
    """G -> B_r G B_t^T: a channel as a sum of plane waves on a grid of directions.

    Column i of B is exp(jπ k u_i) for antennas k half a wavelength apart and direction cosines u_i,
    which divide -1 to 1 evenly into `oversampling` × antennas parts, over the root of their number:
    A A^H = I, a tight frame. `oversampling` = 1 is the discrete Fourier transform.

    Args:
        nr, nt: antennas of a channel (*batch, Nr, Nt).
        oversampling: directions per antenna; their number is rounded up.
        dtype: complex.
        like: an array of the library and on the device that is wanted; NumPy without.
    """

    param_names = ("rx", "tx")

    def __init__(
        self,
        nr: int,
        nt: int,
        *,
        oversampling: float = 2.0,
        dtype: Any = np.complex128,
        like: Array | None = None,
    ) -> None:
        dtype = np.dtype(dtype)
        if dtype.kind != "c":
            raise TypeError(f"expected a complex dtype, got {dtype}")
        over = number(oversampling, "oversampling", least=1.0)
        rx, tx = (plane_waves(integer(n, s, 1), over) for n, s in ((nr, "nr"), (nt, "nt")))
        self.rx, self.tx = (from_host(b.astype(dtype), rx if like is None else like, dtype)
                            for b in (rx, tx))  # fmt: skip
        super().__init__(Space((rx.shape[1], tx.shape[1]), dtype), Space((nr, nt), dtype))

    def _apply(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.matmul(_times_left(self.rx, x), astype(xp.matrix_transpose(self.tx), dtype_of(x)))

    def _adjoint(self, y: Array) -> Array:
        xp = namespace(y)
        return _times(_times_left(_adjoint_of(self.rx), y), xp.conj(self.tx))

    @property
    def norm_bound(self) -> float:
        """1: the frame is tight."""
        return 1.0

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        xp = namespace(x)
        behind = xp.matmul(x, xp.matrix_transpose(self.tx))  # d rx: ybar (G B_t^T)^H
        before = xp.matmul(self.rx, x)  # d tx: ybar^T conj(B_r G)
        return {
            "rx": sum_to(xp.matmul(ybar, _adjoint_of(behind)), self.rx.shape),
            "tx": sum_to(xp.matmul(xp.matrix_transpose(ybar), xp.conj(before)), self.tx.shape),
        }


def plane_waves(antennas: int, oversampling: float) -> np.ndarray:
    """B of `PlaneWaves`: complex128 (antennas, directions)."""
    directions = math.ceil(oversampling * antennas)
    cosines = -1 + 2 * np.arange(directions) / directions
    return np.exp(1j * np.pi * np.outer(np.arange(antennas), cosines)) / math.sqrt(directions)


def _times(x: Array, matrix: Array) -> Array:
    return namespace(x).matmul(x, astype(matrix, dtype_of(x)))


def _times_left(matrix: Array, x: Array) -> Array:
    return namespace(x).matmul(astype(matrix, dtype_of(x)), x)


def _adjoint_of(matrix: Array) -> Array:
    xp = namespace(matrix)
    return xp.conj(xp.matrix_transpose(matrix))


def _norm(matrix: Array) -> float:
    found = np.linalg.norm(to_numpy(matrix).astype(np.complex128), 2, axis=(-2, -1))
    return float(np.max(found, initial=0.0))
