"""What Krylov methods share: their preconditioner, their start, their flags."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from sciml._checks import need, told
from sciml.algebra import Identity
from sciml.arrays import Array, host_view, like_host, namespace
from sciml.operator import Operator, Trait
from sciml.problem import LeastSquares, LinearSystem, Problem
from sciml.result import Status
from sciml.solver import Solver
from sciml.space import Space

# Entries from which one pass over memory saves more than the call of a compiled kernel costs.
_FUSED_FROM = 1 << 15

Recipe = Callable[[Operator], Operator]  # see solvers.precond


@dataclass(frozen=True, kw_only=True)
class Krylov(Solver):
    """A Krylov method on A x = b with an optional preconditioner.

    Args:
        M: an Operator that approximates A^-1, or a recipe that builds one from A, such as
            `solvers.IC0()`. A recipe is run once, when the solver is prepared.
        recipe: what M was built by, kept for reports; set when the solver is prepared.
        remark: on the system, for reports; set likewise.
    """

    M: Operator | Recipe | None = None
    recipe: Recipe | None = field(default=None, repr=False)
    remark: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not (self.M is None or isinstance(self.M, Operator) or callable(self.M)):
            raise TypeError(
                f"expected M as an Operator or a recipe such as solvers.IC0(), got {told(self.M)}"
            )
        if isinstance(self.M, type):
            raise TypeError(
                f"expected M as an instance, got the class {self.M.__name__}: {self.M.__name__}()"
            )

    def check(self, problem: Problem) -> None:
        self._need(problem, LinearSystem)
        if isinstance(self.M, Operator):
            _fits(problem, self.M)
            self.check_preconditioner(self.M)

    def check_preconditioner(self, M: Operator) -> None:
        """Refuse a preconditioner this method cannot use; flexible methods take any."""
        if Trait.LINEAR not in M.traits:
            raise TypeError(
                f"{type(self).__name__} expected a linear preconditioner, got nonlinear {M!r}: "
                "use FlexibleCG or FGMRES"
            )

    def prepare(self, problem: Problem) -> Self:
        remark = null_space(problem)
        told = self if remark == self.remark else replace(self, remark=remark)
        if self.M is None or isinstance(self.M, Operator):
            return told
        M = self.M(problem.A)  # type: ignore[attr-defined]
        need(M, Operator, "a recipe that returns an Operator")
        _fits(problem, M)
        self.check_preconditioner(M)
        return replace(told, M=M, recipe=self.M)

    def adjoint(self) -> Self:
        return replace(self, M=self.M.H) if isinstance(self.M, Operator) else self

    @property
    def name(self) -> str:
        """The method with its preconditioner, as reports call it."""
        M = self.recipe if self.recipe is not None else self.M
        own = type(self).__name__
        return own if M is None else f"{own} with {getattr(M, 'name', type(M).__name__)}"

    @property
    def notes(self) -> tuple[str, ...]:
        return (self.remark,) if self.remark else ()

    @property
    def pace(self) -> int:
        return 1 if isinstance(self.M, Operator) and self.M.costly else super().pace

    @property
    def nbytes(self) -> int:
        return self.M.nbytes if isinstance(self.M, Operator) else 0

    def _need(self, problem: Problem, *kinds: type) -> None:
        if not isinstance(problem, kinds):
            names = " or ".join(k.__name__ for k in kinds)
            raise TypeError(
                f"{type(self).__name__} expected a {names}, got {type(problem).__name__}"
            )

    def _M(self, problem: Problem) -> Operator:
        return self.M if isinstance(self.M, Operator) else Identity(problem.domain)


@dataclass(frozen=True, kw_only=True)
class HermitianKrylov(Krylov):
    """A Krylov method for Hermitian A, whose preconditioner is Hermitian too."""

    def check(self, problem: Problem) -> None:
        super().check(problem)
        A = problem.A  # type: ignore[attr-defined]
        if Trait.HERMITIAN not in A.traits:
            raise TypeError(
                f"{type(self).__name__} expected an operator with the trait HERMITIAN, got {A!r}: "
                "declare the trait if A is Hermitian, or use GMRES, BiCGStab or LSQR"
            )

    def check_preconditioner(self, M: Operator) -> None:
        super().check_preconditioner(M)
        if Trait.HERMITIAN not in M.traits:
            raise TypeError(
                f"{type(self).__name__} expected a Hermitian preconditioner, got {M!r}: use one "
                "with the trait HERMITIAN (Jacobi, SSOR, IC0), or FlexibleCG or FGMRES"
            )


def _fits(problem: Problem, M: Operator) -> None:
    if (M.domain, M.range) != (problem.codomain, problem.domain):
        raise ValueError(
            f"expected a preconditioner from {problem.codomain} to {problem.domain}, got {M!r}"
        )


def inconsistency(problem: LinearSystem) -> str:
    """Words for a right-hand side that no x reaches, where A^H has the constants as null space.

    That is one which is not orthogonal to them, or to what A says of its null space; for others
    the words are none.
    """
    constants = problem.A.null_vector
    return _unreached(
        problem, problem.codomain.zeros(problem.b) + 1 if constants is None else constants
    )


def _unreached(problem: LinearSystem, constants: Array) -> str:
    space, b = problem.codomain, problem.b
    share = float(np.max(space.project(b, constants)[1], initial=0))
    if not share > 1e3 * np.finfo(space.real_dtype).eps:
        return ""
    return (
        f"{share:.1e} of b lies along the null space, so A x = b has no solution and that share "
        "is the least relative residual: subtract the mean from b"
    )


def null_space(problem: Problem) -> str:
    """A sentence on a system that is known to be singular and has no solution."""
    if not isinstance(problem, LinearSystem) or (constants := problem.A.null_vector) is None:
        return ""
    words = _unreached(problem, constants)
    return f"A is singular (constants are in its null space); {words}." if words else ""


def begin(problem: LinearSystem | LeastSquares, x0: Array | None) -> tuple[Array, Array]:
    """(x, b - A x) at the start, without an application of A for x0 = None."""
    r = first_residual(problem, x0)
    return (problem.start() if x0 is None else x0), r


def first_residual(problem: LinearSystem | LeastSquares, x0: Array | None) -> Array:
    """b - A x0, or b for x0 = None: of the shape of the whole batch."""
    b = problem.b
    shape = (*problem.batch, *problem.A.range.shape)
    if tuple(b.shape) != shape:
        b = namespace(b).broadcast_to(b, shape)
    return b if x0 is None else b - problem.A(x0)


def no_flag(estimate: Array) -> Any:
    """ "Running" for every member: 0, or an array of zeros shaped as `estimate`."""
    if isinstance(estimate, np.generic):
        return 0
    xp = namespace(estimate)
    return xp.astype(xp.zeros_like(estimate), xp.int32)


def mark(flag: Any, hit: Array, status: Status) -> Any:
    """`flag` with `status` wherever `hit` and nothing was flagged before."""
    if isinstance(hit, bool | np.bool_):
        return int(status) if hit and not flag else flag
    xp = namespace(hit)
    return xp.where(hit & (flag == 0), int(status), flag)


def root(square: Any) -> Any:
    """sqrt(|square|): rounding may make a vanishing square negative, which callers flag."""
    size = abs(square)
    return np.sqrt(size) if isinstance(size, np.generic) else namespace(size).sqrt(size)


def descend(
    space: Space, x: Array, r: Array, alpha: Array, p: Array, q: Array
) -> tuple[Array, Array, Array]:
    """(x + alpha p, r - alpha q, the norm of the latter) for real alpha.

    By a kernel that is one pass over four arrays, not five passes over eight.
    """
    rows = _real_rows(space, x, r, p, q)
    if rows is None and (on := _device_rows(space, x, r, p, q)) is not None:
        device, *vectors = on
        x_new, r_new, square = _cuda().vectors.descend(device, *vectors, alpha.reshape(-1))
        norm = namespace(square).sqrt(square).reshape(alpha.shape)
        return _from_device(x_new, x), _from_device(r_new, r), norm
    if rows is None:
        r = r - alpha * q
        return x + alpha * p, r, space.norm(r)
    from sciml.kernels.vectors import descend as fused

    xs, rs, ps, qs = rows
    x_new, r_new, square = fused(xs, rs, ps, qs, np.asarray(alpha).reshape(-1))
    norm = np.sqrt(square)
    scalar = isinstance(alpha, np.generic)
    shaped = norm[0] if scalar else like_host(norm.reshape(tuple(alpha.shape)), x)
    return _from_rows(x_new, x, space), _from_rows(r_new, r, space), shaped


def load_fused(problem: Problem) -> None:
    """Load the kernels of `descend` and `add_scaled` where they will be used."""
    like = next(iter(problem.inputs().values()))
    size = problem.domain.size * math.prod(problem.batch)
    if size >= _FUSED_FROM and host_view(like) is not None:
        from sciml.kernels.vectors import load

        load(problem.domain.real_dtype)


def search(A: Operator, z: Array, beta: Array, p: Array | None) -> tuple[Array, Array, Array]:
    """(x, A x, <x, A x>) with x = z + beta p (p None: z), in one pass where A can."""
    if p is None:
        x = z
    else:
        found = A.search(z, beta, p)
        if found is not None:
            return found
        x = add_scaled(A.domain, z, beta, p)
    Ax = A(x)
    return x, Ax, A.domain.inner_real(x, Ax)


def add_scaled(space: Space, z: Array, beta: Array, p: Array) -> Array:
    """z + beta p for real beta, in one pass where a kernel serves the arrays."""
    rows = _real_rows(space, z, p)
    if rows is None and (on := _device_rows(space, z, p)) is not None:
        device, zs, ps = on
        return _from_device(_cuda().vectors.add_scaled(device, zs, beta.reshape(-1), ps), z)
    if rows is None:
        return z + beta * p
    from sciml.kernels.vectors import add_scaled as fused

    return _from_rows(fused(rows[0], np.asarray(beta).reshape(-1), rows[1]), z, space)


def _real_rows(space: Space, *arrays: Array) -> list[np.ndarray] | None:
    """Views (B, n) of real numbers, two for a complex one; None where that would not pay."""
    if math.prod(arrays[0].shape) < _FUSED_FROM:
        return None
    rows = []
    for a in arrays:
        view = host_view(a)
        if view is None:
            return None
        flat = np.ascontiguousarray(view).reshape(-1, space.size)
        rows.append(flat.view(space.real_dtype) if space.is_complex else flat)
    return rows


def _device_rows(space: Space, *arrays: Array) -> tuple[Any, ...] | None:
    """(device, *views (B, n) of real numbers) of arrays on a GPU; None where no kernel serves."""
    first = arrays[0]
    if isinstance(first, np.ndarray) or any(a.shape != first.shape for a in arrays):
        return None
    device, members = _cuda().device_of(*arrays), math.prod(first.shape) // space.size
    if device is None or not 0 < members <= _cuda().stencil.MOST_MEMBERS:
        return None
    as_reals, contiguous = _cuda().vectors.as_reals, _cuda().contiguous
    return (device, *(as_reals(contiguous(a).reshape(members, space.size)) for a in arrays))


def _from_device(rows: Array, like: Array) -> Array:
    return _cuda().vectors.as_complex(rows, like).reshape(like.shape)


def _cuda() -> Any:
    """The kernels for GPUs, loaded where an array is not NumPy's."""
    from sciml.kernels import cuda

    return cuda


def _from_rows(rows: np.ndarray, like: Array, space: Space) -> Array:
    made = rows.view(space.dtype) if space.is_complex else rows
    return like_host(made.reshape(like.shape), like)
