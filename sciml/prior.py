"""What is known of x before it is measured: three protocols that are never mixed up.

A prior p(x) ∝ exp(−g(x)) may offer the gradient of g, its proximal operator, or a denoiser. For
complex x, norms and inner products are those of the real and imaginary parts together, and a
gradient is ∂g/∂Re x + i ∂g/∂Im x.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from .arrays import Array
from .operator import Operator

__all__ = ["Bounded", "Differentiable", "Proximable", "Splittable"]


@runtime_checkable
class Differentiable(Protocol):
    """A prior whose g has a gradient."""

    def grad(self, x: Array) -> Array:
        """∇g(x), of the shape and dtype of x."""
        ...


@runtime_checkable
class Proximable(Protocol):
    """A convex prior with a proximal operator."""

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
