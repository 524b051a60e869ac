"""Fast Poisson solvers: the inverse of −∇·(k∇u) with constant k on a box, by transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sciml._checks import told
from sciml.arrays import (
    Array,
    astype,
    from_host,
    host_view,
    like_host,
    namespace,
    no_grad,
    on_cpu,
    to_numpy,
)
from sciml.operator import Operator, Trait
from sciml.operators._eigen import Axis, HostInverse, invert
from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side

from .precond import Recipe

__all__ = ["FastPoisson"]

# k is taken for constant where it varies by less than this share of itself: M is A^-1 to that
# share, which one more step of refinement squares.
_CONSTANT = 1e-3
_ENDS = {Side.DIRICHLET: 2, Side.NEUMANN: 0}


@dataclass(frozen=True)
class FastPoisson(Recipe):
    """The inverse of a diffusion operator with constant k; for variable k, close to it.

    For a `Diffusion` or `NodalDiffusion` of any spacing, with any sides, without solid cells.
    M is exact to rounding where k is constant (in each member of a batch), and
    `Direct(M=FastPoisson())` then solves at the cost of a few transforms. Where nothing holds u
    (`A.singular`), M is the pseudo-inverse: the solution of mean 0 for the part of b of mean 0.

    For variable k, M = S L⁻¹ S with L the operator for k = 1 and S = (diag L / diag A)^(1/2)
    (Concus and Golub, SIAM J. Numer. Anal. 10 (1973) 1103, with the diagonal in place of k). It
    suits smooth k best: CG(M=FastPoisson()) then takes steps whose number does not grow with the
    grid.

    It runs in host memory, with SciPy's transforms and a compiled elimination, and elsewhere with
    the FFT of the array's own library.

    Args:
        scaled: for variable k, use S; else M is the inverse for the mean of k.
    """

    scaled: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.scaled, bool):
            raise TypeError(f"expected scaled as True or False, got {told(self.scaled)}")

    def __call__(self, A: Operator) -> Operator:
        """M for A.

        Raises:
            TypeError: A is no Diffusion or NodalDiffusion.
            ValueError: A has solid cells.
        """
        if not isinstance(A, Diffusion | NodalDiffusion):
            raise TypeError(
                f"expected a Diffusion or NodalDiffusion for FastPoisson, got {told(A)}: use IC0, "
                "AMG or SuperLU"
            )
        if A.pins.any():
            raise ValueError(
                "expected a Diffusion without solid cells for FastPoisson, got some: use IC0, AMG "
                "or SuperLU"
            )
        constant = _constant(A)
        if constant is not None:
            return _Inverse(A, 1 / constant, None)
        if not self.scaled:
            return _Inverse(A, 1 / _over_cells(A, lambda xp: xp.mean), None, exact=False)
        with no_grad(A.k):
            ratio = from_host(_unit_diagonal(A), A.k) / A.diagonal()
            weights = namespace(ratio).sqrt(ratio)
        return _Inverse(A, np.ones(A.batch_shape), weights, exact=False)


class _Inverse(Operator):
    """x -> scale S L⁺ S x with L the second differences of A, S = 1 without `weights`.

    scale: (*batch_shape) float64 on the host. weights: (*batch_shape, *shape) in A's library.
    """

    param_names: ClassVar[tuple[str, ...]] = ("scale", "weights")
    compiled: ClassVar[bool] = True
    recordable: ClassVar[bool] = False

    def __init__(
        self,
        A: Diffusion | NodalDiffusion,
        scale: np.ndarray,
        weights: Array | None,
        *,
        exact: bool = True,
    ) -> None:
        self.axes, self.weights, self.exact = _axes(A), weights, exact
        self.factors = tuple(h**-2 for h in A.spacing)
        self.scale = from_host(scale, A.k)
        self.host = HostInverse(self.axes, self.factors) if on_cpu(A.k) else None
        super().__init__(A.domain, traits={Trait.POSITIVE}, batch_shape=A.batch_shape)

    def _apply(self, x: Array) -> Array:
        if 0 in x.shape:
            return namespace(x).zeros_like(x)
        if self.weights is None:
            return self._plain(x)
        w = astype(self.weights, self.domain.dtype)
        return self._plain(w * x, own=True) * w

    def _plain(self, x: Array, *, own: bool = False) -> Array:
        """Without S; x may be overwritten if it is our own."""
        view = host_view(x)
        if view is not None and self.host is not None:
            batch = view.shape[: view.ndim - self.domain.ndim]
            scale = np.broadcast_to(to_numpy(self.scale), batch).astype(np.float64)
            return like_host(self.host(view, scale, own=own), x)
        xp, ones = namespace(x), (1,) * self.domain.ndim
        scale = xp.reshape(astype(self.scale, self.domain.dtype), (*self.batch_shape, *ones))
        return scale * invert(x, self.axes, self.factors)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)


def _axes(A: Diffusion | NodalDiffusion) -> tuple[Axis, ...]:
    if isinstance(A, NodalDiffusion):
        return tuple(Axis(n, (1, 1)) for n in A.domain.shape)
    found = []
    for n, (low, high) in zip(A.domain.shape, A.boundary, strict=True):
        if low is not Side.PERIODIC:
            found.append(Axis(n, (_ENDS[low], _ENDS[high])))
        else:  # a ring of one cell has no flux
            found.append(Axis(n, (0, 0) if n == 1 else None))
    return tuple(found)


def _constant(A: Diffusion | NodalDiffusion) -> np.ndarray | None:
    """k, float64 (*batch_shape), if it is one number in each member."""
    low, high = A.extremes
    if high - low <= _CONSTANT * high:
        return np.full(A.batch_shape, low / 2 + high / 2)
    if not A.batch_shape:
        return None
    lows, highs = _over_cells(A, lambda xp: xp.min), _over_cells(A, lambda xp: xp.max)
    return (lows / 2 + highs / 2) if (highs - lows <= _CONSTANT * highs).all() else None


def _over_cells(A: Diffusion | NodalDiffusion, pick: Callable[[Any], Any]) -> np.ndarray:
    """pick(library), a mean, min or max, of k in each member: float64 (*batch_shape)."""
    ndim = A.domain.ndim
    with no_grad(A.k):
        k = astype(A.k, np.float64)
        return to_numpy(pick(namespace(k))(k, axis=tuple(range(k.ndim - ndim, k.ndim))))


def _unit_diagonal(A: Diffusion | NodalDiffusion) -> np.ndarray:
    """The diagonal of A for k = 1: float64 (*shape)."""
    total = np.zeros((1,) * A.domain.ndim)
    for i, (axis, h) in enumerate(zip(_axes(A), A.spacing, strict=True)):
        one = np.full(axis.n, 2.0)
        if axis.ends is not None:
            one[0] += axis.ends[0] - 1
            one[-1] += axis.ends[1] - 1
        total = total + (one / h**2).reshape((-1,) + (1,) * (A.domain.ndim - 1 - i))
    return total
