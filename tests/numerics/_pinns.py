"""What the tests of physics-informed models share: networks, a derivative, a model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
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


def poisson_model(dde, *, compiled=True, hard=False, width=8, points=16, **how):
    """-u'' = pi² sin(pi x) on (-1, 1)."""
    dde.config.set_random_seed(1)
    line = dde.geometry.Interval(-1, 1)

    def equation(x, u):
        return -dde.grad.hessian(u, x) - np.pi**2 * torch.sin(np.pi * x)

    ends = dde.icbc.DirichletBC(line, lambda x: np.sin(np.pi * x), lambda x, on: on)
    data = dde.data.PDE(
        line, equation, [] if hard else [ends], points, 2,
        solution=lambda x: np.sin(np.pi * x), num_test=20,
    )  # fmt: skip
    net = dde.nn.FNN([1, width, width, 1], "tanh", "Glorot uniform")
    if hard:
        net.apply_output_transform(lambda x, u: (1 - x**2) * u)
    model = dde.Model(data, net)
    if compiled:
        model.compile("adam", lr=1e-3, metrics=["l2 relative error"], verbose=0, **how)
    return model
