"""Ways in and out: SciPy, torch autograd, PyLops, deepinv.

Nothing here is imported before it is used; the foreign package is needed only by its own adapter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, astype, check_float, dtype_of, host_view, is_array, is_torch, like_host
from .operator import Operator, Trait
from .space import Space

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

__all__ = ["as_pylops", "as_scipy", "as_torch", "from_deepinv", "from_pylops", "from_scipy"]


def from_scipy(A: Any, *, traits: Iterable[Trait] | None = None) -> Operator:
    """A matrix or SciPy LinearOperator as an Operator on vectors (*batch, n).

    Args:
        A: sparse matrix (SciPy, CuPy, torch), dense matrix (NumPy, CuPy, torch), or
            `scipy.sparse.linalg.LinearOperator`.
        traits: what A is known to be. For SciPy and NumPy matrices HERMITIAN is found, up to
            an assembly's rounding, if not given.

    Raises:
        TypeError: something else, or entries that are not float or complex.
    """
    if isinstance(A, Operator):
        return A
    from .operators._symmetry import equals_adjoint, looks_hermitian
    from .operators.dense import Dense
    from .operators.sparse import Sparse

    if (is_torch(A) and str(A.layout) != "torch.strided") or hasattr(A, "tocsr"):
        return Sparse(A, traits=traits)
    if is_array(A):
        check_float(dtype_of(A), "a matrix")
        if traits is not None:
            return Dense(A, traits=traits)
        hermitian = isinstance(A, np.ndarray) and A.ndim == 2 and looks_hermitian(A)
        made = Dense(A, traits=(Trait.HERMITIAN if hermitian else Trait.LINEAR,))
        if hermitian and not equals_adjoint(A):
            object.__setattr__(made, "hermitian_to_rounding", True)
        return made
    if hasattr(A, "matvec") and hasattr(A, "rmatvec"):
        return _FromScipy(A, (Trait.LINEAR,) if traits is None else traits)
    raise TypeError(
        f"expected an Operator, a matrix or a SciPy LinearOperator, got {type(A).__name__}"
    )


class _FromScipy(Operator):
    """A SciPy (or PyLops) LinearOperator; NumPy only, one vector at a time."""

    vectorized = False

    def __init__(self, inner: Any, traits: Iterable[Trait]) -> None:
        dtype = np.dtype(inner.dtype if inner.dtype is not None else np.float64)
        self.inner = inner
        rows, columns = inner.shape
        super().__init__(Space((columns,), dtype), Space((rows,), dtype), traits=traits)

    def _apply(self, x: Array) -> Array:
        return self._host(self.inner.matvec, x, self.range.dtype)

    def _adjoint(self, y: Array) -> Array:
        return self._host(self.inner.rmatvec, y, self.domain.dtype)

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = super()._with_precision(dtype)
        made(np.zeros(made.domain.size, made.domain.dtype))  # is it able to? before any work
        return made

    def _host(self, act: Any, x: Array, dtype: np.dtype) -> Array:
        view = host_view(x)
        if view is None:
            raise TypeError(
                f"expected a NumPy array for a SciPy operator, got {type(x).__name__}: "
                "use as_torch() for autograd"
            )
        y = np.asarray(act(view)).reshape(-1)
        _need_precision(y.dtype, dtype, self.inner)
        return like_host(y.astype(dtype, copy=False), x)


def _need_precision(got: np.dtype, wanted: np.dtype, source: Any) -> None:
    """Refuse a result that was computed more coarsely than it is to be called."""
    if got.kind in "fc" and np.finfo(got).eps > np.finfo(wanted).eps:
        raise TypeError(
            f"expected an operator that computes in {wanted}, to certify answers by, got {got} "
            f"from {type(source).__name__}: build it in double precision, or pass its matrix"
        )


def as_scipy(A: Operator) -> LinearOperator:
    """`A` as a SciPy LinearOperator on raveled NumPy vectors.

    Raises:
        TypeError: A is batched or nonlinear.
    """
    from scipy.sparse.linalg import LinearOperator

    if A.batch_shape or Trait.LINEAR not in A.traits:
        raise TypeError(f"expected a linear operator without batch for SciPy, got {A!r}")

    def shaped(act: Any, source: Space) -> Any:
        def run(x: np.ndarray) -> np.ndarray:
            return act(x.reshape(source.shape).astype(source.dtype, copy=False)).reshape(-1)

        return run

    class AsScipy(LinearOperator):
        """SciPy's own way to define an operator: a subclass with these two methods."""

        def __init__(self) -> None:
            super().__init__(A.range.dtype, (A.range.size, A.domain.size))

        def _matvec(self, x: np.ndarray) -> np.ndarray:
            return shaped(A, A.domain)(x)

        def _rmatvec(self, x: np.ndarray) -> np.ndarray:
            return shaped(A.adjoint, A.range)(x)

    return AsScipy()


