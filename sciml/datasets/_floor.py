"""How well one predicts ConDiff solutions without looking at k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .condiff import ConDiffData

__all__ = ["KBlindError", "k_blind_error", "poisson_solve"]


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
