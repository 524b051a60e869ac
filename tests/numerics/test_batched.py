"""Many small diffusion systems at once: `MultigridCG`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from scipy import ndimage

from sciml import LinearSystem, Look, Operator, Result, SolveInterrupted, Status, Stop, solve
from sciml.operators import Dense, Diagonal, Diffusion, Identity, NodalDiffusion, Side
from solvers import CG
from solvers.multigrid import Cycle, Multigrid, batched
from solvers.multigrid.batched import MultigridCG

TIGHT = Stop(rtol=1e-9, max_iters=200)


def _k(rng: np.random.Generator, *shape: int, sigma: float = 1.0) -> np.ndarray:
    return np.exp(sigma * rng.standard_normal(shape))


def _solid(rows: int, columns: int) -> np.ndarray:
    mask = np.zeros((rows, columns), bool)
    mask[3:7, 2:9] = mask[10, :5] = True
    return mask


def _massive(rng: np.random.Generator) -> Operator:
    A = Diffusion(_k(rng, 5, 13, 18), ndim=2, boundary=Side.NEUMANN)
    return 0.3 * A + Diagonal(rng.random((5, 13, 18)), ndim=2)


MIXED = (Side.DIRICHLET, (Side.NEUMANN, Side.DIRICHLET))
OPERATORS: dict[str, Callable[[np.random.Generator], Operator]] = {
    "nodal": lambda r: NodalDiffusion(_k(r, 11, 25, 22), ndim=2),
    "nodal, even": lambda r: NodalDiffusion(_k(r, 3, 33, 33), ndim=2),
    "cells": lambda r: Diffusion(_k(r, 5, 20, 17), ndim=2, boundary=MIXED, spacing=(0.1, 0.2)),
    "no flux": lambda r: Diffusion(_k(r, 3, 15, 16), ndim=2, boundary=Side.NEUMANN),
    "a ring": lambda r: Diffusion(
        _k(r, 3, 16, 12, sigma=0.3), ndim=2, boundary=(Side.PERIODIC, Side.DIRICHLET)
    ),
    "odd rings": lambda r: Diffusion(_k(r, 3, 5, 3, sigma=0.3), ndim=2, boundary=Side.PERIODIC),
    "solid": lambda r: Diffusion(_k(r, 3, 16, 21), ndim=2, solid=_solid(16, 21)),
    "mass": _massive,
    "one mass": lambda r: (A := Diffusion(_k(r, 3, 13, 18), ndim=2)) + 2.0 * Identity(A.domain),
    "few unknowns": lambda r: Diffusion(_k(r, 5, 4, 4), ndim=2),
    "one unknown": lambda r: Diffusion(_k(r, 3, 1, 1), ndim=2),
    "one row": lambda r: NodalDiffusion(_k(r, 3, 2, 9), ndim=2),
    "strong": lambda r: Diffusion(1e200 * _k(r, 3, 12, 12), ndim=2),
    "weak": lambda r: Diffusion(1e-200 * _k(r, 3, 12, 12), ndim=2),
    "shared": lambda r: Diffusion(_k(r, 16, 12)),
    "partly shared": lambda r: Diffusion(_k(r, 2, 1, 16, 12), ndim=2),
}


def _system(name: str, rng: np.random.Generator) -> LinearSystem:
    A = OPERATORS[name](rng)
    batch = {(): (21,), (2, 1): (2, 19)}.get(A.batch_shape, A.batch_shape)
    b = rng.standard_normal((*batch, *A.domain.shape))
    if getattr(A, "singular", False):
        b -= b.mean(axis=(-2, -1), keepdims=True)
    return LinearSystem(A, b)


def _each(values: Any) -> list[Any]:
    return list(np.asarray(values).reshape(-1))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_member_is_solved(name: str, rng: np.random.Generator) -> None:
    problem = _system(name, rng)
    result = solve(problem, MultigridCG(), stop=TIGHT)
    r = problem.b - problem.A(result.x)
    found = np.linalg.norm(r, axis=(-2, -1)) / np.linalg.norm(problem.b, axis=(-2, -1))
    assert found.max() <= 1e-9 * (1 + 1e-6)
    np.testing.assert_allclose(result.residual, found, rtol=1e-3, atol=1e-15)


@pytest.mark.parametrize("name", ["nodal", "cells", "no flux", "solid", "mass", "partly shared"])
def test_steps_are_those_of_cg(name: str, rng: np.random.Generator) -> None:
    problem = _system(name, rng)
    ours = solve(problem, MultigridCG(), stop=TIGHT)
    reference = solve(problem, CG(M=Multigrid()), stop=TIGHT)
    gaps = np.subtract(ours.iterations, reference.iterations)
    assert abs(gaps).max() <= 1 and len(set(_each(reference.iterations))) <= 10
    assert ours.looks[-1] == ours.iterations.max() and ours.restarts == 0


def _disc(n: int, rng: np.random.Generator) -> np.ndarray:
    y, x = (np.mgrid[:n, :n] + 0.5) / n
    return (x - 0.45) ** 2 + (y - 0.5) ** 2 < 0.2**2


def _gravel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Cells at random; what they cut off is solid too."""
    labels = ndimage.label(rng.random((n, n)) > 0.15)[0]
    return labels != np.argmax(np.bincount(labels.reshape(-1))[1:]) + 1


