"""Algebraic multigrid for sparse Hermitian matrices."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sciml._checks import integer, need, told
from sciml.arrays import (
    Array,
    astype,
    device_of,
    dtype_of,
    host_view,
    is_torch,
    like_host,
    namespace,
    on_cpu,
    with_precision,
)
from sciml.operator import Operator, Trait

from ._base import PerMember, Recipe, need_hermitian, per_member, same_pattern, square
from ._coarsen import Aggregation, ruge_stueben
from ._hierarchy import Csr, Structure, Values, build, renew

__all__ = ["AMG", "AMGOperator", "Coarsening", "need_precision"]


class Coarsening(enum.Enum):
    """How algebraic multigrid chooses its coarse unknowns."""

    # Some unknowns, between which the others are interpolated: for M-matrices, as diffusion has.
    RUGE_STUEBEN = "Ruge-Stueben"
    # Sums of neighbouring ones, smoothed: less memory in 3-D; systems such as elasticity.
    SMOOTHED_AGGREGATION = "smoothed aggregation"


@dataclass(frozen=True)
class AMG(Recipe):
    """One V-cycle of algebraic multigrid, for Hermitian positive (semi)definite A.

    Ruge and Stüben's coarsening in two passes with direct interpolation (Stüben, J. Comput. Appl.
    Math. 128, 2001), for real A; or smoothed aggregation (Vanek, Mandel, Brezina, Computing 56,
    1996), whose aggregates PyAMG finds (extra `amg`). The coarse matrices are Galerkin's. The cycle
    V(1,1) smooths by the l1-Jacobi method, so it is positive for every such A, and CG takes it.

    Args:
        coarsening: how the coarse unknowns are chosen.
        near_nullspace: (n, k), columns that A nearly maps to zero and that the coarse levels must
            hold: rigid-body modes for elasticity. Constants if not given; aggregation only.
        block: unknowns per node, which are aggregated together: 2 or 3 for elasticity.
        dtype: of the cycle, float32 or float64 (the complex one of that precision for complex A);
            None is float32 unless A's coefficients jump too much for it. The answer is certified
            in float64 whatever the cycle's precision.
    """

    coarsening: Coarsening = Coarsening.RUGE_STUEBEN
    near_nullspace: np.ndarray | None = field(default=None, repr=False, compare=False)
    block: int = 1
    dtype: Any = None

    def __post_init__(self) -> None:
        need(self.coarsening, Coarsening, "a Coarsening, such as Coarsening.RUGE_STUEBEN")
        integer(self.block, "block", 1)
        B = self.near_nullspace
        if B is not None and not (
            isinstance(B, np.ndarray) and B.ndim == 2 and B.shape[1] and np.isfinite(B).all()
        ):
            raise ValueError(f"expected near_nullspace as a finite array (n, k), got {told(B)}")
        if self.coarsening is Coarsening.RUGE_STUEBEN and (B is not None or self.block > 1):
            raise ValueError(
                "expected neither near_nullspace nor block with RUGE_STUEBEN, got one: "
                "use Coarsening.SMOOTHED_AGGREGATION"
            )
        need_precision(self.dtype)

    def __call__(self, A: Operator) -> AMGOperator | PerMember:
        """The cycle for A.

        Raises:
            TypeError: A is not Hermitian, does not know its matrix, or is complex with
                RUGE_STUEBEN.
            ValueError: near_nullspace or block does not fit A.
            ModuleNotFoundError: no PyAMG for SMOOTHED_AGGREGATION.
            numpy.linalg.LinAlgError: A is seen not to be positive semidefinite.
        """
        need_hermitian(self, A)
        if A.domain.is_complex and self.coarsening is Coarsening.RUGE_STUEBEN:
            raise TypeError(
                f"expected a real matrix for Ruge-Stueben coarsening, got {A.domain.dtype}: "
                "use Coarsening.SMOOTHED_AGGREGATION"
            )
        if A.batch_shape:
            return per_member(A, self)
        matrix = _parts(A, self.name)
        coarsen = ruge_stueben
        if self.coarsening is Coarsening.SMOOTHED_AGGREGATION:
            coarsen = Aggregation(self._candidates(A), self.block)
        structure, values = build(matrix, coarsen, self.dtype, _eps(A))
        return _beside(A, AMGOperator(A, structure, values, self.dtype))

    def _candidates(self, A: Operator) -> np.ndarray:
        n, block, B = A.domain.size, self.block, self.near_nullspace
        if n % block:
            raise ValueError(f"expected unknowns in blocks of {block}, got {n} of them")
        dtype = with_precision(A.domain.dtype, np.float64)
        if B is None:
            return np.tile(np.eye(block, dtype=dtype), (n // block, 1))
        if B.shape[0] != n:
            raise ValueError(f"expected near_nullspace of shape ({n}, k), got {B.shape}")
        if np.iscomplexobj(B) and not A.domain.is_complex:
            raise ValueError("expected a real near_nullspace for a real matrix, got a complex one")
        return np.array(B, dtype, order="C")


class AMGOperator(Operator):
    """x -> V x, one cycle of algebraic multigrid from zero. Built by `AMG` or `from_pyamg`.

    Runs compiled in host memory, on NumPy arrays and torch tensors; `to(xp=..., device=...)` takes
    it to where x is, and the same cycle runs there on sparse products.
    """

    param_names = ("data", "coarsest", "scale")
    structure_names = ("indptr", "indices")
    compiled = costly = True

    def __init__(self, A: Operator, structure: Structure, values: Values, dtype: Any) -> None:
        self.structure, self.dtype = structure, dtype  # dtype as asked for, None included
        self.data, self.coarsest = values.data, values.coarsest
        self.scale = values.scale.astype(A.domain.real_dtype)
        self.indptr, self.indices = structure.indptr, structure.indices
        super().__init__(A.range, A.domain, traits={Trait.POSITIVE})

    def update(self, A: Operator) -> AMGOperator:
        """The cycle for another matrix of the same pattern, with the interpolation kept.

        Worth it where A changes little; what follows from the values (Galerkin products, smoother)
        is computed anew, and the set-up's search is not.

        Raises:
            ValueError: A has another pattern, shape or dtype. TypeError, numpy.linalg.LinAlgError:
            as for `AMG`.
        """
        need_hermitian(AMG(), A)
        indptr, indices, data = _parts(A, "AMG")
        same_pattern(A, self, indptr, indices, *self.structure.patterns[0])
        values = renew(self.structure, data, self.dtype, _eps(A))
        return _beside(A, AMGOperator(A, self.structure, values, self.dtype))

    def _apply(self, x: Array) -> Array:
        view = host_view(x)
        if view is None or host_view(self.data) is None:
            return self._apply_off_host(x)
        from sciml.kernels.amg import v_cycle

        held = (self.indptr, self.indices, self.data, self.coarsest, self.scale)
        *stack, coarsest, scale = (np.asarray(host_view(a)) for a in held)
        flat = np.ascontiguousarray(view).reshape(-1, self.domain.size)
        scale = scale.astype(self.domain.real_dtype, copy=False)
        y = v_cycle(tuple(stack), self.structure.layout, coarsest, scale, flat)
        return like_host(y.reshape(view.shape), x)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def vjp_params(self, x: Array, ybar: Array) -> dict[str, Array]:
        raise TypeError(
            f"expected parameters to differentiate by, got {self!r}, whose arrays follow from a "
            "matrix: differentiate the solution by the matrix"
        )

    def _apply_off_host(self, x: Array) -> Array:
        if isinstance(self.data, np.ndarray):
            raise TypeError(
                f"expected an array in host memory for {self!r}, got {type(x).__name__} on "
                f"{getattr(x, 'device', '?')}: move this one there with M.to(xp=..., device=...)"
            )
        if (y := self._by_kernels(x)) is not None:
            return y
        xp = namespace(x)
        scale = astype(self.scale, self.domain.real_dtype)
        b = scale * xp.reshape(x, (-1, self.domain.size))
        unit = xp.max(abs(b), axis=-1, keepdims=True)
        unit = xp.where((unit > 0) & xp.isfinite(unit), unit, xp.ones_like(unit))
        e = cycle(self.levels, self.coarsest, astype(b / unit, dtype_of(self.data)))
        return xp.reshape(scale * (unit * astype(e, self.domain.dtype)), x.shape)

    def _by_kernels(self, x: Array) -> Array | None:
        """The cycle by kernels on a GPU, without a wait for it; None where they do not serve."""
        from sciml.kernels import cuda

        n = self.domain.size
        device = cuda.device_of(self.data, x)
        if device is None or not 0 < math.prod(x.shape) // n <= cuda.amg.MOST_MEMBERS:
            return None
        arrays = (self.indptr, self.indices, self.data, self.coarsest)
        run = vars(self).get("_on_device")
        if run is None:
            held = self.structure
            run = cuda.amg.Cycle.of(device, held.layout, held.indptr, n, arrays)
            vars(self)["_on_device"] = run
        scale = cuda.sparse.ready(astype(self.scale, self.domain.real_dtype))
        flat = cuda.sparse.ready(x).reshape(-1, n)
        return run(device, scale, flat).reshape(x.shape)

    @cached_property
    def levels(self) -> tuple[tuple[Operator, Operator, Operator], ...]:
        """(N, R, P) of each level, as sparse operators where the arrays are."""
        found = []
        for n, m, _, _, *starts in self.structure.layout.tolist():
            shapes = ((n, n), (m, n), (n, m))
            found.append(tuple(self._matrix(*at) for at in zip(starts, shapes, strict=True)))
        return tuple(found)

    def _matrix(self, start: int, shape: tuple[int, int]) -> Operator:
        from sciml.operators.sparse import Sparse

        ends: Any = self.indptr[start : start + shape[0] + 1]
        first, last = int(ends[0]), int(ends[-1])
        data: Any = self.data[first:last]
        indices: Any = self.indices[first:last]
        if is_torch(data):
            import torch

            matrix = torch.sparse_csr_tensor(ends - first, indices, data, size=shape)
        else:
            if isinstance(data, np.ndarray):
                from scipy.sparse import csr_matrix
            else:
                from cupyx.scipy.sparse import csr_matrix
            matrix = csr_matrix((data, indices, ends - first), shape=shape)
        return Sparse(matrix, traits={Trait.LINEAR})

    def _with_arrays(self, change: Any) -> Operator:
        made = super()._with_arrays(change)
        for memo in ("levels", "_on_device"):  # of the arrays left behind
            vars(made).pop(memo, None)
        return made

    @property
    def home(self) -> Array | None:
        # NumPy arrays serve torch tensors in host memory too.
        return None if isinstance(self.data, np.ndarray) else self.data

    @property
    def work(self) -> int:
        return int(self.indices.shape[0]) // 4

    @property
    def nbytes(self) -> int:
        moved = () if self.indices is self.structure.indices else (self.indptr, self.indices)
        return super().nbytes + self.structure.nbytes + sum(int(a.nbytes) for a in moved)


def need_precision(dtype: Any) -> None:
    """Raise TypeError unless a cycle can have this dtype."""
    if dtype is not None and dtype not in (np.float32, np.float64):
        raise TypeError(f"expected dtype float32, float64 or None, got {told(dtype)}")


def cycle(
    levels: tuple[tuple[Operator, Operator, Operator], ...], coarsest: Array, b: Array
) -> Array:
    """V(1,1) from zero on scaled unknowns, where N = I - A: the form of any array library.

    Args:
        levels: (N, R, P) from the finest on. coarsest: transposed inverse, or (0, 0) for I.
        b: (*batch, n).
    """
    if not levels:
        return b @ coarsest if coarsest.shape[0] else b
    N, R, P = levels[0]
    u = b + P(cycle(levels[1:], coarsest, R(N(b))))
    return b + N(u)


def _beside(A: Operator, M: AMGOperator) -> AMGOperator:
    """M, which was built in host memory, where A is."""
    home = A.home
    if home is None or on_cpu(home):  # there NumPy arrays serve tensors of torch too
        return M
    moved: Any = M.to(xp=namespace(home), device=device_of(home))
    return moved


def _parts(A: Operator, name: str) -> Csr:
    """(indptr, indices, data) of A's matrix, in double precision."""
    matrix = square(A, name)
    if matrix.nnz >= 1 << 31:
        raise ValueError(f"expected fewer than 2^31 entries for {name}, got {matrix.nnz}")
    data = matrix.data.astype(with_precision(matrix.dtype, np.float64), copy=False)
    return matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32), data


def _eps(A: Operator) -> float:
    return float(np.finfo(A.domain.real_dtype).eps)
