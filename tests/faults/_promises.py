"""What the tests of the promises share: hard systems, and judges that trust nobody's residual."""

from __future__ import annotations

from typing import Any

import numpy as np

import solvers
from sciml import LinearSystem, Operator, Result, Space, Status, Trait
from sciml.arrays import Array, to_numpy
from sciml.operators import Dense
from sciml.testing import FailingOperator, Kind
from tests.laws.methods import METHODS, Method

TRAITS = {
    Kind.POSITIVE: {Trait.POSITIVE},
    Kind.HERMITIAN: {Trait.HERMITIAN},
    Kind.GENERAL: {Trait.LINEAR},
}
DTYPES = ("float32", "float64", "complex64", "complex128")
KRYLOV = {
    name: method
    for name, method in METHODS.items()
    if not isinstance(method.solver, solvers.Auto | solvers.Direct)
}


def hard_system(
    kind: Kind, n: int, conditions: np.ndarray, dtype: Any, rng: np.random.Generator
) -> LinearSystem:
    """Dense systems, one per condition: A (members, n, n), b (members, n); no batch for one.

    Singular values are spread evenly, in logarithm, over 1 ... 1/condition; GENERAL has left and
    right singular vectors that know nothing of each other.
    """
    dtype = np.dtype(dtype)
    wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    square, batch = Space((n, n), wide), (len(conditions),)
    right = np.linalg.qr(square.random(rng, batch))[0]
    left = np.linalg.qr(square.random(rng, batch))[0] if kind is Kind.GENERAL else right
    values = np.stack([np.logspace(0, -np.log10(c), n) for c in conditions])
    if kind is Kind.HERMITIAN:
        values = values * np.where(np.arange(n) % 3 == 1, -1, 1)
    A = (left * values[:, None, :]) @ np.swapaxes(right, -1, -2).conj()
    if kind is not Kind.GENERAL:
        A = (A + np.swapaxes(A, -1, -2).conj()) / 2
    A, b = A.astype(dtype), Space((n,), wide).random(rng, batch).astype(dtype)
    if len(conditions) == 1:
        A, b = A[0], b[0]
    return LinearSystem(Dense(A, traits=TRAITS[kind]), b)


def system_for(
    method: Method, n: int, condition: float, dtype: Any, rng: np.random.Generator
) -> LinearSystem:
    """One system of the kind a registered method asks for."""
    return hard_system(method.kind, n, np.array([condition]), dtype, rng)


def judged(A: Any, b: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """(||b - A x||, its rounding error) per member, in complex128 by NumPy alone.

    The second is what two evaluations of b - A x in double precision may differ by: eps times
    || |b| + |A| |x| ||. Near the attainable level no test can ask for more.
    """
    A, b, x = (np.asarray(to_numpy(v)).astype(np.complex128) for v in (A, b, x))
    residual = b - np.einsum("...ij,...j->...i", A, x)
    sizes = abs(b) + np.einsum("...ij,...j->...i", abs(A), abs(x))
    rounding = np.finfo(np.float64).eps * np.linalg.norm(sizes, axis=-1)
    return np.linalg.norm(residual, axis=-1), rounding


def statuses(result: Result) -> np.ndarray:
    """The status of each member, flat."""
    return np.atleast_1d(np.asarray(result.status, dtype=object)).reshape(-1)


def relative(A: Any, b: Any, x: Any) -> float:
    """The judged residual of one system relative to ||b||."""
    return float(judged(A, b, x)[0] / np.linalg.norm(np.asarray(b, np.complex128)))


class Watched(Dense):
    """A dense operator that refuses to be applied."""

    def _apply(self, x: Array) -> Array:
        raise AssertionError("applied before the input was checked")

    def _adjoint(self, y: Array) -> Array:
        raise AssertionError("applied before the input was checked")


class Spoiled(FailingOperator):
    """`inner`, whose application number `at` gives `value` in one entry, or raises an error.

    Args:
        inner: the sound operator. at: counted from 1.
        value: what one entry becomes, NaN or Inf, or an exception that is raised.
        lasting: whether all later applications are spoiled too, those of certification included.
    """

    def __init__(
        self, inner: Operator, at: int, value: float | Exception, *, lasting: bool = False
    ) -> None:
        super().__init__(inner, at)
        self.value, self.lasting = value, lasting

    def _spoil(self, y: Array) -> Array:
        self.calls[0] += 1
        hit = self.calls[0] >= self.at if self.lasting else self.calls[0] == self.at
        if not hit:
            return y
        if isinstance(self.value, Exception):
            raise self.value
        y = y.copy()
        y.reshape(-1)[self.calls[0] % y.size] = self.value
        return y

    def _with_precision(self, dtype: np.dtype) -> Operator:
        wide = self.inner.to(dtype=dtype)
        if not self.lasting:
            return wide
        made = Spoiled(wide, self.at, self.value, lasting=True)
        object.__setattr__(made, "calls", self.calls)
        return made


def is_single(dtype: Any) -> bool:
    """Whether a dtype is float32 or complex64."""
    return bool(np.finfo(dtype).eps > 1e-10)


def ended_truly(result: Result, A: Any, b: Any, rtol: float, *allowed: Status) -> str:
    """Empty if `result` converged truly or ended with one of `allowed`; else what went wrong."""
    x = np.asarray(to_numpy(result.x))
    if not np.isfinite(x).all():
        return f"x is not finite ({result.status!r})"
    if result.status == Status.CONVERGED:
        found, rounding = judged(A, b, x)
        limit = rtol * np.linalg.norm(np.asarray(b, np.complex128))
        return "" if found <= limit + rounding else f"false CONVERGED at {found / limit:.1e} times"
    return "" if result.status in allowed else f"got {result.status!r}"
