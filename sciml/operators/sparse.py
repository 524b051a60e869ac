"""Sparse matrices of SciPy, CuPy and torch behind one class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._library import library_of
from ..arrays import (
    Array,
    check_float,
    dtype_of,
    from_host,
    host_view,
    is_torch,
    like_host,
    namespace,
    sum_to,
)
from ..arrays import to_numpy as host
from ..operator import Operator, Trait
from ..space import Space
from ._symmetry import equals_adjoint, looks_hermitian

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Sparse"]


class Sparse(Operator):
    """x -> A x for a sparse A in CSR form; the values may differ per member of a batch.

    Args:
        matrix: a SciPy or CuPy sparse matrix, or a torch sparse tensor (any layout); duplicate
            entries are summed. Its data type is kept.
        traits: what the matrix is known to be. If not given, HERMITIAN is found by comparing A
            with A^H, up to the rounding of an assembly (SciPy only).
        values: (*batch, nnz) in the order of the canonical CSR form, in place of the matrix's own.

    Raises:
        TypeError: not a sparse matrix, or entries that are not float or complex.
        ValueError: values that do not fit the pattern.
    """

    param_names = ("data",)
    compiled = True
    structure_names = ("indices", "indptr")

    def __init__(
        self,
        matrix: Any,
        *,
        traits: Iterable[Trait] | None = None,
        values: Array | None = None,
    ) -> None:
        csr = _canonical(matrix)
        data, indices, indptr = _csr_parts(csr)
        check_float(dtype_of(data), "a matrix")
        if traits is None:
            traits = _traits_found(csr) if values is None else (Trait.LINEAR,)
            self.hermitian_to_rounding = Trait.HERMITIAN in traits and not equals_adjoint(csr)
        if values is not None:
            namespace(values, data)
            if values.ndim < 1 or values.shape[-1] != data.shape[0]:
                raise ValueError(
                    f"expected values (*batch, {data.shape[0]}), got {tuple(values.shape)}"
                )
            data = values
        dtype = check_float(dtype_of(data), "a matrix")
        self.data, self.indices, self.indptr = data, indices, indptr
        rows, columns = csr.shape
        super().__init__(
            Space((columns,), dtype),
            Space((rows,), dtype),
            traits=traits,
            batch_shape=tuple(data.shape[:-1]),
        )

    def _apply(self, x: Array) -> Array:
        data, vector = host_view(self.data), host_view(x)
        if data is None or vector is None:
            return self._apply_off_host(x)
        y = np.empty((*x.shape[:-1], self.range.size), self.range.dtype)
        matvec, indices, indptr = self._pattern
        matvec(self._rows(data, vector), indices, indptr, _flat(vector), _flat(y))
        return like_host(y, x)

    def _adjoint(self, y: Array) -> Array:
        if Trait.HERMITIAN in self.traits and not self.hermitian_to_rounding:
            return self._apply(y)
        data, vector = host_view(self.data), host_view(y)
        if data is None or vector is None:
            return self._adjoint_off_host(y)
        from ..kernels.sparse import csr_matvec_ordered

        x = np.empty((*y.shape[:-1], self.domain.size), self.domain.dtype)
        csr_matvec_ordered(self._rows(data, vector), *self._transposed, _flat(vector), _flat(x))
        return like_host(x, y)

    def _rows(self, data: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The values as (1 or B, nnz), B the number of members of x."""
        if not self.batch_shape:
            return data[None, :]
        full = np.broadcast_to(data, (*x.shape[:-1], data.shape[-1]))
        return np.ascontiguousarray(full).reshape(-1, data.shape[-1])

    def _moved(self, move: Any) -> Operator:
        made = super()._moved(move)
        for memo in ("_pattern", "_transposed", "_row_of", "_plans"):  # of the arrays left behind
            vars(made).pop(memo, None)
        return made

    @cached_property
    def _pattern(self) -> tuple[Callable[..., None], np.ndarray, np.ndarray]:
        """The kernel of A x, with indices and indptr as it takes them."""
        from ..kernels.sparse import csr_matvec, unsigned

        return csr_matvec, unsigned(host(self.indices)), unsigned(host(self.indptr))

    @cached_property
    def _transposed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(order, indices, indptr) of A^T: its entry k is entry order[k] of A."""
        from scipy.sparse import csr_array

        from ..kernels.sparse import unsigned

        indices, indptr = host(self.indices), host(self.indptr)
        order = np.arange(indices.size, dtype=indptr.dtype)
        flipped = csr_array(
            (order, indices, indptr), shape=(self.range.size, self.domain.size)
        ).T.tocsr()
        return unsigned(flipped.data), unsigned(flipped.indices), unsigned(flipped.indptr)

    # -- torch under autograd or on a GPU, and CuPy --------------------------------------------

    @cached_property
    def _row_of(self) -> Array:
        """The row of each stored entry."""
        if is_torch(self.indptr):
            return _torch_rows(self.indptr)
        xp = namespace(self.indptr)
        return xp.repeat(xp.arange(self.range.size), xp.diff(self.indptr).tolist())

    @cached_property
    def _plans(self) -> dict[bool, Any]:
        """For kernels on a GPU: (plan, order of its entries) of A and of its transpose."""
        return {}

    @cached_property
    def _laid(self) -> dict[bool, Any]:
        """For kernels on a GPU: (version, values) of A and of A^H, as their plans take them."""
        return {}

    def _with_arrays(self, change: Any) -> Operator:
        made = super()._with_arrays(change)
        vars(made).pop("_laid", None)
        return made

    def _by_kernels(self, x: Array, *, adjoint: bool) -> Array | None:
        """The product by kernels on a GPU; None where they do not serve."""
        from ..kernels import cuda

        device = cuda.device_of(self.data, x)
        target = self.domain if adjoint else self.range
        if device is None or not cuda.sparse.serves(x, max(self.domain.size, self.range.size)):
            return None
        flat = cuda.sparse.ready(x).reshape(-1, x.shape[-1])
        plan, values = self._planned(device, adjoint=adjoint)
        if self.batch_shape:
            full = namespace(x).broadcast_to(values, (*x.shape[:-1], values.shape[-1]))
            values = cuda.sparse.ready(full.reshape(-1, values.shape[-1]))
        return plan.product(device, values, flat).reshape(*x.shape[:-1], target.size)

    def _planned(self, device: Any, *, adjoint: bool) -> tuple[Any, Array]:
        """(plan, values) of A or A^H, kept as long as the values are what they were."""
        from .._torch import version
        from ..kernels.cuda.sparse import Plan

        if adjoint not in self._plans:
            rows, columns, order = self.range.size, self.domain.size, None
            ends, indices = self.indptr, self.indices
            if adjoint:
                order, indices, ends = (
                    from_host(_signed(a), ends, _signed(a).dtype) for a in self._transposed
                )
                rows, columns = columns, rows
            kind, alone = dtype_of(self.data), not self.batch_shape
            made = Plan.of(device, ends, indices, (rows, columns), kind, alone=alone)
            self._plans[adjoint] = made, order
        plan, order = self._plans[adjoint]
        now = version(self.data)
        if adjoint not in self._laid or self._laid[adjoint][0] != now:
            data = self.data if order is None else _conjugate(self.data[..., order])
            self._laid[adjoint] = now, plan.values(device, data)
        return plan, self._laid[adjoint][1]

    def _apply_off_host(self, x: Array) -> Array:
        if (by_kernels := self._by_kernels(x, adjoint=False)) is not None:
            return by_kernels
        if is_torch(x):
            y = x.new_zeros((*x.shape[:-1], self.range.size))
            return y.index_add(-1, self._row_of, self.data * x[..., self.indices])
        return self._cupy(x, adjoint=False)

    def _adjoint_off_host(self, y: Array) -> Array:
        if (by_kernels := self._by_kernels(y, adjoint=True)) is not None:
            return by_kernels
        if is_torch(y):
            x = y.new_zeros((*y.shape[:-1], self.domain.size))
            return x.index_add(-1, self.indices, self.data.conj() * y[..., self._row_of])
        return self._cupy(y, adjoint=True)

    def _cupy(self, x: Array, *, adjoint: bool) -> Array:
        from cupyx.scipy import sparse

        shape = (self.range.size, self.domain.size)

        def one(data: Array) -> Any:
            matrix = sparse.csr_matrix((data, self.indices, self.indptr), shape=shape)
            return matrix.conj().T if adjoint else matrix

        flat = x.reshape(-1, x.shape[-1])
        if not self.batch_shape:
            return (one(self.data.astype(x.dtype, copy=False)) @ flat.T).T.reshape(
                *x.shape[:-1], -1
            )
        xp = namespace(x)
        members = xp.broadcast_to(self.data, (*x.shape[:-1], self.data.shape[-1]))
        members = members.reshape(-1, self.data.shape[-1])
        out = [one(members[i].astype(x.dtype)) @ flat[i] for i in range(flat.shape[0])]
        return xp.stack(out).reshape(*x.shape[:-1], -1)

    # -- what is known of the matrix -----------------------------------------------------------

    @property
    def work(self) -> int:
        return int(self.indices.shape[0])

    @property
    def nbytes(self) -> int:
        """Of the matrix, and of what products on a GPU have laid out beside it."""
        plans = [a for plan, o in self._plans.values() for a in (plan.ends, plan.indices, o)]
        laid = [values for _, values in self._laid.values() if values is not self.data]
        kept = {id(a): a for a in (self.indices, self.indptr, *plans, *laid) if a is not None}
        return super().nbytes + sum(int(a.nbytes) for a in kept.values())

    def diagonal(self) -> Array:
        if self.domain.size != self.range.size:
            raise TypeError(f"expected a square operator for its diagonal, got {self!r}")
        rows, columns = host(self._row_of), host(self.indices)
        where = np.flatnonzero(rows == columns)
        if where.size == self.domain.size:
            return self.data[..., _index(where, self.indices)]
        out = self.domain.zeros(self.data, self.batch_shape)
        out[..., _index(rows[where], self.indices)] = self.data[..., _index(where, self.indices)]
        return out

    def assemble(self) -> csr_array:
        from scipy.sparse import csr_array

        if self.batch_shape:
            raise TypeError(f"expected one matrix to assemble, got a batch {self.batch_shape}")
        data = host(self.data).astype(self.domain.dtype, copy=False)
        parts = (data, host(self.indices), host(self.indptr))
        return csr_array(parts, shape=(self.range.size, self.domain.size))

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        # Re<ybar, A x> has the gradient ybar_i conj(x_j) at the stored entry (i, j)
        x_conj = namespace(x).conj(x) if self.domain.is_complex else x
        grad = ybar[..., self._row_of] * x_conj[..., self.indices]
        return {"data": sum_to(grad, self.data.shape)}


def _flat(x: np.ndarray) -> np.ndarray:
    if not (x.flags.c_contiguous and x.flags.writeable):
        x = x.copy()  # another layout would be another kernel to compile
    return x[None, :] if x.ndim == 1 else x.reshape(-1, x.shape[-1])


def _signed(index: np.ndarray) -> np.ndarray:
    """The view that `unsigned` was made of."""
    return index.view(np.int32 if index.dtype.itemsize == 4 else np.int64)


def _conjugate(x: Array) -> Array:
    y = namespace(x).conj(x)
    return y.resolve_conj() if is_torch(y) else y


def _index(where: np.ndarray, like: Array) -> Array:
    return where if isinstance(like, np.ndarray) else namespace(like).asarray(where)


def _canonical(matrix: Any) -> Any:
    """The matrix in CSR form, rows sorted and without duplicates; the user's own is not changed."""
    if is_torch(matrix):
        csr = matrix if str(matrix.layout) == "torch.sparse_csr" else matrix.to_sparse_csr()
        if csr.ndim != 2:
            raise ValueError(f"expected a sparse matrix with two axes, got {tuple(csr.shape)}")
        return csr if _ascends(csr) else _summed(csr)
    if not hasattr(matrix, "tocsr"):
        raise TypeError(
            f"expected a sparse matrix of SciPy, CuPy or torch, got {type(matrix).__name__}: "
            "use Dense for a full one"
        )
    csr = matrix.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _ascends(csr: Any) -> bool:
    """Whether the columns of a torch CSR matrix ascend in every row, without duplicates."""
    import torch

    columns, ends = csr.col_indices(), csr.crow_indices()
    falls = (columns[1:] <= columns[:-1]).nonzero().reshape(-1) + 1
    return bool(torch.isin(falls, ends).all())  # columns may fall where a row begins


def _summed(csr: Any) -> Any:
    """A torch CSR matrix with its duplicates summed, which torch's own conversions leave alone."""
    import torch

    places = torch.stack([_torch_rows(csr.crow_indices()), csr.col_indices()])
    coo = torch.sparse_coo_tensor(places, csr.values(), csr.shape)
    return coo.coalesce().to_sparse_csr()


def _torch_rows(ends: Array) -> Array:
    """The row of each stored entry of a torch CSR matrix."""
    import torch

    return torch.repeat_interleave(torch.arange(len(ends) - 1, device=ends.device), ends.diff())


def _csr_parts(csr: Any) -> tuple[Array, Array, Array]:
    if is_torch(csr):
        return csr.values(), csr.col_indices(), csr.crow_indices()
    return csr.data, csr.indices, csr.indptr


def _traits_found(csr: Any) -> tuple[Trait, ...]:
    if is_torch(csr) or library_of(csr) in ("cupy", "cupyx"):
        return (Trait.LINEAR,)
    return (Trait.HERMITIAN,) if looks_hermitian(csr) else (Trait.LINEAR,)
