"""What the tests of the diffusion operators share: fields, and references entry by entry."""

from __future__ import annotations

import itertools

import array_api_strict
import numpy as np
import torch

from sciml.operators.diffusion import Side

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
BOUNDARIES = [
    (D, D, D),
    (N, N, N),
    (P, P, P),
    ((D, N), P, (N, D)),
    (P, (N, D), N),
]
SHAPES = [(5, 7), (4, 3, 6), (1, 6), (6, 1), (2, 2), (1, 2, 3), (3, 1, 2)]
DTYPES = [np.float32, np.float64]


def field(rng, shape, dtype=np.float64, contrast=3.0):
    return np.exp(contrast * rng.standard_normal(shape)).astype(dtype)


def reference(k, spacing, boundary, solid=None):
    """The matrix of `Diffusion` in float64, C order, from its definition."""
    k = np.asarray(k, np.float64)
    solid = np.zeros(k.shape, bool) if solid is None else solid
    matrix = np.zeros((k.size, k.size))
    number = np.arange(k.size).reshape(k.shape)
    pin = sum(2 / h**2 for h in spacing) * k[~solid].mean()
    for cell in np.ndindex(k.shape):
        a = number[cell]
        if solid[cell]:
            matrix[a, a] = pin
            continue
        for axis, h in enumerate(spacing):
            sides = boundary[axis] if isinstance(boundary[axis], tuple) else (boundary[axis],) * 2
            for side, step in zip(sides, (-1, 1), strict=True):
                near = list(cell)
                near[axis] += step
                if not 0 <= near[axis] < k.shape[axis]:
                    if side is D:
                        matrix[a, a] += 2 * k[cell] / h**2
                    if side is not P:
                        continue
                    near[axis] %= k.shape[axis]
                near = tuple(near)
                if near == cell or solid[near]:
                    continue
                c = 2 / (1 / k[cell] + 1 / k[near]) / h**2
                matrix[a, a] += c
                matrix[a, number[near]] -= c
    return matrix


def fd_mtx2(k):
    """ConDiff's matrix, unknown i + n j, from its formula (arXiv 2406.04709, the released code)."""
    n = k.shape[0] - 1
    matrix = np.zeros((n * n, n * n))
    for i, j in itertools.product(range(n), repeat=2):
        row = i + n * j
        matrix[row, row] = k[i, j] + k[i, j + 1] + k[i + 1, j] + k[i + 1, j + 1]
        if i + 1 < n:
            matrix[row, row + 1] = matrix[row + 1, row] = -(k[i + 1, j] + k[i + 1, j + 1]) / 2
        if j + 1 < n:
            matrix[row, row + n] = matrix[row + n, row] = -(k[i, j + 1] + k[i + 1, j + 1]) / 2
    return matrix * (n + 1) ** 2


def nodal_reference(k, spacing):
    """The matrix of `NodalDiffusion`, C order: each edge has the mean of the cells around it."""
    shape = tuple(n - 1 for n in k.shape)
    matrix = np.zeros((np.prod(shape), np.prod(shape)))
    number = np.arange(np.prod(shape)).reshape(shape)
    for node in np.ndindex(shape):
        for axis, h in enumerate(spacing):
            for step in (0, 1):
                around = [(i, i + 1) for i in node]
                around[axis] = (node[axis] + step,)
                c = np.mean([k[cell] for cell in itertools.product(*around)]) / h**2
                matrix[number[node], number[node]] += c
                near = list(node)
                near[axis] += 2 * step - 1
                if 0 <= near[axis] < shape[axis]:
                    matrix[number[node], number[tuple(near)]] -= c
    return matrix


def close(got, want, dtype, factor=8):
    size = np.max(np.abs(want))
    np.testing.assert_allclose(got, want, rtol=0, atol=factor * np.finfo(dtype).eps * size)


def as_library(a, library):
    return {"numpy": np.asarray, "torch": torch.from_numpy, "strict": array_api_strict.asarray}[
        library
    ](a)
