"""A network as a prediction of ConDiff solutions: (k, b) to x."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from sciml._checks import need
from sciml._torch import one_thread
from sciml.datasets._floor import poisson_solve
from sciml.operators import NodalDiffusion

if TYPE_CHECKING:
    from sciml.networks import Predictor

__all__ = ["NetworkPrediction", "first_guess", "geometric_mean"]


def geometric_mean(k: np.ndarray) -> np.ndarray:
    """exp of the mean of log k over the cells, with two axes of length 1 kept.

    In two dimensions a log-normal medium conducts at large as a constant one of this k does
    (Matheron 1967; Dykhne, Sov. Phys. JETP 32 (1971) 63).
    """
    return np.exp(np.log(k).mean((-2, -1), keepdims=True))


def first_guess(k: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y = P b / m and its defect e = P (b − A y) / m, P for k = 1 and m the geometric mean of k.

    Args:
        k: (*batch, n + 1, n + 1), positive. b: (*batch, n, n).

    Returns:
        y and e, float64, (*batch, n, n).
    """
    m = geometric_mean(k)
    y = poisson_solve(b) / m
    return y, poisson_solve(b - NodalDiffusion(k, ndim=2)(y)) / m


class NetworkPrediction:
    """(k, b) -> x by a network, in single precision on one thread of the CPU.

    Raises:
        TypeError: no Predictor.
    """

    def __init__(self, network: Predictor) -> None:
        import torch

        from sciml.networks import Predictor

        need(network, Predictor, "a Predictor", "see sciml.networks.load_predictor")
        own = copy.deepcopy(network).eval().requires_grad_(False)
        self.network = own.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, k: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The predicted solution, float64 (n, n).

        Args:
            k: (n + 1, n + 1), finite and positive, in cells. b: (n, n), finite, at the nodes.

        Raises:
            ValueError: other shapes or values.
        """
        import torch

        k, b = np.asarray(k, np.float64), np.asarray(b, np.float64)
        if b.ndim != 2 or k.shape != (b.shape[0] + 1,) * 2 or b.shape[0] != b.shape[1]:
            raise ValueError(f"expected k (n+1, n+1) and b (n, n), got {k.shape} and {b.shape}")
        if not (np.isfinite(k).all() and (k > 0).all() and np.isfinite(b).all()):
            raise ValueError("expected finite b and finite, positive k, got other values: check k")
        largest = abs(b).max()
        if largest == 0:
            return np.zeros_like(b)
        m = geometric_mean(k)
        y, e = first_guess(k / m, b / largest)
        size = np.sqrt(np.mean(y**2))  # single precision sees numbers around 1 only
        seen = (
            torch.from_numpy(a).float()[None, None] for a in (np.log(k / m), y / size, e / size)
        )
        with torch.no_grad(), one_thread(torch.zeros(1)):
            x = self.network(*seen)[0, 0]
        return x.double().numpy() * (size * largest / m)
