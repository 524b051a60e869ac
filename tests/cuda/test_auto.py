"""What `Auto` chooses for arrays on a GPU, and `OnHost`, which takes a solve off it: rehearsed with
CPU tensors in the place of CUDA ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from sciml import (
    Identity,
    LeastSquares,
    LinearSystem,
    Operator,
    Space,
    Stop,
    Trait,
    arrays,
    solve,
)
from sciml.operators import Dense, Diffusion, NodalDiffusion, Side, Sparse
from sciml.testing import SOLVER_LAWS, Kind, SolverCase
from solvers import (
    AMG,
    CG,
    IC0,
    LSMR,
    MINRES,
    Auto,
    Direct,
    FastPoisson,
    Jacobi,
    Multigrid,
    MultigridCG,
    OnHost,
    Recipe,
    auto,
)
from solvers.multigrid import device as multigrid_device
from solvers.on_host import COPIES, sound
from tests.cuda._rehearsal import replace_ours
from tests.laws.cases import TORCH
from tests.laws.registry import OPERATORS, make_operator

STOP = Stop(rtol=1e-8)
# Made by solvers, whose preconditioners and Jacobians stay where they are.
STAY = ("multigrid", "bodies", "fast Poisson", "deflation", "Jacobian", "basis", "inverse")
MOVED = [n for n, c in OPERATORS.items() if TORCH in c.libraries and not n.startswith(STAY)]


def _k(rng, *shape):
    return np.exp(rng.standard_normal(shape))


def _there(A: Any, b: np.ndarray) -> LinearSystem:
    """The system on the "device"."""
    return LinearSystem(A.to(xp=torch), torch.from_numpy(b))


def _residual(A: Operator, b: np.ndarray, x: Any) -> float:
    """The largest ‖b − A x‖ / ‖b‖ of a member, by NumPy in host memory."""
    assert isinstance(x, torch.Tensor) and x.shape == b.shape
    axes = tuple(range(b.ndim - A.domain.ndim, b.ndim))
    r = b - A(x.numpy())
    return float(np.max(np.sqrt((r**2).sum(axes) / (b**2).sum(axes))))


@pytest.fixture
def gains(rehearsal, monkeypatch):
    """Every system is large enough for the device."""
    monkeypatch.setattr(auto, "GAINS_FROM", 0)
    return rehearsal


@pytest.fixture
def copied(rehearsal):
    """Sizes of the device's arrays that were copied to the host."""
    sizes: list[int] = []

    usual = arrays.to_numpy

    def to_numpy(x):
        if isinstance(x, torch.Tensor):
            sizes.append(x.numel())
        return usual(x)

    with contextlib.ExitStack() as stack:
        replace_ours(stack, "to_numpy", to_numpy)
        yield sizes


# -- in host memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("law", SOLVER_LAWS)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
@pytest.mark.parametrize(
    ("solver", "kind", "batched"),
    [
        (OnHost(CG(M=Jacobi())), Kind.POSITIVE, True),
        (OnHost(Direct()), Kind.GENERAL, False),
        (OnHost(LSMR()), Kind.GENERAL, True),
    ],
    ids=["CG", "Direct", "LSMR"],
)
def test_laws_hold_for_what_is_taken_to_the_host(rehearsal, solver, kind, batched, dtype, law, rng):
    case = SolverCase(solver, kind, np.dtype(dtype), like=torch.zeros(1), batched=batched)
    SOLVER_LAWS[law](case, rng)


def test_steps_and_counts_are_those_of_the_host(rehearsal, rng):
    A, b = Diffusion(_k(rng, 3, 9, 12), ndim=2), rng.standard_normal((3, 9, 12))
    method = CG(M=Jacobi())
    every = replace(STOP, check_every=1)
    expected = solve(LinearSystem(A, b), method, stop=every)
    found = solve(_there(A, b), OnHost(method), stop=STOP)
    assert (found.iterations == expected.iterations).all() and found.applies == expected.applies
    assert found.memory >= A.k.nbytes + A.diagonal().nbytes
    assert _residual(A, b, found.x) <= STOP.rtol and found.x.dtype == torch.float64
    assert COPIES in found.notes and found.solver.name == "CG with Jacobi in host memory"
    assert not set(rehearsal.launched) & {"cells_search", "descend"}  # certified there, no step


def test_a_method_that_stops_its_members_itself_keeps_its_stride(rehearsal, rng):
    A, b = Diffusion(_k(rng, 5, 9, 12), ndim=2), rng.standard_normal((5, 9, 12))
    expected = solve(LinearSystem(A, b), MultigridCG(), stop=STOP)
    found = solve(_there(A, b), OnHost(MultigridCG()), stop=STOP)
    assert (found.iterations == expected.iterations).all()
    assert (found.looks == expected.looks).all() and _residual(A, b, found.x) <= STOP.rtol


