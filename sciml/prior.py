"""What is known of x before it is measured: three protocols that are never mixed up.

A prior p(x) ∝ exp(−g(x)) may offer the gradient of g, its proximal operator, or a denoiser. For
complex x, norms and inner products are those of the real and imaginary parts together, and a
gradient is ∂g/∂Re x + i ∂g/∂Im x.

A denoiser knows p smoothed by noise: p_sigma is the density of x0 + n, x0 from p and n Gaussian.
For complex x, sigma² = E|n|² of a complex entry, the score is ∂log p_sigma/∂x̄, half of that
gradient, and Langevin's step is x + α s + √(2α) n with n of E|n|² = 1. For real x the score is the
gradient. In both cases s = (denoise(x, sigma) − x) / sigma².
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from ._checks import told
from .arrays import Array, from_host, is_array, namespace
from .operator import Operator

__all__ = [
    "Bounded",
    "Denoising",
    "Differentiable",
    "Native",
    "Proximable",
    "Pullback",
    "Scored",
    "Splittable",
    "Tweedie",
    "levels_of",
    "per_member",
]


@runtime_checkable
class Differentiable(Protocol):
    """A prior whose g has a gradient."""

    def grad(self, x: Array) -> Array:
        """∇g(x), of the shape and dtype of x."""
        ...


@runtime_checkable
class Proximable(Protocol):
    """A prior with a proximal operator: convex, or such that step g + ½ ||·||² is."""

    def prox(self, x: Array, step: float) -> Array:
        """argmin_z step g(z) + ½ ||z − x||², of the shape and dtype of x."""
        ...


@runtime_checkable
class Bounded(Proximable, Protocol):
    """One whose proximal operator is iterated, and says how far off it may be."""

    def prox_within(self, x: Array, step: float) -> tuple[Array, np.ndarray]:
        """(z near the proximal operator, a proven bound of the distance per member)."""
        ...


@runtime_checkable
class Native(Bounded, Protocol):
    """One whose proximal operator is a given map f at one step, and solved for at others.

    g + weakness / 2 ||x||² is convex, and prox knows steps up to 1 / weakness. x = f(y) for
    y = x + native_step p, with p a gradient of g at x: an iteration keeps that y, and hands it
    back as `near`, which saves the search for it.
    """

    @property
    def native_step(self) -> float:
        """That of f, up to 1 / weakness."""
        ...

    @property
    def weakness(self) -> float:
        """At least 0; 0 for convex g."""
        ...

    def prox_within(
        self, x: Array, step: float, *, near: Array | None = None
    ) -> tuple[Array, np.ndarray]:
        """As of Bounded."""
        ...

    def value(self, x: Array, *, near: Array | None = None) -> np.ndarray:
        """g(x) up to a constant, per member, host float64."""
        ...


@runtime_checkable
class Splittable(Protocol):
    """A convex prior g(x) = weight Σ lengths(K x), with a linear K."""

    weight: float

    @property
    def K(self) -> Operator:
        """What the prior is a norm of."""
        ...

    def lengths(self, p: Array) -> Array:
        """What the norm sums up, real."""
        ...

    def project(self, p: Array, radius: Any) -> Array:
        """The nearest p in the ball of the dual norm of that radius."""
        ...


@runtime_checkable
class Denoising(Protocol):
    """A prior with a denoiser.

    It may say by an attribute `sigma_range = (least, most)` between which noise levels it is to be
    believed (samplers start at the most and end at the least), and by `basis`, an Operator B
    with B^H B = I, in which coordinates x is nearly uncorrelated.
    """

    def denoise(self, x: Array, sigma: Any) -> Array:
        """E[x0 | x] for x = x0 + n, of the shape and dtype of x.

        Args:
            x: (*batch, *shape). sigma: of the noise, > 0: a float, or a real array that broadcasts
                against the batch.
        """
        ...


@runtime_checkable
class Scored(Protocol):
    """A prior with the score of every smoothed density."""

    def score(self, x: Array, sigma: Any) -> Array:
        """∂log p_sigma/∂x̄ at x (the gradient, for real x), of the shape and dtype of x."""
        ...


@runtime_checkable
class Pullback(Denoising, Protocol):
    """A denoiser whose Jacobian can be applied."""

    def denoise_vjp(self, x: Array, sigma: Any, v: Array) -> tuple[Array, Array]:
        """(denoise(x, sigma), J^T v): the gradient of Re <v, denoise(x, sigma)> with respect to x.

        J acts on real and imaginary parts and is symmetric: it tells the covariance of x0 given x,
        sigma² J v = E d <d, v> with d = x0 − denoise(x, sigma) (Miyasawa 1961); for complex x
        2 E d Re <d, v>.
        """
        ...


class Tweedie:
    """The other face of a prior: a denoiser from its score, or the score from its denoiser.

    s = (D − x) / sigma² (Robbins 1956; Efron, J. Amer. Statist. Assoc. 106, 2011). A prior that has
    both keeps its own.

    Args:
        prior: Denoising or Scored. ndim: axes of one element, where sigma differs by member.
    """

    def __init__(self, prior: Any, *, ndim: int | None = None) -> None:
        if not isinstance(prior, Denoising | Scored):
            raise TypeError(
                f"expected a prior with denoise(x, sigma) or score(x, sigma), got {told(prior)}"
            )
        self.prior, self.ndim = prior, ndim

    def denoise(self, x: Array, sigma: Any) -> Array:
        if isinstance(self.prior, Denoising):
            return self.prior.denoise(x, sigma)
        return x + self._column(sigma, x) ** 2 * self.prior.score(x, sigma)

    def score(self, x: Array, sigma: Any) -> Array:
        if isinstance(self.prior, Scored):
            return self.prior.score(x, sigma)
        return (self.prior.denoise(x, sigma) - x) / self._column(sigma, x) ** 2

    def _column(self, sigma: Any, x: Array) -> Any:
        if self.ndim is None and np.ndim(sigma):
            raise TypeError(
                "expected one sigma, got one for each member: Tweedie(prior, ndim=axes of one "
                "element) can tell them apart"
            )
        return per_member(sigma, x, x.ndim if self.ndim is None else self.ndim)


def per_member(sigma: Any, x: Array, ndim: int) -> Any:
    """sigma shaped to broadcast against x (*batch, *shape), whose elements have `ndim` axes.

    Returns a float for a number, else an array of x's library in its real dtype.

    Raises:
        TypeError, ValueError: not real, not finite, not positive, or not of the batch's shape.
    """
    given = sigma if is_array(sigma) else np.asarray(sigma)
    kind = str(given.dtype)
    if not any(word in kind for word in ("float", "int")):
        raise TypeError(f"expected sigma as a real number or array, got {told(sigma)}")
    batch = tuple(x.shape[: x.ndim - ndim])
    if given.ndim > len(batch) or any(
        m not in (1, n) for m, n in zip(given.shape[::-1], batch[::-1], strict=False)
    ):
        raise ValueError(
            f"expected sigma as a number or an array that broadcasts against the batch {batch}, "
            f"got shape {tuple(given.shape)}"
        )
    xp = namespace(given)
    if not bool(xp.all(xp.isfinite(given) & (given > 0))):
        raise ValueError(f"expected sigma finite and > 0, got {told(sigma)}")
    if given.ndim == 0:
        return float(given)
    column = xp.reshape(given, (*given.shape, *(1,) * ndim))
    return from_host(column, x) if isinstance(column, np.ndarray) else column


def levels_of(prior: Any) -> tuple[float, float]:
    """(least, most) noise level of a denoiser: its `sigma_range`, or 0.01 and 100.

    Raises:
        TypeError: its range is not two numbers.
        ValueError: its range is not 0 < least < most.
    """
    found = getattr(prior, "sigma_range", (1e-2, 1e2))
    try:
        least, most = map(float, found)
    except (TypeError, ValueError):
        raise TypeError(
            f"expected the prior's sigma_range as two numbers (least, most), got {told(found)}"
        ) from None
    if not 0 < least < most < np.inf:
        raise ValueError(
            f"expected the prior's sigma_range as (least, most) with 0 < least < most, got "
            f"({least:g}, {most:g})"
        )
    return least, most
