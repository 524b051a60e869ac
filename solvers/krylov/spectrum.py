"""Extreme eigenvalues by Lanczos."""

from __future__ import annotations

import numpy as np

from sciml.arrays import from_host, to_numpy
from sciml.operator import Operator
from sciml.problem import Problem

from ._base import root

__all__ = ["extreme_eigenvalues"]


def extreme_eigenvalues(
    problem: Problem, M: Operator | None = None, *, steps: int = 60, seed: int = 0
) -> tuple[float, float]:
    """(lowest, highest) Ritz value of A, or of M A, over all members of the batch.

    Lanczos in the inner product of M^-1 (Saad 2003, section 9.2.1), from a random vector of fixed
    seed. Ritz values lie inside the spectrum: the highest is soon accurate, the lowest less so.
    """
    A = problem.A  # type: ignore[attr-defined]
    space = problem.domain
    like = next(iter(problem.inputs().values()))
    start = space.random(np.random.default_rng(seed), problem.batch)
    v = from_host(start, like, space.dtype)
    v_old, beta_old = v * 0, None
    z = v if M is None else M(v)
    beta = root(space.inner_real(z, v))
    diagonal, off = [], []
    for _ in range(min(steps, space.size)):
        v, z = v / beta, z / beta
        w = A(z)
        alpha = space.inner_real(z, w)
        w = w - alpha * v
        if beta_old is not None:
            w = w - beta_old * v_old
        diagonal.append(to_numpy(alpha).reshape(-1))
        z_new = w if M is None else M(w)
        beta_new = root(space.inner_real(z_new, w))
        size = to_numpy(beta_new).reshape(-1)
        spread = np.abs(np.array(diagonal)).max(axis=0)
        if not (size > 1e-10 * spread).all():
            break
        off.append(size)
        v_old, v, z, beta_old, beta = v, w, z_new, beta_new, beta_new
    d, e = np.array(diagonal, dtype=float), np.array(off, dtype=float)
    ritz = [
        np.linalg.eigvalsh(np.diag(d[:, i]) + np.diag(e[: len(d) - 1, i], 1)
                           + np.diag(e[: len(d) - 1, i], -1))
        for i in range(d.shape[1])
    ]  # fmt: skip
    return float(min(r[0] for r in ritz)), float(max(r[-1] for r in ritz))
