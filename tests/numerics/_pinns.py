"""What the tests of physics-informed models share: a network, a derivative."""

from __future__ import annotations

from itertools import pairwise

import torch

F64 = torch.float64


def tanh_network(*sizes: int, seed: int = 0) -> torch.nn.Sequential:
    """Linear layers of these sizes with tanh between them, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[torch.nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [torch.nn.Linear(a, b, dtype=F64), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def d(u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient of each u by its own x, with its graph."""
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]
