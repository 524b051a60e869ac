"""NaN and Inf in the input are named before any work; from inside they are caught in a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import solvers
from sciml import LeastSquares, LinearSystem, SolveError, Status, Stop, solve
from sciml.arrays import Array
from sciml.operator import Operator
from sciml.operators import Dense
from tests.faults._promises import (
    DTYPES,
    KRYLOV,
    TRAITS,
    Spoiled,
    Watched,
    ended_truly,
    is_single,
    judged,
    relative,
    statuses,
    system_for,
)
from tests.laws.methods import METHODS

BAD = (np.nan, np.inf, -np.inf)


def _refuse(A: Operator) -> Operator:
    raise AssertionError("set up before the input was checked")


@pytest.mark.parametrize("name", METHODS)
def test_bad_input_is_named_before_any_work(name: str, rng: np.random.Generator) -> None:
    """48 inputs each, over 1,000 in all: a random entry of b, A or x0 becomes NaN or Inf."""
    method = METHODS[name]
    solver = method.solver
    if isinstance(solver, solvers.CG | solvers.GMRES) and solver.M is not None:
        solver = replace(solver, M=_refuse)
    for case in range(48):
        dtype = np.dtype(DTYPES[case % 4])
        problem = system_for(method, int(rng.integers(1, 9)), 10.0, dtype, rng)
        A, b = problem.A.params["matrix"].copy(), problem.b.copy()
        x0 = np.zeros_like(b)
        arrays = {"b": b, "A.matrix": A, "x0": x0}
        victim = list(arrays)[case % 3]
        flat = arrays[victim].reshape(-1)
        value = BAD[int(rng.integers(3))]
        if dtype.kind == "c" and case % 2:
            value = complex(0, value)
        flat[int(rng.integers(flat.size))] = value
        system = LinearSystem(Watched(A, traits=TRAITS[method.kind]), b)
        with pytest.raises(SolveError) as failure:
            solve(system, solver, x0=x0)
        result = failure.value.result
        assert result.status == Status.NONFINITE_INPUT
        assert result.applies == type(result.applies)()
        assert result.iterations == 0
        told = str(failure.value)
        assert f"Input {victim} " in told
        assert not any(f"Input {other} " in told for other in arrays if other != victim)


def test_bad_members_are_named_and_the_others_solved(rng: np.random.Generator) -> None:
    problem = system_for(METHODS["CG"], 8, 10.0, np.float64, rng)
    for _ in range(30):
        b = rng.standard_normal((7, 8))
        bad = rng.random(7) < 0.4
        b[bad, int(rng.integers(8))] = BAD[int(rng.integers(3))]
        result = solve(LinearSystem(problem.A, b), solvers.CG(), throw=False)
        assert (statuses(result)[bad] == Status.NONFINITE_INPUT).all()
        assert (statuses(result)[~bad] == Status.CONVERGED).all()
        assert (result.residual[~bad] <= 1e-6).all()


def test_bad_input_of_a_least_squares_problem_is_named(rng: np.random.Generator) -> None:
    for value in BAD:
        for victim in ("b", "A.matrix"):
            A, b = rng.standard_normal((9, 4)), rng.standard_normal(9)
            {"b": b, "A.matrix": A}[victim].reshape(-1)[-1] = value
            result = solve(LeastSquares(Watched(A), b), solvers.LSMR(), throw=False)
            assert result.status == Status.NONFINITE_INPUT
            assert f"Input {victim} " in result.explain()


# Most applications after the failing one: those of A and A^H in a step, and the certificate.
LEFT_IN_A_STEP = 3


@pytest.mark.parametrize("name", METHODS)
def test_a_failure_inside_is_caught_within_a_step(name: str, rng: np.random.Generator) -> None:
    """The operator fails at application 1 to 50: x is the best finite iterate before that."""
    method, caught = METHODS[name], 0
    for at in range(1, 51):
        dtype = DTYPES[at % 4]
        rtol = 1e-6 if is_single(dtype) else 1e-13
        problem = system_for(method, 40, 1e4, dtype, rng)
        A, b = problem.A.params["matrix"], problem.b
        prepared = method.solver.prepare(problem)
        failing = Spoiled(problem.A, at, BAD[at % 3])
        stop = Stop(rtol=rtol, max_iters=200)
        result = solve(LinearSystem(failing, b), prepared, stop=stop, throw=False)
        if failing.calls[0] < at:  # it ended before it could fail
            break
        assert failing.calls[0] <= at + LEFT_IN_A_STEP, f"call {at}: went on"
        fault = ended_truly(result, A, b, rtol, Status.NONFINITE_OUTPUT)
        assert not fault, f"call {at}: {fault}"
        assert relative(A, b, result.x) <= 1 + 1e-6
        if result.restarts or result.status == Status.CONVERGED:
            continue
        caught += 1
        before = replace(stop, max_iters=max(0, int(result.iterations) - 1))
        sound = solve(problem, prepared, stop=before, throw=False)
        if not sound.restarts and sound.iterations == before.max_iters:
            found, rounding = judged(A, b, result.x)
            best, more = judged(A, b, sound.x)
            assert found <= best * (1 + 1e-6) + rounding + more, f"call {at}: lost the best x"
    assert caught >= 1


@pytest.mark.parametrize("name", KRYLOV)
@pytest.mark.parametrize("at", [1, 4, 9])
def test_an_operator_that_stays_broken_leaves_a_finite_x(
    name: str, at: int, rng: np.random.Generator
) -> None:
    """Then the certificate cannot be evaluated either: no residual is made up."""
    method = KRYLOV[name]
    problem = system_for(method, 30, 1e4, np.float64, rng)
    prepared = method.solver.prepare(problem)
    failing = Spoiled(problem.A, at, np.nan, lasting=True)
    result = solve(LinearSystem(failing, problem.b), prepared, stop=Stop(rtol=1e-10), throw=False)
    if failing.calls[0] < at:  # an exact preconditioner: it was done before
        assert result.ok
        return
    assert result.status == Status.NONFINITE_OUTPUT
    assert np.isfinite(result.x).all()
    assert np.isnan(result.residual) or result.residual <= 1 + 1e-12
    assert failing.calls[0] <= at + LEFT_IN_A_STEP


class _Overflowing(Operator):
    """A preconditioner that gives Inf at one application, as a network may."""

    def __init__(self, like: Operator, at: int) -> None:
        self.at, self.calls = at, [0]
        super().__init__(like.domain, traits=())

    def _apply(self, x: Array) -> Array:
        self.calls[0] += 1
        return x * (np.inf if self.calls[0] == self.at else 1.0)


@pytest.mark.parametrize("kind", [solvers.FlexibleCG, solvers.FGMRES])
def test_a_preconditioner_that_fails_is_caught_too(kind: type, rng: np.random.Generator) -> None:
    for at in range(1, 12):
        problem = system_for(METHODS["CG"], 30, 1e4, np.float64, rng)
        M = _Overflowing(problem.A, at)
        result = solve(problem, kind(M=M), stop=Stop(rtol=1e-12), throw=False)
        assert result.status == Status.NONFINITE_OUTPUT
        assert np.isfinite(result.x).all() and result.residual <= 1
        assert M.calls[0] <= at + 1


def test_a_residual_that_overflows_at_the_start_is_told(rng: np.random.Generator) -> None:
    """Finite input whose product is not: 1e300 times 1e300."""
    problem = LinearSystem(Dense(1e300 * np.eye(3)), np.ones(3))
    solver = solvers.GMRES(M=_refuse)  # nothing is set up either
    result = solve(problem, solver, x0=np.full(3, 1e300), throw=False)
    assert result.status == Status.NONFINITE_OUTPUT
    assert result.applies.A == 0 and result.iterations == 0
    assert np.isfinite(result.x).all()


@pytest.mark.parametrize("at", [3, 10, 17, 30])
def test_rare_looks_keep_what_came_before_a_failure(at: int, rng: np.random.Generator) -> None:
    """16 steps between looks: the steps up to the failing one are not lost with it."""
    problem = system_for(METHODS["MINRES Jacobi"], 40, 1e4, np.float64, rng)
    A, b = problem.A.params["matrix"], problem.b
    stop = Stop(rtol=1e-12, max_iters=200, check_every=16)
    failing = _FailingInput(problem.A, at)
    result = solve(LinearSystem(failing, b), solvers.MINRES(), stop=stop, throw=False)
    assert result.status == Status.NONFINITE_OUTPUT
    before = replace(stop, max_iters=at - 1, check_every=1)
    sound = solve(problem, solvers.MINRES(), stop=before, throw=False)
    assert relative(A, b, result.x) <= relative(A, b, sound.x) * (1 + 1e-9)


class _FailingInput(Operator):
    """`inner`, which gives NaN for the vector that it is given at its application `at`."""

    def __init__(self, inner: Operator, at: int) -> None:
        self.inner, self.at, self.calls = inner, at, [0]
        self.bad: list[bytes] = []
        super().__init__(inner.domain, traits=inner.traits)

    def _apply(self, x: Array) -> Array:
        self.calls[0] += 1
        if self.calls[0] == self.at:
            self.bad.append(x.tobytes())
        return self.inner(x) * (np.nan if x.tobytes() in self.bad else 1.0)
