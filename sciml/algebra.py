"""What operators make of each other: adjoint, product, sum, multiple, blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import need
from .arrays import Array, broadcast_batch, namespace
from .operator import Operator, Trait
from .space import Space

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Adjoint", "Block", "Compose", "Identity", "Scaled", "Sum", "block", "hstack", "vstack"]


class _Composite(Operator):
    """An operator made of others (`parts`): parameters, moves and precision go to the parts."""

    parts: tuple[Operator, ...]

    @property
    def params(self) -> dict[str, Array]:
        return {f"{i}.{n}": p for i, a in enumerate(self.parts) for n, p in a.params.items()}

    @property
    def home(self) -> Array | None:
        return next((h for a in self.parts if (h := a.home) is not None), None)

    def _with_arrays(self, change: Callable[[Array], Array]) -> Operator:
        return self._with_parts(tuple(a._with_arrays(change) for a in self.parts))

    def _moved(self, move: Callable[[Array], Array]) -> Operator:
        return self._with_parts(tuple(a._moved(move) for a in self.parts))

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = self._with_parts(tuple(a.to(dtype=dtype) for a in self.parts))
        object.__setattr__(made, "domain", self.domain.to(dtype))
        object.__setattr__(made, "range", self.range.to(dtype))
        return made

    def _with_parts(self, parts: tuple[Operator, ...]) -> Operator:
        made = copy.copy(self)
        object.__setattr__(made, "parts", parts)
        return made

    def _gather(self, grads: Sequence[dict[str, Array]]) -> dict[str, Array]:
        return {f"{i}.{n}": g for i, found in enumerate(grads) for n, g in found.items()}

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.parts))
        return f"{type(self).__name__}({inner})"


class Identity(Operator):
    """x -> x."""

    def __init__(self, space: Space) -> None:
        super().__init__(space, traits=(Trait.POSITIVE, Trait.UNITARY, Trait.DIAGONAL))

    def _apply(self, x: Array) -> Array:
        return namespace(x).asarray(x, copy=True)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def diagonal(self) -> Array:
        return np.ones(self.domain.shape, self.domain.dtype)

    def assemble(self) -> csr_array:
        from scipy.sparse import csr_array, diags_array

        return csr_array(diags_array(self.diagonal().reshape(-1)))


class Adjoint(_Composite):
    """A^H."""

    def __init__(self, a: Operator) -> None:
        self.parts = (a,)
        super().__init__(a.range, a.domain, traits=a.traits, batch_shape=a.batch_shape)

    @property
    def H(self) -> Operator:
        return self.parts[0]

    def _apply(self, x: Array) -> Array:
        return self.parts[0].adjoint(x)

    def _adjoint(self, y: Array) -> Array:
        return self.parts[0](y)

    def diagonal(self) -> Array:
        return self.parts[0].diagonal().conj()

    def assemble(self) -> csr_array:
        return self.parts[0].assemble().conj().T.tocsr()

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # Re<ybar, A^H x> = Re<x, A ybar>
        return self._gather([self.parts[0].vjp_params(ybar, x)])


class Compose(_Composite):
    """A B: first B, then A."""

    def __init__(self, a: Operator, b: Operator) -> None:
        if a.domain != b.range:
            raise ValueError(
                f"expected A @ B with A.domain equal to B.range, got {a.domain} and {b.range}"
            )
        self.parts = (a, b)
        traits = a.traits & b.traits & {Trait.LINEAR, Trait.UNITARY, Trait.DIAGONAL}
        if _adjoint_of(a, b) and Trait.LINEAR in traits:
            traits |= {Trait.POSITIVE}
        super().__init__(
            b.domain,
            a.range,
            traits=traits,
            batch_shape=broadcast_batch(a.batch_shape, b.batch_shape),
        )

    def _apply(self, x: Array) -> Array:
        a, b = self.parts
        return a(b(x))

    def _adjoint(self, y: Array) -> Array:
        a, b = self.parts
        return b.adjoint(a.adjoint(y))

    def diagonal(self) -> Array:
        if Trait.DIAGONAL not in self.traits:
            return super().diagonal()
        return self.parts[0].diagonal() * self.parts[1].diagonal()

    def assemble(self) -> csr_array:
        return self.parts[0].assemble() @ self.parts[1].assemble()

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        a, b = self.parts
        return self._gather([a.vjp_params(b(x), ybar), b.vjp_params(x, a.adjoint(ybar))])


def _adjoint_of(a: Operator, b: Operator) -> bool:
    """Whether a is b^H, seen from how they were built."""
    if (isinstance(a, Adjoint) and a.parts[0] is b) or (isinstance(b, Adjoint) and b.parts[0] is a):
        return True
    return a is b and Trait.HERMITIAN in a.traits


class Sum(_Composite):
    """A + B."""

    def __init__(self, a: Operator, b: Operator) -> None:
        if (a.domain, a.range) != (b.domain, b.range):
            raise ValueError(
                f"expected A + B between the same spaces, got {a.domain} -> {a.range} and "
                f"{b.domain} -> {b.range}"
            )
        self.parts = (a, b)
        super().__init__(
            a.domain,
            a.range,
            traits=a.traits & b.traits - {Trait.UNITARY},
            batch_shape=broadcast_batch(a.batch_shape, b.batch_shape),
        )

    def _apply(self, x: Array) -> Array:
        return self.parts[0](x) + self.parts[1](x)

    def _adjoint(self, y: Array) -> Array:
        return self.parts[0].adjoint(y) + self.parts[1].adjoint(y)

    def diagonal(self) -> Array:
        return self.parts[0].diagonal() + self.parts[1].diagonal()

    def assemble(self) -> csr_array:
        return self.parts[0].assemble() + self.parts[1].assemble()

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        return self._gather([a.vjp_params(x, ybar) for a in self.parts])


class Scaled(_Composite):
    """s A for a scalar s."""

    def __init__(self, scalar: complex, a: Operator) -> None:
        if not np.isfinite(scalar):
            raise ValueError(f"expected a finite scalar, got {scalar}")
        real = scalar.imag == 0
        if not real and not (a.range.is_complex and a.domain.is_complex):
            raise TypeError(f"expected a real scalar for real spaces, got {scalar}")
        self.parts = (a,)
        self.scalar = scalar.real if real else scalar
        traits = set(a.traits)
        if not real:
            traits -= {Trait.HERMITIAN, Trait.POSITIVE}
        elif scalar.real < 0:
            traits -= {Trait.POSITIVE}
        if abs(scalar) != 1:
            traits -= {Trait.UNITARY}
        super().__init__(a.domain, a.range, traits=traits, batch_shape=a.batch_shape)

    def _apply(self, x: Array) -> Array:
        return self.scalar * self.parts[0](x)

    def _adjoint(self, y: Array) -> Array:
        return self.scalar.conjugate() * self.parts[0].adjoint(y)

    def diagonal(self) -> Array:
        return self.scalar * self.parts[0].diagonal()

    def assemble(self) -> csr_array:
        return self.scalar * self.parts[0].assemble()

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        return self._gather([self.parts[0].vjp_params(x, self.scalar.conjugate() * ybar)])

    def __repr__(self) -> str:
        return f"{self.scalar:g} * {self.parts[0]!r}"


class Block(_Composite):
    """A block matrix of operators; its vectors are the raveled parts, concatenated.

    Built by `block`, `vstack` and `hstack`. None stands for a zero block.
    """

    def __init__(self, rows: Sequence[Sequence[Operator | None]]) -> None:
        for row in _listed(rows):
            for a in _listed(row):
                need(a, (Operator, NoneType), "operators (or None) as blocks")
        widths = {len(row) for row in rows}
        if len(widths) != 1 or not min(widths):
            raise ValueError(f"expected rows of one length >= 1, got lengths {sorted(widths)}")
        self._ranges = [_agree([a.range for a in row if a], "row", i) for i, row in enumerate(rows)]
        columns = list(zip(*rows, strict=True))
        self._domains = [
            _agree([a.domain for a in column if a], "column", j) for j, column in enumerate(columns)
        ]
        present = [(i, j, a) for i, row in enumerate(rows) for j, a in enumerate(row) if a]
        self.places = tuple((i, j) for i, j, _ in present)
        self.parts = tuple(a for _, _, a in present)
        dtypes = {a.domain.dtype for a in self.parts} | {a.range.dtype for a in self.parts}
        if len(dtypes) != 1:
            raise TypeError(f"expected blocks of one dtype, got {sorted(map(str, dtypes))}")
        traits = {Trait.LINEAR} if all(Trait.LINEAR in a.traits for a in self.parts) else set()
        on_diagonal = all(i == j for i, j in self.places) and len(rows) == len(columns)
        if on_diagonal and len(self.parts) == len(rows):
            traits |= frozenset.intersection(*(a.traits for a in self.parts))
        dtype = dtypes.pop()
        super().__init__(
            Space((sum(s.size for s in self._domains),), dtype),
            Space((sum(s.size for s in self._ranges),), dtype),
            traits=traits,
            batch_shape=broadcast_batch(*(a.batch_shape for a in self.parts)),
        )

    def split(self, x: Array, spaces: Sequence[Space]) -> list[Array]:
        """The parts of a concatenated vector (*batch, n), each (*batch, *space.shape)."""
        xp, start, out = namespace(x), 0, []
        for space in spaces:
            out.append(
                xp.reshape(x[..., start : start + space.size], (*x.shape[:-1], *space.shape))
            )
            start += space.size
        return out

    def join(self, parts: Sequence[Array], spaces: Sequence[Space]) -> Array:
        """The inverse of `split`."""
        xp = namespace(*parts)
        flat = [
            xp.reshape(p, (*p.shape[: p.ndim - s.ndim], s.size))
            for p, s in zip(parts, spaces, strict=True)
        ]
        return xp.concat(flat, axis=-1)

    def _act(self, x: Array, adjoint: bool) -> Array:
        sources, targets = self._domains, self._ranges
        if adjoint:
            sources, targets = targets, sources
        batch = x.shape[:-1]
        inputs = self.split(x, sources)
        outputs: list[Array | None] = [None] * len(targets)
        for (i, j), a in zip(self.places, self.parts, strict=True):
            row, column = (j, i) if adjoint else (i, j)
            term = a.adjoint(inputs[column]) if adjoint else a(inputs[column])
            sofar = outputs[row]
            outputs[row] = term if sofar is None else sofar + term
        filled = [
            s.to(self.domain.dtype).zeros(x, batch) if y is None else y
            for y, s in zip(outputs, targets, strict=True)
        ]
        return self.join(filled, targets)

    def _apply(self, x: Array) -> Array:
        return self._act(x, adjoint=False)

    def _adjoint(self, y: Array) -> Array:
        return self._act(y, adjoint=True)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        xs, ys = self.split(x, self._domains), self.split(ybar, self._ranges)
        pairs = zip(self.places, self.parts, strict=True)
        return self._gather([a.vjp_params(xs[j], ys[i]) for (i, j), a in pairs])


def _listed(items: Sequence[Any]) -> Sequence[Any]:
    need(items, (list, tuple), "a list of operators, or of rows of them")
    return items


def _agree(spaces: Sequence[Space], what: str, index: int) -> Space:
    if not spaces:
        raise ValueError(f"expected at least one operator in {what} {index}, got only None")
    if any((s.shape, s.dtype) != (spaces[0].shape, spaces[0].dtype) for s in spaces):
        raise ValueError(f"expected one space in {what} {index} of the blocks, got {spaces}")
    return spaces[0]


def block(rows: Sequence[Sequence[Operator | None]]) -> Block:
    """The block operator [[A, B], [C, D]]; None is a zero block."""
    return Block(rows)


def vstack(operators: Sequence[Operator]) -> Block:
    """[A; B; ...]: one input, outputs raveled and concatenated."""
    return Block([[a] for a in _listed(operators)])


def hstack(operators: Sequence[Operator]) -> Block:
    """[A, B, ...]: inputs raveled and concatenated, outputs summed."""
    return Block([_listed(operators)])
