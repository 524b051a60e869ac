"""Second order: manufactured solutions with smooth k, solved directly on grids halved in turn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import diags_array
from scipy.sparse.linalg import spsolve

from sciml.operators.diffusion import Diffusion, NodalDiffusion, Side

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC

# In one dimension each: u, u', u'' of a function that fulfils the sides' conditions on [0, 1].
MODES = {
    D: (
        lambda t: np.sin(np.pi * t),
        lambda t: np.pi * np.cos(np.pi * t),
        lambda t: -(np.pi**2) * np.sin(np.pi * t),
    ),
    N: (
        lambda t: np.cos(np.pi * t),
        lambda t: -np.pi * np.sin(np.pi * t),
        lambda t: -(np.pi**2) * np.cos(np.pi * t),
    ),
    P: (
        lambda t: np.sin(2 * np.pi * t + 0.4),
        lambda t: 2 * np.pi * np.cos(2 * np.pi * t + 0.4),
        lambda t: -4 * np.pi**2 * np.sin(2 * np.pi * t + 0.4),
    ),
}


def k_of(*points):
    """k = exp(0.4 Σ cos(2π t)): smooth, positive, periodic, of contrast e^(0.8 d)."""
    return np.exp(0.4 * sum(np.cos(2 * np.pi * t) for t in points))


def u_and_f(sides, points):
    """u = Π modes, and f = −∇·(k∇u) = −Σ (k u_tt + k_t u_t), k_t = −0.8 π sin(2πt) k."""
    u, f = math.prod(MODES[s][0](t) for s, t in zip(sides, points, strict=True)), 0.0
    for axis, (side, t) in enumerate(zip(sides, points, strict=True)):
        rest = math.prod(
            MODES[s][0](q) for i, (s, q) in enumerate(zip(sides, points, strict=True)) if i != axis
        )
        slope = -0.8 * np.pi * np.sin(2 * np.pi * t)
        f = f - (MODES[side][2](t) + slope * MODES[side][1](t)) * rest
    return u, f * k_of(*points)


def error(A, u, f):
    """Root mean square of the error, without its mean where A is singular."""
    matrix, b = A.assemble(), f.ravel()
    if A.singular:  # hold the first value; its equation is minus the sum of the others
        b = b - b.mean()
        b[0] = 0
        others = np.arange(b.size) > 0
        matrix = matrix.multiply(others[:, None]) + diags_array(1.0 * ~others)
    difference = spsolve(matrix.tocsc(), b) - u.ravel()
    if A.singular:
        difference -= difference.mean()
    return np.sqrt(np.mean(difference**2))


def ratios(errors):
    return [a / b for a, b in itertools.pairwise(errors)]


@pytest.mark.parametrize(
    "sides, sizes",
    [
        ((D, D), (16, 32, 64)),
        ((N, N), (16, 32, 64)),
        ((P, P), (16, 32, 64)),
        ((D, N), (16, 32, 64)),
        ((P, D), (16, 32, 64)),
        ((D, D, D), (8, 16)),
        ((N, N, N), (8, 16)),
        ((P, P, P), (8, 16)),
        ((P, D, N), (8, 16)),
    ],
    ids=lambda v: "-".join(getattr(s, "value", str(s)) for s in v),
)
def test_cell_form_is_of_second_order(sides, sizes):
    errors = []
    for n in sizes:
        # cells of unequal sides: twice as many along axis 0 in 2-D
        shape = (n,) * len(sides) if len(sides) == 3 else (2 * n, n)
        axes = [(np.arange(m) + 0.5) / m for m in shape]
        points = np.meshgrid(*axes, indexing="ij")
        u, f = u_and_f(sides, points)
        errors.append(error(Diffusion(k_of(*points), ndim=len(sides), boundary=sides), u, f))
    assert ratios(errors) == pytest.approx([4] * (len(sizes) - 1), abs=0.3)


@pytest.mark.parametrize("ndim, sizes", [(2, (15, 31, 63)), (3, (11, 23))])
def test_nodal_form_is_of_second_order(ndim, sizes):
    errors = []
    for n in sizes:
        nodes = [np.arange(1, n + 1) / (n + 1)] * ndim
        cells = [(np.arange(n + 1) + 0.5) / (n + 1)] * ndim
        u, f = u_and_f((D,) * ndim, np.meshgrid(*nodes, indexing="ij"))
        k = k_of(*np.meshgrid(*cells, indexing="ij"))
        errors.append(error(NodalDiffusion(k, ndim=ndim), u, f))
    assert ratios(errors) == pytest.approx([4] * (len(sizes) - 1), abs=0.3)


def test_mixed_sides_of_one_axis_are_of_second_order():
    """u = sin(πt/2) along axis 0: held at 0, no flux at 1."""
    errors = []
    for n in (16, 32, 64):
        t = (np.arange(n) + 0.5) / n
        s, q = np.meshgrid(t, t, indexing="ij")
        k = np.exp(s)
        u = np.sin(np.pi * s / 2) * np.cos(np.pi * q)
        slope = np.pi / 2 * np.cos(np.pi * s / 2) * np.cos(np.pi * q)
        f = k * (1.25 * np.pi**2 * u - slope)
        errors.append(error(Diffusion(k, boundary=((D, N), N)), u, f))
    assert ratios(errors) == pytest.approx([4, 4], abs=0.3)
