"""`SmallCG` in shared memory, run block by block on the host: against textbook conjugate gradients,
and against what `CG(M=Jacobi())` does on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sciml import Identity, LinearSystem, Operator, Status, Stop, solve
from sciml.kernels.cuda import small
from sciml.operators import Diagonal, Diffusion, NodalDiffusion, Side
from solvers import CG, Jacobi, SmallCG
from solvers.small import _shared
from tests.cuda._shim import Host, Syncs

D, N, P = Side.DIRICHLET, Side.NEUMANN, Side.PERIODIC
LARGEST = 227 * 1024  # bytes that a block of an H100 may ask for
TIGHT = Stop(rtol=1e-9, max_iters=500)


def _k(rng, *shape, sigma=1.0):
    return np.exp(sigma * rng.standard_normal(shape))


def _solid(rows, columns):
    mask = np.zeros((rows, columns), bool)
    mask[2:5, 1:4] = mask[rows - 2, : columns // 2] = True
    return mask


Make = Callable[[np.random.Generator, Callable[[np.ndarray], Any]], Operator]
OPERATORS: dict[str, Make] = {
    "held": lambda r, f: Diffusion(f(_k(r, 3, 9, 14)), ndim=2),
    "mixed": lambda r, f: Diffusion(
        f(_k(r, 3, 12, 7)), ndim=2, boundary=((N, D), (D, N)), spacing=(0.1, 0.3)
    ),
    "no flux": lambda r, f: Diffusion(f(_k(r, 3, 8, 9)), ndim=2, boundary=N),
    "a ring": lambda r, f: Diffusion(f(_k(r, 3, 7, 40)), ndim=2, boundary=(P, D)),
    "rings": lambda r, f: Diffusion(f(_k(r, 3, 6, 5)), ndim=2, boundary=P),
    "rings of two and one": lambda r, f: (
        Diffusion(f(_k(r, 3, 2, 1)), ndim=2, boundary=P)
        + 1.0 * Identity(Diffusion(_k(r, 2, 1)).domain)
    ),
    "one row": lambda r, f: Diffusion(f(_k(r, 3, 1, 9)), ndim=2, boundary=(N, D)),
    "one unknown": lambda r, f: Diffusion(f(_k(r, 3, 1, 1)), ndim=2),
    "solid": lambda r, f: Diffusion(f(_k(r, 3, 9, 10)), ndim=2, solid=f(_solid(9, 10))),
    "mass": lambda r, f: (
        0.3 * Diffusion(f(_k(r, 3, 9, 8)), ndim=2, boundary=N) + Diagonal(f(r.random((9, 8))))
    ),
    "a mass for each": lambda r, f: (
        Diffusion(f(_k(r, 9, 8))) + Diagonal(f(r.random((3, 9, 8))), ndim=2)
    ),
    "solid and mass": lambda r, f: (
        2.0 * (A := Diffusion(f(_k(r, 3, 9, 10)), ndim=2, boundary=P, solid=f(_solid(9, 10))))
        + 3.0 * Identity(A.domain)
    ),
    "nodes": lambda r, f: NodalDiffusion(f(_k(r, 3, 9, 12)), ndim=2),
    "one k": lambda r, f: Diffusion(f(_k(r, 9, 12))),
    "strong": lambda r, f: Diffusion(f(1e200 * _k(r, 3, 8, 9)), ndim=2),
    "weak": lambda r, f: Diffusion(f(1e-200 * _k(r, 3, 8, 9)), ndim=2),
}


def _systems(name):
    """(on the CPU, in place of a GPU): the same systems."""
    A, there = (
        OPERATORS[name](np.random.default_rng(5), f) for f in (np.asarray, torch.from_numpy)
    )
    rng = np.random.default_rng(6)
    b = rng.standard_normal((3, *A.domain.shape))
    if getattr(A, "singular", False):
        b -= b.mean(axis=(-2, -1), keepdims=True)
    return LinearSystem(A, b), LinearSystem(there, torch.from_numpy(b))


@pytest.fixture
def solved(rehearsal):
    """Solve with SmallCG, and see that nothing but its kernel took steps."""

    def run(problem, stop=TIGHT, **how):
        rehearsal.launched.clear()
        found = solve(problem, SmallCG(), stop=stop, **how)
        assert not {"cells_search", "nodes_search", "descend"} & set(rehearsal.launched)
        return found

    return run


def _textbook(A, b, k):
    """(x, r, p) after k steps of CG with Jacobi, for each member; Saad 2003, algorithm 9.1."""
    inverse = 1 / A.diagonal()
    x, r, p, before = np.zeros_like(b), b, np.zeros_like(b), None
    for _ in range(k):
        z = inverse * r
        rz = np.sum(r * z, axis=(1, 2), keepdims=True)
        p = z if before is None else z + rz / before * p
        q = A(p)
        alpha = rz / np.sum(p * q, axis=(1, 2), keepdims=True)
        x, r, before = x + alpha * p, r - alpha * q, rz
    return x, r, p


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("name", [n for n in OPERATORS if n not in ("one unknown", "one row")])
def test_steps_are_those_of_the_textbook(rehearsal, order, name):
    rehearsal.order = order
    problem, there = _systems(name)
    solver = SmallCG().prepare(there)
    state = solver.init(there, None)
    for k in (1, 3) if problem.domain.size > 4 else (1,):
        found = solver.advance(state, k)
        x, r, _ = _textbook(problem.A, problem.b, k)
        np.testing.assert_allclose(found.x.numpy(), x, rtol=0, atol=1e-12 * abs(x).max())
        mine = found.members.vectors[:, 1].numpy()
        np.testing.assert_allclose(mine, r, rtol=0, atol=1e-12 * abs(r).max())
        norms = np.linalg.norm(r, axis=(1, 2))
        np.testing.assert_allclose(found.estimate.numpy().reshape(-1), norms, rtol=1e-11)
        assert (found.steps == k).all() and not found.flag.any()


@pytest.mark.parametrize("name", OPERATORS)
def test_every_member_is_solved_in_the_steps_of_cg(solved, name):
    problem, there = _systems(name)
    found = solved(there)
    r = problem.b - problem.A(found.x.numpy())
    misfit = np.linalg.norm(r, axis=(1, 2)) / np.linalg.norm(problem.b, axis=(1, 2))
    assert misfit.max() <= 1e-9 * (1 + 1e-6)
    expected = solve(problem, CG(M=Jacobi()), stop=TIGHT)
    assert abs(found.iterations - expected.iterations).max() <= 1
    assert any("shared memory" in note for note in found.notes)


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_one_launch_is_a_solve_and_nothing_waits_within(rehearsal, sigma, rng):
    A = Diffusion(torch.from_numpy(_k(rng, 3, 13, 12, sigma=sigma)), ndim=2)
    problem = LinearSystem(A, torch.from_numpy(rng.standard_normal((3, 13, 12))))
    found = solve(problem, SmallCG(), stop=TIGHT)
    assert rehearsal.launched.count("conjugate") == 1 + found.restarts
    assert len(set(found.iterations)) > 1  # each stops by itself
    solver = SmallCG().prepare(problem)
    state = solver.init(problem, None)
    with Syncs() as syncs:
        state = solver.advance(state, 100)
        assert syncs.count == 0
        float(state.estimate.max())
        assert syncs.count == 1


@pytest.mark.parametrize("name", ["mixed", "solid and mass"])
def test_members_are_strangers(solved, name):
    _, there = _systems(name)
    together = solved(there)
    for m in range(3):
        A = OPERATORS[name](np.random.default_rng(5), lambda a, m=m: _member(a, m))
        alone = solved(LinearSystem(A, there.b[m]))
        assert together.x[m].numpy().tobytes() == alone.x.numpy().tobytes()
        assert together.iterations[m] == alone.iterations


def _member(a, m):
    return torch.from_numpy(np.ascontiguousarray(a[m] if a.ndim == 3 else a))


@pytest.mark.parametrize("every", [1, 2, 7])
def test_looks_change_nothing(solved, every):
    _, there = _systems("mixed")
    once = solved(there)
    often = solved(there, Stop(rtol=1e-9, max_iters=500, check_every=every))
    assert once.x.numpy().tobytes() == often.x.numpy().tobytes()
    assert (once.iterations == often.iterations).all() and len(often.looks) > len(once.looks)


def test_threads_in_any_order_give_the_same_bits(rehearsal):
    _, there = _systems("mixed")
    found = []
    for order in (0, 1, 7, 11):
        rehearsal.order = order
        found.append(solve(there, SmallCG(), stop=TIGHT).x.numpy().tobytes())
    assert len(set(found)) == 1


def test_limits_count(solved):
    _, there = _systems("held")
    needed = solved(there).iterations
    for limit in (0, 1, int(needed.min()) - 1, int(needed.max())):
        found = solved(there, Stop(rtol=1e-9, max_iters=limit), throw=False)
        assert (found.iterations == np.minimum(needed, limit)).all()
        late = np.array(found.status) == Status.MAX_ITERS
        assert (late == (needed > limit)).all()


def test_a_bad_member_spoils_no_other(solved, rng):
    A = Diffusion(torch.from_numpy(_k(rng, 5, 9, 8)), ndim=2)
    mass = torch.zeros(5, 9, 8, dtype=torch.float64)
    mass[1] = -1e4  # makes A indefinite
    b = torch.from_numpy(rng.standard_normal((5, 9, 8)))
    b[2], b[3, 4, 5] = 0.0, np.nan
    found = solved(LinearSystem(A + Diagonal(mass, ndim=2), b), throw=False)
    ends = [Status(int(s)) for s in found.status]
    assert ends == [Status.CONVERGED, Status.INDEFINITE, Status.CONVERGED, Status.NONFINITE_INPUT,
                    Status.CONVERGED]  # fmt: skip
    assert np.isfinite(found.x.numpy()).all() and not found.x[2].any()
    assert found.iterations[2] == found.iterations[3] == 0


def test_nan_from_inside_leaves_a_finite_x(rehearsal):
    _, there = _systems("held")
    solver = SmallCG().prepare(there)
    state = solver.advance(solver.init(there, None), 4)
    assert solver.chosen is not None
    solver.chosen.systems.down[1, 3, 3] = np.nan
    after = solver.advance(state, 5)
    assert after.estimate.isnan().reshape(-1).tolist() == [False, True, False]
    assert after.x[1].isfinite().all() and after.steps.tolist() == [9, 4, 9]


def test_inconsistent_systems_stagnate(solved):
    _, there = _systems("no flux")
    shifted = there.b + torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).reshape(3, 1, 1)
    found = solved(LinearSystem(there.A, shifted), throw=False)
    assert [s is Status.CONVERGED for s in found.status] == [True, False, True]
    assert found.x.isfinite().all()


@pytest.mark.parametrize("name", ["mixed", "no flux", "solid and mass", "nodes"])
def test_float32_is_certified_by_float64(solved, name):
    problem, there = _systems(name)
    b = there.b.float()
    found = solved(LinearSystem(there.A.to(dtype=np.float32), b), Stop(rtol=1e-5))
    assert found.x.dtype == torch.float32 and found.certified_in == np.float64
    A = problem.A.to(dtype=np.float32).to(dtype=np.float64)
    rest = b.numpy() - A(found.x.numpy().astype(np.float64))
    sizes = np.linalg.norm(b.numpy(), axis=(1, 2))
    assert (np.linalg.norm(rest, axis=(1, 2)) <= 1.0001e-5 * sizes).all()


def test_a_first_guess_and_another_right_hand_side(solved, rng):
    _, there = _systems("mixed")
    first = solved(there)
    again = solved(there, x0=first.x)
    assert (again.iterations == 0).all()
    near = solved(there, x0=first.x * (1 + 1e-4))
    assert (near.iterations < first.iterations).all() and near.ok
    other = LinearSystem(there.A, torch.from_numpy(rng.standard_normal((2, 3, 12, 7))))
    assert solve(other, first.solver, stop=TIGHT).ok
    assert first.solver.nbytes > 0 and first.memory > first.solver.nbytes
    alone = Diffusion(torch.from_numpy(_k(rng, 5, 6)))
    empty = solve(LinearSystem(alone, torch.zeros((0, 5, 6), dtype=torch.float64)), SmallCG())
    assert empty.ok and tuple(empty.x.shape) == (0, 5, 6)


def test_a_prepared_solver_takes_another_operator(solved, rng):
    _, there = _systems("held")
    ready = solved(there).solver
    other = Diffusion(torch.from_numpy(_k(rng, 7, 11)))
    found = solve(LinearSystem(other, torch.ones(7, 11, dtype=torch.float64)), ready, stop=TIGHT)
    assert found.ok


@pytest.mark.parametrize(("n", "real"), [(64, np.float64), (90, np.float32)])
def test_the_largest_that_a_block_holds(rehearsal, n, real, rng):
    host = Host(most_shared=LARGEST)
    assert small.fits(host, (n, n), np.dtype(real))
    assert not small.fits(host, (n + 1, n + 1), np.dtype(real))
    rehearsal.most_shared = LARGEST
    A = Diffusion(torch.from_numpy(_k(rng, n, n, sigma=0.3).astype(real)))
    problem = LinearSystem(A, torch.from_numpy(rng.standard_normal((n, n)).astype(real)))
    found = solve(problem, SmallCG(), stop=Stop(max_iters=5), throw=False)
    assert rehearsal.launched.count("conjugate") == 1 and found.iterations == 5
    expected = solve(problem, CG(M=Jacobi()), stop=Stop(max_iters=5, check_every=1), throw=False)
    np.testing.assert_allclose(found.residual, expected.residual, rtol=1e-4)


def test_what_no_block_holds_goes_the_usual_way(rehearsal, rng):
    k = torch.from_numpy(_k(rng, 2, 33, 30))
    A, b = Diffusion(k, ndim=2), torch.from_numpy(rng.standard_normal((2, 33, 30)))
    few = Stop(max_iters=20)
    found = solve(LinearSystem(A, b), SmallCG(), stop=few, throw=False)
    expected = solve(LinearSystem(A, b), CG(M=Jacobi()), stop=few, throw=False)
    assert "conjugate" not in rehearsal.launched and torch.equal(found.x, expected.x)
    assert found.iterations.tolist() == [20, 20]
    cube = Diffusion(torch.from_numpy(_k(rng, 4, 4, 4)), ndim=3)
    assert _shared(cube) is None
    assert solve(LinearSystem(cube, torch.ones(4, 4, 4, dtype=torch.float64)), SmallCG()).ok


def test_in_host_memory_it_is_cg(rng):
    problem = LinearSystem(Diffusion(_k(rng, 3, 9, 8), ndim=2), rng.standard_normal((3, 9, 8)))
    found, expected = (solve(problem, s, stop=TIGHT) for s in (SmallCG(), CG(M=Jacobi())))
    assert found.x.tobytes() == expected.x.tobytes()


def test_gradients_are_those_of_cg(rehearsal, rng):
    grads = []
    start, b = torch.from_numpy(_k(rng, 2, 7, 6)), torch.from_numpy(rng.random((2, 7, 6)))
    for solver in (SmallCG(), CG()):
        k, right = start.clone().requires_grad_(), b.clone().requires_grad_()
        x = solve(LinearSystem(Diffusion(k, ndim=2), right), solver, stop=TIGHT).x
        (x**2).sum().backward()
        grads.append((k.grad, right.grad))
    assert "conjugate" in rehearsal.launched
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_a_matrix_without_symmetry_is_refused():
    with pytest.raises(TypeError, match="expected an operator with the trait HERMITIAN"):
        solve(LinearSystem(np.triu(np.ones((4, 4))), np.ones(4)), SmallCG())
