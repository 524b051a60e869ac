"""What recipes share: how they read a matrix, and the operators they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sciml._checks import need
from sciml.arrays import Array, host_view, like_host, namespace, to_numpy
from sciml.operator import Operator, Trait
from sciml.operators.sparse import Sparse

__all__ = [
    "HostPreconditioner",
    "PerMember",
    "Recipe",
    "csr_bytes",
    "need_hermitian",
    "per_member",
    "same_pattern",
    "square",
]


class Recipe(ABC):
    """Builds a preconditioner M, an operator close to A^-1."""

    @abstractmethod
    def __call__(self, A: Operator) -> Operator:
        """The preconditioner of A.

        Raises:
            TypeError: A does not know what the recipe needs (its diagonal or its matrix).
            numpy.linalg.LinAlgError: a zero or unusable pivot.
        """

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__


class HostPreconditioner(Operator):
    """A preconditioner that runs in host memory on raveled vectors (B, n), as A's inverse."""

    def __init__(self, A: Operator, traits: Any) -> None:
        super().__init__(A.range, A.domain, traits=traits)

    @abstractmethod
    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        """The (B, n) result in an array of its own."""

    def _apply(self, x: Array) -> Array:
        return self._run_host(x, adjoint=False)

    def _adjoint(self, y: Array) -> Array:
        return self._run_host(y, adjoint=True)

    def _run_host(self, x: Array, *, adjoint: bool) -> Array:
        view = host_view(x)
        if view is None:
            raise TypeError(
                f"expected an array in host memory for {self!r}, got {type(x).__name__} on "
                f"{getattr(x, 'device', '?')}: use Jacobi, or move the system with A.to(...)"
            )
        flat = view.reshape(-1, self.domain.size)
        out = self._solve(flat, adjoint=adjoint).astype(self.range.dtype, copy=False)
        return like_host(out.reshape(view.shape), x)


class PerMember(Operator):
    """A preconditioner of its own for each member of a batch of matrices."""

    costly = True

    def __init__(self, A: Operator, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        traits = parts[0].traits if parts else (Trait.LINEAR,)
        super().__init__(A.range, A.domain, traits=traits, batch_shape=A.batch_shape)

    def update(self, A: Operator) -> PerMember:
        """The preconditioners of another batch of matrices of the same pattern.

        Raises:
            ValueError: another pattern, or another number of members.
        """
        need(A, Operator, "an Operator to precondition")
        if A.batch_shape != self.batch_shape:
            raise ValueError(f"expected matrices of batch {self.batch_shape}, got {A!r}")
        pairs = zip(self.parts, _members(A), strict=True)
        return PerMember(A, tuple(M.update(one) for M, one in pairs))

    def _apply(self, x: Array) -> Array:
        return self._each(x, [M._apply for M in self.parts])

    def _adjoint(self, y: Array) -> Array:
        return self._each(y, [M._adjoint for M in self.parts])

    def _each(self, x: Array, acts: list[Callable[[Array], Array]]) -> Array:
        order = np.arange(len(self.parts)).reshape(self.batch_shape)
        batch = tuple(x.shape[: x.ndim - self.domain.ndim])
        member = np.broadcast_to(order, batch).reshape(-1)
        xp = namespace(x)
        flat = xp.reshape(x, (-1, *self.domain.shape))
        out = [acts[m](flat[i, ...]) for i, m in enumerate(member)]
        return xp.reshape(xp.stack(out), x.shape) if out else x + 0

    @property
    def nbytes(self) -> int:
        return sum(M.nbytes for M in self.parts)


def per_member(A: Operator, recipe: Callable[[Operator], Any]) -> PerMember:
    """`recipe` for each member of a batch of matrices, whose pattern is studied once.

    Raises:
        TypeError: the matrices of A are not stored.
    """
    members = list(_members(A))
    first = [recipe(members[0])] if members else []
    return PerMember(A, (*first, *(first[0].update(one) for one in members[1:])))


def _members(A: Operator) -> Iterator[Sparse]:
    """The matrices of a batch, one by one."""
    from scipy.sparse import csr_array

    if not isinstance(A, Sparse):
        raise TypeError(
            f"expected Sparse(matrix, values=...) for a batch of matrices, got {A!r}: "
            "precondition its members one by one, or use Jacobi"
        )
    values = to_numpy(A.data)
    pattern = (to_numpy(A.indices), to_numpy(A.indptr))
    shape = (A.range.size, A.domain.size)
    for data in values.reshape(-1, values.shape[-1]):
        yield Sparse(csr_array((data, *pattern), shape=shape), traits=A.traits)


def square(A: Operator, name: str) -> Any:
    """A's matrix as a CSR array of its own, sorted.

    Raises:
        TypeError: A is not square, or does not know its matrix.
    """
    need(A, Operator, "an Operator to precondition")
    if A.domain.size != A.range.size:
        raise TypeError(f"{name} expected a square operator, got {A!r}")
    matrix = A.assemble().copy()
    matrix.sum_duplicates()
    return matrix


def same_pattern(
    A: Operator, M: Operator, indptr: Any, indices: Any, old_indptr: Any, old_indices: Any
) -> None:
    """Refuse a matrix to update M with whose entries lie elsewhere.

    Raises:
        ValueError: another pattern, shape or dtype than those M was built from.
    """
    if (A.range, A.domain) != (M.domain, M.range):
        raise ValueError(f"expected an operator from {M.range} to {M.domain}, got {A!r}")
    if not (np.array_equal(indptr, old_indptr) and np.array_equal(indices, old_indices)):
        raise ValueError(
            f"expected a matrix of the same pattern for update, got one with {len(indices)} "
            f"entries where {len(old_indices)} were, or at other places: build a new preconditioner"
        )


def need_hermitian(recipe: Recipe, A: Operator) -> None:
    need(A, Operator, "an Operator to precondition")
    if Trait.HERMITIAN not in A.traits:
        raise TypeError(
            f"{recipe.name} expected an operator with the trait HERMITIAN, got {A!r}: use ILU0, "
            "ILUT or SuperLU"
        )


def csr_bytes(matrix: Any) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
