"""Mixtures of Gaussians: priors of several modes with closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._checks import need
from ..arrays import Array, from_host, is_array, to_numpy
from ..noise import Gaussian
from ..operator import Operator
from .gaussian import GaussianPrior

__all__ = ["MixturePrior"]


class MixturePrior:
    """p = Σ_k weights[k] p_k, p_k Gaussian.

    Args:
        weights: positive, (parts,); they are divided by their sum.
        parts: GaussianPriors of one space.
    """

    def __init__(self, weights: Any, parts: Sequence[GaussianPrior]) -> None:
        self.parts = tuple(parts)
        w = np.asarray(to_numpy(weights) if is_array(weights) else weights, dtype=np.float64)
        for part in self.parts:
            need(part, GaussianPrior, "parts as GaussianPriors")
        if not self.parts or w.shape != (len(self.parts),):
            raise ValueError(
                f"expected as many weights as parts, got {w.size} and {len(self.parts)}"
            )
        if not (np.isfinite(w) & (w > 0)).all():
            raise ValueError("expected weights > 0, got others")
        if len({part.space for part in self.parts}) > 1:
            raise ValueError("expected parts of one space, got several")
        self.weights, self.space = w / w.sum(), self.parts[0].space

    def to(self, *, dtype: Any) -> MixturePrior:
        """The same prior in another precision."""
        return MixturePrior(self.weights, [part.to(dtype=dtype) for part in self.parts])

    @property
    def sigma_range(self) -> tuple[float, float]:
        """From that of the narrowest part to ten times all there is of x."""
        least = min(part.sigma_range[0] for part in self.parts)
        spread = max(float(np.abs(part.mean - self.parts[0].mean).max()) for part in self.parts)
        return least, max(part.sigma_range[1] for part in self.parts) + 10 * spread

    def denoise(self, x: Array, sigma: Any) -> Array:
        """Σ_k r_k D_k(x), with the share r_k of part k in p_sigma(x)."""
        shares = self._shares(x, sigma)
        return sum(r * part.denoise(x, sigma) for r, part in zip(shares, self.parts, strict=True))

    def score(self, x: Array, sigma: Any) -> Array:
        shares = self._shares(x, sigma)
        return sum(r * part.score(x, sigma) for r, part in zip(shares, self.parts, strict=True))

    def denoise_vjp(self, x: Array, sigma: Any, v: Array) -> tuple[Array, Array]:
        """J^T v = Σ_k r_k (J_k v + <D_k, v> (g_k − Σ_j r_j g_j)), g the gradients of log p."""
        shares = self._shares(x, sigma)
        factor = 2 if self.space.is_complex else 1
        scores = [part.score(x, sigma) for part in self.parts]
        middle = sum(r * s for r, s in zip(shares, scores, strict=True))
        found, back = 0 * x, 0 * x
        for r, s, part in zip(shares, scores, self.parts, strict=True):
            D, Jv = part.denoise_vjp(x, sigma, v)
            found = found + r * D
            back = back + r * (Jv + factor * self.space.inner_real(D, v) * (s - middle))
        return found, back

    def log_density(self, x: Array, sigma: Any = None) -> np.ndarray:
        """log p_sigma(x) per member, host float64 (*batch); without sigma that of p."""
        each = self._logs(x, sigma)
        most = each.max(axis=0)
        return most + np.log(np.exp(each - most).sum(axis=0))

    def random(self, rng: np.random.Generator, batch: tuple[int, ...] = ()) -> np.ndarray:
        """Draws (*batch, *shape), NumPy."""
        chosen = rng.choice(len(self.parts), size=batch, p=self.weights)
        every = np.stack([part.random(rng, batch) for part in self.parts])
        index = np.asarray(chosen).reshape((1, *batch, *(1,) * self.space.ndim))
        return np.take_along_axis(every, np.broadcast_to(index, (1, *every.shape[1:])), axis=0)[0]

    def posterior(self, A: Operator, y: np.ndarray, noise: Gaussian) -> MixturePrior:
        """That of x given y = A x + noise: again a mixture, see `GaussianPrior.posterior`.

        The weight of part k is multiplied by its density of y.
        """
        posteriors = [part.posterior(A, y, noise) for part in self.parts]
        logs = []
        wide = A.to(dtype=np.float64)
        for part, after in zip(self.parts, posteriors, strict=True):
            # log p(y) = log p(x) + log p(y | x) − log p(x | y), at any x
            x = after.mean.astype(part.to(dtype=np.float64).space.dtype)
            misfit = np.abs(np.asarray(noise.whiten(y - wide(x)))) ** 2
            fit = -misfit.sum() if self.space.is_complex else -0.5 * misfit.sum()
            before, now = part.to(dtype=np.float64), after.to(dtype=np.float64)
            logs.append(before.log_density(x) + fit - now.log_density(x))
        logs = np.log(self.weights) + np.array(logs)
        weights = np.exp(logs - logs.max())
        return MixturePrior(np.maximum(weights, 1e-300), posteriors)

    def _logs(self, x: Array, sigma: Any) -> np.ndarray:
        each = [part.log_density(x, sigma) for part in self.parts]
        logs = np.log(self.weights).reshape((-1,) + (1,) * each[0].ndim)
        return np.stack(each) + logs

    def _shares(self, x: Array, sigma: Any) -> list[Array]:
        """r_k, shaped to broadcast against x."""
        logs = self._logs(x, sigma)
        shares = np.exp(logs - logs.max(axis=0))
        shares = shares / shares.sum(axis=0)
        column = (*shares.shape[1:], *(1,) * self.space.ndim)
        return [from_host(r.reshape(column), x) for r in shares]
