"""Dense matrices and diagonals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._checks import integer
from ..arrays import Array, check_float, dtype_of, namespace, sum_to, to_numpy
from ..operator import Operator, Trait
from ..space import Space

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Dense", "Diagonal"]


class Dense(Operator):
    """x -> M x for a dense matrix, one for all members or one each.

    Args:
        matrix: (*batch, m, n), float or complex.
        traits: what the matrix is known to be, e.g. `{Trait.POSITIVE}`; trusted, not checked.

    Raises:
        TypeError, ValueError: no float array, or fewer than two axes.
    """

    param_names = ("matrix",)

    def __init__(self, matrix: Array, *, traits: Iterable[Trait] = (Trait.LINEAR,)) -> None:
        namespace(matrix)
        if matrix.ndim < 2:
            raise ValueError(f"expected a matrix (*batch, m, n), got {tuple(matrix.shape)}")
        dtype = check_float(dtype_of(matrix), "a matrix")
        self.matrix = matrix
        *batch, m, n = matrix.shape
        super().__init__(
            Space((n,), dtype), Space((m,), dtype), traits=traits, batch_shape=tuple(batch)
        )

    def _apply(self, x: Array) -> Array:
        xp = namespace(x)
        if not self.batch_shape:
            return xp.matmul(x, xp.matrix_transpose(self.matrix))
        return xp.matmul(self.matrix, x[..., None])[..., 0]

    def _adjoint(self, y: Array) -> Array:
        xp = namespace(y)
        conj = xp.conj if self.range.is_complex else _same
        if not self.batch_shape:
            return conj(xp.matmul(conj(y), self.matrix))
        return conj(xp.matmul(conj(y)[..., None, :], self.matrix)[..., 0, :])

    def diagonal(self) -> Array:
        _need_square(self)
        return namespace(self.matrix).linalg.diagonal(self.matrix)

    def assemble(self) -> csr_array:
        from scipy.sparse import csr_array

        if self.batch_shape:
            raise TypeError(f"expected one matrix to assemble, got a batch {self.batch_shape}")
        return csr_array(to_numpy(self.matrix).astype(self.domain.dtype, copy=False))

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # Re<ybar, M x> has the gradient ybar x^H
        xp = namespace(x)
        x_conj = xp.conj(x) if self.domain.is_complex else x
        return {"matrix": sum_to(ybar[..., :, None] * x_conj[..., None, :], self.matrix.shape)}


class Diagonal(Operator):
    """x -> d x entry by entry.

    Args:
        values: (*batch, *shape). HERMITIAN where none has an imaginary part,
            and then POSITIVE where none is negative.
        ndim: how many trailing axes make up `shape`; all of them if not given.
    """

    param_names = ("values",)

    def __init__(self, values: Array, *, ndim: int | None = None) -> None:
        xp = namespace(values)
        axes = integer(values.ndim if ndim is None else ndim, "ndim", 1)
        if axes > values.ndim:
            raise ValueError(f"expected ndim from 1 to {values.ndim}, got {ndim}")
        split = values.ndim - axes
        space = Space(tuple(values.shape[split:]), check_float(dtype_of(values), "values"))
        traits = {Trait.DIAGONAL}
        real = values if not space.is_complex else xp.real(values)
        if not space.is_complex or bool(xp.all(xp.imag(values) == 0)):
            traits.add(Trait.HERMITIAN)
            if bool(xp.all(real >= 0)):
                traits.add(Trait.POSITIVE)
        self.values = values
        super().__init__(space, traits=traits, batch_shape=tuple(values.shape[:split]))

    def _apply(self, x: Array) -> Array:
        return self.values * x

    def _adjoint(self, y: Array) -> Array:
        return (namespace(y).conj(self.values) if self.range.is_complex else self.values) * y

    def diagonal(self) -> Array:
        return self.values

    def assemble(self) -> csr_array:
        from scipy.sparse import csr_array, diags_array

        if self.batch_shape:
            raise TypeError(f"expected one diagonal to assemble, got a batch {self.batch_shape}")
        return csr_array(diags_array(to_numpy(self.values).reshape(-1)))

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        x_conj = namespace(x).conj(x) if self.domain.is_complex else x
        return {"values": sum_to(ybar * x_conj, self.values.shape)}


def _same(x: Array) -> Array:
    return x


def _need_square(a: Operator) -> None:
    if a.domain.shape != a.range.shape:
        raise TypeError(f"expected a square operator for its diagonal, got {a!r}")