@pytest.mark.parametrize("draw", [_disc, _gravel])
@pytest.mark.parametrize("boundary", [Side.DIRICHLET, Side.NEUMANN, MIXED])
def test_obstacles_cost_no_steps(draw: Any, boundary: Any, rng: np.random.Generator) -> None:
    """At any size, and with odd sides; as many steps as CG with Multigrid takes, or two more."""
    for n in (24, 49, 96):
        solid = draw(n, rng)
        A = Diffusion(np.ones((2, n, n)), ndim=2, boundary=boundary, solid=solid)
        b = np.where(solid, 0, rng.standard_normal((2, n, n)))
        if boundary is Side.NEUMANN:
            b[:, ~solid] -= b[:, ~solid].mean(1, keepdims=True)
        stop = Stop(rtol=1e-6)
        ours = solve(LinearSystem(A, b), MultigridCG(), stop=stop)
        reference = solve(LinearSystem(A, b), CG(M=Multigrid()), stop=stop)
        assert ours.iterations.max() <= 12, n
        assert np.subtract(ours.iterations, reference.iterations).max() <= 2, n
        assert not ours.x[:, solid].any()


@pytest.mark.parametrize("ring", [False, True])
def test_solid_cells_stand_alone(ring: bool, rng: np.random.Generator) -> None:
    """What b has in them changes x there alone, and x0 too; with a mass and a multiple of A."""
    solid = _disc(24, rng)
    side = Side.PERIODIC if ring else Side.DIRICHLET
    A: Operator = Diffusion(_k(rng, 3, 24, 24), ndim=2, boundary=side, solid=solid)
    A = 3.0 * A + 0.5 * Identity(A.domain)
    b = rng.standard_normal((3, 24, 24))
    result = solve(LinearSystem(A, b), MultigridCG(), stop=TIGHT)
    quiet = solve(LinearSystem(A, np.where(solid, 0, b)), MultigridCG(), stop=TIGHT)
    np.testing.assert_allclose(result.x[:, solid], (b / A.diagonal())[:, solid], rtol=1e-12)
    scale = abs(quiet.x).max()
    np.testing.assert_allclose(result.x[:, ~solid], quiet.x[:, ~solid], rtol=0, atol=1e-7 * scale)
    x0 = rng.standard_normal(b.shape)
    moved = solve(LinearSystem(A, b), MultigridCG(), x0=x0, stop=TIGHT)
    np.testing.assert_allclose(moved.x, result.x, rtol=0, atol=1e-7 * abs(result.x).max())


@pytest.mark.parametrize("lanes", [1, 3])
def test_the_cycle_around_solid_cells_is_symmetric(lanes: int, rng: np.random.Generator) -> None:
    """And positive on the fluid: a cycle is read off the first step, whose direction it is."""
    shape = (9, 11)
    solid = np.zeros(shape, bool)
    solid[2:5, 3:7] = solid[7, :4] = True
    A = Diffusion(_k(rng, lanes, *shape), ndim=2, solid=solid)
    solver, columns = MultigridCG(cycle=Cycle.V), []
    for e in np.eye(99)[~solid.reshape(-1)]:
        problem = LinearSystem(A, np.tile(e.reshape(shape), (lanes, 1, 1)))
        ready = solver.prepare(problem)
        state = ready.advance(ready.init(problem, None), 1)
        x = state.x[0]  # alpha z with alpha = <r, z> / <z, A z> = <x, A x> / <r, z>
        columns.append((x * state.rz[0] / np.vdot(x, A(state.x)[0]))[~solid])
        assert not state.x[:, solid].any()
    M = np.array(columns)
    assert np.abs(M - M.T).max() <= 2e-5 * np.abs(M).max()  # a cycle in float32
    assert np.linalg.eigvalsh(M).min() > 1e-5 * np.abs(M).max()


