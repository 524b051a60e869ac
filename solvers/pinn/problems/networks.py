"""What the cases' networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["bubble", "network", "waves"]


def network(
    dde: Any,
    widths: Sequence[int],
    *,
    activation: str = "tanh",
    features: Callable[[Tensor], Tensor] | None = None,
    output: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Any:
    """A `deepxde.nn.FNN`. features: of the inputs, widths[0] many. output: (x, values) -> u."""
    net = dde.nn.FNN(list(widths), activation, "Glorot normal")
    if features is not None:
        net.apply_feature_transform(features)
    if output is not None:
        net.apply_output_transform(output)
    return net


def waves(x: Tensor, frequencies: Sequence[float]) -> list[Tensor]:
    """Sine and cosine of w x for each w, (points, 1) each; x is (points, 1)."""
    phase = x * torch.tensor(frequencies, dtype=x.dtype, device=x.device)
    return [torch.sin(phase), torch.cos(phase)]


def bubble(x: Tensor, u: Tensor) -> Tensor:
    """u times what is 0 around the unit square and 1 in its middle."""
    a, b = x[:, 0:1], x[:, 1:2]
    return 16 * a * (1 - a) * b * (1 - b) * u
