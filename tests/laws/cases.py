"""What a case of an operator is, and what the cases of the registry are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import torch

import solvers
from sciml import Operator, Space
from sciml.operators import (
    Dense,
    NonCartesianSENSE,
    Side,
    Sparse,
)
from solvers.pinn import Quadrature, residual_jacobian

NUMPY, TORCH, STRICT = "numpy", "torch", "strict"
LIKE = {NUMPY: np.zeros(1), TORCH: torch.zeros(1), STRICT: array_api_strict.zeros(1)}
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")


@dataclass(frozen=True)
class OperatorCase:
    """make(rng, dtype, array) -> Operator, where array(x) brings a NumPy array to the library."""

    make: Callable[[np.random.Generator, np.dtype, Callable[[np.ndarray], Any]], Operator]
    classes: tuple[type, ...]
    dtypes: tuple[str, ...] = REAL + COMPLEX
    libraries: tuple[str, ...] = (NUMPY, TORCH, STRICT)


def draw(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return Space(shape, np.dtype(dtype)).random(rng)


def spd(rng: np.random.Generator, dtype: Any, n: int) -> np.ndarray:
    m = draw(rng, dtype, n, n)
    return (m @ m.conj().T / n + np.eye(n)).astype(dtype)


def sparse_matrix(rng: np.random.Generator, dtype: Any, rows: int, columns: int) -> Any:
    from scipy.sparse import csr_array

    dense = draw(rng, dtype, rows, columns) * (rng.random((rows, columns)) < 0.3)
    dense[rows // 2] = 0  # an empty row
    return csr_array(dense)


def sparse(matrix: Any, array: Callable[[np.ndarray], Any], **how: Any) -> Sparse:
    """The matrix in the library of `array`."""
    like = array(np.zeros(1))
    if isinstance(like, np.ndarray):
        return Sparse(matrix, **how)
    if not isinstance(like, torch.Tensor):
        from cupyx.scipy.sparse import csr_matrix

        parts = tuple(map(array, (matrix.data, matrix.indices, matrix.indptr)))
        return Sparse(csr_matrix(parts, shape=matrix.shape), **how)
    ends, columns = (array(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices))
    csr = torch.sparse_csr_tensor(ends, columns, array(matrix.data), size=matrix.shape)
    return Sparse(csr, **how)


def sparse_batch(rng: np.random.Generator, dtype: Any, array: Any) -> Operator:
    matrix = sparse_matrix(rng, dtype, 12, 9)
    return sparse(matrix, array, values=array(draw(rng, dtype, 2, 3, matrix.nnz)))


def two_dense(rng: np.random.Generator, dtype: Any, array: Any) -> tuple[Dense, Dense]:
    return Dense(array(draw(rng, dtype, 6, 5))), Dense(array(draw(rng, dtype, 6, 5)))


def field(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """A positive coefficient of contrast about 1e3."""
    return np.exp(1.5 * rng.standard_normal(shape)).astype(dtype)


def solid(*shape: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[(slice(1, 3),) * len(shape)] = True
    return mask


def mask(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Half of the samples, the first among them."""
    mask = rng.random(shape) < 0.5
    mask.reshape(-1)[0] = True
    return mask.astype(np.float64)


def coords(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """Frequencies in cycles per pixel, in the precision of `dtype`."""
    return rng.uniform(-0.5, 0.5, shape).astype(Space((1,), dtype).real_dtype)


def noncartesian(rng: np.random.Generator, dtype: Any, array: Any, *maps: int) -> Operator:
    return NonCartesianSENSE(
        array(draw(rng, dtype, *maps)),
        array(coords(rng, dtype, 4, 7, 2)),
        weights=array(rng.random((4, 1)).astype(Space((1,), dtype).real_dtype)),
    )


def small_jacobian(dtype: Any) -> Operator:
    """Of a small network that was never trained, with Laplace's operator inside."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    rng = np.random.default_rng(1)
    return residual_jacobian(
        net.to(getattr(torch, np.dtype(dtype).name)),
        lambda u, x: -torch.func.hessian(u)(x).trace(),
        interior=Quadrature(rng.random((5, 2))),
        boundary=Quadrature(rng.random((3, 2))),
        weight=2.0,
    )


def multigrid(A: Operator) -> Operator:
    return solvers.Multigrid(dtype=A.domain.dtype)(A)


SPARSE = (NUMPY, TORCH)
HOST = (NUMPY, TORCH)  # finufft, and factorisations, run in host memory
MIXED = (Side.DIRICHLET, (Side.NEUMANN, Side.DIRICHLET))
RING = (Side.PERIODIC, Side.NEUMANN)
