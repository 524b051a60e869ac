"""What is to be solved, and what a solution is measured by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ._checks import need, number, told
from ._lanczos import largest
from .algebra import Identity, vstack
from .arrays import (
    Array,
    astype,
    broadcast_batch,
    check_same_place,
    dtype_of,
    from_host,
    is_torch,
    namespace,
    safe_norm,
    squares_kept,
    to_numpy,
    with_precision,
)
from .noise import Gaussian
from .operator import Operator, Trait
from .prior import Bounded, Denoising, Differentiable, Native, Proximable, Scored
from .space import Space

__all__ = [
    "Correction",
    "Gaussian",
    "InverseProblem",
    "LeastSquares",
    "LinearSystem",
    "Nonlinear",
    "Problem",
]


@dataclass(frozen=True)
class Correction:
    """What a solver is started on from an x whose true residual is known.

    Attributes:
        problem, x0: the problem of the correction and its first guess (None: zeros).
        unit: host float64 (*batch), what a residual of 1 in `problem` is in the original one.
        update: (x or None for 0, solution of `problem`) -> the better x.
    """

    problem: Problem
    x0: Array | None
    unit: np.ndarray
    update: Callable[[Array | None, Array], Array]


class Problem(ABC):
    """A residual that a solution makes small.

    Attributes:
        domain: the space of x. `codomain`: the space of the residual.
        batch: batch shape of the problem; x is (*batch, *domain.shape).
        distance_is_bound: whether `distance` is an upper bound, far cheaper than `measure`.
    """

    domain: Space
    codomain: Space
    batch: tuple[int, ...]
    distance_is_bound = False

    @abstractmethod
    def residual(self, x: Array) -> Array:
        """What certification measures, (*batch, *codomain.shape)."""

    @property
    @abstractmethod
    def scale(self) -> np.ndarray:
        """What rtol is relative to: host float64 (*batch)."""

    @abstractmethod
    def inputs(self) -> dict[str, Array]:
        """The arrays given by the user, by name: checked for NaN before any work."""

    @abstractmethod
    def to(self, *, dtype: Any) -> Problem:
        """The same problem evaluated in another precision, stored coefficients unchanged."""

    def norm(self, residual: Array) -> np.ndarray:
        """||residual|| per member, host float64 (*batch)."""
        return safe_norm(residual, self.codomain.ndim)

    def measure(self, x: Array | None, scale: np.ndarray | None = None) -> tuple[np.ndarray, Array]:
        """(||residual(x)|| per member, what `correction` goes on from). None stands for x = 0.

        `scale` is that of the problem where the caller knows it: for some it is the norm at x = 0.
        """
        found = self.residual(self.start() if x is None else x)
        return self.norm(found), found

    def distance(self, x: Array) -> np.ndarray | None:
        """||residual(x)|| per member, where it can be had without the residual; else None."""
        return None

    def correction(self, x: Array | None, carry: Array, norm: np.ndarray) -> Correction:
        """The next start from x; `norm` and `carry` are what `measure(x)` gave, in float64."""
        first = self.start() if x is None else x
        return Correction(self, first, np.ones(self.batch), lambda old, new: new)

    @abstractmethod
    def start(self) -> Array:
        """Zeros (*batch, *domain.shape) in the library and on the device of the data."""


def as_operator(A: Any) -> Operator:
    """`A` as an Operator; matrices of NumPy, SciPy and torch are wrapped."""
    if isinstance(A, Operator):
        return A
    from .adapters import from_scipy

    return from_scipy(A)


class LinearSystem(Problem):
    """A x = b with square A. residual(x) = b - A x, scale = ||b||.

    Args:
        A: Operator (or a SciPy/NumPy/torch matrix), domain and range of one shape and dtype.
        b: (*batch, *A.range.shape), of A's dtype.
    """

    def __init__(self, A: Operator, b: Array) -> None:
        A = as_operator(A)
        if A.domain.shape != A.range.shape or A.domain.dtype != A.range.dtype:
            raise ValueError(
                f"expected a square A for a linear system, got {A!r}: "
                "use LeastSquares(A, b) with LSQR or LSMR"
            )
        _need_linear(A)
        self.A, self.b = A, b
        self.domain, self.codomain = A.domain, A.range
        self.batch = _batch_of(A, b)

    def residual(self, x: Array) -> Array:
        return self.b - self.A(x)

    @property
    def scale(self) -> np.ndarray:
        return np.broadcast_to(self.norm(self.b), self.batch)

    def inputs(self) -> dict[str, Array]:
        return {"b": self.b, **{f"A.{n}": p for n, p in self.A.params.items()}}

    def to(self, *, dtype: Any) -> LinearSystem:
        return LinearSystem(self.A.to(dtype=dtype), _cast(self.b, dtype))

    def start(self) -> Array:
        return self.domain.zeros(self.b, self.batch)

    def measure(self, x: Array | None, scale: np.ndarray | None = None) -> tuple[np.ndarray, Array]:
        if x is None and scale is not None:
            return scale, _expand(self.b, self.batch, self.codomain)
        r = _expand(self.b, self.batch, self.codomain) if x is None else self.residual(x)
        return self.norm(r), r

    def distance(self, x: Array) -> np.ndarray | None:
        square = self.A.squared_misfit(x, self.b)
        return None if square is None or not squares_kept(square) else np.sqrt(square)

    def correction(self, x: Array | None, carry: Array, norm: np.ndarray) -> Correction:
        # A e = r / unit, then x <- x + unit e: iterative refinement. The unit is a power of two, so
        # scaling is exact, and no later step can overflow or vanish because b was huge or tiny.
        unit = _power_of_two(norm)
        small = _cast(_per_member(carry, unit, divide=True), self.domain.real_dtype)
        update = partial(_add_scaled, unit=unit)
        return Correction(LinearSystem(self.A, small), None, unit, update)


class LeastSquares(Problem):
    """min ||A x - b||_2. residual(x) = A^H (b - A x), scale = ||A^H b||.

    Where b is orthogonal to the range of A, x = 0 is the answer and that scale is rounding noise:
    give an absolute tolerance, Stop(atol=...), then.

    Args:
        A: Operator of any shape with an adjoint.
        b: (*batch, *A.range.shape).
        damp: Tikhonov weight: min ||A x - b||^2 + damp^2 ||x||^2.
    """

    def __init__(self, A: Operator, b: Array, *, damp: float = 0.0) -> None:
        A = as_operator(A)
        _need_linear(A)
        damp = number(damp, "damp")
        batch = _batch_of(A, b)
        if damp:
            xp = namespace(b)
            flat = xp.reshape(b, (*b.shape[: b.ndim - A.range.ndim], A.range.size))
            zero = A.domain.zeros(b, flat.shape[:-1])
            A = vstack([A, damp * Identity(A.domain)])
            b = xp.concat([flat, xp.reshape(zero, (*flat.shape[:-1], A.domain.size))], axis=-1)
        self.A, self.b = A, b
        self.domain, self.codomain = A.domain, A.domain
        self.batch = batch

    def residual(self, x: Array) -> Array:
        return self.A.adjoint(self.b - self.A(x))

    @property
    def scale(self) -> np.ndarray:
        return np.broadcast_to(self._normal_norm(self.b), self.batch)

    def _normal_norm(self, misfit: Array) -> np.ndarray:
        """||A^H misfit||; Inf also where it is too small for float64, so that none takes it for 0.

        The misfit is brought to size 1 first: A^H may be as small as it is.
        """
        unit = _power_of_two(safe_norm(misfit, self.A.range.ndim))
        size = self.norm(self.A.adjoint(_per_member(misfit, unit, divide=True)))
        with np.errstate(over="ignore", under="ignore"):
            found = size * unit
        return np.where((size > 0) & (found < np.finfo(np.float64).tiny), np.inf, found)

    def inputs(self) -> dict[str, Array]:
        return {"b": self.b, **{f"A.{n}": p for n, p in self.A.params.items()}}

    def to(self, *, dtype: Any) -> LeastSquares:
        return LeastSquares(self.A.to(dtype=dtype), _cast(self.b, dtype))

    def start(self) -> Array:
        return self.domain.zeros(self.b, self.batch)

    def measure(self, x: Array | None, scale: np.ndarray | None = None) -> tuple[np.ndarray, Array]:
        b = _expand(self.b, self.batch, self.A.range)
        misfit = b if x is None else b - self.A(x)
        return self._normal_norm(misfit), misfit

    def correction(self, x: Array | None, carry: Array, norm: np.ndarray) -> Correction:
        # min ||A e - misfit / unit||, then x <- x + unit e
        unit = _power_of_two(safe_norm(carry, self.A.range.ndim))
        small = _cast(_per_member(carry, unit, divide=True), self.domain.real_dtype)
        update = partial(_add_scaled, unit=unit)
        return Correction(LeastSquares(self.A, small), None, unit, update)


class Nonlinear(Problem):
    """F(x) = 0. residual(x) = F(x), scale = ||F(x0)||.

    Args:
        function: x (*batch, *space.shape) -> F(x) of the same shape and dtype.
        space: the space of x.
        x0: where `scale` is taken, (*batch, *space.shape).
    """

    def __init__(self, function: Callable[[Array], Array], space: Space, x0: Array) -> None:
        need(space, Space, "space as a Space", "Space(shape, dtype)")
        if not callable(function):
            raise TypeError(f"expected a function of x, got {told(function)}")
        self.function, self.x0 = function, x0
        self.domain = self.codomain = space
        self.batch = space.check(x0, "x0")

    def residual(self, x: Array) -> Array:
        return self.function(x)

    @property
    def scale(self) -> np.ndarray:
        return self.norm(self.residual(self.x0))

    def start(self) -> Array:
        return namespace(self.x0).asarray(self.x0, copy=True)

    def inputs(self) -> dict[str, Array]:
        return {"x0": self.x0}

    def to(self, *, dtype: Any) -> Nonlinear:
        return Nonlinear(self.function, self.domain.to(dtype), _cast(self.x0, dtype))


class InverseProblem(Problem):
    """y = A x + noise, with a prior on x: min ½ ||S^-1/2 (y − A x)||² + g(x).

    S is the noise covariance. Without a prior the residual is that of maximum likelihood,
    A^H S^-1 (y − A x), and scale = ||A^H S^-1 y||. A prior with `grad(x)` adds −grad(x) to it. With
    one that has a proximal operator it is the gradient mapping
    (prox_t(x + t A^H S^-1 (y − A x)) − x) / t, which vanishes at the minimum alone (Beck, First-
    Order Methods in Optimization, 2017, section 10.3), with t = `step`; where that operator is
    iterated, what is unproven of it counts as residual.

    Args:
        A: Operator. y: (*batch, *A.range.shape). noise: Gaussian.
        prior: see `sciml.prior`: Differentiable or Proximable for `solve`, Denoising or Scored for
            `sample`; None for none.
    """

    distance_is_bound = True

    def __init__(
        self,
        A: Operator,
        y: Array,
        noise: Gaussian,
        prior: Any = None,
    ) -> None:
        self.A, self.y, self.noise, self.prior = as_operator(A), y, noise, prior
        need(noise, Gaussian, "noise as a Gaussian", "Gaussian(sigma)")
        kinds = Differentiable | Proximable | Denoising | Scored
        if not (prior is None or isinstance(prior, kinds)):
            raise TypeError(
                "expected a prior with grad(x) or prox(x, step), or with denoise(x, sigma) or "
                f"score(x, sigma), got {told(prior)}"
            )
        self.domain, self.codomain = self.A.domain, self.A.domain
        self.batch = _batch_of(self.A, y)
        self._step: float | None = None
        self._curvature: tuple[float, float] | None = None
        if is_torch(noise.sigma) and getattr(noise.sigma, "requires_grad", False):
            raise TypeError("expected noise without gradients, got a sigma that requires them")

    @property
    def proximal(self) -> bool:
        """Whether the residual is the gradient mapping."""
        return self.prior is not None and not isinstance(self.prior, Differentiable)

    @property
    def curvature(self) -> tuple[float, float]:
        """(least, most) that L = ||A^H S^-1 A|| of the worst member can be, by Lanczos' method.

        The least is proven, the most but for one case in a million. What A says of its norm is not
        asked.
        """
        if self._curvature is None:
            A, noise = self.A, self.noise
            own = getattr(noise.sigma, "ndim", 0) > A.range.ndim  # a sigma for each member
            batch = self.batch if own else A.batch_shape
            weighed = lambda v: A.adjoint(noise.weigh(A(v)))  # noqa: E731
            self._curvature = largest(weighed, self.domain, batch, self.y)
        return self._curvature

    @property
    def step(self) -> float:
        """Up to 1 / L, L = ||A^H S^-1 A|| by A's own bound of its norm, else by `curvature`.

        Of a prior with a native step, no more than that.
        """
        if self._step is None:
            bound = self.A.norm_bound
            most = self.curvature[1] if bound is None else bound**2 * self.noise.gain
            step = 1 / max(most, np.finfo(float).tiny)
            own = isinstance(self.prior, Native) and self.proximal
            self._step = min(step, self.prior.native_step) if own else step
        return self._step

    @property
    def measured(self) -> np.ndarray:
        """Entries of y of each member that are not 0 (a mask left them out), int (*batch,).

        All of them where y is 0.
        """
        axes = tuple(range(-self.A.range.ndim, 0))
        seen = np.asarray(to_numpy(self.y != 0)).sum(axis=axes)
        return np.broadcast_to(np.where(seen > 0, seen, self.A.range.size), self.batch)

    def misfit(self, x: Array) -> np.ndarray:
        """||S^-1/2 (y - A x)|| per member: about sqrt(entries of y) at the truth."""
        return safe_norm(self.noise.whiten(self.y - self.A(x)), self.A.range.ndim)

    def descent(self, x: Array) -> Array:
        """−∇ of the data term: A^H S^-1 (y − A x)."""
        return self.A.adjoint(self.noise.weigh(self.y - self.A(x)))

    def residual(self, x: Array) -> Array:
        back = self.descent(x)
        if self.prior is None:
            return back
        if not self.proximal:
            return back - self.prior.grad(x)
        if not isinstance(self.prior, Proximable):
            raise TypeError(
                f"expected a prior with grad or prox to minimise with, got {told(self.prior)}: "
                "draw from its posterior with sciml.sample"
            )
        return (self.prior.prox(x + self.step * back, self.step) - x) / self.step

    def measure(self, x: Array | None, scale: np.ndarray | None = None) -> tuple[np.ndarray, Array]:
        """As in Problem; where the proximal operator is iterated, an upper bound of the norm."""
        if not (self.proximal and isinstance(self.prior, Bounded)):
            return super().measure(x, scale)
        x, native = self.start() if x is None else x, self._native
        if native is not None and scale is not None:  # a solve begins, and a bound will do
            found = self._bounding(x, native)
            return self.norm(found), found
        back = self.descent(x)
        if native is None:
            near, off = self.prior.prox_within(x + self.step * back, self.step)
        else:  # at a minimum f(y) = x
            y = x + native.native_step * back
            near, off = native.prox_within(x + self.step * back, self.step, near=y)
        found = (near - x) / self.step
        return self.norm(found) + off / self.step, found

    def distance(self, x: Array) -> np.ndarray | None:
        """An upper bound by one evaluation of f, for a prior that would have to invert it.

        For d_t = ||prox_t(x − t ∇f) − x||, t < T: each point is a minimum of t (<∇f, ·> + g) +
        ½ ||· − x||², for its own t. What either minimum says of the other, added up, leaves
        d_t² (1 / t − 1 / T) <= d_T² (1 / t − 1 / T), whatever g: d_t <= d_T.
        """
        native = self._native
        return None if native is None else self.norm(self._bounding(x, native))

    def _bounding(self, x: Array, native: Native) -> Array:
        """What `distance` is the norm of, by the native step T."""
        step = native.native_step
        return (native.prox(x + step * self.descent(x), step) - x) / self.step

    @property
    def _native(self) -> Native | None:
        """The prior, if its native step is longer than the problem's."""
        prior = self.prior
        own = isinstance(prior, Native) and self.proximal and self.step < prior.native_step
        return prior if own else None

    @property
    def scale(self) -> np.ndarray:
        weighed = self.A.adjoint(self.noise.weigh(self.y))
        return np.broadcast_to(self.norm(weighed), self.batch)

    def start(self) -> Array:
        return self.domain.zeros(self.y, self.batch)

    def inputs(self) -> dict[str, Array]:
        return {"y": self.y, **{f"A.{n}": p for n, p in self.A.params.items()}}

    def to(self, *, dtype: Any) -> InverseProblem:
        prior = self.prior.to(dtype=dtype) if hasattr(self.prior, "to") else self.prior
        made = InverseProblem(self.A.to(dtype=dtype), _cast(self.y, dtype), self.noise, prior)
        made._step = self.step if self.proximal else self._step
        return made


