"""How large the largest eigenvalue of a positive semidefinite map is: proven from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .arrays import Array, from_host, safe_norm, to_numpy
from .space import Space

__all__ = ["largest"]

_CHANCE = 1e-6  # of the upper bound to be wrong


def largest(
    apply: Callable[[Array], Array],
    space: Space,
    batch: tuple[int, ...],
    like: Array,
    steps: int = 30,
) -> tuple[float, float]:
    """(least, most) that the largest eigenvalue of the worst member can be.

    Lanczos' method from a random start: its Ritz values are never too large, and theirs of n
    dimensions is too small by more than a share e with a chance of up to
    1.648 sqrt(n) exp(-sqrt(e) (2 steps - 1)) (Kuczyński and Woźniakowski, SIAM J. Matrix Anal.
    Appl. 13, 1992). A complex space counts as a real one of twice the dimensions.

    Args:
        apply: v (*batch, *space.shape) -> H v, H Hermitian positive semidefinite.
    """
    start = space.random(np.random.default_rng(0), batch)
    v_old = v = from_host(start, like, space.dtype)
    v = _over(v, np.asarray(safe_norm(v, space.ndim)))
    a, b, beta = [], [], np.zeros(batch)
    for _ in range(steps):
        w = apply(v)
        alpha = np.asarray(to_numpy(space.inner_real(v, w)), np.float64).reshape(batch)
        w = w - _times(v, alpha) - _times(v_old, beta)
        beta = np.asarray(safe_norm(w, space.ndim))
        a.append(alpha)
        b.append(beta)
        v_old, v = v, _over(w, beta)
    T = np.zeros((*batch, steps, steps))
    k = np.arange(steps)
    T[..., k, k] = np.stack(a, axis=-1)
    T[..., k[1:], k[:-1]] = np.stack(b, axis=-1)[..., :-1]  # eigvalsh reads the lower half
    if not np.isfinite(T).all():
        return math.inf, math.inf
    least = max(float(np.max(np.linalg.eigvalsh(T), initial=0.0)), 0.0)
    n = space.size * (2 if space.is_complex else 1)
    members = max(1, math.prod(batch))
    share = math.log(1.648 * math.sqrt(n) * members / _CHANCE) / (2 * steps - 1)
    return least, least / (1 - min(share**2, 0.5))


def _over(x: Array, size: np.ndarray) -> Array:
    """x / size per member; x where that is 0."""
    size = np.where(size > 0, size, 1.0)
    return x / from_host(size.reshape(size.shape + (1,) * (x.ndim - size.ndim)), x)


def _times(x: Array, factor: np.ndarray) -> Array:
    return x * from_host(factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim)), x)
