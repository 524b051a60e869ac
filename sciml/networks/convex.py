"""Convex networks ψ and their gradients f = ∇ψ: learned proximal operators.

A continuous f is the proximal operator of some function φ if and only if it is the gradient of a
convex ψ, and φ need not be convex (Gribonval and Nikolova, J. Math. Imaging Vis. 62, 2020). Fang,
Buchanan and Sulam learn f so (Learned proximal networks, ICLR 2024, arXiv 2310.14344).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from .._checks import number, told

__all__ = ["ConvexNetwork"]

# Beyond these single precision, in which squares are taken too, ends or knows no x.
_STRONGEST = 100.0
_LEAST, _MOST = 1e-12, 1e12


class ConvexNetwork(nn.Module):
    """ψ, strongly convex with constant `alpha`, and f = ∇ψ. Its weights may be of either precision.

    Attributes:
        ndim: axes of one x. element: their lengths, and names of those that may be any. whole: what
            rows and columns are filled up to multiples of.
        arguments: what the constructor was called with, for the card of its weights.
        sigmas: (least, most) noise level that it is for; if they differ, it is told sigma.
        steady: whether its bits are the same on any number of torch's threads.
    """

    ndim: int
    element: tuple[int | str, ...]
    whole: int = 1
    steady: bool = False
    arguments: dict[str, object]

    def __init__(self, alpha: float, sigmas: Sequence[float]) -> None:
        super().__init__()
        self.alpha, self.sigmas = number(alpha, "alpha"), _levels(sigmas)
        if self.alpha > _STRONGEST:
            raise ValueError(f"expected alpha up to {_STRONGEST:g}, got {told(alpha)}")

    @property
    def told_sigma(self) -> bool:
        """Whether forward and potential take sigma."""
        return self.sigmas[0] < self.sigmas[1]

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """f(x), like x.

        Args:
            x: (batch, *element), in the precision of the weights. sigma: (batch,), > 0, for
                networks that are told it; beyond `sigmas` they see the nearest.

        Raises:
            ValueError: x of another shape; sigma missing, or given to a network for one level.
        """
        raise NotImplementedError

    def potential(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """ψ(x), (batch,); arguments as for f."""
        raise NotImplementedError

    def project(self) -> None:
        """Put weights at their nearest feasible values, after a step of training."""

    def infeasible(self) -> str | None:
        """The name of a weight or attribute with which ψ is not convex, or that is not finite; None
        if all are fine."""
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            return "alpha"
        return next((n for n, p in self.named_parameters() if not bool(p.isfinite().all())), None)

    def padded(self, x: Tensor) -> Tensor:
        """x, filled up with zeros to a size that all layers can take.

        Raises:
            ValueError: its members are not of the shape `element`.
        """
        sizes = tuple(x.shape[1:])
        if len(sizes) != len(self.element) or not all(
            n > 0 if isinstance(one, str) else n == one
            for n, one in zip(sizes, self.element, strict=True)
        ):
            wanted = ", ".join(map(str, self.element))
            raise ValueError(f"expected x of shape (batch, {wanted}), got {tuple(x.shape)}")
        more = [m for n in reversed(sizes[1:]) for m in (0, -n % self.whole)]
        return pad(x, more) if any(more) else x

    def _cut(self, f: Tensor, x: Tensor) -> Tensor:
        """The adjoint of that."""
        return f[tuple(slice(n) for n in x.shape)]

    def _known(self, x: Tensor, sigma: Tensor | None) -> Tensor | None:
        """sigma within `sigmas`; None for a network for one level."""
        if not self.told_sigma:
            if sigma is not None:
                raise ValueError(
                    f"expected no sigma: this network is for {self.sigmas[0]:g} alone, got "
                    f"{told(sigma)}"
                )
            return None
        if sigma is None or tuple(sigma.shape) != (len(x),):
            got = "none" if sigma is None else f"shape {tuple(sigma.shape)}"
            raise ValueError(f"expected sigma of shape ({len(x)},), one per member, got {got}")
        return sigma.clamp(*self.sigmas)


def _levels(sigmas: Sequence[float]) -> tuple[float, float]:
    try:
        least, most = (number(s, "sigmas") for s in sigmas)
    except (TypeError, ValueError):
        least = most = 0.0
    if not _LEAST <= least <= most <= _MOST:
        raise ValueError(
            f"expected sigmas as {_LEAST:g} <= least <= most <= {_MOST:g}, got {told(sigmas)}"
        )
    return least, most