def test_in_host_memory_it_is_the_method_itself(rng):
    A, b = Diffusion(_k(rng, 9, 12)), rng.standard_normal((9, 12))
    found, expected = (solve(LinearSystem(A, b), s) for s in (OnHost(CG()), CG()))
    assert found.x.tobytes() == expected.x.tobytes() and found.notes == expected.notes
    assert found.solver.name == "CG" and found.memory == expected.memory


def test_a_solver_prepared_on_one_side_serves_on_the_other(rehearsal, rng):
    A, b = Diffusion(_k(rng, 9, 12)), rng.standard_normal((9, 12))
    there = _there(A, b)
    ready = solve(there, OnHost(CG(M=Jacobi()))).solver
    back = solve(LinearSystem(A, b), ready)
    assert isinstance(back.x, np.ndarray) and COPIES not in back.notes
    again = solve(there, back.solver)
    assert isinstance(again.x, torch.Tensor) and COPIES in again.notes


def test_the_operator_is_copied_once(rehearsal, copied, rng):
    A, b = NodalDiffusion(_k(rng, 10, 13)), rng.standard_normal((9, 12))
    there = _there(A, b)
    ready = solve(there, OnHost(CG()), stop=STOP).solver
    assert copied.count(10 * 13) == 1
    solve(LinearSystem(there.A, 2 * there.b + 1), ready, stop=STOP)
    assert copied.count(10 * 13) == 1
    other = _there(NodalDiffusion(_k(rng, 10, 13)), b)
    assert solve(other, ready, stop=STOP).ok  # another A is not taken for the old one
    assert copied.count(10 * 13) == 2


def test_least_squares_are_taken_too(rehearsal, rng):
    matrix, b = rng.standard_normal((14, 9)), rng.standard_normal((2, 14))
    problem = LeastSquares(Dense(torch.from_numpy(matrix)), torch.from_numpy(b), damp=0.3)
    exact = np.linalg.solve(matrix.T @ matrix + 0.09 * np.eye(9), matrix.T @ b.T).T
    found = solve(problem, OnHost(LSMR()), stop=Stop(rtol=1e-10))
    np.testing.assert_allclose(found.x.numpy(), exact, atol=1e-8)
    assert found.applies.A_H and COPIES in found.notes
    assert COPIES not in solve(problem, Auto()).notes  # of which a step is not known to be short


@pytest.mark.parametrize("solver", [OnHost(CG()), OnHost(CG(M=Jacobi())), Auto()])
def test_a_matrix_that_changed_in_place_is_copied_anew(rehearsal, solver, rng):
    A, b = Diffusion(_k(rng, 9, 12)), rng.standard_normal((9, 12))
    there = _there(A, b)
    ready = solve(there, solver, stop=STOP).solver
    there.A.k.mul_(3)
    found = solve(there, ready, stop=STOP)
    assert found.restarts == 0 and COPIES in found.notes
    assert _residual(Diffusion(3 * A.k), b, found.x) <= STOP.rtol


def test_a_preconditioner_on_the_device_is_refused(rehearsal, rng):
    there = _there(Diffusion(_k(rng, 9, 12)), rng.standard_normal((9, 12)))
    with pytest.raises(TypeError, match="preconditioner in host memory"):
        solve(there, OnHost(CG(M=Jacobi()(there.A))))


def test_auto_looks_anew_where_b_is_another(rehearsal, monkeypatch, rng):
    """Many right-hand sides are no small system."""
    monkeypatch.setattr(auto, "GAINS_FROM", 3 * 12 * 14)
    A, b = Diffusion(_k(rng, 12, 14)), rng.standard_normal((12, 14))
    there = _there(A, b)
    ready = solve(there, Auto(), stop=STOP).solver
    many = torch.from_numpy(rng.standard_normal((3, 12, 14)))
    assert COPIES not in solve(LinearSystem(there.A, many), ready, stop=STOP).notes
    assert COPIES in solve(there, ready, stop=STOP).notes


def test_gradients_go_through_the_host(rehearsal, rng):
    k = torch.from_numpy(_k(rng, 6, 7))
    b, weights = (torch.from_numpy(rng.standard_normal((6, 7))) for _ in range(2))
    slopes = []
    for solver in (CG(), OnHost(CG()), Auto()):
        own = k.clone().requires_grad_()
        (weights * solve(LinearSystem(Diffusion(own), b), solver, stop=STOP).x).sum().backward()
        slopes.append(own.grad)
    for found in slopes[1:]:
        torch.testing.assert_close(found, slopes[0], rtol=1e-5, atol=1e-6)


