"""Not converging is never silent, and converging on the last allowed step counts."""

from __future__ import annotations

import numpy as np
import pytest

import solvers
from sciml import LinearSystem, SolveError, Status, Stop, Trait, solve
from sciml.operators import Dense
from sciml.testing import Kind, random_system
from tests.faults._promises import DTYPES, ended_truly, hard_system, is_single, relative, statuses
from tests.laws.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_limit_is_kept_and_told(name: str, rng: np.random.Generator) -> None:
    """Limits 0, 1, 2, k - 1 and k, where k steps are needed; 4 systems of each method."""
    method = METHODS[name]
    for dtype in DTYPES:
        how = {"n": 12, "condition": 10 ** rng.uniform(0.3, 2), "dtype": dtype}
        problem = random_system(method.kind, rng=rng, **how)
        A, b = problem.A.params["matrix"], problem.b
        rtol = 1e-4 if is_single(dtype) else 1e-9
        needed = int(
            solve(problem, method.solver, stop=Stop(rtol=rtol, max_iters=5_000)).iterations
        )
        for limit in sorted({0, 1, 2, needed - 1} & set(range(needed))):
            stop = Stop(rtol=rtol, max_iters=limit)
            with pytest.raises(SolveError) as failure:
                solve(problem, method.solver, stop=stop)
            result = failure.value.result
            assert result.status == Status.MAX_ITERS
            assert result.iterations == limit
            assert "MAX_ITERS" in str(failure.value) and "max_iters" in str(failure.value)
            assert relative(A, b, result.x) > rtol
            assert result.residual == pytest.approx(relative(A, b, result.x), rel=1e-6)
        last = solve(problem, method.solver, stop=Stop(rtol=rtol, max_iters=needed))
        assert last.iterations == needed
        assert not ended_truly(last, A, b, rtol)


def test_the_last_step_counts_after_a_restart_too(rng: np.random.Generator) -> None:
    """float32 CG that needs a second round converges in exactly the steps it needs, no fewer."""
    seen = 0
    for _ in range(60):
        problem = hard_system(Kind.POSITIVE, 20, np.array([1e3]), np.float32, rng)
        full = solve(problem, solvers.CG(), stop=Stop(rtol=4e-6, max_iters=3_000), throw=False)
        if full.status != Status.CONVERGED or not full.restarts:
            continue
        seen += 1
        needed = int(full.iterations)
        again = solve(problem, solvers.CG(), stop=Stop(rtol=4e-6, max_iters=needed))
        assert again.iterations == needed and again.x.tobytes() == full.x.tobytes()
        short = Stop(rtol=4e-6, max_iters=needed - 1)
        less = solve(problem, solvers.CG(), stop=short, throw=False)
        problem_parts = problem.A.params["matrix"], problem.b
        assert not ended_truly(less, *problem_parts, 4e-6, Status.MAX_ITERS)
    assert seen >= 5, f"only {seen} cases were restarted"


@pytest.mark.parametrize("every", [1, 3, 16, 1_000])
def test_the_limit_holds_however_rarely_the_driver_looks(
    every: int, rng: np.random.Generator
) -> None:
    problem = hard_system(Kind.POSITIVE, 30, np.array([1e4]), np.float64, rng)
    for limit in (1, 5, 16, 17):
        stop = Stop(rtol=1e-12, max_iters=limit, check_every=every)
        result = solve(problem, solvers.CG(), stop=stop, throw=False)
        assert result.status == Status.MAX_ITERS and result.iterations == limit
        assert limit == result.applies.A


def test_members_of_a_batch_spend_their_own_steps(rng: np.random.Generator) -> None:
    """A hard member runs to the limit, and the easy ones stop where they converge."""
    problem = hard_system(Kind.POSITIVE, 30, np.array([2.0, 1e6, 50.0]), np.float64, rng)
    result = solve(problem, solvers.CG(), stop=Stop(rtol=1e-8, max_iters=35), throw=False)
    assert [s.name for s in statuses(result)] == ["CONVERGED", "MAX_ITERS", "CONVERGED"]
    assert result.iterations[1] == 35
    for i in (0, 2):
        alone = LinearSystem(
            Dense(problem.A.params["matrix"][i], traits={Trait.POSITIVE}), problem.b[i]
        )
        single = solve(alone, solvers.CG(), stop=Stop(rtol=1e-8))
        assert abs(int(result.iterations[i]) - int(single.iterations)) <= 1


def test_seconds_are_a_limit_too(rng: np.random.Generator) -> None:
    problem = hard_system(Kind.POSITIVE, 30, np.array([1e10]), np.float64, rng)
    stop = Stop(rtol=1e-14, max_seconds=0.02, max_iters=100_000)
    with pytest.raises(SolveError) as failure:
        solve(problem, solvers.Chebyshev(), stop=stop)
    result = failure.value.result
    assert result.status == Status.MAX_SECONDS
    assert 0.02 <= result.seconds.solve < 1.0
    assert result.residual <= 1
