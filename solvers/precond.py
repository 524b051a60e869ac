"""Preconditioners: recipes that build an operator close to A^-1 from A.

A recipe is a frozen record; `IC0()(A)` gives the operator. Methods take either:
`CG(M=IC0())` builds it once, at set-up. Those that factor need A's matrix (`A.assemble()`) and run
on the CPU, on NumPy arrays or torch tensors in host memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sciml._checks import need, told
from sciml.arrays import Array, host_view, like_host, namespace
from sciml.operator import Operator, Trait
from sciml.operators.dense import Diagonal

__all__ = ["AMG", "IC0", "ILU0", "ILUT", "SSOR", "Cholesky", "Jacobi", "Recipe", "SuperLU"]


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


@dataclass(frozen=True)
class Jacobi(Recipe):
    """M = diag(A)^-1."""

    def __call__(self, A: Operator) -> Operator:
        need(A, Operator, "an Operator to precondition")
        diagonal = A.diagonal()
        xp = namespace(diagonal)
        # In a batch the members with a zero fail by themselves, and spoil no other.
        if not A.batch_shape and bool(xp.any(diagonal == 0)):
            raise np.linalg.LinAlgError("Jacobi needs a diagonal without zeros")
        if Trait.HERMITIAN in A.traits and A.domain.is_complex:
            diagonal = xp.astype(xp.real(diagonal), diagonal.dtype)  # free of rounding's i
        return Diagonal(1 / diagonal, ndim=A.domain.ndim)


@dataclass(frozen=True)
class SSOR(Recipe):
    """Symmetric successive over-relaxation, for Hermitian A (Saad 2003, section 10.2).

    M^-1 = (D/w + L) D^-1 (D/w + L)^H w / (2 - w), with A = L + D + L^H.

    Args:
        omega: relaxation w, 0 < omega < 2; 1 is symmetric Gauss-Seidel.
    """

    omega: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.omega, float | int) or not 0 < self.omega < 2:
            raise ValueError(f"expected omega strictly between 0 and 2, got {told(self.omega)}")

    def __call__(self, A: Operator) -> Operator:
        _need_hermitian(self, A)
        lower, diagonal = _lower_triangle(A, self.name)
        lower.data[lower.indptr[1:] - 1] = diagonal / self.omega
        middle = diagonal * ((2 - self.omega) / self.omega)
        traits = {Trait.POSITIVE} if (np.real(diagonal) > 0).all() else {Trait.HERMITIAN}
        return _Triangles(A, lower, lower, middle, traits)


@dataclass(frozen=True)
class IC0(Recipe):
    """Incomplete Cholesky without fill, for Hermitian positive definite A (Saad 2003, 10.3.5).

    Where a pivot fails, the diagonal is raised and the factorisation done again (Manteuffel 1980):
    by the factor 1 + shift, with shift 1e-3, 2e-3, 4e-3 ... until it succeeds.
    """

    def __call__(self, A: Operator) -> Operator:
        from sciml.kernels.sparse import factor_ic0

        _need_hermitian(self, A)
        lower, diagonal = _lower_triangle(A, self.name)
        if not (np.real(diagonal) > 0).all():
            raise np.linalg.LinAlgError("IC0 needs a positive diagonal, so A is not definite")
        last = lower.indptr[1:] - 1
        entries = lower.data.copy()
        shift = 0.0
        while not factor_ic0(lower.data, lower.indices, lower.indptr):
            shift = 2 * shift or 1e-3
            if shift > 4:
                raise np.linalg.LinAlgError("IC0 found no usable pivots")
            lower.data[:] = entries
            lower.data[last] *= 1 + shift
        return _Triangles(A, lower, lower, None, {Trait.POSITIVE})


@dataclass(frozen=True)
class ILU0(Recipe):
    """Incomplete LU without fill, for general A (Saad 2003, section 10.3.2)."""

    def __call__(self, A: Operator) -> Operator:
        from scipy.sparse import csr_array, tril, triu

        from sciml.kernels.sparse import factor_ilu0

        matrix = _square(A, self.name)
        n = matrix.shape[0]
        rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
        place = np.flatnonzero(rows == matrix.indices)
        if place.size != n:
            raise np.linalg.LinAlgError("ILU0 needs a stored diagonal entry in every row")
        if not factor_ilu0(matrix.data, matrix.indices, matrix.indptr, place):
            raise np.linalg.LinAlgError("ILU0 met a zero pivot")
        lower = csr_array(tril(matrix, format="csr"))
        lower.data[lower.indptr[1:] - 1] = 1
        upper_h = csr_array(triu(matrix, format="csr").conj().T)
        upper_h.sort_indices()
        return _Triangles(A, lower, upper_h, None, {Trait.LINEAR})


@dataclass(frozen=True)
class ILUT(Recipe):
    """SuperLU's incomplete LU with threshold (scipy.sparse.linalg.spilu).

    Args:
        drop_tol: entries below this share of their column's norm are dropped.
        fill_factor: most entries, in multiples of those of A.
    """

    drop_tol: float = 1e-4
    fill_factor: float = 10.0

    def __call__(self, A: Operator) -> Operator:
        from scipy.sparse.linalg import spilu

        matrix = _square(A, self.name).tocsc()
        factors = _superlu(spilu, matrix, drop_tol=self.drop_tol, fill_factor=self.fill_factor)
        return _Factored(A, factors, {Trait.LINEAR})


@dataclass(frozen=True)
class SuperLU(Recipe):
    """Sparse LU (scipy.sparse.linalg.splu), exact to rounding; the M of `solvers.Direct`.

    A Hermitian matrix with a positive diagonal is ordered by minimum degree of A + A^H and pivoted
    on the diagonal (always if POSITIVE is declared, else unless it is a thousand times too small),
    a general one by columns (COLAMD) with partial pivoting.
    """

    def __call__(self, A: Operator) -> Operator:
        from scipy.sparse.linalg import splu

        matrix = _square(A, self.name).tocsc()
        how: dict[str, Any] = {"permc_spec": "COLAMD"}
        if Trait.HERMITIAN in A.traits and bool((matrix.diagonal().real > 0).all()):
            threshold = 0.0 if Trait.POSITIVE in A.traits else 1e-3
            how = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": threshold}
            how["options"] = {"SymmetricMode": True}
        traits = {Trait.HERMITIAN} if Trait.HERMITIAN in A.traits else {Trait.LINEAR}
        return _Factored(A, _superlu(splu, matrix, **how), traits | (A.traits & {Trait.POSITIVE}))


@dataclass(frozen=True)
class Cholesky(Recipe):
    """Sparse Cholesky by CHOLMOD (package scikit-sparse, extra `cholmod`), exact to rounding."""

    def __call__(self, A: Operator) -> Operator:
        try:
            from sksparse.cholmod import CholmodNotPositiveDefiniteError, cholesky
        except ImportError:
            raise ModuleNotFoundError(
                "expected scikit-sparse for Cholesky, found none: "
                "pip install 'sciml-solvers[cholmod]', or use SuperLU()"
            ) from None
        _need_hermitian(self, A)
        matrix = _square(A, self.name).tocsc()
        try:
            factor = cholesky(matrix)
            entries = factor.L().nnz  # an indefinite matrix has L D L^H, and fails only here
        except CholmodNotPositiveDefiniteError as error:
            raise np.linalg.LinAlgError(f"CHOLMOD: {error}") from None
        held = entries * (A.domain.dtype.itemsize + 4)
        return _Solved(A, factor, held, {Trait.POSITIVE})


@dataclass(frozen=True)
class AMG(Recipe):
    """One V-cycle of algebraic multigrid by PyAMG (extra `amg`), for Hermitian A.

    Args:
        smoothed_aggregation: smoothed aggregation rather than Ruge-Stueben.
    """

    smoothed_aggregation: bool = False

    def __call__(self, A: Operator) -> Operator:
        try:
            import pyamg
        except ImportError:
            raise ModuleNotFoundError(
                "expected pyamg for AMG, found none: pip install 'sciml-solvers[amg]'"
            ) from None
        from scipy.sparse import csr_matrix

        _need_hermitian(self, A)
        matrix = csr_matrix(_square(A, self.name))
        # pyamg's kernels are compiled for int32 indices only
        matrix.indices = matrix.indices.astype(np.int32, copy=False)
        matrix.indptr = matrix.indptr.astype(np.int32, copy=False)
        build = (
            pyamg.smoothed_aggregation_solver if self.smoothed_aggregation
            else pyamg.ruge_stuben_solver
        )  # fmt: skip
        levels = build(matrix)
        held = sum(_csr_bytes(m) for level in levels.levels for m in _matrices(level))
        act = levels.aspreconditioner(cycle="V").matvec
        return _Solved(A, act, held, {Trait.POSITIVE})


# -- the operators that recipes return ---------------------------------------------------------


class _OnHost(Operator):
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


class _Triangles(_OnHost):
    """x -> G^-H D F^-1 x for lower triangles F and G in CSR form, diagonal entries last."""

    compiled = True

    def __init__(self, A: Operator, first: Any, second: Any, middle: Any, traits: Any) -> None:
        self.first, self.second, self.middle = first, second, middle
        super().__init__(A, traits)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        from sciml.kernels.sparse import solve_lower, solve_lower_adjoint

        f, g = (self.second, self.first) if adjoint else (self.first, self.second)
        x = flat.copy()
        solve_lower(f.data, f.indices, f.indptr, x)
        if self.middle is not None:
            x *= self.middle.conj() if adjoint else self.middle
        solve_lower_adjoint(g.data, g.indices, g.indptr, x)
        return x

    @property
    def nbytes(self) -> int:
        parts = {id(m): m for m in (self.first, self.second)}.values()
        return sum(map(_csr_bytes, parts))


class _Factored(_OnHost):
    """x -> A^-1 x by SuperLU's factors."""

    def __init__(self, A: Operator, factors: Any, traits: Any) -> None:
        self.factors = factors
        super().__init__(A, traits)

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        columns = np.asfortranarray(flat.T)
        return self.factors.solve(columns, trans="H" if adjoint else "N").T

    @property
    def nbytes(self) -> int:
        return int(self.factors.nnz) * (self.domain.dtype.itemsize + 4)


