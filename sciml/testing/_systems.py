"""Random linear systems of known condition, to test solvers with."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from ..arrays import Array, from_host, with_precision
from ..operator import Operator, Trait
from ..operators.dense import Dense
from ..problem import LinearSystem
from ..space import Space

__all__ = ["FailingOperator", "Kind", "random_system"]


class Kind(enum.Enum):
    """What a method asks of A."""

    POSITIVE = "Hermitian positive definite"
    HERMITIAN = "Hermitian"
    GENERAL = "any invertible"


def random_system(
    kind: Kind,
    *,
    n: int = 30,
    condition: float = 30.0,
    dtype: Any = np.float64,
    batch: tuple[int, ...] = (),
    rng: np.random.Generator,
    like: Array | None = None,
    scale_A: float = 1.0,
    scale_b: float = 1.0,
) -> LinearSystem:
    """A dense system with singular values spread evenly (in logarithm) over 1 ... 1/condition.

    Args:
        kind: HERMITIAN has eigenvalues of both signs; GENERAL has a skew part of norm 0.3.
        n: unknowns. condition: of A (of its Hermitian part for GENERAL).
        dtype: of A and b. batch: a matrix and a right-hand side for each member.
        rng: draws it, in float64. like: an array of the library to use; NumPy if not given.
        scale_A, scale_b: factors of the matrix and of the right-hand side.
    """
    dtype = np.dtype(dtype)
    wide = Space((n, n), with_precision(dtype, np.float64))
    Q = np.linalg.qr(wide.random(rng, batch))[0]
    values = np.logspace(0, -np.log10(condition), n)
    if kind is Kind.HERMITIAN:
        values = values * np.where(np.arange(n) % 3 == 1, -1, 1)
    QH = np.swapaxes(Q, -1, -2).conj()
    A = (Q * values) @ QH
    A = (A + np.swapaxes(A, -1, -2).conj()) / 2
    if kind is Kind.GENERAL:
        K = wide.random(rng, batch)
        K = K - np.swapaxes(K, -1, -2).conj()
        size = np.linalg.norm(K, 2, axis=(-2, -1))[..., None, None]
        A = A + 0.3 * K / np.where(size > 0, size, 1)  # a real 1 x 1 matrix has no skew part
    b = Space((n,), wide.dtype).random(rng, batch)
    traits = {
        Kind.POSITIVE: {Trait.POSITIVE},
        Kind.HERMITIAN: {Trait.HERMITIAN},
        Kind.GENERAL: {Trait.LINEAR},
    }[kind]
    like = np.zeros(1) if like is None else like
    matrix = from_host((scale_A * A).astype(dtype), like, dtype)
    rhs = from_host((scale_b * b).astype(dtype), like, dtype)
    return LinearSystem(Dense(matrix, traits=traits), rhs)


class FailingOperator(Operator):
    """`inner`, whose `at`-th application (counted from 1) gives NaN or raises.

    It stands for a network that overflows, or a device that fails, in the middle of a solve.
    """

    def __init__(self, inner: Operator, at: int, error: Exception | None = None) -> None:
        self.inner, self.at, self.error, self.calls = inner, at, error, [0]
        super().__init__(
            inner.domain, inner.range, traits=inner.traits, batch_shape=inner.batch_shape
        )

    def _spoil(self, y: Array) -> Array:
        self.calls[0] += 1
        if self.calls[0] != self.at:
            return y
        if self.error is not None:
            raise self.error
        return y * float("nan")

    def _apply(self, x: Array) -> Array:
        return self._spoil(self.inner(x))

    def _adjoint(self, y: Array) -> Array:
        return self._spoil(self.inner.adjoint(y))

    def diagonal(self) -> Array:
        return self.inner.diagonal()

    def assemble(self) -> Any:
        return self.inner.assemble()

    def _with_precision(self, dtype: np.dtype) -> Operator:
        return self.inner.to(dtype=dtype)  # certification sees the sound operator
