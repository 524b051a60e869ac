"""How well unknown constants of an equation are known, from the Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sciml._checks import integer, need, number

from .residuals import PointwiseResiduals

__all__ = ["Intervals", "confidence_intervals"]


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of the extra parameters, in the order of theta, float64 (count,) each.

    Attributes:
        value, deviation: of each parameter.
        low, high: value ± the Gaussian quantile of `level` · deviation.
        covariance: (count, count).
        sigma: the standard deviation of the data's noise, given or estimated.
        level: the share of data sets whose interval holds the true value.
        resolution: how far the residuals determine a parameter: 1 wholly; below it, the share of a
            change of the true value that the estimate would follow. An interval is no good
            much below 1.
        offset: how far one more Gauss-Newton step would move each parameter. An interval is no
            good unless it is small beside the deviation: train on.
    """

    value: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray
    sigma: float
    level: float
    resolution: np.ndarray
    offset: np.ndarray


def confidence_intervals(
    residuals: PointwiseResiduals,
    noisy: Sequence[int],
    *,
    sigma: float | None = None,
    level: float = 0.95,
    damping: float = 1e-12,
) -> Intervals:
    """Intervals of `residuals.extra` at the present values, by the delta method.

    To first order a change e of the residuals moves theta by -G e, G = (J^T J + mu)^-1 J^T, so that
    noise in the data gives the covariance G S G^T, where S holds sigma² w / n for rows of a noisy
    term (weight w, n entries) and 0 for those of equations. Where every row is noisy with one w / n
    that is sigma² w / n (J^T J)^-1.

    Assumed: the training has come to a minimum; r is close to linear in theta over a few
    deviations; noise is independent, of mean 0 and one sigma in all noisy terms; the equation
    holds, and the network represents its solution to well below sigma. What breaks the last two
    is a bias that no interval shows.

    Args:
        noisy: indices of the terms whose targets were measured (of a `deepxde.Model`: equations
            first, then conditions in their order).
        sigma: of the noise; estimated from the noisy terms without, with the degrees of freedom
            that the fit has left, n - 2 trace(H) + trace(H H^T) with H = J G among their rows.
        level: between 0 and 1.
        damping: mu, relative to the largest eigenvalue of J^T J (of theta / `scale`); it
            limits what directions count that the residuals hardly see.

    Raises:
        ValueError: no extra parameters, no noisy term, or no degrees of freedom left.
    """
    need(residuals, PointwiseResiduals, "PointwiseResiduals", "solvers.pinn.deepxde.residuals")
    if not 0 < number(level, "level") < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    sigma = None if sigma is None else number(sigma, "sigma")
    damping = number(damping, "damping")
    count = sum(p.numel() for p in residuals.extra)
    if not count:
        raise ValueError(
            "expected unknown parameters beside the network's, got none: "
            "precondition(model, external_trainable_variables=[k]), or extra=[k] of "
            "PointwiseResiduals"
        )
    terms, rows = residuals.terms(), residuals.rows()
    chosen = sorted({integer(k, "an index of noisy", 0) for k in noisy})
    if not chosen or chosen[-1] >= len(terms):
        raise ValueError(f"expected indices of noisy terms from 0 to {len(terms) - 1}, got {noisy}")

    r, jacobian = residuals.linearise()
    # without it the damping would depend on the constants' units
    scale = residuals.scale(residuals.units(jacobian))
    U, s, Vh = torch.linalg.svd(jacobian.matrix().mul_(scale), full_matrices=False)
    inverse = s / (s * s + damping * s[0] * s[0])
    kept = s * inverse
    V = Vh[:, -count:].T
    G = scale[-count:, None] * (V * inverse) @ U.T  # its rows of the unknowns
    size = torch.zeros_like(r)
    for k in chosen:
        size[rows[k]] = (terms[k].weight / terms[k].error.numel()) ** 0.5
    if sigma is None:
        sigma = _estimated(r, size, U, kept)
    covariance = (sigma**2 * (G * size**2) @ G.T).numpy(force=True)
    value = residuals.theta()[-count:].numpy(force=True)
    deviation = np.sqrt(np.diag(covariance))
    reach = float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)))
    return Intervals(
        value=value,
        deviation=deviation,
        low=value - reach * deviation,
        high=value + reach * deviation,
        covariance=covariance,
        sigma=float(sigma),
        level=level,
        resolution=((V * V) @ kept).numpy(force=True),
        offset=(-G @ r).numpy(force=True),
    )


def _estimated(r: torch.Tensor, size: torch.Tensor, U: torch.Tensor, kept: torch.Tensor) -> float:
    """sigma from the noisy rows: their residuals over what freedom the fit has left them.

    There r / size = (1 - H) e / size, with H = J G = U diag(kept) U^T among those rows, and e
    sigma size times white noise. What is expected of the sum of squares is sigma² times
    ||1 - H||² in the Frobenius norm, weighted by the sizes. H is a block of a projection, and none
    itself where equations are fitted along: n - trace(H) alone would be too much.
    """
    noisy = size > 0
    U, size = U[noisy], size[noisy, None]
    own = float(((U * U) @ kept).sum())
    pairs = (U / size).T @ (U / size) * ((U * size).T @ (U * size))
    left = len(U) - 2 * own + float(kept @ pairs @ kept)
    if left < 1:
        raise ValueError(
            f"expected noisy data that the model cannot fit wholly, got {left:.2g} degrees of "
            "freedom left: take fewer weights, or say sigma"
        )
    return float(((r[noisy] / size[:, 0]).square().sum() / left) ** 0.5)
