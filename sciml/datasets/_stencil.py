"""The five-point system of ConDiff: its matrix and its residual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..operators.diffusion import NodalDiffusion, Order

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def condiff_matrix(k: np.ndarray, order: Order = Order.FORTRAN) -> csr_array:
    """The published matrix of -div(k grad u) on the unit square, u = 0 on the boundary.

    k: (n+1, n+1), positive, the coefficient in the cells around the n × n inner nodes; see
    `sciml.operators.NodalDiffusion`. order: FORTRAN numbers node (i, j) as i + n·j, as the
    published matrices and files do. Returns CSR, float64, (n², n²), symmetric positive definite,
    scaled by (n+1)².

    Raises ValueError unless k is square, at least (2, 2), finite and positive.
    """
    k = np.asarray(k, dtype=np.float64)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or len(k) < 2:
        raise ValueError(f"expected k of shape (n+1, n+1), got {k.shape}: pass one sample")
    return NodalDiffusion(k).assemble(order)


def relative_residual(k: np.ndarray, rhs: np.ndarray, x: np.ndarray) -> np.ndarray:
    """‖rhs - A(k) x‖ / ‖rhs‖ of each sample, in the 2-norm: (S,).

    k: (S, n+1, n+1); rhs and x: (S, n, n), aligned with k. A zero rhs gives 0 for x = 0, else inf.
    """
    diagonal, down, right = _stencil(k)
    rest = rhs - diagonal * x
    rest[:, :-1] -= down * x[:, 1:]
    rest[:, 1:] -= down * x[:, :-1]
    rest[:, :, :-1] -= right * x[:, :, 1:]
    rest[:, :, 1:] -= right * x[:, :, :-1]
    error = np.linalg.norm(rest, axis=(1, 2))
    scale = np.linalg.norm(rhs, axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, error / scale)


def _stencil(k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diagonal (S, n, n), coupling along i (S, n-1, n) and along j (S, n, n-1), with (n+1)²."""
    k = k * float(k.shape[-1]) ** 2
    diagonal = k[:, :-1, :-1] + k[:, :-1, 1:] + k[:, 1:, :-1] + k[:, 1:, 1:]
    down = -0.5 * (k[:, 1:-1, :-1] + k[:, 1:-1, 1:])
    right = -0.5 * (k[:, :-1, 1:-1] + k[:, 1:, 1:-1])
    return diagonal, down, right
