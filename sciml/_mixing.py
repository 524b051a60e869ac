"""Do chains agree, and what are their draws worth?

Gelman et al., Bayesian Data Analysis, 3rd ed., chapter 11.
"""

from __future__ import annotations

import numpy as np

__all__ = ["effective_size", "split_rhat"]


def split_rhat(draws: np.ndarray) -> np.ndarray:
    """Section 11.4, each chain in two halves: draws (T, n, ...) with T >= 4 -> (...)."""
    half = draws.shape[0] // 2
    return _rhat(np.concatenate([draws[:half], draws[half : 2 * half]], axis=1))


def _rhat(x: np.ndarray) -> np.ndarray:
    """x (draws, sequences, ...)."""
    T = x.shape[0]
    within = x.var(axis=0, ddof=1).mean(axis=0)  # W of (11.2)
    between = x.mean(axis=0).var(axis=0, ddof=1)  # B / T of (11.1)
    # sequences that do not move are one if they are at one place
    stuck = np.where(between > 0, np.inf, 1.0)
    ratio = between / np.where(within > 0, within, 1.0)
    return np.where(within > 0, np.sqrt((T - 1) / T + ratio), stuck)


def effective_size(draws: np.ndarray) -> np.ndarray:
    """Section 11.5 over split chains: draws (T, n, ...) with T >= 4 -> (...)."""
    half = draws.shape[0] // 2
    x = np.concatenate([draws[:half], draws[half : 2 * half]], axis=1)
    T, m = x.shape[:2]
    within = x.var(axis=0, ddof=1).mean(axis=0)
    total = (T - 1) / T * within + x.mean(axis=0).var(axis=0, ddof=1)
    total = np.where(total > 0, total, 1.0)
    # autocovariances of each sequence, by the variogram (11.7)
    rho = np.ones((T, *total.shape))
    for t in range(1, T):
        rho[t] = 1 - 0.5 * ((x[t:] - x[:-t]) ** 2).mean(axis=(0, 1)) / total
    pairs = rho[: T - T % 2].reshape(T // 2, 2, *total.shape).sum(axis=1)
    kept = np.cumprod(pairs > 0, axis=0)  # up to the first pair whose sum is negative (Geyer 1992)
    time = 2 * (pairs * kept).sum(axis=0) - 1
    return m * T / np.maximum(time, 1 / np.log10(max(10, m * T)))
