"""Operators read as a multiple of a diffusion plus a mass, which implicit time steps make."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..algebra import Identity, Scaled, Sum
from ..arrays import Array
from ..operator import Operator
from ._faces import FaceOperator
from .dense import Diagonal

__all__ = ["Massive", "massive"]


class Massive(NamedTuple):
    """A = factor · diffusion + diag(mass).

    Attributes:
        diffusion: a Diffusion or NodalDiffusion. factor: > 0.
        mass: a number, or an array that broadcasts to (*batch, *shape); 0.0 where there is none.
    """

    diffusion: FaceOperator
    factor: float
    mass: Array | float


def massive(A: Operator) -> Massive | None:
    """A in that form, of whatever library its arrays are; None if it has another, or a factor <= 0.

    Masses may have any sign.
    """
    found = _read(A)
    if found is None:
        return None
    diffusion, factor, mass = found
    return Massive(diffusion, factor, mass) if diffusion is not None and factor > 0 else None


def _read(A: Operator) -> tuple[FaceOperator | None, float, Array | float] | None:
    """(diffusion, its factor, mass), without a diffusion if A is a mass alone."""
    match A:
        case FaceOperator():
            return A, 1.0, 0.0
        case Identity():
            return None, 0.0, 1.0
        case Diagonal() if not A.domain.is_complex:
            return None, 0.0, A.values
        case Scaled() if np.isreal(A.scalar):
            found, scalar = _read(A.parts[0]), float(np.real(A.scalar))
            return found and (found[0], scalar * found[1], scalar * found[2])
        case Sum():
            a, b = map(_read, A.parts)
            if a is None or b is None or (a[0] is not None and b[0] is not None):
                return None
            return (b[0] if a[0] is None else a[0]), a[1] + b[1], a[2] + b[2]
    return None
