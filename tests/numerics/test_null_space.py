"""A singular operator has one null space: warnings, notes and projections agree on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sciml import LinearSystem, Stop, solve
from sciml.operators import Diffusion, NodalDiffusion, Side
from solvers import CG, MINRES, Auto, Jacobi, Multigrid

N, P = Side.NEUMANN, Side.PERIODIC
SOLID = np.zeros((12, 9), bool)
SOLID[3:5, 2:6] = True
FLUID = ~SOLID
METHODS = [CG(M=Jacobi()), CG(M=Multigrid()), MINRES(), Auto()]


def rock(rng: np.random.Generator, batch: tuple[int, ...] = ()) -> np.ndarray:
    return np.exp(rng.standard_normal((*batch, 12, 9)))


def least(op: Diffusion, b: np.ndarray) -> float:
    """The least relative residual that any x reaches."""
    x = np.linalg.lstsq(op.dense(), b.ravel(), rcond=1e-12)[0]
    return float(np.linalg.norm(b.ravel() - op.dense() @ x) / np.linalg.norm(b))


@pytest.mark.parametrize("sides", [N, P, (N, P)], ids=str)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_operator_maps_its_null_vector_to_zero(
    sides: Any, library: str, rng: np.random.Generator
) -> None:
    array: Any = torch.from_numpy if library == "torch" else np.asarray
    for solid in (None, SOLID):
        for k in (rock(rng), rock(rng, (3,)), rock(rng).astype(np.float32)):
            op = Diffusion(array(k), ndim=2, boundary=sides, solid=solid)
            v = op.null_vector
            assert v is not None and type(v) is type(op.k)
            assert (np.asarray(v) == (1 if solid is None else FLUID)).all()
            assert not np.asarray(op(v)).any()
    assert Diffusion(rock(rng)).null_vector is None
    assert NodalDiffusion(rock(rng)).null_vector is None


@pytest.mark.parametrize("size", [1.0, 1e-200, 1e200])
def test_what_is_taken_away_is_the_least_residual(size: float, rng: np.random.Generator) -> None:
    op = Diffusion(rock(rng), boundary=N, solid=SOLID)
    for shift in (1e-3, 1.0):
        b = rng.standard_normal((12, 9)) + shift
        with pytest.warns(UserWarning, match="A x = b has no solution"):
            gone = b - op.consistent(size * b) / size
        share = np.linalg.norm(gone) / np.linalg.norm(b)
        assert share == pytest.approx(least(op, b), rel=1e-8)
        with pytest.raises(ValueError, match=f"{share:.1e} of"):
            op.consistent(size * b, strict=True)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_lies_in_solid_cells_does_not_count(method: Any, rng: np.random.Generator) -> None:
    """Their rows are d u = b, whatever b is."""
    op = Diffusion(rock(rng), boundary=N, solid=SOLID)
    b = rng.standard_normal((12, 9))
    b[FLUID] -= b[FLUID].mean()
    b[SOLID] += 5
    assert op.consistent(b, strict=True) is b
    result = solve(LinearSystem(op, b), method, stop=Stop(rtol=1e-8))
    assert "no solution" not in result.explain()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_solid_cells_make_up_for_nothing(method: Any, rng: np.random.Generator) -> None:
    """b of mean 0 over all cells, but not over the fluid."""
    op = Diffusion(rock(rng), boundary=N, solid=SOLID)
    b = rng.standard_normal((12, 9)) + 1
    b[SOLID] -= b.sum() / SOLID.sum()
    assert abs(b.sum()) < 1e-12 * b.size
    result = solve(LinearSystem(op, b), method, throw=False)
    assert not result.ok and result.residual >= 0.99 * least(op, b)
    assert "no solution" in result.explain()
    with pytest.warns(UserWarning, match="A x = b has no solution"):
        mended = op.consistent(b)
    assert (mended[SOLID] == b[SOLID]).all()
    assert solve(LinearSystem(op, mended), method).ok
