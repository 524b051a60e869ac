"""Three-dimensional multigrid that hands its first coarse level to algebraic multigrid."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from sciml import LinearSystem, Status, Stop, solve
from sciml.operators import Diffusion, Side
from sciml.operators.dense import Diagonal
from solvers import CG, Auto
from solvers.bench.fields import draw
from solvers.multigrid import Cycle, Multigrid
from solvers.multigrid.algebraic import matrix
from solvers.multigrid.coarsest import assemble
from solvers.multigrid.form import read
from tests.numerics.test_multigrid import dense, rough

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
SIDES = (D, N, P, (N, D, D), (P, D, N), ((D, N), (N, N), P), ((N, D), P, P))


def algebraic(M: Any) -> bool:
    return all(block.levels.below is not None for block in M.blocks)


def balls(n: int) -> np.ndarray:
    """Small overlapping balls of a contrast of 1e6, which touch in places."""
    return draw("inclusions1e6", (n, n, n))


@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("shape", [(8, 8, 8), (12, 7, 10), (9, 12, 5), (4, 13, 11)], ids=str)
@pytest.mark.parametrize("massive", [False, True])
def test_the_matrix_of_a_level(
    shape: Any, sides: Any, massive: bool, rng: np.random.Generator
) -> None:
    solid = np.zeros(shape, bool)
    solid[:4, :4, 2:] = True
    A: Any = Diffusion(rough(rng, shape), ndim=3, boundary=sides, solid=solid)
    if massive:
        A = A + Diagonal(rng.random(shape))
    levels = Multigrid(Cycle.V, dtype=np.float64)(A).blocks[0].levels
    plan = levels.plans[1]
    mass = levels.view_mass(1) if levels.massive else None
    expected = assemble(levels.view_links(1), mass, plan.padded, levels.rings, 1)[0]
    unlinked = np.diag(expected) == 0
    found = matrix(levels, 1).assemble().toarray()
    np.testing.assert_allclose(found, expected + np.diag(1.0 * unlinked), rtol=1e-13)
    inside = tuple(map(slice, plan.shape))
    linked = levels.linked(1)
    np.testing.assert_array_equal(linked, ~unlinked.reshape(plan.padded)[inside])


def test_where_bodies_are_thin_it_takes_over_and_keeps_the_iterations(
    rng: np.random.Generator,
) -> None:
    k = balls(48)
    system = LinearSystem(Diffusion(k, ndim=3), rng.standard_normal(k.shape))
    assert algebraic(Multigrid()(system.A))
    chosen = solve(system, CG(M=Multigrid()), stop=Stop(rtol=1e-6))
    plain = solve(system, CG(M=Multigrid(Cycle.V)), stop=Stop(rtol=1e-6))
    assert chosen.status == plain.status == Status.CONVERGED
    assert chosen.iterations <= 25 < 60 < plain.iterations


@pytest.mark.parametrize("family", ["exponential2", "checkerboard1e6", "blocks1e6", "constant"])
def test_where_the_box_does_well_it_stays(family: str) -> None:
    assert not algebraic(Multigrid()(Diffusion(draw(family, (32, 32, 32)), ndim=3)))


def test_a_cycle_that_was_asked_for_stays() -> None:
    A = Diffusion(balls(32), ndim=3)
    assert algebraic(Multigrid()(A))
    assert not algebraic(Multigrid(Cycle.V)(A))


@pytest.mark.parametrize("sides", [D, N, P, (N, P, D)], ids=str)
def test_it_is_symmetric_and_positive(sides: Any, rng: np.random.Generator) -> None:
    shape = (9, 10, 11)
    k = 1e6 ** (rng.random(shape) < 0.3)
    op = Diffusion(k, ndim=3, boundary=sides, solid=rng.random(shape) < 0.05)
    M = Multigrid(dtype=np.float64)(op)
    assert algebraic(M)
    inverse = dense(M)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-11 * np.abs(inverse).max())
    A = op.assemble().toarray()
    values, vectors = np.linalg.eigh(A)
    held = vectors[:, values > 1e-12 * values[-1]] * np.sqrt(values[values > 1e-12 * values[-1]])
    spectrum = np.linalg.eigvalsh(held.T @ inverse @ held)
    assert spectrum.min() > 0
    assert spectrum.max() < 1.3


@pytest.mark.parametrize("sides", [N, P], ids=str)
def test_a_consistent_singular_system(sides: Any, rng: np.random.Generator) -> None:
    op = Diffusion(balls(40), ndim=3, boundary=sides)
    b = op.consistent(rng.standard_normal(op.domain.shape))
    result = solve(LinearSystem(op, b), CG(M=Multigrid()), stop=Stop(rtol=1e-6))
    assert algebraic(Multigrid()(op))
    assert result.status == Status.CONVERGED
    assert result.iterations <= 35


def test_threads_do_not_matter_and_update_equals_a_new_one(rng: np.random.Generator) -> None:
    a, b = (Diffusion(k, ndim=3) for k in (balls(40), draw("checkerboard1e6", (40, 40, 40))))
    r = rng.standard_normal(a.domain.shape)
    most, found = numba.get_num_threads(), []
    for count in (1, most):
        numba.set_num_threads(count)
        try:
            M = Multigrid()(a)
            found.append(M(r).tobytes())
        finally:
            numba.set_num_threads(most)
    assert found[0] == found[1]
    there = M.update(b)
    assert not algebraic(there)
    assert there(r).tobytes() == Multigrid()(b)(r).tobytes()
    assert there.update(a)(r).tobytes() == found[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_jumps_are_seen_wherever_they_are(axis: int) -> None:
    """Bodies off the faces of the box, and layers along any axis."""
    k = np.ones((64, 64, 64))
    k[2:-2, 2:-2, 2:-2] = balls(64)[2:-2, 2:-2, 2:-2]
    moved = np.ascontiguousarray(np.moveaxis(k, axis, 0))
    assert read(Diffusion(moved, ndim=3)).jumps > 0.02
    assert algebraic(Multigrid()(Diffusion(moved, ndim=3)))
    layers = np.where(np.arange(48) // 3 % 2 == 0, 1.0, 1e6)
    shape = [1, 1, 1]
    shape[axis] = 48
    k = np.broadcast_to(layers.reshape(shape), (48, 40, 48) if axis != 1 else (40, 48, 48)).copy()
    assert 0.2 < read(Diffusion(k, ndim=3)).jumps < 0.5


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_take_as_many_iterations_along_either_axis(
    axis: int, rng: np.random.Generator
) -> None:
    values = 10 ** (6 * rng.random(128 // 7 + 1))
    layers = values[np.arange(128) // 7]
    k = np.ascontiguousarray(np.broadcast_to(layers[:, None], (128, 128)))
    op = Diffusion(k if axis == 0 else np.ascontiguousarray(k.T))
    result = solve(LinearSystem(op, rng.standard_normal((128, 128))), CG(M=Multigrid()))
    assert result.iterations <= 15


def test_masses_for_more_members_than_coefficients_are_refused(rng: np.random.Generator) -> None:
    A = Diffusion(np.ones((12, 12)), ndim=2) + Diagonal(rng.random((3, 12, 12)), ndim=2)
    with pytest.raises(TypeError, match="give each member a coefficient"):
        Multigrid()(A)
    system = LinearSystem(A, rng.standard_normal((3, 12, 12)))
    assert solve(system, Auto()).ok
