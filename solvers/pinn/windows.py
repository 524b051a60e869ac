"""Small networks, each on its own window of the domain: domain decomposition.

Moseley, Markham and Nissen-Meyer, Finite basis physics-informed neural networks (FBPINNs), Advances
in Computational Mathematics 49 (2023). u(x) = sum_j w_j(x) N_j(x in the coordinates of window j),
with windows that sum to 1: high frequencies on the domain are low ones in a window.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sciml._checks import integer, need, number

__all__ = ["Trained", "Windowed"]


class Trained(enum.Enum):
    """Which weights of `Windowed` are trained."""

    ALL = "all"
    LAST = "last"  # hidden layers stay as drawn: u is linear in the trained weights


class Windowed(nn.Module):
    """u(x) = sum_j w_j(x) N_j((x - c_j) / h), with one tanh network a window.

    Centres c_j are a grid on the box that holds its corners, and h is its spacing: each point is in
    2 windows of every axis (in the 2^d around it), and only their networks are evaluated. Windows
    are products of steps of degree 7, which have three continuous derivatives and sum to 1. A point
    beyond the box is in the outermost ones.

    With Trained.LAST the trained weights are coefficients of random features: the least squares
    problem of a linear equation is linear. Its features are nearly dependent, so that a step of
    Gauss-Newton, on the normal equations, solves a part of it: steps with `damping=1e-14` go on,
    and `lstsq` on J (`linearise`) finds some more digits at once. J is sparse: a row has as many
    entries that are not 0 as 2^d windows have weights.

    Args:
        low, high: corners of the box, (d,) each.
        counts: windows along each axis; 1 for an axis that is not split.
        width, layers: of each network's hidden layers.
        outputs: of u.
        gain: of the first layer's weights: how fast features vary in their window.
        trained: which weights.
        rng: draws them, as Glorot's uniform ones, and hidden biases between -gain and gain, or -1
            and 1.

    Weights are float64, (windows, outputs, inputs) of a layer: `.float()` for a model of DeepXDE in
    its default precision (`deepxde.as_network`).
    """

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        counts: Sequence[int],
        *,
        rng: np.random.Generator,
        width: int = 16,
        layers: int = 1,
        outputs: int = 1,
        gain: float = 1.0,
        trained: Trained = Trained.ALL,
    ) -> None:
        super().__init__()
        need(rng, np.random.Generator, "rng as a numpy.random.Generator")
        need(trained, Trained, "trained as a Trained", "Trained.LAST")
        self.low, self.high = tuple(map(float, low)), tuple(map(float, high))
        self.counts = tuple(integer(n, "counts", 1) for n in counts)
        if not self.low or not len(self.low) == len(self.high) == len(self.counts):
            raise ValueError(
                f"expected low, high and counts of one length, got {len(self.low)}, "
                f"{len(self.high)} and {len(self.counts)}"
            )
        if not all(
            number(b - a, "high - low") > 0 for a, b in zip(self.low, self.high, strict=True)
        ):
            raise ValueError(f"expected low < high along each axis, got {low} and {high}")
        hidden = [integer(width, "width", 1)] * integer(layers, "layers", 1)
        sizes = [len(self.low), *hidden, integer(outputs, "outputs", 1)]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (a, b) in enumerate(itertools.pairwise(sizes)):
            reach = math.sqrt(6 / (a + b)) * (number(gain, "gain") if layer == 0 else 1.0)
            W = rng.uniform(-reach, reach, (self.windows, b, a))
            last = layer == len(hidden)
            fixed = trained is Trained.LAST and not last
            c = np.zeros((self.windows, b))
            if not last:  # where features bend, all over their window
                c = rng.uniform(-1, 1, c.shape) * max(1.0, gain)
            self.weights.append(nn.Parameter(torch.from_numpy(W), requires_grad=not fixed))
            self.biases.append(nn.Parameter(torch.from_numpy(c), requires_grad=not fixed))

    @property
    def windows(self) -> int:
        """How many."""
        return math.prod(self.counts)

    def forward(self, x: Tensor) -> Tensor:
        """x (points, d) -> u (points, outputs)."""
        index, share, h = self._around(x)
        last = len(self.weights) - 1
        for layer, (W, c) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.einsum("ncoi,nci->nco", W[index], h) + c[index]
            h = h if layer == last else torch.tanh(h)
        return (share[..., None] * h).sum(dim=1)

    def partition(self, x: Tensor) -> Tensor:
        """w_j at the points: (points, windows), rows sum to 1."""
        index, share, _ = self._around(x)
        return x.new_zeros(len(x), self.windows).scatter_add(1, index, share)

    def _around(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The windows around each point: indices (n, c), shares (n, c), coordinates (n, c, d)."""
        if x.ndim != 2 or x.shape[1] != len(self.counts):
            raise ValueError(f"expected points (n, {len(self.counts)}), got {tuple(x.shape)}")
        axes = [self._along(x[:, i], i) for i in range(x.shape[1])]
        found = []
        for corner in itertools.product(*axes):
            index, share = corner[0][0], corner[0][1]
            for count, (k, w, _) in zip(self.counts[1:], corner[1:], strict=True):
                index, share = index * count + k, share * w
            found.append((index, share, torch.stack([s for _, _, s in corner], dim=1)))
        index, share, place = zip(*found, strict=True)
        return torch.stack(index, 1), torch.stack(share, 1), torch.stack(place, 1)

    def _along(self, x: Tensor, axis: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(index, share, coordinate) in each of the windows around x (n,) along one axis."""
        low, high, count = self.low[axis], self.high[axis], self.counts[axis]
        if count == 1:
            s = 2 * (x - low) / (high - low) - 1
            return [(torch.zeros_like(x, dtype=torch.int64), torch.ones_like(x), s)]
        place = (x - low) * ((count - 1) / (high - low))
        left = place.detach().floor().clamp(0, count - 2)
        t, k = place - left, left.to(torch.int64)
        rise = _step(t.clamp(0, 1))
        return [(k, 1 - rise, t), (k + 1, rise, t - 1)]


def _step(t: Tensor) -> Tensor:
    """From 0 at 0 to 1 at 1 with three derivatives 0 at both, and _step(t) + _step(1 - t) = 1."""
    return t**4 * (35 - 84 * t + 70 * t**2 - 20 * t**3)