def _need_linear(A: Operator) -> None:
    if Trait.LINEAR not in A.traits:
        raise TypeError(f"expected a linear A, got nonlinear {A!r}: use Nonlinear(function, space)")


def _batch_of(A: Operator, b: Array) -> tuple[int, ...]:
    batch = A.range.check(b, "b")
    if A.home is not None:
        check_same_place(A.home, b)
    return broadcast_batch(batch, A.batch_shape)


def _cast(x: Array, precision: Any) -> Array:
    return astype(x, with_precision(dtype_of(x), precision))


def _expand(b: Array, batch: tuple[int, ...], space: Space) -> Array:
    shape = (*batch, *space.shape)
    return b if tuple(b.shape) == shape else namespace(b).broadcast_to(b, shape)


def _power_of_two(size: np.ndarray) -> np.ndarray:
    usable = np.where(np.isfinite(size) & (size > 0), size, 1.0)
    return np.ldexp(1.0, np.frexp(usable)[1] - 1)


def _add_scaled(x: Array | None, e: Array, unit: np.ndarray) -> Array:
    scaled = _per_member(e, unit)
    return scaled if x is None else x + scaled


def _per_member(x: Array, factor: np.ndarray, *, divide: bool = False) -> Array:
    """x times (or divided by) a host factor per member; x itself where all are 1."""
    factor = np.asarray(factor)
    if (factor == 1).all():
        return x
    column = from_host(factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim)), x)
    return x / column if divide else x * column
