"""Extreme eigenvalues by Lanczos."""

from __future__ import annotations

import numpy as np

from sciml.arrays import from_host, to_numpy
from sciml.operator import Operator
from sciml.problem import LinearSystem

from ._base import root

__all__ = ["extreme_eigenvalues"]


def extreme_eigenvalues(
    problem: LinearSystem, M: Operator | None = None, *, steps: int = 60, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) Ritz value of A, or of M A: host float64 (*batch).

    Lanczos in the inner product of M^-1 (Saad 2003, section 9.2.1), from a random vector of fixed
    seed. Ritz values lie inside the spectrum: the highest is soon accurate, the lowest less so.
    """
    A, space, batch = problem.A, problem.domain, problem.batch
    v = from_host(space.random(np.random.default_rng(seed), batch), problem.b, space.dtype)
    z = v if M is None else M(v)
    v_old, beta = v * 0, root(space.inner_real(z, v))
    beta_old = beta * 0
    diagonal: list[np.ndarray] = []
    off: list[np.ndarray] = []
    for _ in range(min(steps, space.size)):
        v, z = v / beta, z / beta
        w = A(z)
        alpha = space.inner_real(z, w)
        w = w - alpha * v - beta_old * v_old
        diagonal.append(to_numpy(alpha).reshape(-1).astype(float))
        v_old, v, z = v, w, w if M is None else M(w)
        beta_old = beta = root(space.inner_real(z, w))
        off.append(to_numpy(beta).reshape(-1).astype(float))
        spread = np.abs(diagonal).max(axis=0)
        if not (off[-1] > 1e-10 * spread).all():  # an invariant subspace for some member
            break
    low, high = np.zeros(batch), np.zeros(batch)
    for i in range(low.size):
        d, e = np.array(diagonal)[:, i], np.array(off)[: len(diagonal) - 1, i]
        ritz = np.linalg.eigvalsh(np.diag(d) + np.diag(e, 1) + np.diag(e, -1))
        low.reshape(-1)[i], high.reshape(-1)[i] = ritz[0], ritz[-1]
    return low, high
