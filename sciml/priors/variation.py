"""Total variation (Rudin, Osher, Fatemi, Physica D 60, 1992)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._checks import number
from ..arrays import Array, namespace
from ..operators.gradient import Gradient
from ..space import Space
from .classical import need_space, sums

__all__ = ["TotalVariation"]

# The proximal operator is iterated until its distance from the exact one is surely below this share
# of what it changes, or so often.
_EXACT, _MOST = 1e-3, 1_000
_LOOK = 10  # iterations between two looks at that distance


class TotalVariation:
    """g(x) = weight Σ ||(∇x)_i||_2, isotropic, over forward differences.

    Args:
        weight: positive. space: of x, real or complex. axes: how many trailing axes are space.
    """

    def __init__(self, weight: float, space: Space, *, axes: int | None = None) -> None:
        self.weight = number(weight, "weight")
        self.K = Gradient(need_space(space), axes=axes)

    def to(self, *, dtype: Any) -> TotalVariation:
        """The same prior in another precision."""
        return TotalVariation(self.weight, self.K.domain.to(dtype), axes=len(self.K.axes))

    def value(self, x: Array) -> np.ndarray:
        return self.weight * sums(self.lengths(self.K(x)), self.K.domain.ndim)

    def lengths(self, p: Array) -> Array:
        """Length of the vector at each point: (*batch, axes, *shape) -> (*batch, *shape), real."""
        xp = namespace(p)
        return xp.sqrt(xp.sum(abs(p) ** 2, axis=-1 - self.K.domain.ndim))

    def project(self, p: Array, radius: Any) -> Array:
        """The nearest p whose vectors have lengths up to `radius`."""
        xp = namespace(p)
        size = self.lengths(p)
        factor = radius / xp.where(size > radius, size, size * 0 + radius)
        return p * xp.expand_dims(factor, axis=-1 - self.K.domain.ndim)

    def prox(self, x: Array, step: float) -> Array:
        """By the fast projected gradient method (Beck and Teboulle, IEEE TIP 18, 2009).

        Iterated until the duality gap proves it exact to 1e-3 of what it changes, which bounds the
        tolerance that can be certified: 1e-5 is within reach, 1e-6 need not be.
        """
        K, radius = self.K, step * self.weight
        if not radius > 0:
            return x + 0
        p = q = 0 * K(x)
        t, rate = 1.0, 1 / K.norm_bound**2
        for k in range(1, _MOST + 1):
            p_old, t_old = p, t
            p = self.project(q + rate * K(x - K.adjoint(q)), radius)  # (4.1)
            t = (1 + (1 + 4 * t**2) ** 0.5) / 2
            q = p + (t_old - 1) / t * (p - p_old)
            if k % _LOOK == 0 and self._exact(x, p, step):
                break
        return x - K.adjoint(p)

    def _exact(self, x: Array, p: Array, step: float) -> bool:
        """½ ||z − prox||² is at most the gap step g(z) − <p, K z> of z = x − K^H p."""
        change = self.K.adjoint(p)
        z = x - change
        inner = sums(namespace(x).real(self.K(z) * _conj(p)), self.K.range.ndim)
        gap = float(step) * self.value(z) - inner
        moved = sums(abs(change) ** 2, self.K.domain.ndim)
        rounding = 10 * float(np.finfo(self.K.domain.real_dtype).eps)
        return bool((2 * gap <= max(_EXACT**2, rounding) * moved).all())


def _conj(p: Array) -> Array:
    return namespace(p).conj(p)