class _Solved(_OnHost):
    """x -> f(x) for a Hermitian f that takes one vector."""

    def __init__(self, A: Operator, act: Any, held: int, traits: Any) -> None:
        self.act, self.held = act, held
        super().__init__(A, traits)

    @property
    def nbytes(self) -> int:
        return self.held

    def _solve(self, flat: np.ndarray, *, adjoint: bool) -> np.ndarray:
        return np.stack([self.act(x) for x in flat]) if len(flat) else flat.copy()


def _matrices(level: Any) -> Iterator[Any]:
    """The sparse matrices that a level of a PyAMG hierarchy holds."""
    return (m for m in (getattr(level, n, None) for n in "APR") if hasattr(m, "indptr"))


def _csr_bytes(matrix: Any) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def _superlu(factor: Any, matrix: Any, **how: Any) -> Any:
    try:
        return factor(matrix, **how)
    except RuntimeError as error:  # "Factor is exactly singular"
        raise np.linalg.LinAlgError(f"SuperLU: {error}") from None


def _square(A: Operator, name: str) -> Any:
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


def _lower_triangle(A: Operator, name: str) -> tuple[Any, np.ndarray]:
    """(lower triangle with the diagonal entry last in each row, diagonal)."""
    from scipy.sparse import csr_array, tril

    lower: Any = csr_array(tril(_square(A, name), format="csr"))
    lower.sort_indices()
    n = lower.shape[0]
    filled = np.diff(lower.indptr) > 0
    if not filled.all() or not (lower.indices[lower.indptr[1:] - 1] == np.arange(n)).all():
        raise np.linalg.LinAlgError(f"{name} needs a stored diagonal entry in every row")
    diagonal = lower.data[lower.indptr[1:] - 1].copy()
    if not abs(diagonal).min() > 0:
        raise np.linalg.LinAlgError(f"{name} needs a diagonal without zeros")
    return lower, diagonal


def _need_hermitian(recipe: Recipe, A: Operator) -> None:
    need(A, Operator, "an Operator to precondition")
    if Trait.HERMITIAN not in A.traits:
        raise TypeError(
            f"{recipe.name} expected an operator with the trait HERMITIAN, got {A!r}: use ILU0, "
            "ILUT or SuperLU"
        )
