"""A family of Darcy problems, and one physics-informed network for all of it.

-div(k_p grad u) = f on the unit square, u = 0 on its boundary, log k_p = 0.6 sum_i p_i phi_i with
smooth cosines phi_i, p uniform in [-1, 1]^5 and f a bump in the middle, so that solutions are
smooth up to the corners. The network is u(x, p) = g(x) (c + sum_j w_j t_j(x) b_j(p)) with g = 0 on
the boundary (a DeepONet: Lu et al., Nature Machine Intelligence 3 (2021) 218; trained by the
equation alone: Wang, Wang and Perdikaris, Science Advances 7 (2021) eabi8605), so that on one grid
t_j is computed once, and a guess for a new p is one product with a matrix.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sciml import LinearSystem
from sciml.io import atomic_file
from sciml.operators import NodalDiffusion
from solvers.pinn.gauss_newton import Ended, GaussNewton, Progress, minimise
from solvers.pinn.residuals import PointwiseResiduals, Term

MODES = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
SIZE = 0.6  # of each mode in log k
SPREAD = 0.15  # of the source
WIDTH, RANK = 20, 16
STEPS_ON_THEM = 4  # before points are drawn anew


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """Parameters p (count, 5)."""
    return rng.uniform(-1, 1, (count, len(MODES)))


def cells(n: int, p: np.ndarray) -> np.ndarray:
    """k_p in the cells around n² interior nodes, (n + 1, n + 1)."""
    x = (np.arange(n + 1) + 0.5) / (n + 1)
    waves = [np.outer(np.cos(a * np.pi * x), np.cos(b * np.pi * x)) for a, b in MODES]
    return np.exp(SIZE * np.tensordot(p, waves, 1))


def system(n: int, p: np.ndarray) -> LinearSystem:
    """The family's member p on n² nodes."""
    return LinearSystem(NodalDiffusion(cells(n, p)), source(nodes(n)))


def nodes(n: int) -> np.ndarray:
    """Where the unknowns are, (n, n, 2)."""
    x = np.arange(1, n + 1) / (n + 1)
    return np.stack(np.meshgrid(x, x, indexing="ij"), -1)


def source(x: Any) -> Any:
    """f at points (..., 2), an array or a tensor: (...)."""
    return math.e ** (((x - 0.5) ** 2).sum(-1) / (-2 * SPREAD**2))


