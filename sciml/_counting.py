"""Operators that count how often they are applied."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .arrays import Array
from .operator import Operator
from .result import Applies

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Tally", "add_applications", "counted", "counted_beside", "counting", "uncounted"]

T = TypeVar("T")


class Tally:
    """Applications so far: the only mutable thing in a solve."""

    def __init__(self) -> None:
        self.A = self.A_H = self.M = self.certify = self.fallbacks = 0

    def applies(self) -> Applies:
        """The counts as a value."""
        return Applies(self.A, self.A_H, self.M, self.certify, self.fallbacks)


class _Counted(Operator):
    """`inner`, counting; it checks its own input, so this adds no second check."""

    def __init__(self, inner: Operator, tally: Tally, forward: str, backward: str) -> None:
        self.inner, self.tally, self.names = inner, tally, (forward, backward)
        super().__init__(
            inner.domain, inner.range, traits=inner.traits, batch_shape=inner.batch_shape
        )

    def _count(self, which: int, times: int = 1) -> None:
        name = self.names[which]
        setattr(self.tally, name, getattr(self.tally, name) + times)

    def __call__(self, x: Array) -> Array:
        self._count(0)
        return self.inner(x)

    def adjoint(self, y: Array) -> Array:
        self._count(1)
        return self.inner.adjoint(y)

    def _apply(self, x: Array) -> Array:
        return self(x)

    def _adjoint(self, y: Array) -> Array:
        return self.adjoint(y)

    def squared_misfit(self, x: Array, b: Array) -> np.ndarray | None:
        found = self.inner.squared_misfit(x, b)
        if found is not None:
            self._count(0)
        return found

    def search(self, z: Array, beta: Any, p: Array) -> tuple[Array, Array, Any] | None:
        found = self.inner.search(z, beta, p)
        if found is not None:
            self._count(0)
        return found

    def diagonal(self) -> Array:
        return self.inner.diagonal()

    def assemble(self) -> csr_array:
        return self.inner.assemble()

    @property
    def params(self) -> dict[str, Array]:
        return self.inner.params

    @property
    def home(self) -> Array | None:
        return self.inner.home

    def _with_precision(self, dtype: np.dtype) -> Operator:
        return _Counted(self.inner.to(dtype=dtype), self.tally, *self.names)

    def __repr__(self) -> str:
        return repr(self.inner)


def counted(holder: T, attribute: str, tally: Tally, forward: str, backward: str) -> T:
    """A copy of `holder` whose operator `attribute` counts; `holder` itself if it has none."""
    inner: Any = getattr(holder, attribute, None)
    if not isinstance(inner, Operator):
        return holder
    made = copy.copy(holder)
    object.__setattr__(made, attribute, _Counted(inner, tally, forward, backward))
    return made


def uncounted(A: Operator) -> Operator:
    """What a counting operator applies; any other one itself."""
    return A.inner if isinstance(A, _Counted) else A


def counting(A: Operator, tally: Tally) -> Operator:
    """A, whose applications count in `tally` alone, as those of A and of its adjoint."""
    return _Counted(uncounted(A), tally, "A", "A_H")


def add_applications(A: Operator, tally: Tally) -> None:
    """Count for A, if it counts, what another one that is `counting` was applied."""
    if isinstance(A, _Counted):
        A._count(0, tally.A)
        A._count(1, tally.A_H)


def counted_beside(A: Operator, other: Operator) -> Operator:
    """`other`, whose applications count as those of `A` do; itself where these do not."""
    return _Counted(other, A.tally, *A.names) if isinstance(A, _Counted) else other
