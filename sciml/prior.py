"""What is known of x before it is measured: three protocols that are never mixed up.

A prior p(x) ∝ exp(−g(x)) may offer the gradient of g, its proximal operator, or a denoiser. For
complex x, norms and inner products are those of the real and imaginary parts together, and a
gradient is ∂g/∂Re x + i ∂g/∂Im x.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from .arrays import Array

__all__ = ["Differentiable", "Proximable"]


@runtime_checkable
class Differentiable(Protocol):
    """A prior whose g has a gradient."""

    def grad(self, x: Array) -> Array:
        """∇g(x), of the shape and dtype of x."""
        ...


@runtime_checkable
class Proximable(Protocol):
    """A convex prior with a proximal operator."""

    def value(self, x: Array) -> np.ndarray:
        """g(x) per member, host float64 (*batch)."""
        ...

    def prox(self, x: Array, step: float) -> Array:
        """argmin_z step g(z) + ½ ||z − x||², of the shape and dtype of x."""
        ...