def with_parameters(points: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The network's inputs at points (..., 2), (..., 7)."""
    return np.concatenate([points, np.broadcast_to(p, (*points.shape[:-1], len(p)))], -1)


class Family(nn.Module):
    """(points, 7) -> u (points, 1): columns are x, y and p."""

    def __init__(self, width: int = WIDTH, rank: int = RANK) -> None:
        super().__init__()
        self.trunk, self.branch = _layers(2, width, rank), _layers(len(MODES), width, rank)
        self.last = nn.Linear(rank, 1, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        x, p = inputs[:, :2], inputs[:, 2:]
        return _zero_on_edge(x) * self.last(self.trunk(2 * x - 1) * self.branch(p))

    def on(self, points: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """p -> u at `points` (..., 2), with all that does not depend on p done once."""
        with torch.no_grad():
            x = torch.from_numpy(points.reshape(-1, 2))
            g = _zero_on_edge(x)
            fixed = (g * torch.cat([self.trunk(2 * x - 1), torch.ones_like(g)], 1)).numpy()

        def guess(p: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                b = self.branch(torch.from_numpy(p)[None])[0] * self.last.weight[0]
                weights = torch.cat([b, self.last.bias]).numpy()
            return (fixed @ weights).reshape(points.shape[:-1])

        return guess


def _layers(inputs: int, width: int, rank: int) -> nn.Sequential:
    sizes = (inputs, width, width, rank)
    made: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        made += [nn.Linear(a, b, dtype=torch.float64), nn.Tanh()]
    return nn.Sequential(*made[:-1])


def _zero_on_edge(x: Tensor) -> Tensor:
    return (16 * x * (1 - x)).prod(1, keepdim=True) / 16


def equation(inputs: Tensor, u: Tensor) -> list[Term]:
    """div(k grad u) + f."""
    x, p = inputs[:, :2].detach(), inputs[:, 2:].detach()
    waves = math.pi * torch.tensor(MODES, dtype=x.dtype)
    phase = x[:, None, :] * waves  # (points, modes, 2)
    c, s = torch.cos(phase), torch.sin(phase)
    k = torch.exp(SIZE * (p * c.prod(2)).sum(1, keepdim=True))
    slopes = -waves * torch.stack([s[..., 0] * c[..., 1], c[..., 0] * s[..., 1]], -1)
    drift = SIZE * (p[..., None] * slopes).sum(1)  # grad log k
    du = torch.autograd.grad(u.sum(), inputs, create_graph=True)[0][:, :2]
    second = [
        torch.autograd.grad(du[:, i].sum(), inputs, create_graph=True)[0][:, i] for i in (0, 1)
    ]
    laplacian = torch.stack(second).sum(0)[:, None]
    error = k * (laplacian + (drift * du).sum(1, keepdim=True)) + source(x)[:, None]
    return [Term(error, slice(0, len(x)))]


@dataclass(frozen=True)
class Trained:
    """A network with where its training stands.

    Attributes:
        seed: of weights and points. points: in a set. sets: that were stepped on.
        steps: of Gauss-Newton. seconds: of the processor.
        loss: mean square of the residual, at points not yet stepped on.
        damping, growth: see `solvers.pinn.gauss_newton.Progress`.
    """

    network: Family
    seed: int
    points: int
    sets: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss: float = math.inf
    damping: float = 0.0
    growth: float = 2.0


def train(begun: Trained, steps: int, keep: Callable[[Trained], None]) -> Trained:
    """Go on with a training to `steps`, by the equation alone: no solution is ever looked at.

    A training in parts ends as one in one go. Ctrl-C keeps what is done.

    Args:
        begun: `untrained(...)`, or what `keep` was called with: after each set of points.
    """
    rng, found = np.random.default_rng(begun.seed), begun
    for _ in range(begun.sets):
        _inputs(rng, begun.points)
    while found.steps < steps:
        residuals = PointwiseResiduals(found.network, _inputs(rng, begun.points), equation)
        fresh = Progress(found.damping or None, found.growth)
        began = time.process_time()
        now, ended = minimise(residuals, GaussNewton(), iterations=STEPS_ON_THEM, start=fresh)
        if ended is Ended.INTERRUPTED:
            raise KeyboardInterrupt
        found = replace(
            found,
            sets=found.sets + 1,
            steps=found.steps + now.iterations,
            seconds=found.seconds + time.process_time() - began,
            loss=now.losses[0],
            damping=now.damping or 0.0,
            growth=now.growth,
        )
        keep(found)
    return found


def untrained(seed: int, points: int) -> Trained:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Trained(Family(), seed, points)


def _inputs(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(np.hstack([rng.random((count, 2)), draw(rng, count)]))


_TOLD = ("seed", "points", "sets", "steps", "seconds", "loss", "damping", "growth")


def save(path: Path, found: Trained) -> None:
    from safetensors.torch import save as packed

    about = {name: repr(getattr(found, name)) for name in _TOLD}
    with atomic_file(path) as handle:
        handle.write(packed(dict(found.network.state_dict()), about))


def load(path: Path) -> Trained:
    from safetensors import safe_open

    network = Family()
    with safe_open(path, "pt") as held:
        network.load_state_dict({k: held.get_tensor(k) for k in held.keys()})  # noqa: SIM118
        about = {name: float(held.metadata()[name]) for name in _TOLD}
    counts = {name: int(about.pop(name)) for name in _TOLD[:4]}
    return Trained(network, **counts, **about)
