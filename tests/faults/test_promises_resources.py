"""Faults of resources are clean, many solves leave nothing behind, and the overhead is honest."""

from __future__ import annotations

import statistics
import sys
import time
from hashlib import sha256

import numpy as np
import pytest

import solvers
from sciml import LinearSystem, Stop, Trait, solve
from sciml.arrays import Array
from sciml.operator import Operator
from sciml.operators import Dense
from sciml.space import Space
from sciml.testing import Kind, random_system
from tests.faults._promises import KRYLOV, Spoiled, hard_system, system_for
from tests.faults.test_promises_repeatable import run_child
from tests.laws.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_failing_allocation_passes_through(name: str, rng: np.random.Generator) -> None:
    """MemoryError at application k = 1 ... 200 reaches the caller; the next solve is fine."""
    method, raised = METHODS[name], 0
    problem = system_for(method, 30, 1e5, np.float64, rng)
    A, b = problem.A.params["matrix"], problem.b
    prepared = method.solver.prepare(problem)
    stop = Stop(rtol=1e-11, max_iters=220)
    sound = solve(problem, prepared, stop=stop, throw=False)
    before = sha256(A.tobytes() + b.tobytes()).hexdigest()
    for at in [*range(1, 30), *range(30, 201, 10)]:
        failing = Spoiled(problem.A, at, MemoryError(f"at {at}"))
        try:
            solve(LinearSystem(failing, b), prepared, stop=stop, throw=False)
        except MemoryError as error:
            raised += 1
            assert str(error) == f"at {at}" and failing.calls[0] == at
        else:
            assert failing.calls[0] < at, f"call {at}: the error was swallowed"
            break
    assert raised >= 1
    assert sha256(A.tobytes() + b.tobytes()).hexdigest() == before
    again = solve(problem, prepared, stop=stop, throw=False)
    assert again.x.tobytes() == sound.x.tobytes() and again.status == sound.status


def test_an_error_during_set_up_passes_through(rng: np.random.Generator) -> None:
    """Only a factorisation that fails is a result; any other error is the caller's."""

    def recipe(A: Operator) -> Operator:
        raise OSError("disk gone")

    problem = hard_system(Kind.POSITIVE, 10, np.array([10.0]), np.float64, rng)
    with pytest.raises(OSError, match="disk gone"):
        solve(problem, solvers.CG(M=recipe))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's here")
def test_running_out_of_memory_is_a_plain_memory_error() -> None:
    outcome = run_child("exhaust")
    assert "allocate" in outcome["raised"]
    assert outcome["after"] == "CONVERGED" and outcome["kept"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["CG", "GMRES", "MINRES"])
def test_ctrl_c_returns_the_best_x(name: str) -> None:
    """Real SIGINTs at random times: SolveInterrupted with a certified x; the next solve runs."""
    outcome = run_child("interrupt", name, "8")
    assert len(outcome["found"]) == 8
    for status, told, true in outcome["found"]:
        assert status == "INTERRUPTED"
        assert told == pytest.approx(true, rel=1e-6, abs=1e-14) and told < 1
    assert outcome["after"] == "CONVERGED"


def _steady(solves: int) -> None:
    outcome = run_child("load", str(solves), "8", threads=2, seconds=600)
    assert not outcome["wrong"]
    assert outcome["growth_mb"] < 5, outcome


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_steady_under_load() -> None:
    """1,600 solves in 8 threads at once, parallel kernels among them: same bytes, RSS + < 5 MB."""
    _steady(1_600)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_steady_under_10_000_solves() -> None:
    _steady(10_000)


class _Copy(Operator):
    """The cheapest operator that is no one's special case: its cost is known and small."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        super().__init__(Space(values.shape), traits={Trait.POSITIVE})

    def _apply(self, x: Array) -> Array:
        return self.values * x


def _microseconds_a_step(check_every: int | None) -> float:
    """Median over runs of the time per CG step, less that of the same steps without the driver."""
    n, steps = 32, 400
    A, b = _Copy(np.logspace(0, 8, n)), np.ones(n)
    stop = Stop(rtol=1e-300, max_iters=steps, check_every=check_every)
    problem = LinearSystem(A, b)
    samples = []
    for _ in range(7):
        began = time.perf_counter()
        result = solve(problem, solvers.CG(), stop=stop, throw=False)
        driven = time.perf_counter() - began
        taken = int(result.iterations)
        began = time.perf_counter()
        solver = solvers.CG()
        state = solver.init(problem, None)
        for _ in range(taken):
            state = solver.advance(state, 1)
        samples.append(1e6 * (driven - (time.perf_counter() - began)) / taken)
    return statistics.median(samples)


def test_the_driver_costs_some_microseconds_a_step() -> None:
    """Asked for: 20 µs. 60 are allowed here, for machines that are shared with others."""
    assert min(_microseconds_a_step(None) for _ in range(3)) <= 60


@pytest.mark.parametrize("name", KRYLOV)
def test_one_more_application_per_solve(name: str, rng: np.random.Generator) -> None:
    """Certification costs one application in all, where no restart was needed."""
    method = KRYLOV[name]
    problem = random_system(method.kind, n=20, condition=4.0, rng=rng)
    result = solve(problem, method.solver, stop=Stop(rtol=1e-6))
    applies, k = result.applies, int(result.iterations)
    assert result.restarts == 0 and applies.certify == 1
    per_step = {"BiCGStab": (2, 0), "LSQR": (1, 1), "LSMR": (1, 1)}
    forward, backward = per_step.get(name.split()[0], (1, 0))
    cycles = k // 12 if name == "GMRES restarted" else 0
    if name.startswith("NeuralDirections"):  # each direction of the network is weighed
        forward, cycles = 1, applies.M
    assert forward * k <= applies.A <= forward * k + cycles + 1
    assert backward * k <= applies.A_H <= backward * k + 1
    if name == "CG":
        assert k == applies.A


def test_a_first_guess_costs_one_more(rng: np.random.Generator) -> None:
    """Its residual is measured; b = 0 and an exact guess cost nothing further."""
    problem = hard_system(Kind.POSITIVE, 20, np.array([10.0]), np.float64, rng)
    result = solve(problem, solvers.CG(), x0=0.1 * problem.b)
    assert result.applies.certify == 2 and result.iterations == result.applies.A
    identity = LinearSystem(Dense(np.eye(20), traits={Trait.POSITIVE}), problem.b)
    exact = solve(identity, solvers.CG(), x0=problem.b)
    assert exact.applies.certify == 1 and exact.applies.A == 0