class _Hidden(Operator):
    """A diagonal operator with w where `to` does not find it."""

    def __init__(self, w: Any, act: Any) -> None:
        self.w, self.act = w, act
        super().__init__(Space((5,), "float64"), traits={Trait.POSITIVE})

    def _apply(self, x):
        return self.act(self.w, x)


@pytest.mark.parametrize(
    "act",
    [
        lambda w, x: torch.as_tensor(x) * w,  # a tensor, whatever it is given
        lambda w, x: torch.mul(w, x),
        lambda w, x: x.new_ones(5) * x,
    ],
)
def test_an_operator_that_cannot_be_moved_is_told_and_stays(rehearsal, act):
    A = _Hidden(torch.arange(1.0, 6.0, dtype=torch.float64), act)
    problem = LinearSystem(A, torch.ones(5, dtype=torch.float64))
    with pytest.raises(TypeError, match="param_names"):
        solve(problem, OnHost(CG()))
    found = solve(problem, Auto())
    assert found.ok and COPIES not in found.notes and found.solver.name == "CG"


@pytest.mark.parametrize("name", MOVED)
def test_our_operators_move_as_a_whole(rehearsal, name):
    """`OnHost` does not try them first."""
    dtype = "float64" if "float64" in OPERATORS[name].dtypes else OPERATORS[name].dtypes[-1]
    rng = np.random.default_rng(0)
    try:
        A = make_operator(name, TORCH, dtype, rng)
        x = A.domain.random(rng, A.batch_shape)
        y = A(torch.from_numpy(x))
    except ModuleNotFoundError as error:  # cufinufft
        pytest.skip(str(error))
    found = A.to(xp=np)
    assert all(sound(part) for part, _, _ in found.attributes())
    z = found(x)
    assert isinstance(z, np.ndarray)
    rounding = 1e-10 if np.finfo(z.dtype).eps < 1e-10 else 1e-5
    np.testing.assert_allclose(z, y.numpy(), rtol=0, atol=rounding * max(1, abs(z).max()))
    assert isinstance(found.adjoint(z), np.ndarray)


def test_what_does_not_suit_the_method_is_refused(rehearsal, rng):
    A = Dense(torch.from_numpy(rng.standard_normal((4, 4))))
    with pytest.raises(TypeError, match="HERMITIAN"):
        solve(LinearSystem(A, torch.ones(4, dtype=torch.float64)), OnHost(CG()))
    with pytest.raises(TypeError, match=r"OnHost\(CG\(\)\)"):
        OnHost(CG)  # type: ignore[arg-type]


# -- what Auto chooses ---------------------------------------------------------------------------


def test_small_systems_are_taken_to_the_host(rehearsal, rng):
    A, b = Diffusion(_k(rng, 12, 14)), rng.standard_normal((12, 14))
    found = solve(_there(A, b), Auto(), stop=STOP)
    chosen: Any = found.solver.chosen
    assert isinstance(chosen, OnHost) and chosen.method == CG(M=Multigrid())
    assert "168 unknowns" in found.notes[0] and COPIES in found.notes
    assert _residual(A, b, found.x) <= STOP.rtol
    assert found.applies.certify >= 1 and found.applies.M == found.applies.A


def test_the_unknowns_of_all_members_count(rehearsal, monkeypatch, rng):
    monkeypatch.setattr(auto, "GAINS_FROM", 3 * 12 * 14)
    A = Diffusion(_k(rng, 12, 14))
    for members, on_host in ((2, True), (3, False)):
        b = rng.standard_normal((members, 12, 14))
        found = solve(_there(A, b), Auto(), stop=STOP)
        assert isinstance(found.solver.chosen, OnHost) is on_host
        assert (COPIES in found.notes) is on_host and _residual(A, b, found.x) <= STOP.rtol


def test_what_cannot_be_set_up_on_the_host_falls_to_the_next(rehearsal):
    """A singular matrix: no factorisation, but MINRES."""
    b = np.r_[0.0, np.ones(39)]
    A = Sparse(scipy.sparse.diags_array(b).tocsr(), traits={Trait.HERMITIAN})
    found = solve(_there(A, b), Auto())
    assert found.ok and found.solver.chosen.method == MINRES()
    assert "could not be set up" in found.notes[0]


D, N = Side.DIRICHLET, Side.NEUMANN


def _matrix(rng) -> Sparse:
    return Sparse(Diffusion(_k(rng, 12, 14)).assemble(), traits={Trait.POSITIVE})