def test_the_matrix_agrees(rng: np.random.Generator) -> None:
    from scipy.sparse.linalg import spsolve

    problem = _system("nodal", rng)
    x = solve(problem, MultigridCG(), stop=replace(TIGHT, rtol=1e-12)).x
    for k, b, mine in zip(problem.A.params["k"], problem.b, x, strict=True):
        exact: Any = spsolve(NodalDiffusion(k).assemble().tocsc(), b.ravel())
        np.testing.assert_allclose(mine.ravel(), exact, rtol=1e-9, atol=1e-9 * abs(exact).max())


@pytest.mark.parametrize("name", ["nodal", "no flux"])
def test_members_are_strangers(name: str, rng: np.random.Generator) -> None:
    problem = _system(name, rng)
    together = solve(problem, MultigridCG(), stop=TIGHT)
    k, make = problem.A.params["k"], type(problem.A)
    how: dict[str, Any] = {} if name == "nodal" else {"boundary": Side.NEUMANN}
    for i in (0, 1, len(k) - 1):
        alone = solve(LinearSystem(make(k[i], **how), problem.b[i]), MultigridCG(), stop=TIGHT)
        assert together.x[i].tobytes() == alone.x.tobytes()
        assert together.iterations[i] == alone.iterations


def test_threads_and_blocks_change_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = LinearSystem(
        NodalDiffusion(_k(rng, 70, 65, 65), ndim=2), rng.standard_normal((70, 64, 64))
    )
    before = numba.get_num_threads()
    found = []
    try:
        for count, row in ((1, 64), (1, 512), (before, 192)):
            numba.set_num_threads(count)
            monkeypatch.setattr(batched, "_ROW", row)
            found.append(solve(problem, MultigridCG(), stop=TIGHT))
    finally:
        numba.set_num_threads(before)
    assert len({f.x.tobytes() for f in found}) == 1
    assert len({f.iterations.tobytes() for f in found}) == 1


@pytest.mark.parametrize("every", [1, 2, 5])
def test_looks_change_nothing(every: int, rng: np.random.Generator) -> None:
    problem = _system("nodal", rng)
    once = solve(problem, MultigridCG(), stop=TIGHT)
    often = solve(problem, MultigridCG(), stop=replace(TIGHT, check_every=every))
    assert once.x.tobytes() == often.x.tobytes()
    assert (once.iterations == often.iterations).all()
    assert len(often.looks) > len(once.looks)


def test_each_member_stops_by_itself(rng: np.random.Generator) -> None:
    k = _k(rng, 6, 32, 32, sigma=0.5)
    k[1] = np.where(rng.random((32, 32)) < 0.4, 1e4, 1.0)
    b = rng.standard_normal(k.shape)
    b[2], b[3, 4, 5] = 0.0, np.nan
    problem = LinearSystem(Diffusion(k, ndim=2), b)
    result = solve(problem, MultigridCG(cycle=Cycle.V), stop=TIGHT, throw=False)
    expected = [Status.CONVERGED] * 3 + [Status.NONFINITE_INPUT] + [Status.CONVERGED] * 2
    assert _each(result.status) == expected
    steps = result.iterations
    assert steps[2] == steps[3] == 0 and not result.x[2].any() and not result.x[3].any()
    assert steps[1] > steps[0] > 0


def test_limits_count(rng: np.random.Generator) -> None:
    problem = _system("cells", rng)
    needed = solve(problem, MultigridCG(), stop=TIGHT).iterations
    for limit in (0, 1, int(needed.min()) - 1, int(needed.max())):
        stop = replace(TIGHT, max_iters=limit)
        result = solve(problem, MultigridCG(), stop=stop, throw=False)
        assert (result.iterations == np.minimum(needed, limit)).all()
        assert ((np.array(_each(result.status)) == Status.MAX_ITERS) == (needed > limit)).all()


def test_time_is_looked_at_and_interrupts_are_heard(rng: np.random.Generator) -> None:
    problem = _system("nodal", rng)
    late = solve(problem, MultigridCG(), stop=Stop(max_seconds=0.0), throw=False)
    assert set(_each(late.status)) == {Status.MAX_SECONDS}

    def press(look: Look) -> None:
        if look.iteration:
            raise KeyboardInterrupt

    with pytest.raises(SolveInterrupted) as caught:
        solve(problem, MultigridCG(), stop=replace(TIGHT, check_every=2), observe=press)
    result: Result = caught.value.result
    assert (result.residual < 1).all() and (result.iterations == 2).all()


