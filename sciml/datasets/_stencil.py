"""The five-point system of ConDiff: its matrix, its residual, and how well one does without k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..operators.diffusion import NodalDiffusion, Order

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .condiff import ConDiffData


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


@dataclass(frozen=True, eq=False)
class KBlindError:
    """How well a prediction does that never looks at k.

    scale: the constant c. errors: (S,), ‖x - c y‖ / ‖x‖ with y the solution for k = 1.
    """

    scale: float
    errors: np.ndarray

    @property
    def mean(self) -> float:
        """The mean relative error, the figure that error tables of networks report."""
        return float(self.errors.mean())

    @property
    def std(self) -> float:
        """The standard deviation of the relative errors over the samples."""
        return float(self.errors.std())


def k_blind_error(data: ConDiffData) -> KBlindError:
    """The floor for learned solvers: c · A(1)^-1 b with one least-squares constant for all samples.

    A network with a larger mean relative error than this has learned nothing from k. On the
    published kind of data it is about 6.5 % for cubic 0.1 at grid 64, which is where the published
    networks stand.

    Raises ValueError for no samples.
    """
    if len(data) == 0:
        raise ValueError("expected at least one sample, got none: draw or read some")
    y = poisson_solve(data.rhs)
    scale = float(np.vdot(y, data.x) / np.vdot(y, y))
    axes = (1, 2)
    errors = np.linalg.norm(data.x - scale * y, axis=axes) / np.linalg.norm(data.x, axis=axes)
    return KBlindError(scale, errors)


def poisson_solve(rhs: np.ndarray) -> np.ndarray:
    """A(1)^-1 rhs for rhs of shape (*batch, n, n), by the discrete sine transform."""
    from scipy.fft import dstn, idstn

    n = rhs.shape[-1]
    wave = 4 * (n + 1) ** 2 * np.sin(np.pi * np.arange(1, n + 1) / (2 * (n + 1))) ** 2
    axes = (-2, -1)
    modes = np.asarray(dstn(rhs, type=1, axes=axes)) / (wave[:, None] + wave)
    return np.asarray(idstn(modes, type=1, axes=axes))
