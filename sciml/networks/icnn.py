"""Input-convex networks: ψ by layers, for numbers, vectors and images. See `convex`.

ψ is an input-convex network (Amos, Xu and Kolter, ICML 2017). With s convex and increasing,

    h_1 = s(S_1 x + b_1),   h_k = s(W_k h_(k−1) + S_k x + b_k),
    ψ = Σ_k <c_k, h_k> + <d, x> + α/2 ‖x‖²

is convex in x if no entry of W_k and c_k is negative. Here s is softplus, log(1 + exp(β a)) / β,
and f is written out, so that training needs no second derivative by the machine:

    δ_K = c_K ∘ s'(a_K),   δ_k = (W_(k+1)ᵀ δ_(k+1) + c_k) ∘ s'(a_k),   f = Σ_k S_kᵀ δ_k + d + α x,

a_k being what s is applied to. A network for several noise levels is told sigma, which moves b_k
and scales what S_k, W_k and c_k give by positive factors: ψ is convex in x at every level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import sigmoid, softplus

from .._checks import integer, number, told
from ._convex import ConvexConv, ConvexLayer, ConvexLinear, Gains
from ._layers import EMBEDDED, NoiseLevel
from .convex import ConvexNetwork

__all__ = ["ConvexDense", "ConvexImages", "ConvexPatch"]


# Of beta. In single precision softplus is flat below for all x of some size, and a step above.
_SMOOTHEST, _SHARPEST = 1e-3, 1e4
_MOST_LAYERS = 64  # a forged card must not cost the time of building more


class _Layered(ConvexNetwork):
    """ψ of layers.

    Attributes:
        beta: see above; from 1e-3 to 1e4.
    """

    layers: nn.ModuleList
    offset: nn.Parameter

    def __init__(self, beta: float, alpha: float, sigmas: Sequence[float]) -> None:
        super().__init__(alpha, sigmas)
        self.beta = number(beta, "beta")
        if not _SMOOTHEST <= self.beta <= _SHARPEST:
            raise ValueError(
                f"expected beta from {_SMOOTHEST:g} to {_SHARPEST:g}, got {told(beta)}"
            )
        self.level = NoiseLevel() if self.told_sigma else None

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        seen, gains = self.padded(x), self._gains(x, sigma)
        risen = self._rise(seen, gains)
        f: Tensor = self._offset(seen)
        above: Tensor | float = 0.0
        for layer, gain, a in zip(
            reversed(self._layers), reversed(gains), reversed(risen), strict=True
        ):
            outer = layer.outer(gain)
            inner = above if outer is None else outer + above
            delta = inner * sigmoid(self.beta * a)
            f = f + layer.to_input(delta, gain)
            above = layer.to_below(delta, gain) if layer.below else 0.0
        return self._cut(f, x) + self.alpha * x

    def potential(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        seen, gains = self.padded(x), self._gains(x, sigma)
        psi = 0.5 * self.alpha * x.square().flatten(1).sum(1)
        psi = psi + (self._offset(seen) * seen).flatten(1).sum(1)
        for layer, gain, a in zip(self._layers, gains, self._rise(seen, gains), strict=True):
            if (outer := layer.outer(gain)) is not None:
                psi = psi + (outer * self._s(a)).flatten(1).sum(1)
        return psi

    def project(self) -> None:
        with torch.no_grad():
            for _, p in self._signed():
                p.clamp_(min=0)

    def infeasible(self) -> str | None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            return "beta"
        for name, p in self._signed():
            if not bool((p >= 0).all()):
                return name
        return super().infeasible()

    # -- parts -------------------------------------------------------------------------------

    @property
    def _layers(self) -> list[ConvexLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _signed(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What must not be negative."""
        for k, layer in enumerate(self._layers):
            for name in ("W", "c"):
                if (p := getattr(layer, name)) is not None:
                    yield f"layers.{k}.{name}", p

    def _s(self, a: Tensor) -> Tensor:
        """softplus; torch's own threshold of 20 would leave 1e-9 between f and the gradient."""
        return softplus(a, self.beta, threshold=40.0)

    def _rise(self, x: Tensor, gains: list[Gains]) -> list[Tensor]:
        """a_1 to a_K."""
        found: list[Tensor] = []
        for layer, gain in zip(self._layers, gains, strict=True):
            a = layer.from_input(x, gain)
            if found:
                a = a + layer.from_below(self._s(found[-1]), gain)
            found.append(a)
        return found

    def _gains(self, x: Tensor, sigma: Tensor | None) -> list[Gains]:
        known = self._known(x, sigma)
        if self.level is None or known is None:
            return [layer.gains(None) for layer in self._layers]
        middle = math.sqrt(self.sigmas[0] * self.sigmas[1])
        seen = self.level((known / middle).log() / 4)
        return [layer.gains(seen) for layer in self._layers]

    def _offset(self, x: Tensor) -> Tensor:
        """d, to broadcast against x."""
        return self.offset.expand_as(x)


