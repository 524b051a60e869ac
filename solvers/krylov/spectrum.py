"""Extreme eigenvalues by Lanczos."""

from __future__ import annotations

import numpy as np

from sciml.arrays import from_host, ratio, to_numpy
from sciml.operator import Operator
from sciml.problem import LinearSystem

from ._base import root

__all__ = ["STEPS", "extreme_eigenvalues"]

STEPS = 60  # of Lanczos, at most


def extreme_eigenvalues(
    problem: LinearSystem, M: Operator | None = None, *, steps: int = STEPS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) Ritz value of A, or of M A: host float64, one for each matrix of A's batch.

    Lanczos in the inner product of M^-1 (Saad 2003, section 9.2.1), from a random vector of fixed
    seed. Ritz values lie inside the spectrum: the highest is soon accurate, the lowest less so.
    NaN for a matrix that gives NaN.
    """
    A, space, batch = problem.A, problem.domain, problem.A.batch_shape
    v = from_host(space.random(np.random.default_rng(seed), batch), problem.b, space.dtype)
    z = v if M is None else M(v)
    v_old, beta = v * 0, root(space.inner_real(z, v))
    beta_old = beta * 0
    diagonal: list[np.ndarray] = []
    off: list[np.ndarray] = []
    going = np.ones(max(1, int(np.prod(batch, dtype=int))), dtype=bool)
    length = np.zeros(going.size, dtype=int)  # steps until a matrix's subspace was invariant
    while going.any() and len(diagonal) < min(steps, space.size):
        unit = ratio(beta * 0 + 1, beta)
        v, z = v * unit, z * unit
        w = A(z)
        alpha = space.inner_real(z, w)
        w = w - alpha * v - beta_old * v_old
        diagonal.append(to_numpy(alpha).reshape(-1).astype(float))
        v_old, v, z = v, w, w if M is None else M(w)
        beta_old = beta = root(space.inner_real(z, w))
        off.append(to_numpy(beta).reshape(-1).astype(float))
        length += going
        going &= off[-1] > 1e-10 * np.abs(diagonal).max(axis=0)
    low, high = np.full(going.size, np.nan), np.full(going.size, np.nan)
    for i, m in enumerate(length):
        d, e = np.array(diagonal)[:m, i], np.array(off)[: m - 1, i]
        if np.isfinite(d).all() and np.isfinite(e).all():
            ritz = np.linalg.eigvalsh(np.diag(d) + np.diag(e, 1) + np.diag(e, -1))
            low[i], high[i] = ritz[0], ritz[-1]
    return low.reshape(batch), high.reshape(batch)
