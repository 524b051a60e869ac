"""The basis that a denoising network was preconditioned in, as an Operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array, namespace
from ..operator import Operator
from ..space import Space
from ._basis import Fixed

if TYPE_CHECKING:
    from ..networks.denoiser import Denoiser

__all__ = ["beams_of"]

_COMPLEX = np.dtype(np.complex128)


class _Separable(Fixed):
    """x -> U_R^H x U_T^*: rows and columns of x each in a basis of their own."""

    fixed = ("rows", "columns")

    def __init__(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self.rows, self.columns = rows, columns
        super().__init__(Space((len(rows), len(columns)), _COMPLEX))

    def _apply(self, x: Array) -> Array:
        return self._times(x, self.rows.conj().T, self.columns.conj())

    def _adjoint(self, y: Array) -> Array:
        return self._times(y, self.rows, self.columns.T)

    def _times(self, x: Array, left: np.ndarray, right: np.ndarray) -> Array:
        left, right = self.like(left, x), self.like(right, x)
        return namespace(x).matmul(namespace(x).matmul(left, x), right)


class _Joint(Fixed):
    """x -> (V^H x, x − V V^H x) for some columns V of a unitary matrix on raveled x."""

    fixed = ("modes",)

    def __init__(self, modes: np.ndarray, shape: tuple[int, int]) -> None:
        self.modes = modes
        size, count = modes.shape
        super().__init__(Space(shape, _COMPLEX), Space((count + size,), _COMPLEX))

    def _apply(self, x: Array) -> Array:
        xp, V = namespace(x), self.like(self.modes, x)
        flat = xp.reshape(x, (*x.shape[:-2], self.domain.size))
        z = xp.matmul(flat, xp.conj(V))
        return xp.concat([z, flat - xp.matmul(z, xp.matrix_transpose(V))], axis=-1)

    def _adjoint(self, y: Array) -> Array:
        xp, V = namespace(y), self.like(self.modes, y)
        z, rest = y[..., : V.shape[1]], y[..., V.shape[1] :]
        z = z - xp.matmul(rest, xp.conj(V))
        flat = rest + xp.matmul(z, xp.matrix_transpose(V))
        return xp.reshape(flat, (*y.shape[:-1], *self.domain.shape))


def beams_of(network: Denoiser) -> Operator | None:
    """B with B^H B = I in whose coordinates channels are nearly uncorrelated; None: any will do."""
    import torch

    from ..networks.basis import Joint, Separable

    def matrix(pairs: torch.Tensor) -> np.ndarray:
        found = torch.view_as_complex(pairs).detach().cpu().numpy()
        # float32 eigenvectors are orthogonal to 1e-6 only
        return np.linalg.qr(found.astype(_COMPLEX))[0]

    if isinstance(network.basis, Separable):
        return _Separable(matrix(network.basis.rows), matrix(network.basis.columns))
    if isinstance(network.basis, Joint) and network.shape is not None:
        return _Joint(matrix(network.basis.modes), network.shape)
    return None