class ConvexDense(_Layered):
    """Fully connected, for vectors.

    Defaults are of the paper's one-dimensional examples.

    Args:
        size: entries of x. width: of each layer. layers: hidden ones. beta: of softplus. alpha:
            strong convexity. sigmas: (least, most) noise level; one network for all between.
    """

    ndim = 1

    def __init__(
        self,
        size: int,
        width: int = 50,
        layers: int = 4,
        beta: float = 10.0,
        alpha: float = 0.0,
        sigmas: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__(beta, alpha, sigmas)
        self.size = integer(size, "size", 1)
        self.element = (size,)
        integer(width, "width", 1)
        _bounded(integer(layers, "layers", 1))
        self.arguments = {
            "size": size, "width": width, "layers": layers, "beta": beta, "alpha": alpha,
            "sigmas": list(self.sigmas),
        }  # fmt: skip
        known = EMBEDDED if self.told_sigma else 0
        self.layers = nn.ModuleList(
            ConvexLinear(size, width if k else 0, width, known, 4 / (layers * width))
            for k in range(layers)
        )
        self.offset = nn.Parameter(torch.zeros(size))


class ConvexImages(_Layered):
    """Convolutions alone, for images of any size: f of a whole image is one proximal operator.

    Each level has `depth` layers of 3 × 3; the first of a coarser one has stride 2. S_k sees x
    averaged to the layer's grid, and every level has its c_k, so that ψ is a sum over scales.
    Beyond the edges all is 0. A size that 2^(levels − 1) does not divide is padded with zeros, and
    f cut: exactly the gradient of ψ of the padded image.

    Args:
        channels: of x. width: of each layer. levels: of resolution. depth: layers a level.
        beta, alpha, sigmas: see ConvexDense.
    """

    ndim = 3

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        levels: int = 3,
        depth: int = 2,
        beta: float = 100.0,
        alpha: float = 1e-3,
        sigmas: Sequence[float] = (0.1, 0.1),
    ) -> None:
        super().__init__(beta, alpha, sigmas)
        self.element = (integer(channels, "channels", 1), "rows", "columns")
        for name, count in (("width", width), ("levels", levels), ("depth", depth)):
            integer(count, name, 1)
        _bounded(levels * depth)
        self.arguments = {
            "channels": channels, "width": width, "levels": levels, "depth": depth, "beta": beta,
            "alpha": alpha, "sigmas": list(self.sigmas),
        }  # fmt: skip
        known = EMBEDDED if self.told_sigma else 0
        self.whole = 2 ** (levels - 1)
        self.layers = nn.ModuleList(
            ConvexConv(
                channels, width if level or k else 0, width, known, 1 / (levels * depth * width),
                stride=2 if level and not k else 1, coarse=2**level,
            )
            for level in range(levels) for k in range(depth)
        )  # fmt: skip
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))


class ConvexPatch(_Layered):
    """Of the shape that the paper has for images of 128²: one size only.

    A layer of 3 × 3, then `halvings` times one with stride 2 and, between two of these, one with
    stride 1; a layer over the whole of what is left, and c of that alone. S_k sees x averaged to
    the layer's grid, in place of the paper's bilinear interpolation: its adjoint is exact.

    Args:
        channels: of x. size: rows and columns, a multiple of 2^halvings. width: of the layers but
            the last. last: of that. beta, alpha, sigmas: see ConvexDense.

    Raises:
        ValueError: a size that 2^halvings does not divide.
    """

    ndim = 3

    def __init__(
        self,
        channels: int = 3,
        size: int = 128,
        width: int = 256,
        last: int = 64,
        halvings: int = 3,
        beta: float = 100.0,
        alpha: float = 1e-6,
        sigmas: Sequence[float] = (0.1, 0.1),
    ) -> None:
        super().__init__(beta, alpha, sigmas)
        for name, count in (("channels", channels), ("width", width), ("last", last)):
            integer(count, name, 1)
        integer(halvings, "halvings", 0)
        integer(size, "size", 1)
        if halvings > 12 or size % 2**halvings:
            raise ValueError(
                f"expected a size that 2^{halvings} divides, for {halvings} halvings, got {size}"
            )
        self.element = (channels, size, size)
        self.arguments = {
            "channels": channels, "size": size, "width": width, "last": last,
            "halvings": halvings, "beta": beta, "alpha": alpha, "sigmas": list(self.sigmas),
        }  # fmt: skip
        known = EMBEDDED if self.told_sigma else 0
        coarse, layers = 1, [ConvexConv(channels, 0, width, known, None)]
        for k in range(halvings):
            if k:
                layers.append(ConvexConv(channels, width, width, known, None, coarse=coarse))
            coarse *= 2
            layers.append(ConvexConv(channels, width, width, known, None, stride=2, coarse=coarse))
        layers.append(
            ConvexConv(channels, width, last, known, 1 / last, kernel=size // coarse, coarse=coarse)
        )
        self.layers = nn.ModuleList(layers)
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))


def _bounded(layers: int) -> None:
    if layers > _MOST_LAYERS:
        raise ValueError(f"expected {_MOST_LAYERS} layers at most, got {layers}")
