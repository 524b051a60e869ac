"""Fast Poisson solves against dense inverses, and what they do for a variable coefficient."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Status, Stop, solve
from sciml.operators import Diffusion, Identity, NodalDiffusion, Side
from solvers import CG, Direct, FastPoisson
from tests.laws.registry import LIKE, STRICT

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
PAIRS = (D, N, P, (D, N), (N, D))


def dense(M: Any) -> np.ndarray:
    n = M.domain.size
    return M(np.eye(n).reshape(n, *M.domain.shape)).reshape(n, n).T


@pytest.mark.parametrize("sides", list(itertools.product(PAIRS, PAIRS)), ids=str)
@pytest.mark.parametrize("shape", [(6, 7), (5, 1), (2, 9)])
def test_two_dimensions(shape: tuple[int, int], sides: Any) -> None:
    op = Diffusion(np.full(shape, 3.0), boundary=sides, spacing=(0.3, 1.7))
    wanted = np.linalg.pinv(op.assemble().toarray(), hermitian=True, rcond=1e-12)
    got = dense(FastPoisson()(op))
    np.testing.assert_allclose(got, wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("sides", [D, N, P, (D, P, N), ((N, D), (D, N), P), (P, P, D)], ids=str)
def test_three_dimensions(sides: Any) -> None:
    op = Diffusion(np.full((4, 5, 6), 0.2), ndim=3, boundary=sides, spacing=(1.0, 0.5, 0.25))
    wanted = np.linalg.pinv(op.assemble().toarray(), hermitian=True, rcond=1e-12)
    np.testing.assert_allclose(dense(FastPoisson()(op)), wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("cells", [(7, 8), (4, 5, 6)])
def test_nodes(cells: tuple[int, ...]) -> None:
    op = NodalDiffusion(np.full(cells, 2.0), ndim=len(cells))
    wanted = np.linalg.inv(op.assemble().toarray())
    np.testing.assert_allclose(dense(FastPoisson()(op)), wanted, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("library", ["torch", STRICT])
@pytest.mark.parametrize("sides", [(D, N), ((N, D), P), ((D, N), D)], ids=str)
def test_other_libraries_agree(library: str, sides: Any, rng: np.random.Generator) -> None:
    b = rng.standard_normal((3, 8, 9))
    k = np.full((8, 9), 1.5)
    wanted = FastPoisson()(Diffusion(k, boundary=sides))(b)
    xp = torch if library == "torch" else LIKE[STRICT].__array_namespace__()
    got = FastPoisson()(Diffusion(xp.asarray(k), boundary=sides))(xp.asarray(b))
    np.testing.assert_allclose(np.asarray(got), wanted, atol=1e-12 * np.abs(wanted).max())


def test_members_have_constants_of_their_own(rng: np.random.Generator) -> None:
    k = np.array([1.0, 5.0, 1e4])[:, None, None] * np.ones((3, 10, 12))
    b = rng.standard_normal((3, 10, 12))
    result = solve(LinearSystem(Diffusion(k, ndim=2), b), Direct(M=FastPoisson()))
    assert result.ok and (result.iterations == 1).all()
    for one, x, rhs in zip(k, result.x, b, strict=True):
        alone = solve(LinearSystem(Diffusion(one), rhs), Direct(M=FastPoisson())).x
        np.testing.assert_allclose(x, alone, rtol=1e-9, atol=1e-14 * np.abs(alone).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_direct_is_certified_after_one_step(dtype: str, rng: np.random.Generator) -> None:
    op = Diffusion(np.ones((40, 50), dtype))
    b = rng.standard_normal((40, 50)).astype(dtype)
    rtol = 1e-3 if dtype == "float32" else 1e-10
    result = solve(LinearSystem(op, b), Direct(M=FastPoisson()), stop=Stop(rtol=rtol))
    assert result.iterations == 1 and result.x.dtype == np.dtype(dtype)


def test_a_singular_system(rng: np.random.Generator) -> None:
    op = Diffusion(np.ones((30, 20)), boundary=N)
    b = rng.standard_normal((30, 20))
    assert solve(LinearSystem(op, b - b.mean()), Direct(M=FastPoisson())).ok
    result = solve(LinearSystem(op, b), Direct(M=FastPoisson()), throw=False)
    assert result.status is Status.STAGNATED


def test_variable_k(rng: np.random.Generator) -> None:
    """Refinement where k is nearly constant, a preconditioner where it varies mildly."""
    b = rng.standard_normal((64, 64))
    wave = np.sin(np.linspace(0, 6, 64))
    near = Diffusion(1 + 1e-4 * wave[:, None] * wave)
    assert 1 < solve(LinearSystem(near, b), Direct(M=FastPoisson())).iterations <= 4
    mild = LinearSystem(Diffusion(np.exp(wave[:, None] * wave)), b)
    plain = solve(mild, CG()).iterations
    assert solve(mild, CG(M=FastPoisson())).iterations < plain / 8


def test_what_it_refuses() -> None:
    solid = np.zeros((5, 5), bool)
    solid[2, 2] = True
    with pytest.raises(ValueError, match="without solid cells"):
        FastPoisson()(Diffusion(np.ones((5, 5)), solid=solid))
    with pytest.raises(TypeError, match="a Diffusion or NodalDiffusion"):
        FastPoisson()(Identity(Diffusion(np.ones((5, 5))).domain))