def from_pylops(A: Any, *, traits: Iterable[Trait] | None = None) -> Operator:
    """A PyLops LinearOperator as an Operator from `A.dims` to `A.dimsd`; NumPy only."""
    flat = _FromScipy(A, (Trait.LINEAR,) if traits is None else traits)
    return _Reshaped(flat, tuple(A.dims), tuple(A.dimsd))


class _Reshaped(Operator):
    """An operator on vectors as one between arrays of the given shapes."""

    def __init__(self, flat: Operator, shape_in: tuple[int, ...], shape_out: tuple[int, ...]):
        self.flat = flat
        super().__init__(
            Space(shape_in, flat.domain.dtype),
            Space(shape_out, flat.range.dtype),
            traits=flat.traits,
        )

    def _apply(self, x: Array) -> Array:
        batch = x.shape[: x.ndim - self.domain.ndim]
        y = self.flat(x.reshape(*batch, self.domain.size))
        return y.reshape(*y.shape[:-1], *self.range.shape)

    def _adjoint(self, y: Array) -> Array:
        batch = y.shape[: y.ndim - self.range.ndim]
        x = self.flat.adjoint(y.reshape(*batch, self.range.size))
        return x.reshape(*x.shape[:-1], *self.domain.shape)


def as_pylops(A: Operator) -> Any:
    """`A` as a PyLops LinearOperator with dims and dimsd.

    Raises:
        ModuleNotFoundError: PyLops is not installed.
        TypeError: A is batched or nonlinear.
    """
    import pylops

    return pylops.LinearOperator(Op=as_scipy(A), dims=A.domain.shape, dimsd=A.range.shape)


def from_deepinv(physics: Any, space: Space, *, traits: Iterable[Trait] = (Trait.LINEAR,)) -> Any:
    """A deepinv `LinearPhysics` (A and A_adjoint on (batch, channel, ...) tensors) as an Operator.

    Args:
        physics: object with `A(x)` and `A_adjoint(y)`.
        space: the image space without batch, e.g. Space((1, 64, 64), "float32").
    """
    return _FromDeepinv(physics, space, traits)


class _FromDeepinv(Operator):
    def __init__(self, physics: Any, space: Space, traits: Iterable[Trait]) -> None:
        import torch

        self.physics = physics
        probe = physics.A(torch.zeros((1, *space.shape), dtype=getattr(torch, space.dtype.name)))
        super().__init__(space, Space(tuple(probe.shape[1:]), dtype_of(probe)), traits=traits)

    def _with_precision(self, dtype: np.dtype) -> Operator:
        made = super()._with_precision(dtype)
        if hasattr(self.physics, "to"):  # a torch module: its filters go along, in a copy
            import torch

            wide = copy.deepcopy(self.physics).to(getattr(torch, dtype.name))
            object.__setattr__(made, "physics", wide)
        return made

    def _apply(self, x: Array) -> Array:
        return self._batched(self.physics.A, x, self.domain, self.range)

    def _adjoint(self, y: Array) -> Array:
        return self._batched(self.physics.A_adjoint, y, self.range, self.domain)

    def _batched(self, act: Any, x: Array, source: Space, target: Space) -> Array:
        if not is_torch(x):
            raise TypeError(f"expected a torch tensor for deepinv, got {type(x).__name__}")
        batch = x.shape[: x.ndim - source.ndim]
        flat = x.reshape(math.prod(batch), *source.shape)
        if not flat.shape[0]:
            return target.zeros(x, tuple(batch))
        y = act(flat)
        _need_precision(dtype_of(y), target.dtype, self.physics)
        return astype(y, target.dtype).reshape(*batch, *target.shape)


def as_torch(A: Operator) -> Any:
    """`A` as a function of torch tensors that autograd differentiates, twice if asked.

    The gradient w.r.t. the input is A^H applied to the incoming one. Parameters that are tensors
    requiring grad get theirs from `vjp_params`. An operator whose parameters are NumPy arrays takes
    CPU tensors, sharing memory.

    Raises:
        TypeError: A is nonlinear.
    """
    if Trait.LINEAR not in A.traits:
        raise TypeError(f"expected a linear operator, got nonlinear {A!r}: call it directly")
    from ._autograd import TorchOperator

    return TorchOperator(A)