def test_a_set_up_serves_again(rng: np.random.Generator) -> None:
    problem = _system("nodal", rng)
    first = solve(problem, MultigridCG(), stop=TIGHT)
    again = solve(LinearSystem(problem.A, 2 * problem.b), first.solver, stop=TIGHT)
    assert (2 * first.x).tobytes() == again.x.tobytes()
    assert first.solver.nbytes > 0 and first.memory > first.solver.nbytes
    near = NodalDiffusion(1.1 * problem.A.params["k"], ndim=2)
    assert solve(LinearSystem(near, problem.b), first.solver, stop=TIGHT).ok
    other = NodalDiffusion(_k(rng, 11, 25, 23), ndim=2)
    with pytest.raises(ValueError, match=r"expected .* got"):
        solve(LinearSystem(other, np.zeros((11, 24, 22))), first.solver)


@pytest.mark.parametrize(
    ("factor", "status"), [(-1.0, Status.INDEFINITE), (np.nan, Status.NONFINITE_OUTPUT)]
)
def test_a_broken_member_is_told(factor: float, status: Status, rng: np.random.Generator) -> None:
    problem = _system("cells", rng)
    ready = MultigridCG().prepare(problem)
    assert ready.held is not None
    levels = ready.held.levels
    for array in (levels.inv, levels.inverse):  # the signs of smoother and coarse correction
        array.reshape(array.shape[0], -1, ready.held.grid.lanes)[0, :, 0] *= factor
    result = solve(problem, ready, stop=TIGHT, throw=False)
    assert _each(result.status)[0] is status
    assert set(_each(result.status)[1:]) == {Status.CONVERGED}
    assert np.isfinite(result.x).all()


def test_inconsistent_systems_stagnate(rng: np.random.Generator) -> None:
    problem = _system("no flux", rng)
    shifted = LinearSystem(problem.A, problem.b + np.array([0, 1, 0])[:, None, None])
    result = solve(shifted, MultigridCG(), stop=TIGHT, throw=False)
    ok = [s is Status.CONVERGED for s in _each(result.status)]
    assert ok == [True, False, True] and np.isfinite(result.x).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cycle", [Cycle.V, Cycle.W])
def test_any_precision(dtype: Any, cycle: Cycle, rng: np.random.Generator) -> None:
    k = _k(rng, 3, 20, 20).astype(np.float32)
    b = rng.standard_normal((3, 20, 20)).astype(np.float32)
    solver = MultigridCG(cycle=cycle, dtype=dtype)
    result = solve(LinearSystem(Diffusion(k, ndim=2), b), solver, stop=Stop(rtol=1e-5))
    assert result.x.dtype == np.float32 and result.certified_in == np.float64
    assert not np.shares_memory(result.x, b)


def test_gradients_are_those_of_cg(rng: np.random.Generator) -> None:
    grads = []
    start, b = torch.from_numpy(_k(rng, 4, 12, 12)), torch.from_numpy(rng.random((4, 12, 12)))
    for solver in (MultigridCG(), CG()):
        k, right = start.clone().requires_grad_(), b.clone().requires_grad_()
        x = solve(LinearSystem(Diffusion(k, ndim=2), right), solver, stop=TIGHT).x
        (x**2).sum().backward()
        grads.append((k.grad, right.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_what_it_refuses(rng: np.random.Generator) -> None:
    cube = Diffusion(_k(rng, 4, 4, 4), ndim=3)
    with pytest.raises(TypeError, match=r"expected .* got"):
        solve(LinearSystem(cube, np.zeros((4, 4, 4))), MultigridCG())
    with pytest.raises(TypeError, match=r"expected .* got"):
        solve(LinearSystem(Dense(np.eye(4)), np.zeros(4)), MultigridCG())
    with pytest.raises(ValueError, match=r"expected .* got"):
        MultigridCG(cycle=Cycle.F)
    with pytest.raises(TypeError, match=r"expected .* got"):
        MultigridCG(dtype=np.int32)
    with pytest.raises(TypeError, match=r"expected .* got"):
        MultigridCG(cycle="V")  # type: ignore[arg-type]


def test_an_empty_batch_is_solved() -> None:
    problem = LinearSystem(Diffusion(np.ones((5, 5))), np.zeros((0, 5, 5)))
    assert solve(problem, MultigridCG()).x.shape == (0, 5, 5)
