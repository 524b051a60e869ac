"""A dense self-scaled quasi-Newton method, the strongest rival that was tried."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch

__all__ = ["minimise", "updated"]

# x -> value and gradient
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]
_ARMIJO, _WOLFE, _TRIALS = 1e-4, 0.9, 50


def updated(
    H: torch.Tensor, s: torch.Tensor, y: torch.Tensor, b: float, first: bool
) -> torch.Tensor:
    """The inverse Hessian after a step, in place of H; unchanged where y·s is not positive.

    Al-Baali and Khalfan, 2005, as Urbán, Stefanou and Pons, J. Comput. Phys. 523 (2025) 113656,
    take it for PINNs, there SSBroyden.

    Args:
        H: symmetric, positive definite (n, n). s: the step. y: the gradient's change.
        b: s·H⁻¹s / y·s, which is -α s·g / y·s for a step s = -α H g.
        first: whether H is the identity, not yet scaled.
    """
    ys = float(y @ s)
    Hy = H @ y
    yHy = float(y @ Hy)
    if not (ys > 0 and yHy > 0 and b > 0):
        return H
    h, n = yHy / ys, len(s)
    a = max(h * b - 1, 0.0)  # by Cauchy and Schwarz
    rho = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
    lowest = (rho - 1) / a if a > 0 else 0.0
    theta = max(lowest, min(1 / rho, (1 - b) / b))
    sigma = 1 + a * theta  # at least rho
    if first:
        tau = h / sigma
    else:
        spread = sigma ** (-1 / max(n - 1, 1))
        bound = min(spread, 1 / theta) if theta > 0 else min(spread, sigma / min(1.0, 1 / b))
        tau = min(1.0, 1 / b) * bound
    phi = (1 - theta) / sigma
    v = s / ys - Hy / yHy
    # H <- (H - Hy yᵀH / yHy + phi yHy v vᵀ) / tau + s sᵀ / ys, in one pass over H
    right = torch.stack([Hy, v, s], dim=1)
    weights = torch.tensor([-1 / (yHy * tau), phi * yHy / tau, 1 / ys], dtype=H.dtype)
    return torch.addmm(H, right * weights, right.T, beta=1 / tau, out=H)


def minimise(objective: Objective, x: np.ndarray, look: Callable[[np.ndarray], bool]) -> int:
    """Minimise from x by SSBroyden with SciPy's strong Wolfe search.

    As the authors' but for two things: the first matrix is scaled, and the search is SciPy's public
    one, not MINPACK's before it. On the heat equation and Burgers' neither makes it worse.

    Where the search finds nothing, the method begins anew from the gradient; where that finds
    nothing either, it ends.

    Args:
        look: told x after each step; True to end.

    Returns:
        Steps taken.
    """
    from scipy.optimize import line_search

    known: dict[bytes, tuple[float, np.ndarray]] = {}

    def at(point: np.ndarray) -> tuple[float, np.ndarray]:
        key = point.tobytes()
        if key not in known:
            known.clear()
            known[key] = objective(point)
        return known[key]

    f, g = at(x)
    H, fresh, steps = torch.eye(len(x), dtype=torch.float64), True, 0
    while True:
        if fresh:
            before = f + 0.5 * float(
                np.linalg.norm(g)
            )  # a first trial of length 1, as SciPy's BFGS
        p = -(H @ torch.from_numpy(g)).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a search that found nothing: looked at below
            found = line_search(
                lambda z: at(z)[0], lambda z: at(z)[1], x, p, g, f, before,
                c1=_ARMIJO, c2=_WOLFE, maxiter=_TRIALS,
            )  # fmt: skip
        alpha = found[0]
        if alpha is None or not at(x + alpha * p)[0] < f:
            if fresh:
                return steps
            H, fresh = torch.eye(len(x), dtype=torch.float64), True
            continue
        s = alpha * p
        new_f, new_g = at(x + s)
        y = new_g - g
        ys = float(y @ s)
        b = -alpha * float(s @ g) / ys if ys > 0 else -1.0
        H = updated(H, torch.from_numpy(s), torch.from_numpy(y), b, fresh)
        x, before, f, g, fresh = x + s, f, new_f, new_g, False
        steps += 1
        if look(x):
            return steps
