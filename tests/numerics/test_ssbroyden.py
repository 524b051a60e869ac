"""Self-scaled Broyden: secant equation, definiteness, its place in Broyden's family, minima."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize as so
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.bench.ssbroyden import minimise, updated


def _step(seed: int, n: int, stretch: float):
    """A convex quadratic, an inverse Hessian that is off, and a step along -H g."""
    rng = np.random.default_rng(seed)
    root, other = rng.standard_normal((2, n, n))
    hessian = root @ root.T + 1e-2 * np.eye(n)
    H = stretch * (other @ other.T + 1e-2 * np.eye(n))
    g = rng.standard_normal(n)
    alpha = rng.uniform(0.1, 2)
    s = -alpha * H @ g
    y = hessian @ s
    return H, g, alpha, s, y


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.floats(1e-3, 1e3))
def test_the_update_is_definite_symmetric_and_meets_the_secant_equation(seed, n, stretch):
    H, g, alpha, s, y = _step(seed, n, stretch)
    b = -alpha * (s @ g) / (y @ s)
    assert b == pytest.approx(s @ np.linalg.solve(H, s) / (y @ s), rel=1e-4)
    for first in (False, True):
        args = [torch.from_numpy(v) for v in (H.copy(), s, y)]
        new = updated(*args, b, first).numpy()
        np.testing.assert_allclose(new @ y, s, rtol=1e-6, atol=1e-8 * abs(s).max())
        np.testing.assert_allclose(new, new.T, rtol=1e-8, atol=1e-8 * abs(new).max())
        assert np.linalg.eigvalsh(new).min() > -1e-9 * np.linalg.eigvalsh(new).max()


def test_an_exact_step_of_the_right_size_is_a_bfgs_step():
    """With b = 1, theta is 0 and tau is 1: BFGS, as both papers say."""
    H, _, _, s, y = _step(3, 6, 1.0)
    scale = (s @ np.linalg.solve(H, s)) / (y @ s)
    y = y * scale  # so that b = 1
    ys, Hy = y @ s, H @ y
    v = s / ys - Hy / (y @ Hy)
    bfgs = H - np.outer(Hy, Hy) / (y @ Hy) + (y @ Hy) * np.outer(v, v) + np.outer(s, s) / ys
    new = updated(*(torch.from_numpy(a) for a in (H.copy(), s, y)), 1.0, False)
    np.testing.assert_allclose(new.numpy(), bfgs, rtol=1e-10, atol=1e-10)


def test_a_step_without_curvature_changes_nothing():
    H, _, _, s, y = _step(4, 5, 1.0)
    before = torch.from_numpy(H.copy())
    same = updated(before.clone(), torch.from_numpy(s), torch.from_numpy(-y), 1.0, False)
    assert torch.equal(same, before)


@pytest.mark.parametrize("n", [2, 10, 30])
def test_it_finds_rosenbrocks_minimum(n):
    start = np.where(np.arange(n) % 2, 1.3, -1.0)
    path: list[np.ndarray] = []

    def look(x: np.ndarray) -> bool:
        path.append(x)
        return so.rosen(x) < 1e-18 or len(path) > 1000

    steps = minimise(lambda x: (so.rosen(x), so.rosen_der(x)), start, look)
    assert steps == len(path) < 1000
    np.testing.assert_allclose(path[-1], 1, atol=1e-7)
    values = [so.rosen(x) for x in path]
    assert all(a >= b for a, b in itertools.pairwise(values))


@pytest.mark.timeout(30)
def test_it_ends_where_no_step_lowers_the_value():
    steps = minimise(lambda x: (math.nan, np.full_like(x, math.nan)), np.ones(3), lambda _: False)
    assert steps == 0
    there = minimise(lambda x: (float(x @ x), 2 * x), np.zeros(3), lambda _: False)
    assert there == 0
