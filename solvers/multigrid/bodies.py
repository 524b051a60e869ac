"""Means over bodies of high k, corrected around a cycle.

A body of high k, all of whose cells are held together far more strongly than they hold on to the
rest, has one error that relaxation does not touch: its mean. Coarse levels miss it where the body
is thin or a few cells large. Bodies are the connected cells with k above a threshold. Two of them
are no neighbours, so that the Galerkin matrix of their indicators Z is diagonal, and its solution
costs two passes over memory. It is done before and after the cycle M, on the residual that is left
(the symmetric form of deflation; Nabben and Vuik, SIAM J. Numer. Anal. 42, 2004): the whole is
C + (I − C A) M (I − A C) with C = Z (Z^T A Z)^-1 Z^T, symmetric, and positive as M is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sciml._checks import need, number
from sciml.arrays import Array, host_view, like_host
from sciml.operator import Operator, Trait

from ..precond import Recipe
from .recipe import Multigrid

__all__ = ["Bodied", "Bodies", "bodies_of"]


@dataclass(frozen=True)
class Bodies(Recipe):
    """`M`, around which the means over bodies of high k are corrected.

    For media of two phases whose grains are a cell or two, and for thin fibres, in two dimensions:
    there it takes a fifth of the iterations, each of which costs twice. Elsewhere it does not pay.
    It is symmetric and positive if M is. Where k has no bodies, or on periodic axes, or for a batch
    or another dimension, it is M alone.

    Args:
        M: a recipe for a symmetric positive preconditioner.
        place: of the threshold that bodies lie above, between the least and the largest k in
            logarithms: 0.5 is their geometric mean.

    Raises:
        TypeError, ValueError: an argument of a wrong type, or a place outside [0, 1].
        TypeError: with `A`: it is no diffusion, see `Multigrid`.
    """

    M: Recipe = field(default_factory=Multigrid)
    place: float = 0.5

    def __post_init__(self) -> None:
        need(self.M, Recipe, "a recipe such as Multigrid()")
        number(self.place, "place", least=0.0)
        if self.place > 1:
            raise ValueError(f"expected place in [0, 1], got {self.place}")

    def __call__(self, A: Operator) -> Operator:
        from .form import read  # loads compiled code

        form = read(A)
        M = self.M(A)
        if form.ndim != 2 or A.batch_shape or any(form.diffusion.wraps):
            return M
        if form.k.shape != A.domain.shape:  # nodes lie between cells
            return M
        labels = bodies_of(form.k, self.place)
        return M if labels is None else Bodied(A.to(xp=np), M, labels)


class Bodied(Operator):
    """The cycle M of A with the means over bodies corrected. Built by `Bodies`.

    Args:
        A: on NumPy arrays.
        labels: of A's shape, the number of each cell's body, and 0 in cells of none.
    """

    compiled = True

    def __init__(self, A: Operator, M: Operator, labels: np.ndarray) -> None:
        super().__init__(A.range, A.domain, traits=(Trait.POSITIVE,))
        self.A, self.cycle = A, M
        self.labels = labels.reshape(-1)
        inside = (self.labels > 0).astype(A.domain.dtype).reshape(A.domain.shape)
        # Bodies do not touch: what A leaves of all of them together, each body's own links leave.
        own = np.bincount(self.labels, np.asarray(A(inside)).reshape(-1))
        total = np.bincount(self.labels)
        held = own > np.finfo(A.domain.dtype).eps * total
        held[0] = False
        self.inverse = np.where(held, 1 / np.where(held, own, 1), 0).astype(A.domain.dtype)

    @property
    def nbytes(self) -> int:
        return self.cycle.nbytes + self.labels.nbytes + self.inverse.nbytes

    def _means(self, r: np.ndarray) -> np.ndarray:
        """C r."""
        sums = np.bincount(self.labels, r.reshape(-1), len(self.inverse))
        means = (sums * self.inverse).astype(r.dtype)
        return means.take(self.labels).reshape(r.shape)

    def _adjoint(self, y: Array) -> Array:
        return self._apply(y)

    def _apply(self, x: Array) -> Array:
        view = host_view(x)
        if view is None:
            raise TypeError(f"expected an array in host memory, got {type(x).__name__}")
        if view.ndim == self.domain.ndim:
            return like_host(self._one(view), x)
        out = np.empty_like(view, order="C")
        flat = out.reshape(-1, *self.domain.shape) if out.size else out
        for i, r in enumerate(view.reshape(flat.shape)):
            flat[i] = self._one(r)
        return like_host(out, x)

    def _one(self, r: np.ndarray) -> np.ndarray:
        z = self._means(r)
        left = r - self.A(z)
        y = self.cycle(left)
        z += y
        z += self._means(left - self.A(y))
        return z


def bodies_of(k: np.ndarray, place: float) -> np.ndarray | None:
    """The labels of bodies of two cells and more; None if there are none.

    Args:
        k: (rows, columns), 0 in solid cells.
        place: of the threshold between the least and the largest k, in logarithms.
    """
    from scipy import ndimage

    fluid = k[k > 0]
    if not fluid.size:
        return None
    low, high = np.log(fluid.min()), np.log(fluid.max())
    found: Any = ndimage.label(k > np.exp(low + place * (high - low)))
    labels, count = np.asarray(found[0]), int(found[1])
    large = np.bincount(labels.reshape(-1), minlength=count + 1) > 1
    large[0] = False
    if not large.any() or low == high:
        return None
    return np.where(large, np.cumsum(large), 0)[labels]