# how A is made, the batch of b, what preconditions, and in how many steps at most
LARGER: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], Recipe, int]] = {
    "2-D": (lambda r: Diffusion(_k(r, 12, 14)), (), Multigrid(), 15),
    "many right-hand sides": (lambda r: Diffusion(_k(r, 6, 7, 8), ndim=3), (2,), Multigrid(), 15),
    "a k for each": (lambda r: Diffusion(_k(r, 3, 12, 14), ndim=2), (3,), Multigrid(), 15),
    "nodes": (lambda r: NodalDiffusion(_k(r, 12, 14)), (), Multigrid(), 15),
    "a mass": (
        lambda r: 0.5 * (A := Diffusion(_k(r, 12, 14))) + 2.0 * Identity(A.domain),
        (), Multigrid(), 15,
    ),
    "no flux": (lambda r: Diffusion(_k(r, 12, 14), boundary=N), (), Multigrid(), 15),
    "one k": (
        lambda r: Diffusion(np.full((12, 14), 3.0), boundary=((D, N), (N, N))),
        (2,), FastPoisson(), 1,
    ),
    "one k, no flux": (
        lambda r: Diffusion(np.full((6, 7, 8), 3.0), ndim=3, boundary=N), (), FastPoisson(), 1,
    ),
    "one k, nodes": (lambda r: NodalDiffusion(np.full((12, 14), 3.0)), (), FastPoisson(), 1),
    "long cells": (lambda r: Diffusion(_k(r, 12, 14), spacing=(1.0, 9.0)), (), AMG(), 15),
    "long cells, a k for each": (
        lambda r: Diffusion(_k(r, 2, 12, 14), ndim=2, spacing=(1.0, 9.0)), (2,), Multigrid(), 40,
    ),
    "a matrix": (_matrix, (), AMG(), 15),
    "a matrix, many right-hand sides": (_matrix, (2,), AMG(), 15),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGER)
def test_larger_systems_are_solved_on_the_device(gains, name, rng):
    make, batch, recipe, most = LARGER[name]
    A = make(rng)
    b = rng.standard_normal((*batch, *A.domain.shape))
    if getattr(A, "singular", False):
        b -= b.mean(axis=tuple(range(len(batch), b.ndim)), keepdims=True)
    found = solve(_there(A, b), Auto(), stop=STOP)
    chosen: Any = found.solver.chosen
    assert type(chosen) is (Direct if most == 1 else CG) and chosen.recipe == recipe
    assert COPIES not in found.notes and "was chosen because" in found.notes[0]
    assert _residual(A, b, found.x) <= STOP.rtol
    assert np.max(found.iterations) <= most


def test_what_multigrid_refuses_on_a_device_goes_the_usual_way(gains, monkeypatch, rng):
    A, b = Diffusion(_k(rng, 12, 14)), rng.standard_normal((12, 14))
    below = A + (-1e-3) * Identity(A.domain)  # a mass below 0, and still positive
    assert solve(_there(below, b), Auto(), stop=STOP).solver.chosen.name == "MINRES"
    monkeypatch.setattr(auto, "_MOST_ENTRIES", A.domain.size)
    found = solve(_there(A, b), Auto(), stop=STOP)
    assert found.solver.chosen.recipe == Jacobi() and _residual(A, b, found.x) <= STOP.rtol


def test_without_kernels_a_box_goes_the_usual_way(gains, monkeypatch, rng):
    A, b = Diffusion(_k(rng, 12, 14)), rng.standard_normal((12, 14))
    monkeypatch.setattr(multigrid_device.cuda, "device_of", lambda *arrays: None)
    found = solve(_there(A, b), Auto(), stop=STOP)
    assert found.solver.chosen.recipe == Jacobi() and _residual(A, b, found.x) <= STOP.rtol


def test_a_matrix_of_positive_couplings_is_not_given_to_amg(gains, rng):
    A = Sparse(abs(Diffusion(_k(rng, 5, 6)).assemble()) * 1.0, traits={Trait.POSITIVE})
    found = solve(_there(A, rng.standard_normal(30)), Auto(), stop=STOP)
    assert found.solver.chosen.recipe == Jacobi()


@pytest.mark.parametrize("solver", [CG(), CG(M=Jacobi()), CG(M=Multigrid())], ids=lambda s: s.name)
def test_a_method_that_was_named_copies_nothing_to_the_host(rehearsal, copied, solver, rng):
    A, b = Diffusion(_k(rng, 72, 9)), rng.standard_normal((72, 9))
    there = _there(A, b)
    found = solve(there, solver, stop=STOP)
    assert _residual(A, b, found.x) <= STOP.rtol and COPIES not in found.notes
    assert max(copied, default=0) < A.domain.size  # 64 rows of k, by which multigrid sees jumps
    solve(there, OnHost(CG(M=IC0())), stop=STOP)
    assert max(copied) == A.domain.size  # such a copy would have been seen
