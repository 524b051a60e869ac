"""Matrices that tests of algebraic multigrid share."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

import solvers
from sciml import LinearSystem, Operator, Stop, Trait, solve
from sciml.operators import Diffusion, Sparse
from solvers.precond import AMG, Coarsening

AGGREGATION = Coarsening.SMOOTHED_AGGREGATION
DOUBLE = np.float64

RECIPES = {
    "RS": AMG(dtype=DOUBLE),
    "SA": AMG(AGGREGATION, dtype=DOUBLE),
}


def grid(n: int, *, contrast: float = 0.0, seed: int = 0, ndim: int = 2) -> sp.csr_array:
    """Diffusion on n^ndim cells, with a coefficient log-uniform over `contrast` decades."""
    k = 10.0 ** (contrast * np.random.default_rng(seed).random((n,) * ndim))
    return sp.csr_array(Diffusion(k, ndim=ndim).assemble())


def inclusions(n: int, contrast: float) -> sp.csr_array:
    """Diffusion with square inclusions that conduct 10^contrast times as well."""
    k = np.ones((n, n))
    for i, j in ((2, 3), (9, 12), (20, 5), (18, 20), (5, 22)):
        k[i * n // 32 : (i + 5) * n // 32, j * n // 32 : (j + 6) * n // 32] = 10.0**contrast
    return sp.csr_array(Diffusion(k).assemble())


def neumann(n: int) -> sp.csr_array:
    """The singular five-point Laplacian without boundary values."""
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tolil()
    line[0, 0] = line[-1, -1] = 1
    return sp.csr_array(sp.kron(line, sp.eye_array(n)) + sp.kron(sp.eye_array(n), line))


def turned(A: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
    """(D A D^H, its near null vector) for a diagonal D of phases: complex and Hermitian."""
    phase = np.exp(2j * np.pi * np.random.default_rng(3).random(A.shape[0]))
    return sp.csr_array(sp.diags_array(phase) @ A @ sp.diags_array(phase.conj())), phase[:, None]


def positive(A: Any) -> Sparse:
    return Sparse(sp.csr_array(A), traits={Trait.POSITIVE})


def steps(A: Operator, M: Any, rtol: float = 1e-8, **how: Any) -> int:
    b = np.random.default_rng(1).standard_normal(A.domain.size).astype(A.domain.dtype)
    result = solve(LinearSystem(A, b), solvers.CG(M=M), stop=Stop(rtol=rtol), **how)
    return int(result.iterations)
